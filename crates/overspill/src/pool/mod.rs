//! Where workers come from.
//!
//! A **pool** is a source of workers: local (own GPUs) or cloud. Each folder here is the driver of one kind of
//! pool: it carries out what the core asked for and tells the core what came of it. No folder here decides
//! *whether* something runs in a pool: placement, scaler and budget of the core do.

pub mod local;
pub mod runpod;

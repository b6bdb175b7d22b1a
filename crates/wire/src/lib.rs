//! The compatible API as types and texts: paths' bodies, words and statuses of RunPod's job,
//! worker and management protocols; nothing else.
//!
//! This crate and the core do not know each other: the gateway translates, so that the API can
//! follow its upstream without touching the decisions.

pub mod error;
pub mod health;
pub mod job;
pub mod json;
pub mod management;
pub mod worker;

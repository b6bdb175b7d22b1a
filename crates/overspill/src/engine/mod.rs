//! The engine: one thread that owns the core, commits its changes and carries out its effects.
//!
//! [`api`] is its face towards the gateway, as a trait, so that the gateway can be tested without
//! a store or a clock. [`run`] is the thread: it takes what came in as one batch, lets the core
//! handle it, commits all changes in one transaction with one fsync, and only then answers and
//! carries out effects. [`handle`] is how others reach it, `views` what they
//! read; [`live`] is what it publishes after each
//! commit; [`journal`] writes down what it handled and decided; [`trouble`] is what is wrong with disk and clock; [`world`] is whom it asks to start processes and to talk to the cloud.

pub mod api;
pub mod handle;
pub mod journal;
pub mod live;
pub mod message;
pub mod run;
pub mod trouble;
mod views;
pub mod world;

//! Overspill as a library: everything behind the binary, so that tests and tasks link the engine
//! itself. `main.rs` only parses, configures and dispatches.

pub mod auth;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dashboard;
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod engine;
pub mod gateway;
pub mod gpu;
pub mod guard;
pub mod keeper;
pub mod kept;
pub mod otel;
pub mod pool;
pub mod reference;
pub mod region;
mod rehearsal;
pub mod serving;
#[cfg(test)]
mod storms;
pub mod telemetry;
pub mod topology;
pub mod tui;
pub mod view;
pub mod webhook;

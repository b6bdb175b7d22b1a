//! The engine: one task that owns the core, commits its changes and carries out its effects.
//!
//! [`api`] is its face towards the gateway, as a trait, so that the gateway can be tested without
//! a store or a clock.

pub mod api;

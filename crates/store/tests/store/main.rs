//! Tests of the store through its public face.

#![expect(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod conformance;
mod crash;
mod faults;
mod files;
mod migration;

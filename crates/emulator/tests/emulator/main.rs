//! The emulator over HTTP, on a listener of its own per test and with a clock that only the test moves.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; one that skips a part of itself says so"
)]

mod contract;
mod control;
mod data_plane;
mod data_plane_contract;
mod document;
mod fault_effects;
mod faults;
mod legacy;
mod management;
mod openai;
mod openapi;
mod real_workers;
mod rig;

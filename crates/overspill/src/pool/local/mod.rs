//! Pools on this machine's own devices.

pub mod process;

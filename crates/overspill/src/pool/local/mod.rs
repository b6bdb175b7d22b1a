//! Pools on this machine's own devices.

pub mod cards;
pub mod job_list;
pub mod process;

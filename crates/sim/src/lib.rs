//! The simulator: the shipped core in virtual time, and the worlds around it.
//!
//! [`cloud`] is the one model of RunPod's cloud, which the emulator serves over HTTP. [`simulate`]
//! replays arrivals and reports waits and cost; [`storms`] runs the core against modelled worlds
//! with faults, by seed, [`spend`] with more work than a cap pays for, [`reckon`] for hours, with RunPod's bill
//! beside the ledger; [`faults`] names them, [`weather`] says which a run has, [`report`] what came of it, and
//! [`mod@shrink`] makes a failing one smaller.
//! [`journal`] is what a server writes of its core, and replays it decision by decision. It knows no clock,
//! socket or file, and no randomness but a seed's.

mod agenda;
pub mod agree;
pub mod cloud;
pub mod death;
mod driver;
pub mod faults;
pub mod journal;
mod oracle;
pub mod reckon;
pub mod report;
mod scene;
pub mod shrink;
pub mod simulate;
pub mod spend;
mod store;
mod storm;
pub mod storms;
#[cfg(test)]
mod tests;
mod trace;
pub mod trial;
pub mod weather;
mod workload;
mod world;

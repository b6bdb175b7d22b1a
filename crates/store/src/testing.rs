//! For tests of the store, here and in `xtask faults`: records to store, and faults to survive.
//!
//! Each fault is a function of a count and a seed that gives a [`report::Report`]; a fault is survived
//! when nothing in it is wrong. A seed names a run for ever.

pub mod build;
#[cfg(feature = "testing")]
pub mod history;
#[cfg(feature = "testing")]
pub mod power;
#[cfg(feature = "testing")]
pub mod report;
#[cfg(feature = "testing")]
pub mod rot;
#[cfg(feature = "testing")]
pub mod torn;

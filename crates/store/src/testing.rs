//! For tests of the store, here and in `xtask faults`: records to store, and faults to survive.

pub mod build;

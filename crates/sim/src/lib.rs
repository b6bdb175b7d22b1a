//! overspill-sim
pub mod cloud;
pub mod simulate;

//! overspill-sim
pub mod cloud;

//! overspill-wire
pub mod management;

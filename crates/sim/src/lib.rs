//! overspill-sim

//! overspill

//! overspill-wire

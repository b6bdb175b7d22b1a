//! overspill-core

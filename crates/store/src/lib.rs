//! overspill-store

//! overspill
fn main() {}

//! Which worker or pool gets the next job: local cards first, and the cloud for what they cannot
//! start soon enough.

pub mod pool_order;
pub mod projection;

mod cloud;
mod failover;
mod fleet;
mod local;

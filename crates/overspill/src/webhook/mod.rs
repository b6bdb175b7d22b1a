//! Webhooks out: what is due is read from the store, sent, and what became of it is told to the engine.
//!
//! The outbox is the store's and the schedule is the core's; here is only the sending. `run` takes
//! what is due, bounded per receiver; `send` makes one attempt over a connection of its own to an
//! address that was checked; [`sign`] makes and knows the secrets; `body` is RunPod's envelope. Which
//! receivers are allowed at all is said by [`crate::gateway::webhook_url`], at the door and here.
//!
//! Delivery is at least once: an attempt whose outcome could not be written is made again, under the
//! same `webhook-id`.

mod body;
mod run;
mod send;
pub mod sign;

pub(crate) use body::whose;
pub use run::{Options, Service, start};
pub use send::{Resolve, SystemResolver};

//! The decisions of Overspill, pure: facts and a time in, durable changes and effects out.
//!
//! The core does no IO, reads no clock, spawns nothing and has no randomness of its own; its own
//! `clippy.toml` refuses what would break that. The server's engine and the simulator are two
//! drivers around the very same [`machine::Core`]:
//!
//! 1. feed events with a time that never goes back ([`machine::Core::handle`]),
//! 2. commit the changes of the batch in one transaction,
//! 3. only then carry out its effects; every outcome comes back as an event.
//!
//! **Map.** Words of the border: [`event`], [`change`], [`effect`], [`topology`], [`explain`].
//! Nouns: [`job`], [`attempt`], [`endpoint`], [`pool`], [`worker`], [`ledger`].
//! Values: [`time`], [`money`], [`id`].

pub mod attempt;
pub mod change;
pub mod effect;
pub mod endpoint;
pub mod event;
pub mod explain;
pub mod id;
pub mod job;
pub mod ledger;
pub mod money;
pub mod pool;
pub mod time;
pub mod topology;
pub mod worker;

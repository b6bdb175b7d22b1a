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
//! **Map.** [`machine`] dispatches to `on/`, one file per family of facts; [`placement`] says which
//! worker or pool gets the next job, [`scaler`] how many cloud workers are wanted, [`schedule`] how many are kept on at which hours, [`budget`] sets
//! money aside within the caps, [`allowance`] within those of a key, [`alert`] says when they are nearly spent, [`meter`] says what the workers cost, [`attribution`] for whose jobs, [`bound`] what they could cost without us, [`guard`] who ends them then; [`invariants`] names what must always hold; [`why`] explains on a copy. Words of the border: [`event`], [`change`], [`effect`], [`topology`], [`explain`].
//! Nouns: [`job`], [`jobs`], [`attempt`], [`endpoint`], [`pool`], [`worker`], [`fleet`], [`device`], [`quarantine`],
//! [`ledger`], [`spent`], [`booked`], [`bill`], [`drift`], [`webhook`].
//! Values: [`time`], [`calendar`], [`timers`], [`money`], [`id`], [`region`].

pub mod alert;
pub mod allowance;
pub mod attempt;
pub mod attribution;
pub mod bill;
pub mod blind;
pub mod booked;
pub mod bound;
pub mod budget;
pub mod calendar;
pub mod change;
pub mod crash_loop;
pub mod device;
pub mod drift;
pub mod effect;
pub mod endpoint;
pub mod event;
pub mod explain;
pub mod fleet;
pub mod guard;
pub mod id;
pub mod invariants;
pub mod job;
pub mod jobs;
pub mod ledger;
pub mod machine;
pub mod meter;
pub mod money;
mod on;
pub mod placement;
pub mod pool;
pub mod quarantine;
pub mod region;
pub mod scaler;
pub mod schedule;
pub mod spent;
pub mod time;
pub mod timers;
pub mod topology;
pub mod view;
pub mod webhook;
pub mod why;
pub mod worker;

//! Rig tests of the core: events in, changes and effects out.
#![expect(unreachable_pub, reason = "tests")]

mod alerts;
mod billed;
mod budget;
mod cards;
mod clients;
mod cloud;
mod draining;
mod fleet;
mod guard;
mod key_caps;
mod leaks;
mod left_pools;
mod local;
mod policies;
mod property;
mod quota;
mod regions;
mod rig;
mod schedule;
mod semantics;
mod slots;
mod storms;
mod town;
mod why;

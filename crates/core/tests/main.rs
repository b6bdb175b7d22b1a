//! Rig tests of the core: events in, changes and effects out.
#![expect(unreachable_pub, reason = "tests")]

mod budget;
mod clients;
mod cloud;
mod draining;
mod local;
mod property;
mod quota;
mod rig;
mod schedule;
mod semantics;
mod slots;
mod storms;
mod why;

//! Tests of the gateway over real connections, before an engine in memory around the real core.

mod access;
mod clients;
mod connections;
mod events;
mod fake;
mod hook;
mod inputs;
mod management;
mod regions;
mod rig;
mod session;
mod workers;

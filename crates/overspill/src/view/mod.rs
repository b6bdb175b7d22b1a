//! One read model for people: what the dashboard, and whoever else shows the state, is told.
//!
//! A [`board::Board`] looks at the core once a second and keeps an hour of samples in memory; what
//! became of jobs is counted from committed changes ([`tally`]), so that lists, charts and the ledger
//! agree. Nothing here decides anything or holds state that must survive, and nothing knows HTTP.
//!
//! **Map.** [`overview`]: everything at once, as of now. [`series`]: the last hour. [`pools`]: every
//! pool with its workers. [`time_line`]: decisions with their reasons. [`spending`]: sums of the
//! ledger. [`why`]: causes, forecasts and what-ifs. [`metrics`]: all of it for Prometheus. [`preview`]: what of a payload can be shown to people.

pub mod after_death;
pub mod board;
pub mod budget;
pub mod cost;
pub mod gpus;
pub mod metrics;
pub mod overview;
pub mod pools;
pub mod preview;
pub mod series;
pub mod spending;
pub mod tally;
pub mod time_line;
pub mod why;

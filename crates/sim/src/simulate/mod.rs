//! `overspill simulate`: replays arrivals in virtual time under a scaling policy, and says what it
//! costs and how long jobs wait.
//!
//! [`trace`] is what comes in, [`settings`] the world, [`policies`] what decides, [`engine`] the
//! event model, [`record`] what is left and must add up, [`score`] the yardstick over known traces.

pub mod bound;
pub mod engine;
pub mod load;
pub mod policies;
pub mod record;
pub mod score;
pub mod series;
pub mod settings;
mod sight;
pub mod trace;
pub mod value;

pub use engine::{simulate, simulate_watched};
pub use record::{Run, Summary};
pub use settings::Settings;
pub use trace::Trace;

#[cfg(test)]
mod tests;

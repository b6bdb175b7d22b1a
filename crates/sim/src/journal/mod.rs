//! The journal: what a core was told and what it decided, so that a run can be replayed exactly.
//!
//! Each decision is a pure function of the state that a core began with and of the events since, so a
//! journal holds just these: a *segment* begins with a state (what the store had at a start, or the core
//! itself when the file was rotated), and then has every event with its time, in the order in which the
//! core handled them. Beside each event stand the decisions that followed in full and a digest of all that
//! the core asked for, changes and answers included: [`verify`] feeds the events to the same core and
//! names the first that comes out otherwise.
//!
//! **Flow.** The driver hands over each [`Batch`] after its commit; [`Writer`] makes lines of it without
//! any text of a user ([`scrub`]), and frames of the lines ([`frame`]); [`Reader`] gives them back, past
//! what is torn or damaged. [`observe`] takes arrivals, durations, start-ups, waits and money out of a
//! replay, for the simulation under other settings. It knows no file: whoever has one hands bytes.
//!
//! **Words.** A *gap* is what the writer could not take in and says so; *damage* is what cannot be read; a
//! *torn* end is what a killed process had not written out.

pub mod frame;
pub mod observe;
pub mod record;
pub mod scrub;
pub mod verify;
mod write;

pub use frame::{Piece, Reader};
pub use observe::Observer;
pub use record::{Batch, Begin, Cause, Gap, Handled, Record, State, Step};
pub use verify::{Difference, Report, verify};
pub use write::Writer;

#[cfg(test)]
mod tests;

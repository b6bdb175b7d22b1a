//! Why a job waits, why an endpoint has the cloud workers that it has, and what one changed setting
//! would do: computed when asked, by the same functions that decide.
//!
//! A [`Situation`] is a copy of all that placement and scaler see of one endpoint: at most
//! [`WAITING_MAX`](crate::placement::projection::WAITING_MAX) waiting jobs are looked at one by one,
//! so that the copy is small whatever the queue. Everything after the copy is a pure function of it,
//! for any thread: [`Situation::why_job`] and [`Situation::why_scale`] give the chain of [`Cause`]s,
//! from what was asked for to what stands in the way; [`Situation::what_if`] asks the endpoint's own
//! policy again with one [`Setting`] changed and compares the forecasts.
//!
//! A forecast is no promise: it takes the durations that were learned, lets every job go to the slot
//! that is free first, and knows nothing of jobs that come later.

mod cause;
mod chain;
mod forecast;
mod situation;
mod what_if;

pub use cause::Cause;
pub use forecast::{Change, Forecast};
pub use situation::{CloudFacts, SeatFacts, SeatState, Situation, Stand, Standing};
pub use what_if::{Setting, WhatIf};

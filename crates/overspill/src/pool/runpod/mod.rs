//! `RunPod`'s cloud: submits jobs, watches them, fetches their results, sets the limits of workers.
//!
//! What is here:
//! - [`client`] calls the serverless API (the *data plane*): submit, status, stream, cancel, health, purge;
//! - [`management`] calls the REST management API: endpoints, their workers and scaling;
//! - [`driver`] carries out the core's cloud effects and tells it what came of them;
//! - [`limits`] keeps both under `RunPod`'s documented rates; [`breaker`] stops calling a cloud that is down;
//! - [`guard`] refuses a cloud that is this server itself;
//! - [`submission`] writes the body of a submission; [`answer`] reads what comes back, as if it were hostile.
//!
//! What must not be here: the choice of *where* a job runs, how many workers there should be, what may be spent.
//! Nothing here retries a submission: an answer that leaves it open whether the job was accepted is reported as
//! such ([`client::SubmitError::Unknown`]), because a second submission could run, and bill, the job twice.
//!
//! Facts about the cloud that are marked "documented" come from `RunPod`'s public documentation and its `OpenAPI`
//! document; none of them is promised by `RunPod` for ever, so each is a named constant with its source.

pub mod account;
pub mod answer;
pub mod breaker;
pub mod client;
pub mod clock;
pub mod driver;
pub mod guard;
mod http;
pub mod limits;
pub mod management;
pub mod submission;
pub mod tls;

#[cfg(test)]
mod testing;

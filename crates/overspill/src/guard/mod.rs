//! `overspill guard`: a process of its own that sets the limits of our cloud workers to zero once the server
//! has been silent for too long.
//!
//! It asks the server ([`beat`]), remembers what there is to lower ([`memory`]), decides by the core's own rule
//! ([`overspill_core::guard::Watch`]), and lowers ([`lower`]). It can do nothing else: its key at the server
//! is good for asking only, and the one change that it can make at RunPod is a constant.
//!
//! What must not be here: anything that raises a limit, submits a job, or reads one.

pub mod beat;
pub mod lower;
pub mod memory;
pub mod run;

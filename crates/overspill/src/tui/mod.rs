//! The live terminal view: what the server says, drawn once a second, and moved by keys.
//!
//! [`data`] is what is known and chosen, [`draw`] puts it on a screen of any size from 80×24 on; both are
//! free of terminals and networks, so that tests draw into a buffer. [`crate::cli::top`] has the loop.

pub mod data;
pub mod draw;

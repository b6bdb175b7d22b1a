//! The one test program of this crate; each module is one behaviour.

#![expect(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod keeper;

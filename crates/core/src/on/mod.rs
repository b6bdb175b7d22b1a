//! What each fact means: one file per family of facts.

mod cancel;
pub(crate) mod cloud;
mod configure;
pub(crate) mod finish;
mod meter;
mod submit;
mod take;
mod timer;
mod webhook;
mod worker;

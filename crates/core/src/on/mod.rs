//! What each fact means: one file per family of facts.

mod billed;
mod cancel;
mod card;
pub(crate) mod cloud;
mod configure;
pub(crate) mod finish;
mod leak;
mod left;
mod meter;
mod slots;
mod submit;
mod take;
mod timer;
mod webhook;
mod worker;

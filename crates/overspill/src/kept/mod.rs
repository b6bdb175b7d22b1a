//! Endpoints that Overspill keeps at RunPod: those that the configuration asks for by `image` and `gpu`.
//!
//! RunPod's API has no ordered choice of GPUs, so there is one RunPod endpoint for each type of GPU,
//! filled in the order of the list. Each bears a [`name`] with the installation's id and a nonce: by it an
//! endpoint is known as ours, whatever was lost. [`desired`] says what the configuration asks for,
//! [`plan`] compares it with what there is, [`carry_out`] does what the plan says, [`record`] remembers
//! ids and what is half done, in the data folder. [`keep`] is the server's part: it makes what is
//! missing, and changes and removes nothing; that is `overspill apply`'s, with the plan shown before.
//! [`orphans`] is what nobody needs any more, for `overspill reap`.
//!
//! Limits of workers are no part of it: an endpoint is made with `max` 0 and costs nothing until the
//! server wants workers. What must not be here: how many workers there should be, or what they may cost.

pub mod carry_out;
pub mod desired;
pub mod gpus;
pub mod keep;
pub mod name;
pub mod orphans;
pub mod plan;
pub mod record;

//! What clients ask: submit, look, wait, stream, cancel; RunPod's serverless API
//! (`runpod-protocol.md` part A).

mod class;
pub(super) mod control;
pub(super) mod health;
pub(super) mod idempotency;
pub(super) mod openai;
pub(super) mod status;
pub(super) mod stream;
pub(super) mod submit;

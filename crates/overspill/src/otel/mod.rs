//! OpenTelemetry: one trace from the app's request through the queue to the worker and the webhook.
//!
//! A submission may bring a `traceparent` (W3C Trace Context). It is stored with the job, so that a restart
//! does not break the trace, and goes on to the worker in the job object, to RunPod and to the webhook's
//! receiver as a header. Where a collector is named (`OTEL_EXPORTER_OTLP_ENDPOINT`), spans are made of what
//! was committed and sent to it; without one nothing is made, and the caller's own `traceparent` passes.
//!
//! **Map.** [`context`]: the header. [`span`]: a span, and the ids that follow from a job's. [`jobs`]: the
//! spans of a job, made of its changes on the engine's thread. [`export`]: the bounded queue, and the task
//! that empties it. `otlp`: the message. [`settings`]: the `OTEL_*` variables.
//!
//! **What it must not do.** Hold up or fail a job: a full queue loses spans and counts them.
//!
//! Why not the `opentelemetry` crates: their spans live in a process from start to end, while an attempt
//! outlives the process that began it, and its span is made of the store's record. What would remain of them is
//! the encoding of one message, for some thirty crates more.

pub mod context;
pub mod export;
pub mod jobs;
mod otlp;
pub mod settings;
pub mod span;

pub use context::TraceContext;
pub use export::{Exporter, Tracer};

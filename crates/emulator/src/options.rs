//! How an emulator behaves: the model's settings, and what the HTTP face adds to them.

use overspill_sim::cloud::CloudOptions;

/// Settings of an emulator.
#[derive(Debug, Clone)]
pub struct Options {
    /// The modelled cloud.
    pub cloud: CloudOptions,
    /// Idle timeout of endpoints whose creator does not say, in seconds; `None` is RunPod's own (10).
    pub idle_timeout_s: Option<u32>,
    /// Seconds of cloud time per second; 0 stops the clock, which then moves by `POST /emulator/clock` only.
    pub time_scale: f64,
    /// Cloud time at the start, in milliseconds since the epoch; `None` is the present.
    pub start_ms: Option<i64>,
    /// Command started per worker through `sh -c`, an unmodified RunPod worker; `None` models workers.
    pub worker_cmd: Option<String>,
    /// Base URL under which clients and workers reach the emulator; `None` is the listener's address.
    pub public_url: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cloud: CloudOptions::default(),
            idle_timeout_s: None,
            time_scale: 1.0,
            start_ms: None,
            worker_cmd: None,
            public_url: None,
        }
    }
}

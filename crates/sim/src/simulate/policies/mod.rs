//! What decides in a simulation: the core's own policies as shipped, and others for comparison.
//!
//! A policy for comparison is one file: its rule, its constants with their units, and where both
//! come from. They see the same picture as the core's own ([`View`]) and run under the same event
//! model; none of them knows the promise, or that jobs can run on cards of one's own.

mod clairvoyant;
mod classic_ladder;
mod keda;
mod knative;
mod ray_serve;
mod runpod_queue_delay;
mod runpod_request_count;
mod shipped;
mod sky_serve;

pub use clairvoyant::Clairvoyant;
pub use classic_ladder::ClassicLadder;
pub use keda::Keda;
pub use knative::Knative;
pub use ray_serve::RayServe;
pub use runpod_queue_delay::RunpodQueueDelay;
pub use runpod_request_count::RunpodRequestCount;
pub use shipped::Shipped;
pub use sky_serve::SkyServe;

use std::collections::VecDeque;

use overspill_core::scaler::{View, Wish};
use overspill_core::time::{DurationMs, Timestamp};

use super::value::ValueError;

/// Decides how many cloud workers there are and how many jobs may go to them.
pub trait Policy {
    /// Its name, as on the command line.
    fn name(&self) -> &str;
    /// How often it is asked.
    fn period(&self) -> DurationMs;
    /// Asked at each period, on the past and the present only.
    fn decide(&mut self, view: &View<'_>) -> Wish;
    /// Told of each arrival, for rules that count them.
    fn arrived(&mut self, at: Timestamp) {
        let _ = at;
    }
    /// The cloud stops a worker by itself after it was idle for this long.
    fn idle_timeout(&self) -> Option<DurationMs> {
        None
    }
    /// Asked even where nothing waits, runs or lives.
    fn looks_ahead(&self) -> bool {
        false
    }
    /// Asked too when a worker gets idle.
    fn decides_at_idle(&self) -> bool {
        false
    }
    /// Whether jobs for the cloud are handed over before a worker is ready for them, as a server must at RunPod.
    fn hands_over(&self) -> bool {
        false
    }
    /// Asked too at each event, unless it was asked as short a time ago as this: as a server asks.
    fn decides_at_events(&self) -> Option<DurationMs> {
        None
    }
    /// Whether a start that is not needed any more may be taken back before it is ready.
    fn takes_starts_back(&self) -> bool {
        true
    }
    /// How far ahead it knows arrivals and durations; `None` for every policy that can exist.
    fn foresight(&self) -> Option<DurationMs> {
        None
    }
    /// Needs [`View::projection`].
    fn reads_projection(&self) -> bool {
        false
    }
    /// The names of its constants, as [`Self::set`] knows them.
    fn keys(&self) -> &'static [&'static str] {
        &[]
    }
    /// Changes one of its constants; `false` for a name that is none of them.
    ///
    /// # Errors
    /// When the value is no value of that constant.
    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        let _ = (key, text);
        Ok(false)
    }
}

/// The policies that a server can run.
pub const SHIPPED: [&str; 4] = ["cost_aware", "ladder", "queue_delay", "request_count"];

/// Every policy, those for comparison only last.
pub const NAMES: [&str; 12] = [
    "cost_aware",
    "ladder",
    "queue_delay",
    "request_count",
    "classic_ladder",
    "runpod_queue_delay",
    "runpod_request_count",
    "knative",
    "keda",
    "ray_serve",
    "sky_serve",
    "clairvoyant",
];

/// The policy of that name in a world with so many slots a worker; `None` for an unknown name.
#[must_use]
pub fn named(name: &str, slots: u32) -> Option<Box<dyn Policy>> {
    Some(match name {
        "classic_ladder" => Box::new(ClassicLadder::default()),
        "runpod_queue_delay" => Box::new(RunpodQueueDelay::default()),
        "runpod_request_count" => Box::new(RunpodRequestCount::new(slots)),
        "knative" => Box::new(Knative::default()),
        "keda" => Box::new(Keda::new(slots)),
        "ray_serve" => Box::new(RayServe::default()),
        "sky_serve" => Box::new(SkyServe::default()),
        "clairvoyant" => Box::new(Clairvoyant::default()),
        _ => Box::new(Shipped::named(name, slots)?),
    })
}

/// The counts that the rules of other systems are made of.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Jobs that wait.
    waiting: u32,
    /// Jobs that run in the cloud.
    running: u32,
    /// Jobs that run on slots of one's own.
    local: u32,
    /// Cloud workers, those that start included.
    alive: u32,
    /// Of them, those that are not ready yet.
    starting: u32,
}

impl Counts {
    fn of(view: &View<'_>) -> Self {
        let picture = view.picture;
        let fleet = view.fleet.unwrap_or_default();
        let starting = fleet.iter().filter(|worker| worker.is_starting()).count();
        let busy = |&&at: &&Timestamp| at > picture.now;
        Self {
            waiting: small(picture.waiting_total),
            running: small(fleet.iter().map(|worker| worker.busy.len()).sum()),
            local: small(picture.local.iter().filter(busy).count()),
            alive: small(fleet.len()),
            starting: small(starting),
        }
    }

    /// Jobs that wait or run in the cloud.
    const fn ongoing(&self) -> u32 {
        self.waiting.saturating_add(self.running)
    }

    const fn ready(&self) -> u32 {
        self.alive - self.starting
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A count of workers from a quotient: rounded up, never negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded up and clamped to the range of a count"
)]
fn ceil(workers: f64) -> u32 {
    workers.ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// `workers`, with every waiting job allowed to any of them: these rules know no own cards.
const fn all(workers: u32) -> Wish {
    Wish {
        workers,
        spill: u32::MAX,
        keep: DurationMs::ZERO,
    }
}

/// The readings of a time window.
#[derive(Debug, Clone, Default)]
struct Window {
    readings: VecDeque<(Timestamp, f64)>,
}

impl Window {
    /// Adds a reading, and forgets those older than `span`.
    fn put(&mut self, now: Timestamp, span: DurationMs, reading: f64) {
        self.readings.push_back((now, reading));
        while self
            .readings
            .front()
            .is_some_and(|r| now.since(r.0) >= span)
        {
            self.readings.pop_front();
        }
    }

    /// The mean of the readings younger than `span`.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand readings")]
    fn mean(&self, now: Timestamp, span: DurationMs) -> f64 {
        let young = self.readings.iter().rev();
        let young = young.take_while(|reading| now.since(reading.0) < span);
        let (sum, count) = young.fold((0.0, 0_usize), |(sum, n), r| (sum + r.1, n + 1));
        sum / count.max(1) as f64
    }

    /// The largest of the readings.
    fn max(&self) -> f64 {
        self.readings.iter().map(|r| r.1).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests;

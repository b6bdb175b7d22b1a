//! What decides in a simulation: the core's own policies, and others for comparison.

use overspill_core::scaler::{self, View, Wish, cost_aware};
use overspill_core::time::DurationMs;
use overspill_core::topology::ScalerSpec;

/// Decides how many cloud workers there are and how many jobs may go to them.
pub trait Policy {
    /// Its name, as on the command line.
    fn name(&self) -> &str;
    /// How often it is asked.
    fn period(&self) -> DurationMs;
    /// Asked at each period, on the past and the present only.
    fn decide(&mut self, view: &View<'_>) -> Wish;
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
}

/// A policy of the core, as shipped.
#[derive(Debug, Clone)]
pub struct Shipped {
    name: &'static str,
    spec: ScalerSpec,
    period: DurationMs,
    idle_timeout: Option<DurationMs>,
}

/// The names that [`Shipped::named`] knows.
pub const NAMES: [&str; 4] = ["cost_aware", "ladder", "queue_delay", "request_count"];

impl Shipped {
    /// The policy of that name in a world with so many slots a worker: the classic ones with idle
    /// workers stopped after 5 s, as RunPod's default has it. `None` for an unknown name.
    #[must_use]
    pub fn named(name: &str, slots: u32) -> Option<Self> {
        let idle_timeout = Some(DurationMs::from_secs(5));
        let period = DurationMs::from_secs(1);
        let delay = DurationMs::from_secs(4);
        let (name, spec) = match name {
            "cost_aware" => {
                return Some(Self {
                    name: "cost_aware",
                    spec: ScalerSpec::CostAware,
                    period: cost_aware::Constants::default().period,
                    idle_timeout: None,
                });
            }
            "ladder" => ("ladder", ScalerSpec::Ladder),
            "queue_delay" => ("queue_delay", ScalerSpec::QueueDelay { delay }),
            "request_count" => {
                let per_worker = slots;
                ("request_count", ScalerSpec::RequestCount { per_worker })
            }
            _ => return None,
        };
        Some(Self {
            name,
            spec,
            period,
            idle_timeout,
        })
    }
}

impl Policy for Shipped {
    fn name(&self) -> &str {
        self.name
    }

    fn period(&self) -> DurationMs {
        self.period
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        scaler::wish(&self.spec, view)
    }

    fn idle_timeout(&self) -> Option<DurationMs> {
        self.idle_timeout
    }

    fn decides_at_idle(&self) -> bool {
        self.spec == ScalerSpec::CostAware
    }

    fn reads_projection(&self) -> bool {
        self.spec != ScalerSpec::CostAware
    }
}

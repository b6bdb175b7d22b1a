//! The core's own policies, as a server runs them.
//!
//! `cost_aware` decides every 2 s and when a worker gets idle; the classic rules decide every
//! second, and their idle workers are stopped after 5 s, as RunPod's default has it. The rules
//! themselves are in `overspill_core::scaler`.

use overspill_core::scaler::{self, View, Wish, cost_aware};
use overspill_core::time::DurationMs;
use overspill_core::topology::ScalerSpec;

use super::super::value::{self, ValueError};
use super::Policy;

/// A policy of the core.
#[derive(Debug, Clone)]
pub struct Shipped {
    name: &'static str,
    rule: Rule,
    idle_timeout: Option<DurationMs>,
    /// Asked when a server asks, at each event, and not at the fixed periods that costs are compared with.
    is_served: bool,
}

/// A server asks its rule at each event, so long apart at least.
const SERVED_LEAST: DurationMs = DurationMs::from_millis(100);
/// And so long apart at most.
const SERVED_MOST: DurationMs = DurationMs::from_secs(1);

#[derive(Debug, Clone)]
enum Rule {
    CostAware(cost_aware::Constants),
    Classic(ScalerSpec),
}

impl Shipped {
    /// The policy of that name in a world with so many slots a worker; `None` where the core has
    /// none of that name.
    #[must_use]
    pub fn named(name: &str, slots: u32) -> Option<Self> {
        let (name, spec) = match name {
            "cost_aware" => return Some(Self::cost_aware(cost_aware::Constants::default())),
            "ladder" => ("ladder", ScalerSpec::Ladder),
            "queue_delay" => {
                let delay = DurationMs::from_secs(4);
                ("queue_delay", ScalerSpec::QueueDelay { delay })
            }
            "request_count" => {
                let per_worker = slots;
                ("request_count", ScalerSpec::RequestCount { per_worker })
            }
            _ => return None,
        };
        Some(Self {
            name,
            rule: Rule::Classic(spec),
            idle_timeout: Some(DurationMs::from_secs(5)),
            is_served: false,
        })
    }

    /// The same, asked as often as a server asks, with jobs handed over as a server hands them over.
    #[must_use]
    pub const fn served(mut self) -> Self {
        self.is_served = true;
        self
    }

    /// `cost_aware` with these constants.
    #[must_use]
    pub const fn cost_aware(constants: cost_aware::Constants) -> Self {
        Self {
            name: "cost_aware",
            rule: Rule::CostAware(constants),
            idle_timeout: None,
            is_served: false,
        }
    }
}

impl Policy for Shipped {
    fn name(&self) -> &str {
        self.name
    }

    fn period(&self) -> DurationMs {
        if self.is_served {
            return SERVED_MOST;
        }
        match &self.rule {
            Rule::CostAware(constants) => constants.period,
            Rule::Classic(_) => DurationMs::from_secs(1),
        }
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        match &self.rule {
            Rule::CostAware(constants) => cost_aware::wish(constants, view),
            Rule::Classic(spec) => scaler::wish(spec, view),
        }
    }

    fn idle_timeout(&self) -> Option<DurationMs> {
        self.idle_timeout
    }

    fn hands_over(&self) -> bool {
        self.is_served
    }

    fn decides_at_events(&self) -> Option<DurationMs> {
        self.is_served.then_some(SERVED_LEAST)
    }

    fn decides_at_idle(&self) -> bool {
        matches!(self.rule, Rule::CostAware(_))
    }

    fn reads_projection(&self) -> bool {
        matches!(self.rule, Rule::Classic(_))
    }

    fn keys(&self) -> &'static [&'static str] {
        match &self.rule {
            Rule::CostAware(_) => &[
                "wait_share",
                "wait_share_strict",
                "lateness_price",
                "period",
                "horizon",
                "late_share",
                "forgiven_max",
                "forgiven_until",
                "relief_share",
                "caution",
                "cautious_until",
                "tight_late_share",
                "tight_gain",
                "tight_keep_max",
                "min_idle",
            ],
            Rule::Classic(ScalerSpec::QueueDelay { .. }) => &["delay", "idle_timeout"],
            Rule::Classic(ScalerSpec::RequestCount { .. }) => &["per_worker", "idle_timeout"],
            Rule::Classic(_) => &["idle_timeout"],
        }
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match (&mut self.rule, key) {
            (Rule::CostAware(constants), _) => return set(constants, key, text),
            (Rule::Classic(_), "idle_timeout") => self.idle_timeout = Some(value::duration(text)?),
            (Rule::Classic(ScalerSpec::QueueDelay { delay }), "delay") => {
                *delay = value::duration(text)?;
            }
            (Rule::Classic(ScalerSpec::RequestCount { per_worker }), "per_worker") => {
                *per_worker = value::positive(text)?;
            }
            (Rule::Classic(_), _) => return Ok(false),
        }
        Ok(true)
    }
}

fn set(constants: &mut cost_aware::Constants, key: &str, text: &str) -> Result<bool, ValueError> {
    match key {
        "wait_share" => constants.wait_share = value::number(text)?,
        "wait_share_strict" => constants.wait_share_strict = value::number(text)?,
        "lateness_price" => constants.lateness_price = value::number(text)?,
        "period" => constants.period = value::duration(text)?,
        "horizon" => constants.horizon = value::duration(text)?,
        "late_share" => constants.late_share = value::number(text)?,
        "forgiven_max" => constants.forgiven_max = value::number(text)?,
        "forgiven_until" => constants.forgiven_until = value::number(text)?,
        "relief_share" => constants.relief_share = value::number(text)?,
        "caution" => constants.caution = value::number(text)?,
        "cautious_until" => constants.cautious_until = value::number(text)?,
        "tight_late_share" => constants.tight_late_share = value::number(text)?,
        "tight_gain" => constants.tight_gain = value::number(text)?,
        "tight_keep_max" => constants.tight_keep_max = value::number(text)?,
        "min_idle" => constants.min_idle = value::duration(text)?,
        _ => return Ok(false),
    }
    Ok(true)
}

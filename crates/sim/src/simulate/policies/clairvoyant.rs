//! The default rule with perfect knowledge of the next minutes: what better forecasts could gain.
//!
//! It is `cost_aware`, shown the true durations and every arrival of the next 120 s in place of
//! expected ones. It cannot exist; the gap between both is all that forecasting can bring, and the
//! gap between it and the bound is what the rule itself leaves.
//!
//! Source: `scaling.md` 2, the line "with perfect knowledge (120 s)".

use overspill_core::scaler::{View, Wish, cost_aware};
use overspill_core::time::DurationMs;

use super::super::value::{self, ValueError};
use super::{Policy, Shipped};

/// The rule.
#[derive(Debug, Clone)]
pub struct Clairvoyant {
    /// How far ahead it knows.
    pub foresight: DurationMs,
    rule: Shipped,
}

impl Default for Clairvoyant {
    fn default() -> Self {
        Self {
            foresight: DurationMs::from_secs(120),
            rule: Shipped::cost_aware(cost_aware::Constants::default()),
        }
    }
}

impl Policy for Clairvoyant {
    fn name(&self) -> &'static str {
        "clairvoyant"
    }

    fn period(&self) -> DurationMs {
        self.rule.period()
    }

    fn decide(&mut self, view: &View<'_>) -> Wish {
        self.rule.decide(view)
    }

    fn decides_at_idle(&self) -> bool {
        true
    }

    fn foresight(&self) -> Option<DurationMs> {
        Some(self.foresight)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["foresight"]
    }

    fn set(&mut self, key: &str, text: &str) -> Result<bool, ValueError> {
        match key {
            "foresight" => self.foresight = value::duration(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

//! Says when a cap is half spent, nearly spent, and reached: once for each threshold and period.
//!
//! What was said is durable with the caps, and the report to the receiver stands in the outbox in the
//! same transaction: neither a crash nor a restart says it twice, or not at all. A cap is *reached* when
//! all of it is spent, or when jobs wait because of it: what is left pays for no worker.

use serde::{Deserialize, Serialize};

use crate::budget::{CapScope, CapState};
use crate::calendar::Period;
use crate::change::Change;
use crate::effect::{Effect, Out};
use crate::id::{EndpointId, JobId, KeyId};
use crate::machine::Core;
use crate::money::NanoUsd;
use crate::time::{DurationMs, Timestamp};
use crate::webhook::Webhook;

/// Percent of a cap that something is said at, the lowest first.
pub const THRESHOLDS: [u8; 3] = [50, 80, 100];
/// Whose secret signs alerts: no endpoint's.
pub const SENDER: EndpointId = EndpointId(u32::MAX);
/// Caps are compared with their thresholds this often at most.
const LOOK_PERIOD: DurationMs = DurationMs::from_secs(1);

/// A threshold of a cap that was passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetAlert {
    /// When.
    pub at: Timestamp,
    /// On which endpoint's spending; `None` for everything together, and for a key's.
    pub endpoint: Option<EndpointId>,
    /// Its name.
    pub endpoint_name: Option<String>,
    /// On which key's spending.
    pub key: Option<KeyId>,
    /// In which period.
    pub period: Period,
    /// One of [`THRESHOLDS`].
    pub threshold: u8,
    /// The cap.
    pub cap: NanoUsd,
    /// Spent since the period began.
    pub spent: NanoUsd,
    /// Set aside for cloud workers that there are or may be.
    pub reserved: NanoUsd,
    /// When the period ends.
    pub ends_at: Timestamp,
}

impl BudgetAlert {
    /// Names its webhook: no job has such an id, and no two alerts have the same.
    #[must_use]
    pub fn webhook_job(&self) -> JobId {
        let scope = match (self.endpoint, self.key) {
            (None, None) => 0,
            (Some(EndpointId(id)), _) => (1 << 60) | u64::from(id),
            (None, Some(key)) => (2 << 60) | (key.bits() & ((1 << 60) - 1)),
        };
        let period = match self.period {
            Period::Hour => 0,
            Period::Day => 1,
            Period::Month => 2,
        };
        let at = u128::from(self.at.as_millis().cast_unsigned() & 0xffff_ffff_ffff);
        let kind = (u128::from(self.threshold) << 2) | period;
        // A UUID of version 8: what its bits mean is its maker's affair.
        let uuid = (at << 80) | (8 << 76) | (kind << 64) | (2 << 62);
        JobId::new(uuid | u128::from(scope), false)
    }
}

/// What was said of a cap in its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerted {
    /// Whose cap.
    pub scope: CapScope,
    /// Of which period.
    pub period: Period,
    /// When that ends.
    pub until: Timestamp,
    /// The highest threshold that was passed.
    pub threshold: u8,
}

impl Core {
    /// Says what is new.
    pub(crate) fn alert(&mut self, out: &mut Out) {
        let now = self.now;
        if !self.is_configured || now < self.alerts_at + LOOK_PERIOD {
            return;
        }
        self.alerts_at = now;
        let reached = self.caps_reached();
        let mut said = self.budget.alerted.clone();
        said.retain(|alerted| alerted.until > now);
        let mut alerts = Vec::new();
        for state in self.all_cap_states() {
            let is_reached = reached.contains(&(state.scope(), state.period));
            let Some(threshold) = passed(&state, is_reached) else {
                continue;
            };
            let alerted = Alerted {
                scope: state.scope(),
                period: state.period,
                until: state.frees_at,
                threshold,
            };
            let before = said.iter().position(|it| {
                (it.scope, it.period, it.until) == (alerted.scope, alerted.period, alerted.until)
            });
            match before {
                Some(before) if said[before].threshold >= threshold => continue,
                Some(before) => said[before] = alerted,
                None => said.push(alerted),
            }
            alerts.push(self.alert_of(&state, threshold));
        }
        if alerts.is_empty() {
            return;
        }
        self.budget.alerted = said;
        out.change(Change::BudgetPut(self.budget.clone()));
        for alert in alerts {
            if let Some(url) = &self.alert_url {
                let webhook = Webhook::of_alert(&alert, url);
                out.change(Change::WebhookPut(Box::new(webhook)));
            }
            out.effect(Effect::BudgetAlert(Box::new(alert)));
        }
    }

    fn alert_of(&self, state: &CapState, threshold: u8) -> BudgetAlert {
        let endpoint = state.endpoint.and_then(|id| self.endpoints.get(&id));
        BudgetAlert {
            at: self.now,
            endpoint: state.endpoint,
            endpoint_name: endpoint.map(|endpoint| endpoint.record.name.clone()),
            key: state.key,
            period: state.period,
            threshold,
            cap: state.cap,
            spent: state.spent,
            reserved: state.reserved,
            ends_at: state.frees_at,
        }
    }

    /// Caps because of which jobs wait now. A hit of a period that is over says nothing of the next one:
    /// it stands until its endpoint is placed again, which may be a moment after the turn.
    pub(crate) fn caps_reached(&self) -> Vec<(CapScope, Period)> {
        let endpoints = self.endpoints.values();
        let hits = endpoints.flat_map(|endpoint| [endpoint.cap_hit, endpoint.key_hit]);
        hits.flatten()
            .filter(|hit| hit.state.frees_at > self.now)
            .map(|hit| (hit.state.scope(), hit.state.period))
            .collect()
    }

    /// The thresholds that were passed in periods that are not over, as last looked at.
    #[must_use]
    pub fn alerted(&self) -> &[Alerted] {
        &self.budget.alerted
    }
}

/// The highest threshold that is passed.
fn passed(state: &CapState, is_reached: bool) -> Option<u8> {
    if is_reached {
        return Some(100);
    }
    // A cap of nothing is reached by whoever would spend.
    if state.cap <= NanoUsd::ZERO {
        return None;
    }
    let percent =
        i128::from(state.spent.as_nanos()) * 100 / i128::from(state.cap.as_nanos().max(1));
    let thresholds = THRESHOLDS.into_iter();
    thresholds
        .filter(|&threshold| percent >= i128::from(threshold))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alert_has_an_id_of_its_own() {
        let mut ids = std::collections::BTreeSet::new();
        let scopes = [
            (None, None),
            (Some(EndpointId(0)), None),
            (Some(EndpointId(1)), None),
            (None, KeyId::of("a")),
            (None, KeyId::of("a1B2c3D4")),
        ];
        for (endpoint, key) in scopes {
            for period in Period::ALL {
                for threshold in THRESHOLDS {
                    let alert = BudgetAlert {
                        at: Timestamp::from_millis(1_800_000_000_000),
                        endpoint,
                        endpoint_name: None,
                        key,
                        period,
                        threshold,
                        cap: NanoUsd::ZERO,
                        spent: NanoUsd::ZERO,
                        reserved: NanoUsd::ZERO,
                        ends_at: Timestamp::ZERO,
                    };
                    let id = alert.webhook_job();
                    assert_eq!(id.to_string().parse(), Ok(id));
                    assert_eq!(&id.to_string()[14..15], "8");
                    assert!(ids.insert(id), "{id}");
                }
            }
        }
    }
}

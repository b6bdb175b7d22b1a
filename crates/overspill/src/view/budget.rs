//! Caps on spending: what each allows, what stands against it, and where it comes from.

use overspill_core::budget::{CapScope, CapState, Caps, CapsInForce};
use overspill_core::calendar::Period;
use overspill_core::id::{EndpointId, KeyId};
use overspill_core::machine::Core;
use overspill_core::money::NanoUsd;
use serde::{Deserialize, Serialize};

/// Caps of one scope: dollars as the configuration writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapTexts {
    /// In a clock hour.
    pub per_hour: Option<String>,
    /// In a calendar day.
    pub per_day: Option<String>,
    /// In a calendar month.
    pub per_month: Option<String>,
}

impl From<Caps> for CapTexts {
    fn from(caps: Caps) -> Self {
        let text = |cap: Option<NanoUsd>| cap.map(crate::config::units::format_money);
        Self {
            per_hour: text(caps.per_hour),
            per_day: text(caps.per_day),
            per_month: text(caps.per_month),
        }
    }
}

/// Whose spending a cap is on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// `everything`, `endpoint` or `key`.
    pub scope: String,
    /// The endpoint's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The key's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
}

impl Whose {
    /// In words: `everything`, `endpoint tts`, `key app (a1B2c3D4)`.
    #[must_use]
    pub fn words(&self) -> String {
        match (&self.endpoint, &self.key, &self.key_name) {
            (Some(endpoint), ..) => format!("endpoint {endpoint}"),
            (None, Some(key), Some(name)) => format!("key {name} ({key})"),
            (None, Some(key), None) => format!("key {key}"),
            (None, None, _) => self.scope.clone(),
        }
    }
}

/// One cap, with what stands against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapLine {
    /// Whose spending it is on.
    #[serde(flatten)]
    pub whose: Whose,
    /// `hour`, `day` or `month`.
    pub period: String,
    /// The most that may be spent.
    pub cap_nano_usd: i64,
    /// Spent since the period began.
    pub spent_nano_usd: i64,
    /// Set aside for what there is or may be.
    pub reserved_nano_usd: i64,
    /// What is left of it, 0 at least.
    pub left_nano_usd: i64,
    /// When the period ends.
    pub ends_at_ms: i64,
    /// Jobs wait because of it now.
    pub is_reached: bool,
}

/// Where the caps of a scope come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapsLine {
    /// Whose spending they are on.
    #[serde(flatten)]
    pub whose: Whose,
    /// Those that hold.
    pub caps: CapTexts,
    /// What the file says.
    pub file: CapTexts,
    /// Who set them while the server ran; nothing while the file's hold.
    pub by: Option<String>,
    /// When.
    pub at_ms: Option<i64>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose hours, days and months they are.
    pub time_zone: String,
    /// Every cap in force: those on everything, then those of endpoints, then those of keys.
    pub caps: Vec<CapLine>,
    /// Every scope with caps, or with some that were set.
    pub sources: Vec<CapsLine>,
}

/// Caps as the core has them.
#[derive(Debug, Clone, Default)]
pub struct Look {
    states: Vec<CapState>,
    in_force: Vec<CapsInForce>,
    hits: Vec<(CapScope, Period)>,
}

impl Look {
    /// Reads the core.
    #[must_use]
    pub fn at(core: &Core) -> Self {
        let hits = core.configured().flat_map(|endpoint| {
            let hits = [endpoint.cap_hit, endpoint.key_hit];
            hits.into_iter()
                .flatten()
                .map(|hit| (hit.state.scope(), hit.state.period))
        });
        Self {
            states: core.budget(),
            in_force: core.caps_in_force(),
            hits: hits.collect(),
        }
    }

    /// Gives everything its name; scopes that `sees` denies are left out.
    #[must_use]
    pub fn told(
        &self,
        time_zone: &str,
        sees: impl Fn(CapScope) -> bool,
        endpoint_name: impl Fn(EndpointId) -> Option<String>,
        key_name: impl Fn(KeyId) -> Option<String>,
    ) -> Budget {
        let whose = |scope| match scope {
            CapScope::Everything => Whose {
                scope: "everything".to_owned(),
                ..Whose::default()
            },
            CapScope::Endpoint(id) => Whose {
                scope: "endpoint".to_owned(),
                endpoint: Some(endpoint_name(id).unwrap_or_default()),
                ..Whose::default()
            },
            CapScope::Key(id) => Whose {
                scope: "key".to_owned(),
                key: Some(id.to_string()),
                key_name: key_name(id),
                ..Whose::default()
            },
        };
        let states = self.states.iter().filter(|state| sees(state.scope()));
        let caps = states.map(|state| CapLine {
            whose: whose(state.scope()),
            period: state.period.to_string(),
            cap_nano_usd: state.cap.as_nanos(),
            spent_nano_usd: state.spent.as_nanos(),
            reserved_nano_usd: state.reserved.as_nanos(),
            left_nano_usd: state.left().as_nanos().max(0),
            ends_at_ms: state.frees_at.as_millis(),
            is_reached: self.hits.contains(&(state.scope(), state.period)),
        });
        let in_force = self.in_force.iter().filter(|it| sees(it.scope));
        let sources = in_force.map(|it| CapsLine {
            whose: whose(it.scope),
            caps: it.caps.into(),
            file: it.file.into(),
            by: it.set.as_ref().map(|(by, _)| by.clone()),
            at_ms: it.set.as_ref().map(|(_, at)| at.as_millis()),
        });
        Budget {
            time_zone: time_zone.to_owned(),
            caps: caps.collect(),
            sources: sources.collect(),
        }
    }
}

//! What the view knows of the server, and what is chosen on it.

use serde::Deserialize;

/// Everything that is drawn.
#[derive(Debug, Default)]
pub struct Model {
    /// The server's address.
    pub server: String,
    /// The last overview; `None` before the first.
    pub overview: Option<Overview>,
    /// Decisions, newest first.
    pub decisions: Vec<Decision>,
    /// The doctor's findings.
    pub findings: Vec<Finding>,
    /// Causes of the chosen endpoint, as lines.
    pub why: Vec<String>,
    /// Why nothing new comes, while that is so.
    pub trouble: Option<String>,
    /// The endpoint that is chosen.
    pub selected: usize,
    /// What fills the lower half.
    pub pane: Pane,
}

/// What fills the lower half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pane {
    /// The last decisions.
    #[default]
    Decisions,
    /// Why the chosen endpoint has its cloud workers.
    Why,
    /// The doctor's findings.
    Doctor,
    /// The cards of the server's host.
    Cards,
    /// What the keys do.
    Help,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The next endpoint.
    Down,
    /// The one before.
    Up,
    /// Another lower half.
    Show(Pane),
    /// The end.
    Quit,
}

/// `/api/v1/overview`, as far as it is shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Overview {
    pub at_ms: i64,
    pub queued: u64,
    pub running: u64,
    pub endpoints: Vec<Endpoint>,
    pub devices: Vec<Device>,
    pub money: Money,
}

/// One endpoint.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Endpoint {
    pub name: String,
    pub min: u32,
    pub max: u32,
    pub max_wait_ms: u64,
    pub queued: u64,
    pub running: u64,
    pub oldest_wait_ms: Option<u64>,
    pub pools: Vec<Pool>,
    pub recent: Recent,
}

/// A pool's workers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Pool {
    pub kind: String,
    pub workers: Workers,
}

/// Workers by state.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Workers {
    pub initializing: u32,
    pub idle: u32,
    pub running: u32,
    pub throttled: u32,
    pub unhealthy: u32,
}

/// How jobs ended in the last hour.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Recent {
    pub completed: u64,
    pub failed: u64,
    pub wait: Option<Percentiles>,
}

/// Points of a distribution.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Percentiles {
    pub p95_ms: u64,
}

/// Money in billionths of a dollar.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Money {
    pub nano_usd_per_hour: i64,
    pub today_nano_usd: i64,
    pub saved_today_nano_usd: i64,
}

/// A card.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Device {
    pub id: u32,
    pub name: String,
    pub jobs: u32,
    pub workers: u32,
    pub memory_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub busy_percent: Option<u32>,
    pub temperature_c: Option<u32>,
}

/// A decision.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/reference/api.md")]
pub struct Decision {
    pub at_ms: i64,
    pub endpoint: String,
    pub text: String,
}

/// A finding of the doctor.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of docs/doctor.md")]
pub struct Finding {
    pub code: String,
    pub endpoint: String,
    pub evidence: String,
    pub command: Option<String>,
    pub fix: String,
}

impl Model {
    /// The endpoint that is chosen, if there is one.
    #[must_use]
    pub fn chosen(&self) -> Option<&Endpoint> {
        self.overview.as_ref()?.endpoints.get(self.selected)
    }

    /// Takes in a key; `false` when it is the end.
    pub fn press(&mut self, key: Key) -> bool {
        let last = self
            .overview
            .as_ref()
            .map_or(0, |all| all.endpoints.len().saturating_sub(1));
        let before = self.selected;
        match key {
            Key::Down => self.selected = (self.selected + 1).min(last),
            Key::Up => self.selected = self.selected.saturating_sub(1),
            Key::Show(pane) => self.pane = pane,
            Key::Quit => return false,
        }
        if self.selected != before {
            // The causes of another endpoint.
            self.why.clear();
        }
        true
    }
}

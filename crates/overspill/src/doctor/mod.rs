//! The doctor: every known fault checked, each with its evidence, the fix, and what applies it.
//!
//! Pure rules over [`EndpointFacts`]; [`gather`] reads them from the running server. One file per
//! trouble that people come with: workers do not scale up ([`not_scaling`]), the cloud costs too much
//! ([`high_cost`], [`bill`]), answers are slow ([`slow`]), workers idle while jobs wait ([`idle_but_queued`]). A
//! code fires on evidence only, and a healthy server has none: what merely could be better is advice
//! for `plan`, not a finding. The codes, each with what causes and what ends it: `docs/doctor.md`.

mod bill;
pub mod facts;
mod high_cost;
mod idle_but_queued;
mod not_scaling;
mod slow;

pub use facts::{Ended, EndpointFacts, PoolCost, gather};

use serde::Serialize;
use serde_json::Value;

/// Every code, by trouble. The page `docs/doctor.md` has each.
pub const CODES: &[(&str, &[&str])] = &[
    (
        "not_scaling_up",
        &[
            "max_zero",
            "max_reached",
            "pool_max_reached",
            "account_limit",
            "price_unknown",
            "budget_reached",
            "endpoint_paused",
            "no_balance",
            "key_refused",
            "endpoint_gone",
            "rate_limited",
            "cloud_unreachable",
            "throttled",
            "no_capacity",
            "cloud_crash_loop",
            "max_lowered",
        ],
    ),
    (
        "high_cost",
        &[
            "idle_share",
            "min_unused",
            "gpu_dear",
            "leak",
            "worker_hung",
            "hidden_idle",
            "price_differs",
            "standby_worker",
            "foreign_workers",
            "billed_twice",
            "bill_differs",
            "record_missing",
        ],
    ),
    ("slow", &["cold_starts", "min_held", "slow_gpu", "timeouts"]),
    (
        "idle_but_queued",
        &[
            "local_crash_loop",
            "worker_silent",
            "card_taken",
            "card_quarantined",
            "sdk_job_file",
        ],
    ),
];

/// One fault that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Its code.
    pub code: &'static str,
    /// Which trouble it causes: `not_scaling_up`, `high_cost`, `slow` or `idle_but_queued`.
    pub trouble: &'static str,
    /// The endpoint.
    pub endpoint: String,
    /// The pool, where it is one's.
    pub pool: Option<String>,
    /// What was seen.
    pub evidence: String,
    /// The numbers of it: durations in milliseconds, money in billionths of a dollar.
    pub facts: Value,
    /// What to do.
    pub fix: String,
    /// The command that does it, where one does.
    pub command: Option<String>,
    /// Its page.
    pub page: String,
}

impl Finding {
    fn new(
        code: &'static str,
        endpoint: &EndpointFacts,
        pool: Option<&str>,
        evidence: String,
        facts: Value,
        fix: impl Into<String>,
        command: Option<String>,
    ) -> Self {
        let of = |(_, codes): &&(&str, &[&str])| codes.contains(&code);
        let trouble = CODES.iter().find(of).map_or("", |(trouble, _)| *trouble);
        Self {
            code,
            trouble,
            endpoint: endpoint.name.clone(),
            pool: pool.map(str::to_owned),
            evidence,
            facts,
            fix: fix.into(),
            command,
            page: format!("docs/doctor.md#{code}"),
        }
    }
}

/// Every fault of one endpoint.
#[must_use]
pub fn examine(facts: &EndpointFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    not_scaling::examine(facts, &mut found);
    // What the bill explains is no idle time of ours.
    bill::examine(facts, &mut found);
    high_cost::examine(facts, &mut found);
    slow::examine(facts, &mut found);
    idle_but_queued::examine(facts, &mut found);
    found
}

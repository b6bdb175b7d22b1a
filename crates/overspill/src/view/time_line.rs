//! Decisions with their reasons, as people read them.

use overspill_core::explain::Reason;
use overspill_core::id::PoolId;
use serde::Serialize;
use serde_json::Value;

use crate::engine::live::{Decision, Live};

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionLine {
    /// Counted from 1 since the serving process started.
    pub number: u64,
    /// When.
    pub at_ms: i64,
    /// The endpoint's name; empty for one that was removed.
    pub endpoint: String,
    /// The pool's, where the decision is about one.
    pub pool: Option<String>,
    /// The reason's code.
    pub code: &'static str,
    /// The reason in words.
    pub text: String,
    /// The reason with its numbers: durations in milliseconds, money in billionths of a dollar.
    pub reason: Value,
}

/// The decisions that are remembered, newest first: at most `limit`, older than the one numbered
/// `before`.
#[must_use]
pub fn lines(live: &Live, before: Option<u64>, limit: usize) -> Vec<DecisionLine> {
    let decisions = live.decisions();
    let is_wanted = |decision: &&Decision| before.is_none_or(|before| decision.number < before);
    let wanted = decisions.iter().rev().filter(is_wanted).take(limit);
    wanted.map(|decision| line(live, decision)).collect()
}

fn line(live: &Live, decision: &Decision) -> DecisionLine {
    let directory = live.directory();
    let endpoint = directory.get(decision.endpoint);
    DecisionLine {
        number: decision.number,
        at_ms: decision.at.as_millis(),
        endpoint: endpoint.map_or_else(String::new, |entry| entry.name.clone()),
        pool: pool_of(&decision.reason).and_then(|pool| live.pool(pool)),
        code: decision.reason.code(),
        text: decision.reason.to_string(),
        reason: serde_json::to_value(&decision.reason).unwrap_or(Value::Null),
    }
}

/// The pool that a reason speaks of, whatever its kind.
fn pool_of(reason: &Reason) -> Option<PoolId> {
    match reason {
        Reason::ScaledUp { pool, .. }
        | Reason::ScaledDown { pool, .. }
        | Reason::PriceUnknown { pool }
        | Reason::Reserved { pool, .. }
        | Reason::CloudUnavailable { pool, .. }
        | Reason::QuotaLearned { pool, .. }
        | Reason::BillDiffers { pool, .. }
        | Reason::CrashLoop { pool, .. }
        | Reason::LimitsChanged { pool, .. }
        | Reason::StandbySeen { pool, .. }
        | Reason::WorkerBackOff { pool, .. } => Some(*pool),
        _ => None,
    }
}

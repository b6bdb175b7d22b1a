//! Why a job waits or an endpoint has the cloud workers that it has, for people and scripts.
//!
//! The engine's thread only copies what decides ([`Situation`]); causes and what-ifs are worked out on
//! a thread for readers, by the core's own functions. Jobs that have ended are told from their story.

use overspill_core::id::{EndpointId, JobId};
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::why::{Cause, Setting, Situation, Stand, Standing, WhatIf};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::time_line::{self, DecisionLine};
use crate::config::units::format_duration;
use crate::doctor::Finding;
use crate::engine::api::{Engine as _, JobState, JobStory, Unavailable};
use crate::engine::handle::Handle;

/// Decisions that are told along.
const DECISIONS: usize = 5;

/// The answer to `why`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// `job` or `scale`.
    pub about: &'static str,
    /// The endpoint's name; empty for one that was removed.
    pub endpoint: String,
    /// The job, where one was asked for.
    pub job: Option<String>,
    /// The job's state.
    pub status: Option<&'static str>,
    /// As of when.
    pub at_ms: i64,
    /// The chain, from what was asked for to what stands in the way.
    pub causes: Vec<CauseLine>,
    /// When the job, or the last waiting one, is thought to start, from now; `None` for one that
    /// started, or that nothing would start as things are.
    pub start_in_ms: Option<u64>,
    /// What one changed setting would do.
    pub what_if: Vec<WhatIfLine>,
    /// Faults of the endpoint that the doctor finds.
    pub findings: Vec<Finding>,
    /// The endpoint's last decisions, newest first.
    pub decisions: Vec<DecisionLine>,
}

/// One cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CauseLine {
    /// Its code.
    pub code: &'static str,
    /// In words.
    pub text: String,
    /// Its numbers: durations in milliseconds, `*_in` from now.
    pub facts: Value,
}

/// One setting with another value, and what comes of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhatIfLine {
    /// `max`, `min`, `max_wait` (in milliseconds) or `local_slots`.
    pub setting: &'static str,
    /// As it is.
    pub from: u64,
    /// As it would be.
    pub to: u64,
    /// When it would start, from now.
    pub start_in_ms: u64,
    /// So much earlier; `None` where it would never start as things are.
    pub earlier_ms: Option<u64>,
    /// What the cloud would cost more, in billionths of a dollar.
    pub cost_more_nano_usd: i64,
    /// What the change costs each hour from then on.
    pub cost_per_hour_nano_usd: i64,
    /// In words.
    pub text: String,
    /// What makes the change: a command, or the key of the configuration.
    pub how: String,
}

impl From<Cause> for CauseLine {
    fn from(cause: Cause) -> Self {
        let mut facts = serde_json::to_value(&cause).unwrap_or(Value::Null);
        if let Value::Object(facts) = &mut facts {
            facts.remove("code");
        }
        Self {
            code: cause.code(),
            text: cause.to_string(),
            facts,
        }
    }
}

impl WhatIfLine {
    fn new(endpoint: &str, what_if: &WhatIf) -> Self {
        let millis = DurationMs::as_millis;
        let (setting, from, to, how) = match what_if.change {
            Setting::Max { from, to } => (
                "max",
                u64::from(from),
                u64::from(to),
                format!("overspill scale {endpoint} --max {to}"),
            ),
            Setting::Min { from, to } => (
                "min",
                u64::from(from),
                u64::from(to),
                format!("overspill scale {endpoint} --min {to}"),
            ),
            Setting::MaxWait { from, to } => (
                "max_wait",
                millis(from),
                millis(to),
                format!(
                    "overspill scale {endpoint} --max-wait {}",
                    format_duration(to)
                ),
            ),
            Setting::LocalSlots { from, to } => (
                "local_slots",
                u64::from(from),
                u64::from(to),
                "another card, or `slots` in its [[endpoint.local]]".to_owned(),
            ),
        };
        Self {
            setting,
            from,
            to,
            start_in_ms: millis(what_if.start_in),
            earlier_ms: what_if.earlier.map(millis),
            cost_more_nano_usd: what_if.cost_more.as_nanos(),
            cost_per_hour_nano_usd: what_if.cost_per_hour.as_nanos(),
            text: what_if.to_string(),
            how,
        }
    }
}

/// Why an endpoint has the cloud workers that it has; `None` for one that is not configured.
///
/// # Errors
/// When the engine does not answer.
pub async fn scale(handle: &Handle, id: EndpointId) -> Result<Option<Why>, Unavailable> {
    let Some(situation) = handle.query(move |core| core.situation(id)).await? else {
        return Ok(None);
    };
    let name = name_of(handle, id);
    let why = on_reader_thread(move || {
        let causes = situation.why_scale();
        about(&situation, None, causes, name)
    });
    Ok(Some(with_decisions(handle, why.await?)))
}

/// Why a job is where it is; `None` for one that nobody knows.
///
/// # Errors
/// When the engine or the store does not answer.
pub async fn job(handle: &Handle, id: JobId) -> Result<Option<Why>, Unavailable> {
    let live = handle.query(move |core| {
        let (endpoint, standing) = core.standing(id)?;
        Some((endpoint, standing, core.situation(endpoint)))
    });
    let Some((endpoint, standing, situation)) = live.await? else {
        let story = handle.story(id).await?;
        return Ok(story.map(|story| ended(handle, &story)));
    };
    let name = name_of(handle, endpoint);
    // A job of an endpoint that is no longer configured only finishes.
    let Some(situation) = situation else {
        let story = handle.story(id).await?;
        return Ok(story.map(|story| ended(handle, &story)));
    };
    let why = on_reader_thread(move || {
        let causes = situation.why_job(&standing);
        about(&situation, Some(&standing), causes, name)
    });
    Ok(Some(with_decisions(handle, why.await?)))
}

async fn on_reader_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unavailable> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Unavailable)
}

fn about(situation: &Situation, job: Option<&Standing>, causes: Vec<Cause>, name: String) -> Why {
    let now = situation.picture.now;
    let status = job.map(|job| match job.stand {
        Stand::Running { .. } => "running",
        _ => "queued",
    });
    // What RunPod has already, or what runs, is not in the queue that is forecast.
    let waits = job.is_none_or(|job| matches!(job.stand, Stand::Queued { .. }));
    let id = job.map(|job| job.job);
    let (mut start_in_ms, mut what_if) = (None, Vec::new());
    if waits && !situation.jobs.is_empty() {
        let forecast = situation.forecast(&situation.as_is());
        let start: Option<Timestamp> = situation.start_of(&forecast, id);
        start_in_ms = start.map(|at| at.since(now).as_millis());
        let found = situation.what_if(id);
        what_if.extend(found.iter().map(|one| WhatIfLine::new(&name, one)));
    }
    Why {
        about: if job.is_some() { "job" } else { "scale" },
        endpoint: name,
        job: id.map(|id| id.to_string()),
        status,
        at_ms: now.as_millis(),
        causes: causes.into_iter().map(CauseLine::from).collect(),
        start_in_ms,
        what_if,
        findings: Vec::new(),
        decisions: Vec::new(),
    }
}

fn name_of(handle: &Handle, id: EndpointId) -> String {
    let directory = handle.endpoints();
    let entry = directory.get(id);
    entry.map_or_else(String::new, |entry| entry.name.clone())
}

fn with_decisions(handle: &Handle, mut why: Why) -> Why {
    let lines = time_line::lines(handle.live(), None, 200).into_iter();
    let own = lines.filter(|line| line.endpoint == why.endpoint);
    why.decisions = own.take(DECISIONS).collect();
    why
}

/// A job that has ended: what it waited for, what became of its attempts, and how it ended.
fn ended(handle: &Handle, story: &JobStory) -> Why {
    let job = &story.job;
    let mut causes = Vec::new();
    let last = story.attempts.len().saturating_sub(1);
    for (number, attempt) in story.attempts.iter().enumerate() {
        let length = attempt
            .ended_at
            .zip(attempt.started_at.or(Some(attempt.leased_at)))
            .map(|(end, start)| end.since(start));
        let facts = json!({
            "number": attempt.id.number,
            "pool": attempt.pool,
            "worker": attempt.worker,
            "outcome": attempt.outcome,
            "gpu": attempt.site.as_ref().and_then(|site| site.gpu.as_deref()),
            "region": attempt.site.as_ref().and_then(|site| site.region),
            "because": attempt.site.as_ref().and_then(|site| site.because),
            "lasted": length.map(DurationMs::as_millis),
        });
        let lasted = length.map_or_else(String::new, |length| format!(" after {length}"));
        let (code, text) = if number == last {
            let wait = job.delay_ms.map(DurationMs::from_millis);
            let wait = wait.map_or_else(String::new, |wait| format!(", after a wait of {wait}"));
            let because = attempt.site.as_ref().and_then(|site| site.because);
            let because = because.map_or_else(String::new, |because| {
                format!("; that pool because {}", because.words())
            });
            let text = format!("its last attempt was on {}{wait}{because}", attempt.pool);
            ("ran", text)
        } else {
            let text = format!(
                "attempt {} on {} ended as {}{lasted}: it was handed out again",
                attempt.id.number, attempt.pool, attempt.outcome
            );
            ("attempt_ended", text)
        };
        causes.push(CauseLine { code, text, facts });
    }
    if story.attempts.is_empty() {
        let waited = job.ended_at.map(|end| end.since(job.submitted_at));
        let text = waited.map_or_else(
            || "it never started".to_owned(),
            |waited| format!("it never started, in {waited}"),
        );
        let facts = json!({ "waited": waited.map(DurationMs::as_millis) });
        causes.push(CauseLine {
            code: "never_started",
            text,
            facts,
        });
    }
    let (status, text) = match job.state {
        JobState::Completed => ("completed", "it completed".to_owned()),
        JobState::Failed => {
            let error = job
                .error
                .as_deref()
                .unwrap_or("its handler reported an error");
            (
                "failed",
                format!("it failed: {}", error.lines().next().unwrap_or("")),
            )
        }
        JobState::TimedOut => (
            "timed_out",
            "it timed out: its time to live, or an attempt's execution time, was over".to_owned(),
        ),
        JobState::Cancelled => ("cancelled", "it was cancelled".to_owned()),
        JobState::Queued => (
            "queued",
            "it waits; its endpoint is no longer configured".to_owned(),
        ),
        JobState::Running => (
            "running",
            "it runs; its endpoint is no longer configured".to_owned(),
        ),
    };
    let mut facts = Map::new();
    facts.insert("error_code".into(), json!(job.error_code));
    facts.insert("execution".into(), json!(job.execution_ms));
    causes.push(CauseLine {
        code: status,
        text,
        facts: Value::Object(facts),
    });
    Why {
        about: "job",
        endpoint: name_of(handle, job.endpoint),
        job: Some(job.id.to_string()),
        status: Some(status),
        at_ms: handle.now().as_millis(),
        causes,
        start_in_ms: None,
        what_if: Vec::new(),
        findings: Vec::new(),
        decisions: Vec::new(),
    }
}

//! What the rules see of one endpoint, and how it is read from the running server.

use std::collections::{BTreeMap, BTreeSet};

use overspill_core::bill::HourBill;
use overspill_core::id::{EndpointId, JobId, WorkerId};
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::view::worker_of;
use overspill_core::why::Situation;
use overspill_store::SpentFilter;

use crate::engine::api::{Engine as _, JobFilter, JobState, Unavailable};
use crate::engine::handle::Handle;

/// Ended jobs that are looked at.
const JOBS: u32 = 1_000;
/// How far back they may have ended.
const WINDOW: DurationMs = DurationMs::from_secs(3_600);
/// How far back RunPod's bill is looked at.
const DAY: DurationMs = DurationMs::from_secs(86_400);

/// One endpoint, as the doctor sees it.
#[derive(Debug, Clone)]
pub struct EndpointFacts {
    /// Its name.
    pub name: String,
    /// What decides over it.
    pub situation: Situation,
    /// Its jobs that ended lately, newest first.
    pub ended: Vec<Ended>,
    /// What its cloud pools cost in the last hour, by the pool's name.
    pub costs: BTreeMap<String, PoolCost>,
    /// Its jobs that run in the cloud.
    pub runs: Vec<CloudRun>,
    /// What RunPod bills for its cloud pools by the hour, beside what was counted: the last day.
    pub bills: BTreeMap<String, Vec<HourBill>>,
    /// How long workers of its cloud pools ran with no job of ours, in the last clock hour and this one.
    pub foreign: BTreeMap<String, DurationMs>,
    /// Codes of its decisions in the last hour.
    pub decided: BTreeSet<&'static str>,
    /// Memory in GB of the card that a cloud pool asks for, where it names a known one.
    pub gpu_memory_gb: BTreeMap<String, u32>,
    /// Versions of RunPod's worker package that its local workers report.
    pub sdk: BTreeMap<WorkerId, String>,
}

/// A job that runs in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudRun {
    /// The pool's name.
    pub pool: String,
    /// The job.
    pub job: JobId,
    /// RunPod's id of its worker, where told.
    pub worker: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// How long it may.
    pub execution_timeout: DurationMs,
}

/// A job that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// It was completed.
    pub is_completed: bool,
    /// Why it failed, where that was for a reason of ours.
    pub error_code: Option<String>,
    /// Where its last attempt was.
    pub pool: Option<String>,
    /// Submit to start.
    pub delay: Option<DurationMs>,
    /// Time inside its last attempt.
    pub execution: Option<DurationMs>,
}

/// What a cloud pool cost in the last hour (from the start of its quarter on).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCost {
    /// What its workers cost.
    pub spent: NanoUsd,
    /// How long they were billed.
    pub billed: DurationMs,
    /// How long of that they had jobs: whole workers, where they run several at once.
    pub worked: DurationMs,
}

impl PoolCost {
    /// The share of the billed time without jobs, in percent.
    #[must_use]
    pub fn idle_percent(&self) -> u64 {
        let billed = self.billed.as_millis();
        let idle = billed.saturating_sub(self.worked.as_millis());
        idle.saturating_mul(100) / billed.max(1)
    }
}

impl EndpointFacts {
    /// Whether jobs wait that nothing starts within the promise, as things are.
    #[must_use]
    pub fn is_late(&self) -> bool {
        let situation = &self.situation;
        let now = situation.picture.now;
        let promise = situation.spec.max_wait;
        let waited = situation.oldest.map(|at| now.since(at));
        if waited.is_some_and(|waited| waited > promise) {
            return true;
        }
        let forecast = situation.forecast(&situation.as_is());
        let jobs = situation.picture.waiting.iter().zip(forecast.starts);
        // Jobs of low priority are promised nothing.
        jobs.filter(|(job, _)| !job.is_low_priority)
            .any(|(job, start)| start.is_none_or(|start| start.since(job.submitted_at) > promise))
    }

    /// Whether a cloud pool is one of its cloud pools.
    #[must_use]
    pub fn is_cloud(&self, pool: &str) -> bool {
        self.situation.pools.iter().any(|facts| facts.name == pool)
    }
}

/// Reads what the rules see of an endpoint; `None` for one that is not configured.
///
/// # Errors
/// When the engine or the store does not answer.
pub async fn gather(
    handle: &Handle,
    id: EndpointId,
    gpu_memory_gb: &BTreeMap<(String, String), u32>,
) -> Result<Option<EndpointFacts>, Unavailable> {
    let read = handle.query(move |core| {
        let workers: Vec<WorkerId> = core.workers_of(id).into_iter().map(|w| w.0.id).collect();
        let day = i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX);
        let from = Timestamp::from_millis(core.now().as_millis() - day);
        let pools = core.pools().filter(|pool| pool.record.endpoint == id);
        let bills = pools.map(|pool| (pool.record.key.clone(), core.bill(pool.record.id, from)));
        let pools = core.pools().filter(|pool| pool.record.endpoint == id);
        let hour = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(core.now().as_millis() - hour);
        // What was seen is by the clock hour: of the one before, the part that is not longer ago than an hour.
        let window = WINDOW.as_millis();
        let into = u64::try_from(core.now().as_millis()).unwrap_or(0) % window;
        let foreign = pools.map(|pool| {
            let seen = |at| pool.cloud.bill.seen_in(at).1;
            let earlier = seen(before).as_millis() * (window - into) / window;
            let lately = seen(core.now()) + DurationMs::from_millis(earlier);
            (pool.record.key.clone(), lately)
        });
        let runs = core.cloud_runs(id).map(|(pool, attempt, job)| CloudRun {
            pool: pool.record.key.clone(),
            job: job.id,
            worker: worker_of(attempt),
            since: attempt.started_at.unwrap_or(attempt.leased_at),
            execution_timeout: job.execution_timeout,
        });
        let (runs, bills, foreign) = (runs.collect(), bills.collect(), foreign.collect());
        Some((core.situation(id)?, workers, bills, foreign, runs))
    });
    let Some((situation, workers, bills, foreign, runs)) = read.await? else {
        return Ok(None);
    };
    let directory = handle.endpoints();
    let name = directory.get(id).map(|entry| entry.name.clone());
    let name = name.unwrap_or_default();
    let page = handle.jobs(JobFilter {
        endpoint: Some(id),
        state: None,
        limit: JOBS,
        after: None,
    });
    let now = situation.picture.now;
    let is_recent = |at: Timestamp| now.since(at) <= WINDOW;
    let jobs = page.await?.jobs;
    let ended = jobs
        .into_iter()
        .filter(|job| job.ended_at.is_some_and(is_recent));
    let millis = |value: Option<u64>| value.map(DurationMs::from_millis);
    let ended = ended.map(|job| Ended {
        is_completed: job.state == JobState::Completed,
        error_code: job.error_code,
        pool: job.pool,
        delay: millis(job.delay_ms),
        execution: millis(job.execution_ms),
    });
    let ended: Vec<Ended> = ended.collect();
    let costs = costs(handle, id, &situation, &ended).await?;
    let decisions = handle.live().decisions().into_iter();
    let decided = decisions.filter(|line| line.endpoint == id && is_recent(line.at));
    let memory = gpu_memory_gb.iter().filter(|((of, _), _)| *of == name);
    let sdk = handle.live().sdk_versions();
    Ok(Some(EndpointFacts {
        ended,
        costs,
        bills,
        foreign,
        runs,
        decided: decided.map(|line| line.reason.code()).collect(),
        gpu_memory_gb: memory.map(|((_, pool), gb)| (pool.clone(), *gb)).collect(),
        sdk: workers
            .into_iter()
            .filter_map(|worker| Some((worker, sdk.get(&worker)?.clone())))
            .collect(),
        situation,
        name,
    }))
}

/// What each cloud pool of an endpoint was billed for, and how much of that time had jobs.
async fn costs(
    handle: &Handle,
    id: EndpointId,
    situation: &Situation,
    ended: &[Ended],
) -> Result<BTreeMap<String, PoolCost>, Unavailable> {
    let now = situation.picture.now;
    let window = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
    let filter = SpentFilter {
        endpoint: Some(id),
        since: Some(Timestamp::from_millis(now.as_millis() - window)),
        ..SpentFilter::default()
    };
    let sums = handle.read(move |reader| reader.spent(&filter)).await?;
    let mut costs: BTreeMap<String, PoolCost> = BTreeMap::new();
    for sum in sums.iter().filter(|sum| sum.kind.is_spent()) {
        let Some(name) = handle.live().pool(sum.pool) else {
            continue;
        };
        let cost = costs.entry(name).or_default();
        cost.spent += sum.amount;
        cost.billed = cost.billed + sum.worker_time;
    }
    for pool in &situation.pools {
        let Some(cost) = costs.get_mut(&pool.name) else {
            continue;
        };
        let jobs = ended
            .iter()
            .filter(|job| job.pool.as_ref() == Some(&pool.name));
        let ran: u64 = jobs
            .filter_map(|job| Some(job.execution?.as_millis()))
            .sum();
        let running = pool.running_for.iter().map(|length| length.as_millis());
        let ran = ran + running.sum::<u64>();
        cost.worked = DurationMs::from_millis(ran / u64::from(pool.slots.max(1)));
    }
    Ok(costs)
}

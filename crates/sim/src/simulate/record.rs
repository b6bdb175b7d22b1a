//! What a simulation leaves: every start and every worker, the sums over them, and the identities
//! that must hold between them.

use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::trace::Trace;

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// One for each start of a job, in order of start; a job that failed has several.
    pub attempts: Vec<AttemptRecord>,
    /// One for each cloud worker that was ordered.
    pub workers: Vec<WorkerRecord>,
    /// How often the policy was asked.
    pub decisions: u64,
    /// Jobs at once on a cloud worker, in the end.
    pub slots: u32,
    /// The most that there were on the way.
    pub slots_max: u32,
}

/// When and where a job ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its number in the trace.
    pub job: usize,
    /// Whether the job had not run before.
    pub is_first: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// On which cloud worker; on a local one where `None`.
    pub worker: Option<usize>,
    /// It failed, and the job was tried again if it had tries left.
    pub is_failed: bool,
    /// It failed because its worker was lost.
    pub is_lost: bool,
    /// It failed because its worker's memory was full.
    pub is_full: bool,
}

/// A cloud worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Where it came from, as an index of [`Settings::offers()`].
    pub offer: usize,
    /// When it was ordered.
    pub ordered_at: Timestamp,
    /// From when it is billed: the order, but for a throttled one the end of throttling, if that
    /// ever came.
    pub billed_from: Option<Timestamp>,
    /// When it was ready, if it ever was.
    pub ready_at: Option<Timestamp>,
    /// When it was stopped.
    pub stopped_at: Timestamp,
}

/// The sums of a run, under the keys of `overspill simulate --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The policy's name.
    pub policy: String,
    /// Jobs that ran.
    pub jobs: usize,
    /// Whole seconds billed, over all cloud workers.
    pub billed_worker_seconds: u64,
    /// Of them, from order to readiness.
    pub init_s: f64,
    /// Of them, with at least one job.
    pub busy_s: f64,
    /// Of them, ready without a job.
    pub idle_s: f64,
    /// Cloud workers ordered.
    pub starts: usize,
    /// Share of the jobs that started within the promise.
    pub on_time_share: f64,
    /// Half of the jobs waited at most this long.
    pub wait_p50_s: f64,
    /// 95 % of the jobs waited at most this long.
    pub wait_p95_s: f64,
    /// 99 % of the jobs waited at most this long.
    pub wait_p99_s: f64,
    /// Share of the jobs that ran on local workers.
    pub local_share: f64,
    /// The most cloud workers that lived at once.
    pub workers_max: usize,
    /// Attempts that failed, and were tried again.
    pub failed_attempts: usize,
    /// Jobs at once on a cloud worker, in the end: as many as were learned, where they are.
    pub slots: u32,
    /// The least worker-seconds that any schedule with all jobs on time bills, where it was asked
    /// for and such a schedule exists.
    pub bound_worker_seconds: Option<f64>,
    /// What the billed seconds cost.
    pub cost_usd: f64,
}

/// What does not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A job ran more or less than once.
    #[error("{ran} of {jobs} jobs ran")]
    Jobs {
        /// In the trace.
        jobs: usize,
        /// That ran.
        ran: usize,
    },
    /// A later job started first.
    #[error("job {job} started before the one ahead of it")]
    Order {
        /// Which.
        job: usize,
    },
    /// More workers at once than allowed.
    #[error("{seen} cloud workers lived at once, max is {max}")]
    OverMax {
        /// How many.
        seen: usize,
        /// Allowed.
        max: u32,
    },
    /// Billed time is not init + busy + idle.
    #[error("worker {worker} lived {life_ms} ms, but init + busy + idle is {parts_ms} ms")]
    Bill {
        /// Which.
        worker: usize,
        /// From order to stop.
        life_ms: i64,
        /// The parts.
        parts_ms: i64,
    },
    /// A job ran on a worker that was not ready, or after its stop.
    #[error("job {job} ran outside the life of worker {worker}")]
    Outside {
        /// Which job.
        job: usize,
        /// Which worker.
        worker: usize,
    },
    /// More jobs at once on a worker than it has slots.
    #[error("worker {worker} ran {seen} jobs at once")]
    Slots {
        /// Which worker.
        worker: usize,
        /// How many.
        seen: usize,
    },
}

/// The parts of one worker's life in ms.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    init: i64,
    busy: i64,
    idle: i64,
}

impl Run {
    /// The sums.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and milliseconds for display"
    )]
    pub fn summary(&self, policy: &str, trace: &Trace, settings: &Settings) -> Summary {
        let mut waits: Vec<u64> = self.waits(trace).map(DurationMs::as_millis).collect();
        waits.sort_unstable();
        let limit = settings.max_wait.as_millis();
        let on_time = waits.iter().filter(|&&wait| wait <= limit).count();
        let ends = || self.attempts.iter().filter(|attempt| !attempt.is_failed);
        let local = ends().filter(|attempt| attempt.worker.is_none()).count();
        let at = |share: f64| quantile(&waits, share) as f64 / 1_000.0;
        let mut sums = Parts::default();
        for parts in self.parts() {
            sums.init += parts.init;
            sums.busy += parts.busy;
            sums.idle += parts.idle;
        }
        let share = |count: usize| count as f64 / waits.len().max(1) as f64;
        Summary {
            policy: policy.to_owned(),
            jobs: ends().count(),
            billed_worker_seconds: self.workers.iter().map(WorkerRecord::billed_s).sum(),
            init_s: sums.init as f64 / 1_000.0,
            busy_s: sums.busy as f64 / 1_000.0,
            idle_s: sums.idle as f64 / 1_000.0,
            starts: self.workers.len(),
            on_time_share: share(on_time),
            wait_p50_s: at(0.50),
            wait_p95_s: at(0.95),
            wait_p99_s: at(0.99),
            local_share: share(local),
            workers_max: self.workers_max(),
            failed_attempts: self.attempts.iter().filter(|a| a.is_failed).count(),
            slots: self.slots.max(1),
            bound_worker_seconds: None,
            cost_usd: self.cost(settings).as_nanos() as f64 / 1e9,
        }
    }

    /// How long each job waited for its first start, in order of start; no promise holds for those of
    /// low priority, which are left out.
    pub fn waits<'a>(&'a self, trace: &'a Trace) -> impl Iterator<Item = DurationMs> + 'a {
        self.attempts
            .iter()
            .filter(|attempt| attempt.is_first && !trace.jobs[attempt.job].is_low_priority)
            .map(|attempt| attempt.started_at.since(trace.jobs[attempt.job].arrival))
    }

    /// What the billed seconds cost.
    #[must_use]
    pub fn cost(&self, settings: &Settings) -> NanoUsd {
        let offers = settings.offers();
        let price = |worker: &WorkerRecord| {
            let rate = offers.get(worker.offer).map_or(settings.rate, |o| o.rate);
            rate.over(DurationMs::from_secs(worker.billed_s()))
        };
        self.workers.iter().map(price).sum()
    }

    /// Checks the identities: every job once and in order, never above max, billed = init + busy +
    /// idle, slots kept.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self, trace: &Trace, settings: &Settings) -> Result<(), Broken> {
        let jobs = trace.jobs.len();
        let firsts = || self.attempts.iter().filter(|attempt| attempt.is_first);
        let ran = firsts().count();
        let mut ends = vec![0_u8; jobs];
        for attempt in self.attempts.iter().filter(|attempt| !attempt.is_failed) {
            ends[attempt.job] = ends[attempt.job].saturating_add(1);
        }
        // Jobs of low priority may wait for ever.
        let is_low = |job: usize| trace.jobs[job].is_low_priority;
        let can_fail = settings.failing_share > 0.0;
        let mut has_begun = vec![false; jobs];
        for attempt in firsts() {
            has_begun[attempt.job] = true;
        }
        let waits = |job: usize| is_low(job) && !has_begun[job];
        let is_ended_once = ends
            .iter()
            .enumerate()
            .all(|(job, &n)| n == 1 || (n == 0 && (can_fail || waits(job))));
        let waiting = (0..jobs).filter(|&job| waits(job)).count();
        if !is_ended_once || ran + waiting != jobs {
            return Err(Broken::Jobs { jobs, ran });
        }
        for low in [false, true] {
            let mine = firsts().filter(|attempt| is_low(attempt.job) == low);
            let all = (0..jobs).filter(|&job| is_low(job) == low);
            if let Some((_, odd)) = all.zip(mine).find(|(job, attempt)| *job != attempt.job) {
                return Err(Broken::Order { job: odd.job });
            }
        }
        for pair in self.attempts.windows(2) {
            if pair[0].started_at > pair[1].started_at {
                return Err(Broken::Order { job: pair[1].job });
            }
        }
        let seen = self.workers_max();
        if seen > settings.max as usize {
            let max = settings.max;
            return Err(Broken::OverMax { seen, max });
        }
        for record in &self.attempts {
            let Some(worker) = record.worker else {
                continue;
            };
            let end = record.ended_at;
            let life = &self.workers[worker];
            let is_inside =
                life.ready_at.is_some_and(|at| at <= record.started_at) && end <= life.stopped_at;
            if !is_inside {
                return Err(Broken::Outside {
                    job: record.job,
                    worker,
                });
            }
        }
        for (worker, (life, parts)) in self.workers.iter().zip(self.parts()).enumerate() {
            let from = life.billed_from.unwrap_or(life.stopped_at);
            let life_ms = life.stopped_at.as_millis() - from.as_millis();
            let parts_ms = parts.init + parts.busy + parts.idle;
            if life_ms != parts_ms || parts.idle < 0 {
                return Err(Broken::Bill {
                    worker,
                    life_ms,
                    parts_ms,
                });
            }
        }
        for (worker, spans) in self.spans().into_iter().enumerate() {
            let seen = most_at_once(spans.iter().copied());
            if seen > self.slots_max.max(settings.slots) as usize {
                return Err(Broken::Slots { worker, seen });
            }
        }
        Ok(())
    }

    /// When each worker ran jobs: start and end of each, in order of start.
    fn spans(&self) -> Vec<Vec<(i64, i64)>> {
        let mut spans = vec![Vec::new(); self.workers.len()];
        for record in &self.attempts {
            if let Some(worker) = record.worker {
                spans[worker].push((record.started_at.as_millis(), record.ended_at.as_millis()));
            }
        }
        spans
    }

    fn parts(&self) -> Vec<Parts> {
        let spans = self.spans();
        self.workers
            .iter()
            .zip(spans)
            .map(|(worker, spans)| {
                let stopped = worker.stopped_at.as_millis();
                let from = worker.billed_from.map_or(stopped, Timestamp::as_millis);
                let ready = worker.ready_at.map_or(stopped, Timestamp::as_millis);
                let (mut busy, mut until) = (0, i64::MIN);
                for (start, end) in spans {
                    busy += (end - start.max(until)).max(0);
                    until = until.max(end);
                }
                Parts {
                    init: ready - from,
                    busy,
                    idle: stopped - ready - busy,
                }
            })
            .collect()
    }

    fn workers_max(&self) -> usize {
        let lives = self.workers.iter();
        most_at_once(lives.map(|w| (w.ordered_at.as_millis(), w.stopped_at.as_millis())))
    }
}

impl WorkerRecord {
    /// What is billed: whole seconds from the beginning of its start-up to its stop.
    #[must_use]
    pub fn billed_s(&self) -> u64 {
        let from = self.billed_from.unwrap_or(self.stopped_at);
        self.stopped_at.since(from).as_millis().div_ceil(1_000)
    }
}

fn most_at_once(spans: impl Iterator<Item = (i64, i64)>) -> usize {
    // At one moment what ends makes room for what begins.
    let mut edges: Vec<(i64, i64)> = spans.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    edges.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in edges {
        now += step;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or(0)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index between the first and the last"
)]
pub(crate) fn quantile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

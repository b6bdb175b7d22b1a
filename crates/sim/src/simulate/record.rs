//! What a simulation leaves: every start and every worker, the sums over them, and the identities
//! that must hold between them.

use overspill_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::trace::Trace;

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// One for each job that started, by number.
    pub jobs: Vec<JobRecord>,
    /// One for each cloud worker that was ordered.
    pub workers: Vec<WorkerRecord>,
    /// How often the policy was asked.
    pub decisions: u64,
}

/// When and where a job started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRecord {
    /// Its number in the trace.
    pub job: usize,
    /// When it started.
    pub started_at: Timestamp,
    /// On which cloud worker; on a local one where `None`.
    pub worker: Option<usize>,
}

/// A cloud worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerRecord {
    /// When it was ordered: from here on it is billed.
    pub ordered_at: Timestamp,
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
        let mut waits: Vec<u64> = self
            .jobs
            .iter()
            .map(|record| {
                record
                    .started_at
                    .since(trace.jobs[record.job].arrival)
                    .as_millis()
            })
            .collect();
        waits.sort_unstable();
        let limit = settings.max_wait.as_millis();
        let on_time = waits.iter().filter(|&&wait| wait <= limit).count();
        let local = self
            .jobs
            .iter()
            .filter(|record| record.worker.is_none())
            .count();
        let at = |share: f64| quantile(&waits, share) as f64 / 1_000.0;
        let mut sums = Parts::default();
        for parts in self.parts(trace) {
            sums.init += parts.init;
            sums.busy += parts.busy;
            sums.idle += parts.idle;
        }
        let share = |count: usize| count as f64 / self.jobs.len().max(1) as f64;
        Summary {
            policy: policy.to_owned(),
            jobs: self.jobs.len(),
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
        }
    }

    /// Checks the identities: every job once and in order, never above max, billed = init + busy +
    /// idle, slots kept.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self, trace: &Trace, settings: &Settings) -> Result<(), Broken> {
        let (jobs, ran) = (trace.jobs.len(), self.jobs.len());
        let is_each_once = self
            .jobs
            .iter()
            .enumerate()
            .all(|(n, record)| n == record.job);
        if jobs != ran || !is_each_once {
            return Err(Broken::Jobs { jobs, ran });
        }
        for pair in self.jobs.windows(2) {
            if pair[0].started_at > pair[1].started_at {
                return Err(Broken::Order { job: pair[1].job });
            }
        }
        let seen = self.workers_max();
        if seen > settings.max as usize {
            let max = settings.max;
            return Err(Broken::OverMax { seen, max });
        }
        for record in &self.jobs {
            let Some(worker) = record.worker else {
                continue;
            };
            let end = record.started_at + trace.jobs[record.job].duration;
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
        for (worker, (life, parts)) in self.workers.iter().zip(self.parts(trace)).enumerate() {
            let life_ms = life.stopped_at.as_millis() - life.ordered_at.as_millis();
            let parts_ms = parts.init + parts.busy + parts.idle;
            if life_ms != parts_ms || parts.idle < 0 {
                return Err(Broken::Bill {
                    worker,
                    life_ms,
                    parts_ms,
                });
            }
        }
        for (worker, spans) in self.spans(trace).into_iter().enumerate() {
            let seen = most_at_once(spans.iter().copied());
            if seen > settings.slots as usize {
                return Err(Broken::Slots { worker, seen });
            }
        }
        Ok(())
    }

    /// When each worker ran jobs: start and end of each, in order of start.
    fn spans(&self, trace: &Trace) -> Vec<Vec<(i64, i64)>> {
        let mut spans = vec![Vec::new(); self.workers.len()];
        for record in &self.jobs {
            if let Some(worker) = record.worker {
                let end = record.started_at + trace.jobs[record.job].duration;
                spans[worker].push((record.started_at.as_millis(), end.as_millis()));
            }
        }
        spans
    }

    fn parts(&self, trace: &Trace) -> Vec<Parts> {
        let spans = self.spans(trace);
        self.workers
            .iter()
            .zip(spans)
            .map(|(worker, spans)| {
                let ordered = worker.ordered_at.as_millis();
                let stopped = worker.stopped_at.as_millis();
                let ready = worker.ready_at.map_or(stopped, Timestamp::as_millis);
                let (mut busy, mut until) = (0, i64::MIN);
                for (start, end) in spans {
                    busy += (end - start.max(until)).max(0);
                    until = until.max(end);
                }
                Parts {
                    init: ready - ordered,
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
    /// What is billed: whole seconds from order to stop.
    #[must_use]
    pub fn billed_s(&self) -> u64 {
        self.stopped_at
            .since(self.ordered_at)
            .as_millis()
            .div_ceil(1_000)
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
fn quantile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

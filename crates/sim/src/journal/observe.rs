//! What a journal says of the world: arrivals, durations, start-ups, waits and money, by endpoint; made
//! while it is replayed, for a simulation of the same work under other settings.

use std::collections::{BTreeMap, VecDeque};

use overspill_core::change::{Change, EndedJob};
use overspill_core::effect::Effect;
use overspill_core::event::Event;
use overspill_core::explain::Reason;
use overspill_core::id::{EndpointId, JobId, PoolId};
use overspill_core::ledger::EntryKind;
use overspill_core::machine::Core;
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::{EndpointSpec, Limits, PoolKind, ScalerSpec, Tuning};

use super::record::Cause;
use super::verify::Watch;
use crate::simulate::record::quantile;
use crate::simulate::settings::Offer;
use crate::simulate::trace::TraceJob;
use crate::simulate::{Settings, Summary, Trace};

/// Start-ups below which the assumed ones stand in.
const STARTS_MIN: usize = 3;

/// Looks on while a journal is replayed.
#[derive(Debug, Default)]
pub struct Observer {
    lanes: BTreeMap<EndpointId, Lane>,
    pools: BTreeMap<PoolId, PoolSeen>,
}

/// What was seen of one endpoint.
#[derive(Debug, Default)]
pub struct Lane {
    /// Its name.
    pub name: String,
    spec: Option<EndpointSpec>,
    limits: Option<Limits>,
    /// Where slots are learned: as many as there were in the end.
    slots_learned: Option<u32>,
    jobs: BTreeMap<(JobId, u32), JobSeen>,
    /// Start-ups of cloud workers, from order to readiness as it was seen.
    starts: Vec<DurationMs>,
    orders: usize,
    workers_max: u32,
    spent: NanoUsd,
    time: BTreeMap<EntryKind, DurationMs>,
}

#[derive(Debug)]
struct JobSeen {
    submitted_at: Timestamp,
    class: u32,
    is_low_priority: bool,
    /// Submit to start, and the time inside the last attempt, once it ran.
    ran: Option<(DurationMs, DurationMs)>,
    is_local: bool,
}

#[derive(Debug, Default)]
struct PoolSeen {
    endpoint: Option<EndpointId>,
    is_cloud: bool,
    wanted: u32,
    /// Workers that were ready when they were counted last; unknown at first.
    ready: Option<u32>,
    /// When the workers that are not ready yet were ordered, oldest first.
    ordered: VecDeque<Timestamp>,
}

impl Watch for Observer {
    fn begins(&mut self, core: &Core, cause: Cause, _at: Timestamp) {
        if cause != Cause::Rotation {
            for pool in self.pools.values_mut() {
                pool.ready = None;
                pool.ordered.clear();
            }
        }
        self.look_at(core);
        for pool in core.pools() {
            let seen = self.pools.entry(pool.record.id).or_default();
            seen.wanted = pool.record.wanted;
        }
    }

    fn handled(
        &mut self,
        core: &Core,
        at: Timestamp,
        event: Option<&Event>,
        changes: &[Change],
        effects: &[Effect],
    ) {
        let is_structural = matches!(
            event,
            Some(Event::Configured { .. } | Event::LimitsSet { .. } | Event::MaxWaitSet { .. })
        );
        if is_structural {
            self.look_at(core);
        }
        for change in changes {
            self.changed(change, at);
        }
        for effect in effects {
            if let Effect::Decided {
                endpoint,
                reason: Reason::SlotsLearned { to, .. },
            } = effect
            {
                let lane = self.lanes.entry(*endpoint).or_default();
                lane.slots_learned = Some(*to);
            }
        }
        if let Some(Event::CloudHealth { pool, workers }) = event {
            self.counted(*pool, workers.idle + workers.running, at);
        }
    }
}

impl Observer {
    /// The endpoints that had jobs, in order of their numbers.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes
            .values()
            .filter(|lane| lane.spec.is_some() && !lane.jobs.is_empty())
    }

    fn look_at(&mut self, core: &Core) {
        for endpoint in core.configured() {
            let lane = self.lanes.entry(endpoint.record.id).or_default();
            lane.name.clone_from(&endpoint.record.name);
            lane.spec.clone_from(&endpoint.spec);
            lane.limits = Some(endpoint.limits());
        }
        for pool in core.pools() {
            let seen = self.pools.entry(pool.record.id).or_default();
            seen.endpoint = Some(pool.record.endpoint);
            seen.is_cloud = pool.runpod().is_some();
        }
    }

    fn changed(&mut self, change: &Change, at: Timestamp) {
        match change {
            Change::JobPut { job, .. } => {
                let lane = self.lanes.entry(job.endpoint).or_default();
                let key = (job.id, job.generation);
                lane.jobs.entry(key).or_insert_with(|| JobSeen {
                    submitted_at: job.submitted_at,
                    class: job.class,
                    is_low_priority: job.low_priority,
                    ran: None,
                    is_local: false,
                });
            }
            Change::JobEnded(ended) => self.ended(ended),
            Change::PoolPut(record) => {
                let seen = self.pools.entry(record.id).or_default();
                seen.endpoint = Some(record.endpoint);
                let lane = self.lanes.entry(record.endpoint).or_default();
                let more = record.wanted.saturating_sub(seen.wanted) as usize;
                lane.orders += more;
                seen.ordered.extend(std::iter::repeat_n(at, more));
                let fewer = seen.wanted.saturating_sub(record.wanted) as usize;
                let left = seen.ordered.len().saturating_sub(fewer);
                seen.ordered.truncate(left);
                seen.wanted = record.wanted;
            }
            Change::LedgerAdded(entry) => {
                let lane = self.lanes.entry(entry.endpoint).or_default();
                let sum = lane.time.entry(entry.kind).or_default();
                *sum = *sum + entry.worker_time;
                if entry.kind.is_spent() {
                    lane.spent += entry.amount;
                }
            }
            _ => {}
        }
    }

    fn ended(&mut self, ended: &EndedJob) {
        let pool = ended.pool.and_then(|pool| self.pools.get(&pool));
        let is_local = pool.is_some_and(|pool| !pool.is_cloud);
        let Some(lane) = self.lanes.get_mut(&ended.endpoint) else {
            return;
        };
        if let Some(job) = lane.jobs.get_mut(&(ended.id, ended.generation)) {
            job.ran = ended.delay.zip(ended.execution);
            job.is_local = is_local;
        }
    }

    fn counted(&mut self, pool: PoolId, ready: u32, at: Timestamp) {
        let Some(seen) = self.pools.get_mut(&pool) else {
            return;
        };
        let Some(lane) = seen.endpoint.and_then(|id| self.lanes.get_mut(&id)) else {
            return;
        };
        if let Some(before) = seen.ready {
            for _ in before..ready {
                if let Some(ordered) = seen.ordered.pop_front() {
                    lane.starts.push(at.since(ordered));
                }
            }
        }
        lane.workers_max = lane.workers_max.max(ready);
        seen.ready = Some(ready);
    }
}

impl Lane {
    /// What came in and ran, from the first arrival on; and how many jobs are left out because they never
    /// ran to an end.
    #[must_use]
    pub fn trace(&self) -> (Trace, usize) {
        let mut ran: Vec<(&JobSeen, DurationMs)> = self
            .jobs
            .values()
            .filter_map(|job| Some((job, job.ran?.1)))
            .collect();
        ran.sort_by_key(|(job, _)| job.submitted_at);
        let first = ran.first().map_or(Timestamp::ZERO, |(j, _)| j.submitted_at);
        let mut trace = Trace::default();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for (job, duration) in &ran {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let class = *numbers.entry(job.class).or_insert_with(|| {
                trace.classes.push(job.class.to_string());
                next
            });
            trace.jobs.push(TraceJob {
                arrival: Timestamp::ZERO + job.submitted_at.since(first),
                duration: *duration,
                class,
                is_low_priority: job.is_low_priority,
            });
        }
        (trace, self.jobs.len() - ran.len())
    }

    /// The world that the endpoint was in at the end of the journal.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        let Some(spec) = &self.spec else {
            return settings;
        };
        let limits = self.limits.unwrap_or(spec.limits);
        (settings.min, settings.max) = (limits.min, limits.max);
        settings.max_wait = spec.max_wait;
        settings.expected_execution = spec.expected_execution;
        settings.expected_start = spec.expected_start;
        settings.cold_start = self.cold_start().unwrap_or(settings.cold_start);
        let mut local: Vec<(u32, u32)> = Vec::new();
        let (mut slots, mut offers) = (None::<u32>, Vec::new());
        for pool in &spec.pools {
            match &pool.kind {
                PoolKind::Command { devices, .. } => {
                    let devices = u32::try_from(devices.len()).unwrap_or(u32::MAX);
                    local.push((devices, pool.slots.max(1)));
                }
                PoolKind::RunPod(runpod) => {
                    let most = slots.unwrap_or(u32::MAX);
                    // A worker's slots that are learned are what they came to.
                    let own = match pool.slots {
                        0 => self.slots_learned.unwrap_or(1),
                        fixed => fixed,
                    };
                    slots = Some(most.min(own));
                    settings.start_timeout = runpod.init_timeout;
                    if let Some(rate) = runpod.price {
                        offers.push(Offer {
                            name: pool.key.clone(),
                            rate,
                            max: runpod.max.unwrap_or(limits.max).max(1),
                            speed: 1.0,
                            cold_start: None,
                            throttled_share: None,
                        });
                    }
                }
            }
        }
        settings.slots = slots.unwrap_or(1);
        match local.as_slice() {
            [] => {}
            [(workers, slots)] => {
                (settings.local_workers, settings.local_slots) = (*workers, *slots);
            }
            // Of several kinds: each slot stands for a worker of its own.
            several => settings.local_workers = several.iter().map(|(w, s)| w * s).sum(),
        }
        if let [only] = offers.as_slice() {
            settings.rate = only.rate;
            settings.max = settings.max.min(only.max);
            settings.min = settings.min.min(settings.max);
        } else {
            settings.offers = offers;
        }
        settings
    }

    /// The policy, and its constants where they differ from the simulator's.
    #[must_use]
    pub fn policy(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let Some(spec) = &self.spec else {
            return ("cost_aware", Vec::new());
        };
        let idle = spec.pools.iter().find_map(|pool| match &pool.kind {
            PoolKind::RunPod(runpod) => Some(runpod.idle_timeout),
            PoolKind::Command { .. } => None,
        });
        let ms = |length: DurationMs| format!("{}ms", length.as_millis());
        let mut constants: Vec<_> = idle.map(|t| ("idle_timeout", ms(t))).into_iter().collect();
        let name = match &spec.scaler {
            ScalerSpec::CostAware(tuning) => return ("cost_aware", constants_of(*tuning)),
            ScalerSpec::Ladder => "ladder",
            ScalerSpec::QueueDelay { delay } => {
                constants.push(("delay", ms(*delay)));
                "queue_delay"
            }
            ScalerSpec::RequestCount { per_worker } => {
                constants.push(("per_worker", per_worker.to_string()));
                "request_count"
            }
        };
        (name, constants)
    }

    /// The shortest and the longest start-up that was seen, once some were.
    #[must_use]
    pub fn cold_start(&self) -> Option<(DurationMs, DurationMs)> {
        if self.starts.len() < STARTS_MIN {
            return None;
        }
        let shortest = self.starts.iter().min().copied()?;
        let longest = self.starts.iter().max().copied()?;
        Some((shortest, longest))
    }

    /// How many start-ups were seen from order to readiness.
    #[must_use]
    pub const fn starts_seen(&self) -> usize {
        self.starts.len()
    }

    /// What really happened, under the names of a simulation's sums.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and milliseconds for display"
    )]
    pub fn measured(&self) -> Summary {
        let limit = self.spec.as_ref().map(|spec| spec.max_wait);
        let limit = limit.unwrap_or_default().as_millis();
        let ran = || self.jobs.values().filter(|job| job.ran.is_some());
        let promised = ran().filter(|job| !job.is_low_priority);
        let waits = promised.filter_map(|job| job.ran).map(|(wait, _)| wait);
        let mut waits: Vec<u64> = waits.map(DurationMs::as_millis).collect();
        waits.sort_unstable();
        let at = |share: f64| quantile(&waits, share) as f64 / 1_000.0;
        let on_time = waits.iter().filter(|&&wait| wait <= limit).count();
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        let time = |kind| self.time.get(&kind).copied().unwrap_or_default();
        let spent = [
            EntryKind::ColdStart,
            EntryKind::Run,
            EntryKind::Idle,
            EntryKind::Unsettled,
        ];
        let billed: u64 = spent.iter().map(|&kind| time(kind).as_millis()).sum();
        Summary {
            policy: "measured".to_owned(),
            jobs: ran().count(),
            billed_worker_seconds: billed.div_ceil(1_000),
            init_s: time(EntryKind::ColdStart).as_secs_f64(),
            busy_s: time(EntryKind::Run).as_secs_f64(),
            idle_s: time(EntryKind::Idle).as_secs_f64(),
            starts: self.orders,
            on_time_share: share(on_time, waits.len()),
            wait_p50_s: at(0.50),
            wait_p95_s: at(0.95),
            wait_p99_s: at(0.99),
            local_share: share(ran().filter(|job| job.is_local).count(), ran().count()),
            workers_max: self.workers_max as usize,
            failed_attempts: 0,
            slots: self.settings().slots,
            bound_worker_seconds: None,
            cost_usd: self.spent.as_nanos() as f64 / 1e9,
        }
    }
}

/// The constants of `cost_aware` that are not its defaults, as the simulator names them.
fn constants_of(tuning: Tuning) -> Vec<(&'static str, String)> {
    let default = Tuning::default();
    let milli = |value: u32| format!("{}.{:03}", value / 1_000, value % 1_000);
    let mut constants = Vec::new();
    if tuning.wait_share_milli != default.wait_share_milli {
        constants.push(("wait_share", milli(tuning.wait_share_milli)));
    }
    if tuning.lateness_price_milli != default.lateness_price_milli {
        constants.push(("lateness_price", milli(tuning.lateness_price_milli)));
    }
    if tuning.min_idle != default.min_idle {
        let ms = format!("{}ms", tuning.min_idle.as_millis());
        constants.push(("min_idle", ms));
    }
    constants
}

//! A pool: a source of workers of one endpoint. What is durable of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::attribution::{Bearer, Halves};
use crate::bill::Bill;
use crate::blind::Told;
use crate::crash_loop::CrashLoop;
use crate::event::{CloudRefusal, CloudWorkerCounts};
use crate::fleet::Fleet;
use crate::id::{AttemptId, DeviceId, EndpointId, KeyId, PoolId, WorkerId};
use crate::meter::{Billed, Meter};
use crate::money::{NanoUsd, RatePerHour};
use crate::placement::pool_order::Because;
use crate::scaler::slots::{SLOTS_MAX, Slots};
use crate::time::{DurationMs, Timestamp};
use crate::topology::{PoolKind, PoolSpec, RunPodSpec};

/// RunPod may end an idle worker this much later than its idle time-out.
const KEPT_WARM_SLACK: DurationMs = DurationMs::from_secs(30);

/// A pool as the running core holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pool {
    /// What is durable.
    pub record: PoolRecord,
    /// What the configuration asks for; `None` once it no longer names the pool.
    pub spec: Option<PoolSpec>,
    /// For a local pool: the state of each of its cards.
    pub seats: BTreeMap<DeviceId, Seat>,
    /// For a cloud pool: attempts that RunPod has or may have, fenced ones included.
    pub outstanding: BTreeSet<AttemptId>,
    /// For a cloud pool: what is known of its workers.
    pub cloud: CloudSide,
    /// How many jobs at once its workers carry, where that is learned.
    pub learned: Slots,
    /// The most slots that were in force while its outstanding submissions were made.
    pub slots_high: u32,
}

/// A local pool's place for one worker on one card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Who sits there.
    pub worker: Option<WorkerId>,
    /// A worker is being minted for it.
    pub is_minting: bool,
    /// Workers that ended badly in a row.
    pub failures: u32,
    /// No new worker before then.
    pub not_before: Timestamp,
}

/// What is known of a pool's side at RunPod; forgotten at a restart, and asked for again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudSide {
    /// Its workers by state, where known.
    pub workers: Option<CloudWorkerCounts>,
    /// The same, one by one.
    pub fleet: Fleet,
    /// Since when its workers only idle and nothing is outstanding.
    pub idle_since: Option<Timestamp>,
    /// Since when workers run or start there while none of our jobs is with RunPod.
    pub astray_since: Option<Timestamp>,
    /// Min and max as last asked for; `None` when it is unknown what holds.
    pub asked: Option<(u32, u32)>,
    /// Starts that hang were given up: so many workers, and no more until RunPod confirms or so much time
    /// has passed.
    pub giving_up: Option<(u32, Timestamp)>,
    /// How long RunPod was asked to keep an idle worker.
    pub asked_idle: Option<DurationMs>,
    /// Max as last confirmed; `None` while a change of it is on its way.
    pub confirmed_max: Option<u32>,
    /// Max as last confirmed, whatever is on its way.
    pub accepted_max: u32,
    /// What RunPod's quota leaves, once it refused a max.
    pub quota: Option<LearnedQuota>,
    /// Refusals and failures in a row.
    pub failures: u32,
    /// What it refused last, how often in a row, until it is seen not to refuse it any more.
    pub refusal: Option<(CloudRefusal, u32)>,
    /// Nothing is submitted before then.
    pub not_before: Timestamp,
    /// Take-backs and cancels that were asked for and not yet answered.
    pub cancelling: BTreeSet<AttemptId>,
    /// Since when RunPod counts no job there at all; a submission begins it anew.
    pub empty_since: Option<Timestamp>,
    /// The configuration no longer names it, and RunPod has not confirmed yet that it may start
    /// no worker there.
    pub is_closing: bool,
    /// The server has begun anew and nobody has counted its workers since.
    pub is_uncounted: bool,
    /// Workers that there were before or after a restart, as far as they were counted.
    pub resumed: u32,
    /// From the last count before a restart to the restart.
    pub away: DurationMs,
    /// Jobs that ran and ended around a restart, unseen.
    pub unseen: u32,
    /// What its workers cost.
    pub meter: Meter,
    /// What RunPod said last of the jobs that are there, and of those that were until lately.
    #[serde(default, with = "crate::change::as_list")]
    pub told: BTreeMap<AttemptId, Told>,
    /// When those were last looked through.
    #[serde(default)]
    pub told_looked_at: Timestamp,
    /// For whose jobs they do.
    pub bearing: Bearing,
    /// What RunPod's billing records say.
    pub bill: Bill,
    /// Its workers' crashes.
    pub crash_loop: CrashLoop,
    /// Workers that are on there, as RunPod lists them, though nothing asks for any; and since when.
    pub standby: Option<(u32, Timestamp)>,
    /// RunPod changed the limits by itself, and when that was last seen.
    pub changed: Option<LimitsChanged>,
    /// Since when jobs of ours are there and no worker lives, by the counts.
    pub starved_since: Option<Timestamp>,
    /// It got no workers when it was last asked: others go before it until then.
    pub dry_until: Timestamp,
    /// How often that was so in a row.
    pub dry_times: u32,
    /// Why it was chosen for what is outstanding.
    #[serde(with = "crate::change::as_list")]
    pub chosen: BTreeMap<AttemptId, Because>,
    /// How long jobs run there.
    pub pace: Pace,
}

/// For whose jobs a pool's workers cost what the ledger does not say yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bearing {
    /// By the key that bears it.
    pub owed: BTreeMap<KeyId, Halves>,
    /// Cold starts and idle time of jobs, until their lines are written.
    #[serde(with = "crate::change::as_list")]
    pub borne: BTreeMap<AttemptId, Halves>,
    /// Attempts that are over and bear an idle worker yet.
    #[serde(with = "crate::change::as_list")]
    pub tails: BTreeMap<AttemptId, Bearer>,
}

/// Limits that RunPod changed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsChanged {
    /// Min and max as last confirmed.
    pub asked: (u32, u32),
    /// Min and max as read.
    pub seen: (u32, u32),
    /// When.
    pub at: Timestamp,
}

/// How long jobs run in a pool: a mean over the last ones, forgotten at a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    samples: u32,
    mean_ms: u64,
}

impl Pace {
    /// Samples below which nothing is said.
    const SAMPLES_MIN: u32 = 5;
    /// A further one weighs so many times less than the mean.
    const WEIGHT: u64 = 16;

    /// A job ran for so long.
    pub fn finished(&mut self, length: DurationMs) {
        self.samples = self.samples.saturating_add(1);
        let weight = u64::from(self.samples).min(Self::WEIGHT);
        self.mean_ms = (self.mean_ms.saturating_mul(weight - 1) + length.as_millis()) / weight;
    }

    /// The mean, once there are enough samples.
    #[must_use]
    pub fn mean(self) -> Option<DurationMs> {
        (self.samples >= Self::SAMPLES_MIN).then(|| DurationMs::from_millis(self.mean_ms))
    }
}

/// How many workers RunPod's quota leaves a pool. No call tells it: it is found between what was
/// refused and what was accepted, and forgotten after a while, for others may have left room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedQuota {
    /// The most that is asked for; 1 or more.
    pub max: u32,
    /// The least that was refused.
    pub refused: u32,
    /// Until when that counts.
    pub until: Timestamp,
}

impl Pool {
    /// One with nothing configured.
    #[must_use]
    pub fn new(record: PoolRecord) -> Self {
        Self {
            learned: record.learned.as_deref().cloned().unwrap_or_default(),
            record,
            spec: None,
            seats: BTreeMap::new(),
            outstanding: BTreeSet::new(),
            cloud: CloudSide::default(),
            slots_high: SLOTS_MAX,
        }
    }

    /// Its configuration as a RunPod pool.
    #[must_use]
    pub const fn runpod(&self) -> Option<&RunPodSpec> {
        match &self.spec {
            Some(PoolSpec {
                kind: PoolKind::RunPod(spec),
                ..
            }) => Some(spec),
            _ => None,
        }
    }

    /// Writes down, before it is asked for, that so many workers are kept on. Says whether that is more than
    /// was known.
    pub(crate) fn keep_on(&mut self, workers: u32) -> bool {
        let Some(spec) = self.runpod().filter(|_| workers > 0) else {
            return false;
        };
        let before = &self.record.kept_on;
        let kept_on = KeptOn {
            workers: workers.max(before.workers),
            endpoint: spec.endpoint.clone(),
            price: spec.price.max(before.price),
            idle: spec.idle_timeout.max(before.idle),
        };
        let is_news = *before != kept_on;
        self.record.kept_on = kept_on;
        is_news
    }

    /// Writes down, before it is asked for, that RunPod has limits of ours. Says whether that is news.
    pub(crate) fn note_limits(&mut self) -> bool {
        let leads_to = self.record.leads_to.as_mut();
        leads_to.is_some_and(|to| !std::mem::replace(&mut to.has_limits, true))
    }

    /// Whether workers were ever wanted here, so that RunPod may have limits of ours.
    #[must_use]
    pub fn was_scaled(&self) -> bool {
        self.record.reserved_each != NanoUsd::ZERO
    }

    /// Whether RunPod may have limits of ours where the pool leads.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        let leads_to = self.record.leads_to.as_ref();
        leads_to.is_some_and(|leads_to| leads_to.has_limits)
    }

    /// What it is configured as, or was last.
    fn last_spec(&self) -> Option<&PoolSpec> {
        let leads_to = self.record.leads_to.as_ref();
        self.spec.as_ref().or_else(|| leads_to?.spec.as_deref())
    }

    /// By what is counted what workers cost at RunPod, although the pool may not be configured any more.
    #[must_use]
    pub fn metered(&self) -> Option<&RunPodSpec> {
        match &self.last_spec()?.kind {
            PoolKind::RunPod(spec) => Some(spec),
            PoolKind::Command { .. } => None,
        }
    }

    /// What a worker of it costs; `None` where nobody knows.
    #[must_use]
    pub fn price(&self) -> Option<RatePerHour> {
        self.metered()?.price
    }

    /// Whether jobs or limits of ours may be where it leads.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.has_limits() || !self.outstanding.is_empty()
    }

    /// Workers that RunPod may start, as far as we know: while a change of its limit is not confirmed,
    /// as many as money is set aside for.
    #[must_use]
    pub fn workers_allowed(&self) -> u32 {
        if !self.runpod().is_some_and(|spec| spec.manage) || !self.was_scaled() {
            return 0;
        }
        let reserved = self.record.reserved_workers;
        self.cloud
            .confirmed_max
            .map_or(reserved, |max| max.min(reserved))
    }

    /// Workers that live there for a reason. RunPod ends idle ones by itself; those that it keeps
    /// warm although nobody asked are none, so that no limit stays up for them.
    #[must_use]
    pub fn workers_alive(&self, now: Timestamp) -> u32 {
        let patience = self
            .runpod()
            .map_or(DurationMs::ZERO, |spec| spec.idle_timeout);
        let is_kept = self
            .cloud
            .idle_since
            .is_some_and(|since| now.since(since) > patience + KEPT_WARM_SLACK);
        match self.cloud.workers {
            Some(workers) if is_kept => workers.initializing + workers.running,
            Some(workers) => workers.initializing + workers.idle + workers.running,
            None => 0,
        }
    }

    /// Workers that cost money, as last counted; after a restart and before the first count, those
    /// that money was set aside for.
    #[must_use]
    pub const fn workers_billed(&self) -> u32 {
        if self.cloud.is_uncounted {
            self.record.reserved_workers
        } else {
            self.cloud.meter.billed().total()
        }
    }

    /// The most of an hour that is over which nobody counted and no record has settled.
    pub(crate) fn lacking(&self, hour: i64) -> NanoUsd {
        let price = self.price();
        let meter = &self.cloud.meter;
        price.map_or(NanoUsd::ZERO, |price| {
            price.over(meter.lacking(hour, self.record.reserved_workers))
        })
    }

    /// What its workers cost and the ledger does not say yet.
    #[must_use]
    pub fn pending(&self, now: Timestamp) -> NanoUsd {
        let price = self.price();
        price.map_or(NanoUsd::ZERO, |price| {
            self.cloud
                .meter
                .pending(now, price, self.record.reserved_workers)
        })
    }

    /// What of that the jobs of a key bear.
    #[must_use]
    pub fn owed_by(&self, key: KeyId) -> NanoUsd {
        let price = self.price();
        let owed = self.cloud.bearing.owed.get(&key);
        match (price, owed) {
            (Some(price), Some(halves)) => {
                let ms = halves.iter().sum::<u64>().div_ceil(2);
                price.over(DurationMs::from_millis(ms))
            }
            _ => NanoUsd::ZERO,
        }
    }

    /// The type of GPU of its workers, and its region, for a line of the ledger.
    #[must_use]
    pub fn labels(&self) -> (Option<Box<str>>, Option<Box<str>>) {
        self.metered().map_or((None, None), |spec| {
            let gpu = spec.gpu_label.as_ref().or(spec.gpu.as_ref());
            let region = spec.region.as_ref().map(|region| region.as_str().into());
            (gpu.map(|gpu| gpu.as_str().into()), region)
        })
    }

    /// Jobs at once on one worker, at least 1.
    #[must_use]
    pub fn slots(&self) -> u32 {
        match self.last_spec().map(|spec| spec.slots) {
            Some(0) => self.learned.now.max(1),
            Some(slots) => slots,
            None => 1,
        }
    }

    /// Whether its slots are learned.
    #[must_use]
    pub fn learns_slots(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.slots == 0)
    }

    /// Workers that the outstanding submissions can cause.
    #[must_use]
    pub fn workers_caused(&self) -> u32 {
        let jobs = u32::try_from(self.outstanding.len()).unwrap_or(u32::MAX);
        let caused = jobs.div_ceil(self.slots());
        if caused > self.record.reserved_workers && self.learns_slots() {
            // Slots have become fewer since: what was submitted runs on the workers that it was meant for.
            return caused.min(jobs.div_ceil(self.slots_high.max(1)));
        }
        caused
    }

    /// The pause after so many failures in a row: 1 s, doubling, at most a minute.
    #[must_use]
    pub fn back_off(failures: u32) -> DurationMs {
        DurationMs::from_secs((1_u64 << failures.saturating_sub(1).min(6)).min(60))
    }
}

/// Workers that RunPod may keep on, with all that is needed to say what they cost once the pool is no longer
/// configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptOn {
    /// The most that was asked for since RunPod last confirmed.
    pub workers: u32,
    /// RunPod's id of the endpoint.
    pub endpoint: String,
    /// What an hour of one costs.
    pub price: Option<RatePerHour>,
    /// How long one stays on after the limits are lowered.
    pub idle: DurationMs,
}

/// Where a pool leads at RunPod, for when it is no longer configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadsTo {
    /// RunPod's id of the endpoint.
    pub endpoint: String,
    /// RunPod may have limits of ours there. They are lowered once no pool that is configured sets them.
    pub has_limits: bool,
    /// As what it was configured last: by that is counted what its workers cost until they have ended. `None` where an
    /// earlier version wrote this down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<PoolSpec>>,
}

/// A pool that is no longer configured, for whoever sees to what is left of it at RunPod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftPool {
    /// Its id.
    pub id: PoolId,
    /// RunPod's id of the endpoint to which it leads.
    pub endpoint: String,
    /// Limits of ours are to be lowered there.
    pub has_limits: bool,
    /// Its workers are to be counted.
    pub is_counted: bool,
}

/// What is durable of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its number, for ever.
    pub id: PoolId,
    /// Whose it is.
    pub endpoint: EndpointId,
    /// Its name within the endpoint.
    pub key: String,
    /// Cloud workers wanted at last; what RunPod's `max` is set to.
    pub wanted: u32,
    /// Cloud workers for which money is reserved: never fewer than submissions can cause, and never
    /// fewer than `wanted`.
    pub reserved_workers: u32,
    /// Money set aside for each of them.
    pub reserved_each: NanoUsd,
    /// Workers that RunPod may keep on for us.
    #[serde(default)]
    pub kept_on: KeptOn,
    /// Until when the ledger has what its workers cost.
    #[serde(default)]
    pub charged_until: Timestamp,
    /// The workers that cost money then.
    #[serde(default)]
    pub billed: Billed,
    /// When it was first configured; the epoch for one of an earlier version.
    #[serde(default)]
    pub since: Timestamp,
    /// How many jobs at once its workers carry, where that is learned; as of the last change of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Box<Slots>>,
    /// For a cloud pool: where it leads. `None` for one of an earlier version that was not configured since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads_to: Option<LeadsTo>,
}

impl PoolRecord {
    /// RunPod's id of the endpoint to which it leads, as far as that was written down.
    #[must_use]
    pub fn leads(&self) -> Option<&str> {
        let leads_to = self.leads_to.as_ref()?;
        Some(&leads_to.endpoint)
    }

    /// All the money that is set aside for it.
    #[must_use]
    pub const fn reserved(&self) -> NanoUsd {
        self.reserved_each.times(self.reserved_workers)
    }
}

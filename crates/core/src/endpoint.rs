//! An endpoint: the named place jobs are sent to. What is durable of it, and what is live.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::allowance::Allowances;
use crate::budget::{CapHit, CapsOverride};
use crate::id::{EndpointId, PollId, PoolId};
use crate::jobs::Slot;
use crate::scaler::history::{History, Learned};
use crate::schedule::{self, Scheduled};
use crate::time::{DurationMs, Timestamp};
use crate::topology::{EndpointSpec, Limits, ScalerSpec};

/// An endpoint as the running core holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoint {
    /// What is durable.
    pub record: EndpointRecord,
    /// What the configuration asks for, with the promise in force as its `max_wait`; `None` once it no
    /// longer names the endpoint, whose last jobs are still served.
    pub spec: Option<EndpointSpec>,
    /// Its pools, local ones first, then cloud pools as they are listed.
    pub pools: Vec<PoolId>,
    /// Waiting jobs by [`crate::job::Job::queue_key`].
    pub queue: BTreeMap<u64, Slot>,
    /// Held job-takes of its workers, oldest first.
    pub polls: BTreeSet<PollId>,
    /// What was learned of its jobs and its cloud workers.
    pub history: History,
    /// When what was learned is stored next; `None` while nothing new was.
    pub keep_learned_at: Option<Timestamp>,
    /// When its workers were last weighed, and how many waiting jobs may still go to the cloud since.
    pub weighed_at: Timestamp,
    /// See there.
    pub spill_left: u32,
    /// When it was last placed and scaled.
    pub scaled_at: Timestamp,
    /// When it is looked at next without an event.
    pub look_at: Timestamp,
    /// What the scaler last said, so that only news is told.
    pub last_reason: Option<Cow<'static, str>>,
    /// What the schedules asked for when it was last scaled, so that only news is told.
    pub last_scheduled: Option<Scheduled>,
    /// The cap that allows fewer cloud workers than are wanted.
    pub cap_hit: Option<CapHit>,
    /// Nobody could end workers that are kept on, so that none is, whatever asks for them (see
    /// [`crate::guard`]).
    pub is_unguarded: bool,
    /// The min that was last said to be held at 0, so that only news is told.
    pub told_held: u32,
    /// What the caps of keys leave for their jobs here, when it was last looked at.
    pub allowances: Allowances,
    /// The key's cap that kept waiting jobs from the cloud then.
    pub key_hit: Option<CapHit>,
}

impl Endpoint {
    /// One with nothing configured and nothing waiting.
    #[must_use]
    pub fn new(record: EndpointRecord) -> Self {
        Self {
            history: History::recalled(&record.learned),
            keep_learned_at: None,
            record,
            spec: None,
            pools: Vec::new(),
            queue: BTreeMap::new(),
            polls: BTreeSet::new(),
            weighed_at: Timestamp::from_millis(i64::MIN),
            spill_left: 0,
            scaled_at: Timestamp::from_millis(i64::MIN),
            look_at: Timestamp::ZERO,
            last_reason: None,
            last_scheduled: None,
            cap_hit: None,
            is_unguarded: true,
            told_held: 0,
            allowances: Allowances::new(),
            key_hit: None,
        }
    }

    /// The limits in force: the live override, else the file's; none without a configuration.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let none = Limits { min: 0, max: 0 };
        let file = self.spec.as_ref().map_or(none, |spec| spec.limits);
        self.record
            .limits_override
            .as_ref()
            .map_or(file, |set| set.limits)
    }

    /// What the schedules ask for now.
    #[must_use]
    pub fn scheduled(&self, now: Timestamp) -> Option<Scheduled> {
        let spec = self.spec.as_ref()?;
        schedule::asked(&spec.schedule, now, self.history.start_longest())
    }

    /// When what the schedules ask for may change next.
    #[must_use]
    pub fn schedule_changes(&self, now: Timestamp) -> Option<Timestamp> {
        let spec = self.spec.as_ref()?;
        schedule::next_change(&spec.schedule, now, self.history.start_longest())
    }

    /// Workers that are asked to be kept on now: the fixed min, or that of the schedules where it is more,
    /// never above max.
    #[must_use]
    pub fn min_asked(&self, now: Timestamp) -> u32 {
        let limits = self.limits();
        let scheduled = self.scheduled(now).map_or(0, |asked| asked.min);
        limits.min.max(scheduled.min(limits.max))
    }

    /// The most that is ever asked to be kept on, as limits and schedules are.
    #[must_use]
    pub fn min_most(&self) -> u32 {
        let limits = self.limits();
        let schedules = self.spec.iter().flat_map(|spec| &spec.schedule);
        let scheduled = schedules.map(|schedule| schedule.min).max().unwrap_or(0);
        limits.min.max(scheduled.min(limits.max))
    }

    /// The limits as they count now: those in force, with what is asked to be kept on as min, which is held
    /// at 0 where nobody could end such workers. All that keeps workers on goes by these.
    #[must_use]
    pub fn limits_at(&self, now: Timestamp) -> Limits {
        Limits {
            min: if self.is_unguarded {
                0
            } else {
                self.min_asked(now)
            },
            ..self.limits()
        }
    }

    /// The scaling rule in force: the live override, else the file's.
    #[must_use]
    pub fn scaler(&self) -> Option<&ScalerSpec> {
        let file = self.spec.as_ref().map(|spec| &spec.scaler);
        let set = self.record.scaler_override.as_ref();
        set.map(|set| &set.scaler).or(file)
    }
}

/// What is durable of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// Its number, for ever.
    pub id: EndpointId,
    /// Its name.
    pub name: String,
    /// A live change of its limits, which wins until the file's value changes.
    pub limits_override: Option<LimitsOverride>,
    /// A live change of its caps, likewise.
    #[serde(default)]
    pub caps_override: Option<CapsOverride>,
    /// A live change of its scaling rule, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaler_override: Option<ScalerOverride>,
    /// A live change of its promise, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait_override: Option<MaxWaitOverride>,
    /// What its scaler has learned, as of at most a minute ago.
    #[serde(default, skip_serializing_if = "Learned::is_empty")]
    pub learned: Learned,
}

/// Who set something while the server ran, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBy {
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl SetBy {
    fn new(by: &str, at: Timestamp) -> Self {
        let by = by.to_owned();
        Self { by, at }
    }
}

impl EndpointRecord {
    /// Who set the limits in force; `None` while the file's hold.
    #[must_use]
    pub fn limits_set(&self) -> Option<SetBy> {
        let set = self.limits_override.as_ref();
        set.map(|set| SetBy::new(&set.by, set.at))
    }

    /// Who set the scaling rule in force, likewise.
    #[must_use]
    pub fn scaler_set(&self) -> Option<SetBy> {
        let set = self.scaler_override.as_ref();
        set.map(|set| SetBy::new(&set.by, set.at))
    }

    /// Who set the promise in force, likewise.
    #[must_use]
    pub fn max_wait_set(&self) -> Option<SetBy> {
        let set = self.max_wait_override.as_ref();
        set.map(|set| SetBy::new(&set.by, set.at))
    }
}

/// Limits set while the server ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsOverride {
    /// What was set.
    pub limits: Limits,
    /// What the file said then.
    pub file: Limits,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A promise set while the server ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxWaitOverride {
    /// What was set.
    pub max_wait: DurationMs,
    /// What the file said then.
    pub file: DurationMs,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A scaling rule set while the server ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalerOverride {
    /// What was set.
    pub scaler: ScalerSpec,
    /// What the file said then.
    pub file: ScalerSpec,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

//! Money is reserved before it is spent, and never more than the caps leave.
//!
//! A pool may cause as many workers as it wants and as its submissions need; for each of them a
//! whole worker's reservation is set aside first, in the same transaction. What a cap leaves after
//! what was spent in its period and what is set aside for all that it covers, says how many workers
//! may be wanted: at none, nothing is submitted, RunPod's limit goes to zero, and what still waits
//! there comes back. So no path spends around a cap: a submission, a retry, another pool, a worker
//! that is always on all need a worker that is reserved for. An unknown price is refused.
//!
//! Caps of a key say how many of its jobs may go to the cloud: [`crate::allowance`].
//!
//! **Words.** A *cap* is what may be spent in a period of the calendar, on everything, on one endpoint
//! or by one key (its *scope*); what binds is the *hit*.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alert::Alerted;
use crate::attempt::{CloudPhase, Place};
use crate::calendar::{Calendar, Period};
use crate::change::Change;
use crate::effect::{Answer, Effect, Out};
use crate::explain::Reason;
use crate::id::{AttemptId, EndpointId, KeyId, PoolId, RequestId};
use crate::ledger::Entry;
use crate::machine::Core;
use crate::money::NanoUsd;
use crate::spent::Spending;
use crate::time::Timestamp;
use crate::topology::worker_reservation;

/// The most that may be spent; `None` is no cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// In a clock hour.
    pub per_hour: Option<NanoUsd>,
    /// In a calendar day.
    pub per_day: Option<NanoUsd>,
    /// In a calendar month.
    pub per_month: Option<NanoUsd>,
}

impl Caps {
    /// The caps that are set, with their periods.
    pub fn set(self) -> impl Iterator<Item = (Period, NanoUsd)> {
        let caps = [self.per_hour, self.per_day, self.per_month];
        let pairs = Period::ALL.into_iter().zip(caps);
        pairs.filter_map(|(period, cap)| Some((period, cap?)))
    }

    /// Whether none is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.per_hour.is_none() && self.per_day.is_none() && self.per_month.is_none()
    }
}

/// Whose spending a cap is on.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CapScope {
    /// All of it.
    #[default]
    Everything,
    /// That of one endpoint.
    Endpoint(EndpointId),
    /// What the jobs of one API key bear.
    Key(KeyId),
}

impl CapScope {
    /// Whether a line of the ledger counts.
    #[must_use]
    pub fn covers(self, endpoint: EndpointId, key: Option<KeyId>) -> bool {
        match self {
            Self::Everything => true,
            Self::Endpoint(wanted) => wanted == endpoint,
            Self::Key(wanted) => Some(wanted) == key,
        }
    }
}

impl From<Option<EndpointId>> for CapScope {
    fn from(endpoint: Option<EndpointId>) -> Self {
        endpoint.map_or(Self::Everything, Self::Endpoint)
    }
}

/// Caps of a key; there is no other place where they are set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCaps {
    /// What was set; not empty.
    pub caps: Caps,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Caps set while the server ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapsOverride {
    /// What was set.
    pub caps: Caps,
    /// What the file said then.
    pub file: Caps,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What is durable of the caps on everything, and of those of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRecord {
    /// A live change, which wins until the file's value changes.
    pub caps_override: Option<CapsOverride>,
    /// A guard watches: workers may be kept on.
    #[serde(default)]
    pub is_guarded: bool,
    /// Caps of keys that have some.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<KeyId, KeyCaps>,
    /// What was said of caps in periods that were not over then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerted: Vec<Alerted>,
}

/// Caps of one scope, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapsInForce {
    /// Whose spending they are on.
    pub scope: CapScope,
    /// Those that hold.
    pub caps: Caps,
    /// What the file says.
    pub file: Caps,
    /// Who set them while the server ran, and when; `None` while the file's hold.
    pub set: Option<(String, Timestamp)>,
}

/// A cap, with what stands against it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapState {
    /// On which endpoint's spending; `None` for everything together, and for a key's.
    pub endpoint: Option<EndpointId>,
    /// On which key's spending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// In which period.
    pub period: Period,
    /// The cap.
    pub cap: NanoUsd,
    /// Spent since the period began, what is not in the ledger yet included.
    pub spent: NanoUsd,
    /// Set aside for cloud workers that there are or may be.
    pub reserved: NanoUsd,
    /// When the period ends.
    pub frees_at: Timestamp,
}

impl CapState {
    /// Whose spending it is on.
    #[must_use]
    pub fn scope(&self) -> CapScope {
        self.key.map_or_else(|| self.endpoint.into(), CapScope::Key)
    }

    /// What it leaves; negative where more is spent and set aside than it allows.
    #[must_use]
    pub fn left(&self) -> NanoUsd {
        self.cap - self.spent - self.reserved
    }

    /// How many workers or jobs there is money for, at so much each.
    #[must_use]
    pub fn pays_for(&self, each: NanoUsd) -> u32 {
        match (self.left().as_nanos(), each.as_nanos()) {
            (_, ..=0) => u32::MAX,
            (..=0, _) => 0,
            (left, each) => u32::try_from(left / each).unwrap_or(u32::MAX),
        }
    }
}

/// A cap that allows fewer cloud workers than are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapHit {
    /// Which, and what stands against it; what is set aside for the pool itself is left out.
    pub state: CapState,
    /// What one more worker would have to be reserved for.
    pub each: NanoUsd,
}

/// What came of asking for workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) workers: u32,
    pub(crate) hit: Option<CapHit>,
}

impl Core {
    /// Sets money aside for as many of `workers` of a pool as the caps allow, and for no fewer than
    /// its submissions can cause. How many may be wanted.
    pub(crate) fn reserve(&mut self, id: PoolId, workers: u32, out: &mut Out) -> Granted {
        let none = |workers| Granted { workers, hit: None };
        let Some(pool) = self.pools.get(&id) else {
            return none(0);
        };
        let endpoint = pool.record.endpoint;
        let execution_timeout = self
            .endpoints
            .get(&endpoint)
            .and_then(|endpoint| endpoint.spec.as_ref())
            .map(|spec| spec.execution_timeout)
            .unwrap_or_default();
        let each = pool
            .runpod()
            .and_then(|spec| worker_reservation(spec, execution_timeout));
        let Some(each) = each else {
            return none(self.refuse_unpriced(id, workers, out));
        };
        let granted = self.affordable(id, each, workers);
        let Some(pool) = self.pools.get_mut(&id) else {
            return none(0);
        };
        let needed = granted
            .workers
            .max(pool.workers_caused())
            .max(pool.workers_allowed())
            .max(pool.workers_billed());
        let is_dearer = needed > 0 && pool.record.reserved_each != each;
        if pool.record.reserved_workers != needed || is_dearer {
            let grows = needed > pool.record.reserved_workers;
            if pool.record.reserved_workers == 0 {
                pool.record.charged_until = self.now;
                pool.cloud.meter.nothing_until(self.now);
            }
            pool.record.reserved_workers = needed;
            pool.record.reserved_each = each;
            out.change(Change::PoolPut(pool.record.clone()));
            if grows {
                let reason = Reason::Reserved {
                    pool: id,
                    workers: needed,
                    each,
                };
                out.effect(Effect::Decided { endpoint, reason });
            }
        }
        granted
    }

    /// A pool without a known price keeps what it has and gets no more; it says so once.
    fn refuse_unpriced(&mut self, id: PoolId, workers: u32, out: &mut Out) -> u32 {
        let Some(pool) = self.pools.get_mut(&id) else {
            return 0;
        };
        if workers > 0 && pool.cloud.failures == 0 {
            pool.cloud.failures = 1;
            let endpoint = pool.record.endpoint;
            let reason = Reason::PriceUnknown { pool: id };
            out.effect(Effect::Decided { endpoint, reason });
        }
        pool.record.wanted.min(workers)
    }

    /// How many of `workers` of a pool the caps leave money for, and the tightest cap where that is
    /// fewer.
    fn affordable(&mut self, id: PoolId, each: NanoUsd, workers: u32) -> Granted {
        let mut granted = Granted { workers, hit: None };
        let Some(endpoint) = self.pools.get(&id).map(|pool| pool.record.endpoint) else {
            return granted;
        };
        for scope in [CapScope::Everything, CapScope::Endpoint(endpoint)] {
            for state in self.cap_states(scope, Some(id)) {
                let most = state.pays_for(each);
                if most < granted.workers {
                    granted = Granted {
                        workers: most,
                        hit: Some(CapHit { state, each }),
                    };
                }
            }
        }
        granted
    }

    /// The caps of a scope with what stands against them; without what is set aside for one pool.
    pub(crate) fn cap_states(&mut self, scope: CapScope, without: Option<PoolId>) -> Vec<CapState> {
        let caps = self.caps(scope);
        if caps.is_empty() {
            return Vec::new();
        }
        let (pending, reserved) = self.standing_against(scope, without);
        self.states(scope, caps, pending, reserved)
    }

    /// Caps of a scope with what stands against them.
    pub(crate) fn states(
        &mut self,
        scope: CapScope,
        caps: Caps,
        pending: NanoUsd,
        reserved: NanoUsd,
    ) -> Vec<CapState> {
        let mut spending = std::mem::take(&mut self.spending);
        let states = self.states_over(scope, caps, pending, reserved, &mut spending);
        self.spending = spending;
        states
    }

    /// What a scope costs that is not in the ledger yet, and what is set aside for it.
    fn standing_against(&self, scope: CapScope, without: Option<PoolId>) -> (NanoUsd, NanoUsd) {
        let (mut pending, mut reserved) = (NanoUsd::ZERO, NanoUsd::ZERO);
        for pool in self.pools.values() {
            match scope {
                CapScope::Endpoint(id) if id != pool.record.endpoint => {}
                CapScope::Endpoint(_) | CapScope::Everything => {
                    pending += pool.pending(self.now);
                    if without != Some(pool.record.id) {
                        reserved += pool.record.reserved();
                    }
                }
                CapScope::Key(key) => {
                    pending += pool.owed_by(key);
                    let of_keys = self.set_aside_in(pool, |wanted| wanted == key);
                    reserved += of_keys.into_values().sum();
                }
            }
        }
        (pending, reserved)
    }

    fn states_over(
        &self,
        scope: CapScope,
        caps: Caps,
        pending: NanoUsd,
        reserved: NanoUsd,
        spending: &mut Spending,
    ) -> Vec<CapState> {
        let (endpoint, key) = match scope {
            CapScope::Everything => (None, None),
            CapScope::Endpoint(id) => (Some(id), None),
            CapScope::Key(id) => (None, Some(id)),
        };
        let state = |(period, cap)| {
            let (spent, frees_at) = spending.in_period(scope, period, self.now, &self.calendar);
            CapState {
                endpoint,
                key,
                period,
                cap,
                spent: spent + pending,
                reserved,
                frees_at,
            }
        };
        caps.set().map(state).collect()
    }

    /// The caps in force: the live override, else the file's.
    #[must_use]
    pub fn caps(&self, scope: impl Into<CapScope>) -> Caps {
        let (file, set) = match scope.into() {
            CapScope::Everything => (self.caps_file, self.budget.caps_override.as_ref()),
            CapScope::Endpoint(id) => {
                let endpoint = self.endpoints.get(&id);
                let spec = endpoint.and_then(|endpoint| endpoint.spec.as_ref());
                let set = endpoint.and_then(|endpoint| endpoint.record.caps_override.as_ref());
                (spec.map(|spec| spec.caps).unwrap_or_default(), set)
            }
            CapScope::Key(key) => {
                let set = self.budget.keys.get(&key);
                return set.map(|set| set.caps).unwrap_or_default();
            }
        };
        set.map_or(file, |set| set.caps)
    }

    /// The caps of every scope that has some, or had some set: where they come from.
    #[must_use]
    pub fn caps_in_force(&self) -> Vec<CapsInForce> {
        let of = |set: &CapsOverride| (set.by.clone(), set.at);
        let everything = CapsInForce {
            scope: CapScope::Everything,
            caps: self.caps(CapScope::Everything),
            file: self.caps_file,
            set: self.budget.caps_override.as_ref().map(of),
        };
        let endpoints = self.endpoints.iter().filter_map(|(&id, endpoint)| {
            Some(CapsInForce {
                scope: CapScope::Endpoint(id),
                caps: self.caps(CapScope::Endpoint(id)),
                file: endpoint.spec.as_ref()?.caps,
                set: endpoint.record.caps_override.as_ref().map(of),
            })
        });
        let keys = self.budget.keys.iter().map(|(&key, set)| CapsInForce {
            scope: CapScope::Key(key),
            caps: set.caps,
            file: Caps::default(),
            set: Some((set.by.clone(), set.at)),
        });
        let all = std::iter::once(everything).chain(endpoints).chain(keys);
        all.filter(|it| !it.caps.is_empty() || !it.file.is_empty() || it.set.is_some())
            .collect()
    }

    /// Every cap in force with what stands against it: those on everything first, then those of
    /// endpoints, then those of keys.
    #[must_use]
    pub fn budget(&self) -> Vec<CapState> {
        // Sums of current periods are made when they are first asked for: on a copy of the book.
        let mut spending = Spending::new(self.spending.book.clone());
        self.all_states_over(&mut spending)
    }

    /// The same, with the sums that are kept.
    pub(crate) fn all_cap_states(&mut self) -> Vec<CapState> {
        let mut spending = std::mem::take(&mut self.spending);
        let states = self.all_states_over(&mut spending);
        self.spending = spending;
        states
    }

    fn all_states_over(&self, spending: &mut Spending) -> Vec<CapState> {
        let mut scopes = vec![CapScope::Everything];
        scopes.extend(self.endpoints.keys().copied().map(CapScope::Endpoint));
        scopes.extend(self.budget.keys.keys().copied().map(CapScope::Key));
        let mut states = Vec::new();
        for scope in scopes {
            let caps = self.caps(scope);
            if caps.is_empty() {
                continue;
            }
            let (pending, reserved) = self.standing_against(scope, None);
            states.extend(self.states_over(scope, caps, pending, reserved, spending));
        }
        states
    }

    /// The cap that kept cloud workers from an endpoint when it was last looked at.
    #[must_use]
    pub fn cap_hit(&self, endpoint: EndpointId) -> Option<CapHit> {
        self.endpoints.get(&endpoint)?.cap_hit
    }

    /// Takes back what still waits at a pool beyond the slots of `workers`.
    pub(crate) fn give_back(&mut self, id: PoolId, workers: u32, out: &mut Out) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let keep = workers.saturating_mul(pool.slots()) as usize;
        let excess = pool.outstanding.len().saturating_sub(keep);
        let waits = |id: &&AttemptId| {
            self.attempts.get(id).is_some_and(|attempt| {
                matches!(attempt.place, Place::Cloud(CloudPhase::Queued { .. }))
                    && attempt.fenced.is_none()
            })
        };
        let asked = pool.cloud.cancelling.len();
        let waiting = pool.outstanding.iter().filter(waits);
        let newest: Vec<AttemptId> = waiting
            .rev()
            .filter(|id| !pool.cloud.cancelling.contains(id))
            .take(excess.saturating_sub(asked))
            .copied()
            .collect();
        for attempt in newest {
            self.cancel_in_cloud(attempt, true, out);
        }
    }

    /// Writes a line to the ledger; caps count it at once.
    pub(crate) fn book(&mut self, entry: Entry, out: &mut Out) {
        self.spending.add(&entry);
        self.booked.add(&entry);
        out.change(Change::LedgerAdded(entry));
    }

    /// Sets caps while the server runs; they act at once and win until the file's value changes.
    pub(crate) fn on_caps_set(
        &mut self,
        request: RequestId,
        scope: CapScope,
        caps: Caps,
        by: &str,
        out: &mut Out,
    ) {
        if let Some(reason) = nonsense(caps) {
            return out.answer(request, Answer::CapsRefused { caps, reason });
        }
        let before = self.caps(scope);
        let set = |file| CapsOverride {
            caps,
            file,
            by: by.to_owned(),
            at: self.now,
        };
        let object = match scope {
            CapScope::Endpoint(id) => {
                let known = self.endpoints.get_mut(&id);
                let Some((endpoint, file)) = known.and_then(|endpoint| {
                    let file = endpoint.spec.as_ref()?.caps;
                    Some((endpoint, file))
                }) else {
                    return out.answer(request, Answer::NotFound);
                };
                endpoint.record.caps_override = Some(set(file));
                out.change(Change::EndpointPut(endpoint.record.clone()));
                endpoint.record.name.clone()
            }
            CapScope::Everything => {
                self.budget.caps_override = Some(set(self.caps_file));
                out.change(Change::BudgetPut(self.budget.clone()));
                "everything".to_owned()
            }
            CapScope::Key(key) => {
                if caps.is_empty() {
                    self.budget.keys.remove(&key);
                } else {
                    let set = KeyCaps {
                        caps,
                        by: by.to_owned(),
                        at: self.now,
                    };
                    self.budget.keys.insert(key, set);
                }
                out.change(Change::BudgetPut(self.budget.clone()));
                format!("key {key}")
            }
        };
        out.change(Change::Audited {
            at: self.now,
            what: "caps_set".into(),
            object,
            detail: format!("{} → {} by {by}", in_words(before), in_words(caps)),
        });
        out.answer(request, Answer::CapsSet { caps });
        self.look_at_all();
    }

    /// New caps of the file; a live change of them goes when the file says something else.
    pub(crate) fn configure_caps(&mut self, caps: Caps, calendar: Calendar, out: &mut Out) {
        self.caps_file = caps;
        if self.calendar != calendar {
            self.calendar = calendar;
            self.spending.forget_sums();
        }
        let set = self.budget.caps_override.as_ref();
        if set.is_some_and(|set| set.file != caps) {
            self.budget.caps_override = None;
            out.change(Change::BudgetPut(self.budget.clone()));
        }
    }

    /// Every endpoint is scaled anew, whenever it last was.
    pub(crate) fn look_at_all(&mut self) {
        for (&id, endpoint) in &mut self.endpoints {
            endpoint.scaled_at = Timestamp::from_millis(i64::MIN);
            self.dirty.insert(id);
        }
    }
}

/// Why caps make no sense, where they do not.
fn nonsense(caps: Caps) -> Option<String> {
    let set: Vec<(Period, NanoUsd)> = caps.set().collect();
    if let Some((period, cap)) = set.iter().find(|(_, cap)| cap.as_nanos() < 0) {
        return Some(format!("{} {cap} is negative", period.key()));
    }
    let mut pairs = set.windows(2);
    let above = pairs.find(|pair| pair[0].1 > pair[1].1)?;
    let ((short, more), (long, less)) = (above[0], above[1]);
    Some(format!(
        "{} {more} is above {} {less}",
        short.key(),
        long.key()
    ))
}

fn in_words(caps: Caps) -> String {
    let words: Vec<String> = caps
        .set()
        .map(|(period, cap)| format!("{} {cap}", period.key()))
        .collect();
    if words.is_empty() {
        "no cap".to_owned()
    } else {
        words.join(", ")
    }
}

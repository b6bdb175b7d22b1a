//! Money is reserved before it is spent, and never more than the caps leave.
//!
//! A pool may cause as many workers as it wants and as its submissions need; for each of them a
//! whole worker's reservation is set aside first, in the same transaction. What a cap leaves after
//! what was spent in its period and what is set aside for all that it covers, says how many workers
//! may be wanted: at none, nothing is submitted, RunPod's limit goes to zero, and what still waits
//! there comes back. So no path spends around a cap: a submission, a retry, another pool, a worker
//! that is always on all need a worker that is reserved for. An unknown price is refused.
//!
//! **Words.** A *cap* is what may be spent in a period of the calendar, on everything or on one
//! endpoint; what binds is the *hit*.

use serde::{Deserialize, Serialize};

use crate::attempt::{CloudPhase, Place};
use crate::calendar::{Calendar, Period};
use crate::change::Change;
use crate::effect::{Answer, Effect, Out};
use crate::explain::Reason;
use crate::id::{AttemptId, EndpointId, PoolId, RequestId};
use crate::ledger::Entry;
use crate::machine::Core;
use crate::money::NanoUsd;
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

/// What is durable of the caps on everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRecord {
    /// A live change, which wins until the file's value changes.
    pub caps_override: Option<CapsOverride>,
    /// A guard watches: workers may be kept on.
    #[serde(default)]
    pub is_guarded: bool,
}

/// A cap, with what stands against it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapState {
    /// On which endpoint's spending; `None` for everything together.
    pub endpoint: Option<EndpointId>,
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
        for scope in [None, Some(endpoint)] {
            for state in self.cap_states(scope, Some(id)) {
                let left = state.cap - state.spent - state.reserved;
                let most = match (left.as_nanos(), each.as_nanos()) {
                    (_, ..=0) => u32::MAX,
                    (..=0, _) => 0,
                    (left, each) => u32::try_from(left / each).unwrap_or(u32::MAX),
                };
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
    fn cap_states(&mut self, scope: Option<EndpointId>, without: Option<PoolId>) -> Vec<CapState> {
        let caps = self.caps(scope);
        if caps.is_empty() {
            return Vec::new();
        }
        let (now, mut pending, mut reserved) = (self.now, NanoUsd::ZERO, NanoUsd::ZERO);
        for pool in self.pools.values() {
            if scope.is_some_and(|id| id != pool.record.endpoint) {
                continue;
            }
            pending += pool.pending(now);
            if without != Some(pool.record.id) {
                reserved += pool.record.reserved();
            }
        }
        let sums = caps.set().map(|(period, cap)| {
            let (spent, frees_at) = self.spending.in_period(scope, period, now, &self.calendar);
            CapState {
                endpoint: scope,
                period,
                cap,
                spent: spent + pending,
                reserved,
                frees_at,
            }
        });
        sums.collect()
    }

    /// The caps in force: the live override, else the file's.
    #[must_use]
    pub fn caps(&self, scope: Option<EndpointId>) -> Caps {
        let (file, set) = match scope {
            None => (self.caps_file, self.budget.caps_override.as_ref()),
            Some(id) => {
                let endpoint = self.endpoints.get(&id);
                let spec = endpoint.and_then(|endpoint| endpoint.spec.as_ref());
                let set = endpoint.and_then(|endpoint| endpoint.record.caps_override.as_ref());
                (spec.map(|spec| spec.caps).unwrap_or_default(), set)
            }
        };
        set.map_or(file, |set| set.caps)
    }

    /// Every cap in force with what stands against it: those on everything first.
    #[must_use]
    pub fn budget(&self) -> Vec<CapState> {
        // Sums of current periods are made when they are first asked for: on a copy of the book.
        let mut spending = crate::spent::Spending::new(self.spending.book.clone());
        let mut scopes = vec![None];
        scopes.extend(self.endpoints.keys().copied().map(Some));
        let mut states = Vec::new();
        for scope in scopes {
            let pools = self.pools.values();
            let its = pools.filter(|pool| scope.is_none_or(|id| id == pool.record.endpoint));
            let (mut pending, mut reserved) = (NanoUsd::ZERO, NanoUsd::ZERO);
            for pool in its {
                pending += pool.pending(self.now);
                reserved += pool.record.reserved();
            }
            for (period, cap) in self.caps(scope).set() {
                let (spent, frees_at) = spending.in_period(scope, period, self.now, &self.calendar);
                states.push(CapState {
                    endpoint: scope,
                    period,
                    cap,
                    spent: spent + pending,
                    reserved,
                    frees_at,
                });
            }
        }
        states
    }

    /// The cap that kept cloud workers from an endpoint when it was last looked at.
    #[must_use]
    pub fn cap_hit(&self, endpoint: EndpointId) -> Option<CapHit> {
        self.endpoints.get(&endpoint)?.cap_hit
    }

    /// Takes back what still waits at a pool beyond the slots of `workers`: no money is left for it.
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
        scope: Option<EndpointId>,
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
        let object = if let Some(id) = scope {
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
        } else {
            self.budget.caps_override = Some(set(self.caps_file));
            out.change(Change::BudgetPut(self.budget.clone()));
            "everything".to_owned()
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

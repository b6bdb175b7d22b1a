//! Workers that are always on, and who ends them when all of Overspill is dead.
//!
//! RunPod ends an idle worker by itself unless it is one of `min`: those stay on, and cost money, for as
//! long as nobody lowers `min`. So `min` above 0 needs somebody who does that when we no longer can: a
//! *guard*, a process of its own that asks the server now and then whether it lives, and sets the
//! limits of its endpoints to zero once it has been silent for too long; or the user's word in the
//! configuration. Without either, `min` is held at 0, and it is said so.
//!
//! Each question of the guard is a fact for the core ([`crate::event::Event::GuardSeen`]), answered after its
//! commit: a server whose engine stands still is silent. That a guard was there is durable, so that a
//! restart does not end the workers that are on; it has then as long as it may be away to ask again.
//!
//! [`Watch`] is the guard's own rule, pure as everything here: the guard process, the simulator and the
//! tests run the same.

use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::effect::{Answer, Effect, Out};
use crate::endpoint::Endpoint;
use crate::explain::Reason;
use crate::id::{EndpointId, RequestId};
use crate::machine::Core;
use crate::time::{DurationMs, Timestamp};
use crate::timers::Timer;

/// What the configuration says of the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardSpec {
    /// Silence of the server after which a guard lowers; a guard that is silent for as long counts as gone.
    pub after: DurationMs,
    /// The user's word that workers may be kept on without a guard.
    pub unguarded_min: bool,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self {
            after: DurationMs::from_secs(60),
            unguarded_min: false,
        }
    }
}

/// The least silence that may be asked for: shorter, and a restart would count as a death.
pub const AFTER_MIN: DurationMs = DurationMs::from_secs(10);
/// The longest.
pub const AFTER_MAX: DurationMs = DurationMs::from_secs(3_600);
/// Unanswered questions in a row before a guard acts, however long they took: one that slept itself asks
/// again first.
const SILENCES_MIN: u32 = 3;
/// From the decision to act until RunPod has the lower limits, its own refusals and repeats included.
const ACTING: DurationMs = DurationMs::from_secs(20);

/// How often a guard asks: several times within the silence that counts.
#[must_use]
pub fn every(after: DurationMs) -> DurationMs {
    DurationMs::from_millis((after.as_millis() / 6).clamp(1_000, 10_000))
}

/// How long a guard waits for an answer.
#[must_use]
pub fn patience(after: DurationMs) -> DurationMs {
    DurationMs::from_millis(every(after).as_millis().min(5_000))
}

/// At most so long after the death of everything else has a guard that lives set the limits to zero.
#[must_use]
pub fn acts_within(after: DurationMs) -> DurationMs {
    after + every(after) + every(after) + patience(after) + ACTING
}

/// The guard's rule: acts after enough unanswered questions over a long enough time.
#[derive(Debug, Clone)]
pub struct Watch {
    after: DurationMs,
    /// When the first of the unanswered questions was asked.
    silent_since: Option<Timestamp>,
    silences: u32,
    /// When it acted, and what it then saw may no longer hold.
    acted_at: Option<Timestamp>,
}

impl Watch {
    /// One that has not asked yet.
    #[must_use]
    pub const fn new(after: DurationMs) -> Self {
        Self {
            after,
            silent_since: None,
            silences: 0,
            acted_at: None,
        }
    }

    /// The server answered. Says whether it had been given up.
    pub const fn on_answer(&mut self) -> bool {
        let had_acted = self.acted_at.is_some();
        self.silent_since = None;
        self.silences = 0;
        self.acted_at = None;
        had_acted
    }

    /// A question, asked at `asked_at`, was not answered. Says whether to lower now: once it has been
    /// silent for long enough, and again each time as long, for somebody may have raised meanwhile.
    pub fn on_silence(&mut self, asked_at: Timestamp) -> bool {
        let since = *self.silent_since.get_or_insert(asked_at);
        self.silences += 1;
        let is_long = asked_at.since(since) >= self.after && self.silences >= SILENCES_MIN;
        let is_again = self
            .acted_at
            .is_none_or(|acted| asked_at.since(acted) >= self.after);
        let acts = is_long && is_again;
        if acts {
            self.acted_at = Some(asked_at);
        }
        acts
    }

    /// Lowering failed: it is tried again with the next unanswered question.
    pub const fn on_failed(&mut self) {
        self.acted_at = None;
    }

    /// How long the server has been silent.
    #[must_use]
    pub fn silent_for(&self, now: Timestamp) -> DurationMs {
        self.silent_since
            .map_or(DurationMs::ZERO, |since| now.since(since))
    }
}

impl Core {
    /// Whether workers may be kept on: under a guard, or with the user's word.
    #[must_use]
    pub const fn may_keep_on(&self) -> bool {
        self.guard.unguarded_min || self.budget.is_guarded
    }

    /// Whether a guard watches this server.
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.budget.is_guarded
    }

    /// What the configuration says of the guard.
    #[must_use]
    pub const fn guard(&self) -> GuardSpec {
        self.guard
    }

    pub(crate) fn on_guard_seen(&mut self, request: RequestId, out: &mut Out) {
        self.guard_seen_at = Some(self.now);
        self.timers.set(self.now + self.guard.after, Timer::Guard);
        if !self.budget.is_guarded {
            self.set_guarded(true, out);
        }
        let pools = self.pools.values().filter_map(|pool| pool.runpod());
        let ours = pools.filter(|spec| spec.manage);
        let mut endpoints: Vec<String> = ours.map(|spec| spec.endpoint.clone()).collect();
        // Also what is no longer configured and not yet known to be off.
        let kept = self.pools.values().map(|pool| &pool.record.kept_on);
        let kept = kept.filter(|kept| kept.workers > 0);
        endpoints.extend(kept.map(|kept| kept.endpoint.clone()));
        endpoints.sort();
        endpoints.dedup();
        let after = self.guard.after;
        out.answer(request, Answer::Guarded { after, endpoints });
    }

    /// The time of a guard that was seen may be over.
    pub(crate) fn on_guard_due(&mut self, out: &mut Out) {
        let seen_at = self.guard_seen_at.unwrap_or(self.restored_at);
        if self.budget.is_guarded && self.now.since(seen_at) >= self.guard.after {
            self.set_guarded(false, out);
        }
    }

    fn set_guarded(&mut self, is_guarded: bool, out: &mut Out) {
        self.budget.is_guarded = is_guarded;
        out.change(Change::BudgetPut(self.budget.clone()));
        let detail = if is_guarded {
            "a guard watches this server"
        } else {
            "no guard has been heard of for too long"
        };
        out.change(Change::Audited {
            at: self.now,
            what: "guard".into(),
            object: "everything".into(),
            detail: detail.into(),
        });
        self.keep_on_or_hold();
        self.look_at_all();
    }

    /// New settings of the guard, or new limits: who may keep workers on is worked out anew.
    pub(crate) fn configure_guard(&mut self, guard: GuardSpec) {
        self.guard = guard;
        if self.budget.is_guarded {
            let seen_at = self.guard_seen_at.unwrap_or(self.restored_at);
            self.timers.set(seen_at + guard.after, Timer::Guard);
        }
        self.keep_on_or_hold();
    }

    /// Tells each endpoint whether it may keep workers on.
    pub(crate) fn keep_on_or_hold(&mut self) {
        let is_unguarded = !self.may_keep_on();
        for endpoint in self.endpoints.values_mut() {
            endpoint.is_unguarded = is_unguarded;
        }
    }

    /// Says that the min of an endpoint with cloud pools is held at 0, where that is news.
    pub(crate) fn tell_held(&mut self, id: EndpointId, out: &mut Out) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        let min = endpoint.held(now);
        let before = std::mem::replace(&mut endpoint.told_held, min);
        if min > 0 && min != before {
            let reason = Reason::MinHeld { min };
            out.effect(Effect::Decided {
                endpoint: id,
                reason,
            });
        }
    }
}

impl Endpoint {
    /// The min that is asked for now and held at 0; 0 where none is.
    #[must_use]
    pub fn held(&self, now: Timestamp) -> u32 {
        if self.is_unguarded {
            self.min_asked(now)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + DurationMs::from_secs(seconds)
    }

    const AFTER: DurationMs = DurationMs::from_secs(60);

    #[test]
    fn it_acts_after_the_silence_and_not_before() {
        let mut watch = Watch::new(AFTER);
        for second in (0..60).step_by(10) {
            assert!(!watch.on_silence(at(second)), "after {second} s");
        }
        assert!(watch.on_silence(at(60)));
        assert!(!watch.on_silence(at(70)), "once");
        assert!(watch.on_silence(at(120)), "and again after as long");
    }

    #[test]
    fn an_answer_begins_the_count_anew() {
        let mut watch = Watch::new(AFTER);
        for second in (0..50).step_by(10) {
            watch.on_silence(at(second));
        }
        assert!(!watch.on_answer());
        assert!(!watch.on_silence(at(60)), "a restart is no death");
        for second in (70..120).step_by(10) {
            assert!(!watch.on_silence(at(second)));
        }
        assert!(watch.on_silence(at(120)));
        assert!(watch.on_answer(), "it had acted");
    }

    #[test]
    fn a_guard_that_slept_asks_again_before_it_acts() {
        let mut watch = Watch::new(AFTER);
        assert!(!watch.on_silence(at(0)));
        // Suspended for an hour: the server may have lived all along.
        assert!(!watch.on_silence(at(3_600)));
        assert!(
            watch.on_silence(at(3_610)),
            "three questions went unanswered"
        );
    }

    #[test]
    fn what_failed_is_tried_again_at_once() {
        let mut watch = Watch::new(AFTER);
        for second in (0..=60).step_by(10) {
            watch.on_silence(at(second));
        }
        watch.on_failed();
        assert!(watch.on_silence(at(70)));
    }

    #[test]
    fn the_time_that_it_takes_covers_what_the_rule_does() {
        for after in [AFTER_MIN, AFTER, AFTER_MAX] {
            let step = every(after);
            let mut watch = Watch::new(after);
            // Death right after an answer: the next question comes a step later.
            let mut asked = at(0) + step;
            while !watch.on_silence(asked) {
                asked += step;
            }
            let acted = asked + patience(after);
            assert!(
                acted.since(at(0)) + ACTING <= acts_within(after),
                "after {after}: {acted}"
            );
        }
    }
}

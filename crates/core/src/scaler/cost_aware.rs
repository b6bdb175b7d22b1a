//! The default: the cheapest way to keep the promise.
//!
//! Projects the queue, and the arrivals to be expected, on the slots that there are and that are on
//! their way, and starts a worker only at the last moment at which a start still helps. The price
//! of a start is K (the mean start-up, in worker-seconds); a job that starts later than its share of
//! the promise costs V = [`Constants::lateness_price`] × K, and more the later it is. A worker
//! stops as soon as nothing that waits may go to it: with a promise longer than a start-up, the next
//! start waits anyway and serves all that arrives meanwhile.
//!
//! With local cards, nothing goes to the cloud and nothing starts unless the local slots alone would
//! be late; then the first jobs go that must go for the rest to be served locally in time.
//! `docs/design/scaler.md` has the measurements behind each constant.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{CloudWorker, Phase, View, Wish, count};
use crate::time::{DurationMs, Timestamp};

/// What is overdue is thought to be ready this much later than now.
const OVERDUE: DurationMs = DurationMs::from_secs(5);
/// Expected arrivals that are looked at, at most.
const PHANTOMS_MAX: usize = 300;

/// The constants of the rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    /// A job is late beyond this share of the promise.
    pub wait_share: f64,
    /// The same while more jobs than `late_share` were late.
    pub wait_share_strict: f64,
    /// What a late job costs, in starts; at least 1, for a cheaper lateness makes the rule give up.
    pub lateness_price: f64,
    /// How often the rule is asked: what is not started now can be started this much later.
    pub period: DurationMs,
    /// How far ahead arrivals are expected.
    pub horizon: DurationMs,
    /// Share of the jobs that may be late where that saves a start.
    pub late_share: f64,
    /// Jobs that may be late at once without a price, at most.
    pub forgiven_max: f64,
    /// Beyond this many promises no lateness is forgiven.
    pub forgiven_until: f64,
    /// While a cloud worker is warm, it serves until the local slots alone keep this share of the
    /// promise: else it stops at the brink, and starts again a minute later.
    pub relief_share: f64,
}

impl Default for Constants {
    fn default() -> Self {
        Self {
            wait_share: 1.0,
            wait_share_strict: 0.95,
            lateness_price: 2.0,
            period: DurationMs::from_secs(2),
            horizon: DurationMs::from_secs(60),
            late_share: 0.018,
            forgiven_max: 6.0,
            forgiven_until: 2.0,
            relief_share: 0.5,
        }
    }
}

/// What the rule wants with these constants.
#[must_use]
pub fn wish(constants: &Constants, view: &View<'_>) -> Wish {
    let Some(fleet) = view.fleet else {
        // Without a picture of the single workers it acts on the projection at once.
        return super::queue_delay::wish(DurationMs::ZERO, view);
    };
    let scene = Scene::new(constants, view, fleet);
    let starting = fleet.iter().filter(|w| w.is_starting()).count();
    let idle = fleet.iter().filter(|w| w.is_idle()).count();
    let running = fleet.len() - idle - starting;
    let quota = scene.quota();
    if quota == 0 {
        return Wish {
            workers: count(running + starting),
            spill: 0,
        };
    }
    // Idle workers are wanted only as far as jobs go to them now.
    let going = quota.min(view.picture.waiting_total);
    let kept = going
        .saturating_sub(scene.running_room())
        .div_ceil(scene.slots)
        .min(idle);
    Wish {
        workers: count(running + starting + kept + scene.starts()),
        spill: count(quota),
    }
}

/// A job in the projection: when it came or is expected to, and how long it will run.
#[derive(Debug, Clone, Copy)]
struct Work {
    at: i64,
    length: i64,
}

/// The picture in the numbers that the projection works with; times in ms.
struct Scene<'a> {
    constants: &'a Constants,
    view: &'a View<'a>,
    fleet: &'a [CloudWorker],
    now: i64,
    slots: usize,
    /// Waiting jobs in order, then expected ones.
    works: Vec<Work>,
    waiting: usize,
    /// When each slot of the cloud is free.
    cloud: Vec<i64>,
    promise: f64,
    start_price: f64,
    late_after: f64,
    /// So many late jobs are free of charge, and up to this wait.
    forgiven: f64,
    forgiven_until: f64,
}

impl<'a> Scene<'a> {
    fn new(constants: &'a Constants, view: &'a View<'a>, fleet: &'a [CloudWorker]) -> Self {
        let picture = view.picture;
        let now = picture.now.as_millis();
        let slots = view.cloud.slots.max(1) as usize;
        let may_go = picture
            .waiting
            .iter()
            .filter(|job| job.is_cloudable && !job.is_low_priority);
        let mut works: Vec<Work> = may_go
            .map(|job| Work {
                at: job.submitted_at.as_millis(),
                length: millis(job.execution),
            })
            .collect();
        let waiting = works.len();
        let horizon = constants.horizon.as_secs_f64();
        let phantoms = whole(view.history.rate_per_s(picture.now) * horizon).min(PHANTOMS_MAX);
        let length = millis(view.history.typical(view.expected));
        let step = millis(constants.horizon) / i64::try_from(phantoms.max(1)).unwrap_or(i64::MAX);
        let mut at = now;
        for _ in 0..phantoms {
            at += step;
            works.push(Work { at, length });
        }
        let promise = picture.max_wait.as_secs_f64() * 1_000.0;
        let credit = view.history.credit(constants.late_share);
        let wait_share = if credit < 0.0 {
            constants.wait_share_strict
        } else {
            constants.wait_share
        };
        Self {
            constants,
            view,
            fleet,
            now,
            slots,
            works,
            waiting,
            cloud: cloud_slots(view, fleet, slots),
            promise,
            start_price: view.history.start_mean().as_secs_f64(),
            late_after: promise * wait_share,
            forgiven: credit.floor().clamp(0.0, constants.forgiven_max),
            forgiven_until: promise * constants.forgiven_until,
        }
    }

    /// How many of the first waiting jobs may go to the cloud.
    fn quota(&self) -> usize {
        let local = &self.view.picture.local;
        if local.is_empty() {
            return usize::MAX;
        }
        let horizon = self.constants.horizon.as_millis() as f64;
        let ahead = DurationMs::from_millis((horizon / (self.slots as f64).sqrt()) as u64);
        let until = self.now + millis(ahead);
        let seen = self.works.iter().filter(|work| work.at <= until).count();
        let has_warm = self.fleet.iter().any(|worker| !worker.is_starting());
        let share = if has_warm {
            self.constants.relief_share
        } else {
            1.0
        };
        let late_after = self.late_after * share;
        let is_late = |skipped: usize| {
            let works = &self.works[skipped.min(seen)..seen];
            is_late(self.local_slots(), works, late_after)
        };
        if !is_late(0) {
            return 0;
        }
        let (mut too_few, mut enough) = (0, self.waiting);
        while too_few + 1 < enough {
            let middle = usize::midpoint(too_few, enough);
            if is_late(middle) {
                too_few = middle;
            } else {
                enough = middle;
            }
        }
        self.in_whole_workers(enough)
    }

    /// At least what fits on workers that run anyway; more only for whole workers.
    fn in_whole_workers(&self, least: usize) -> usize {
        if self.slots == 1 {
            return least;
        }
        let room = self.running_room();
        room + least.saturating_sub(room).div_ceil(self.slots) * self.slots
    }

    /// Free slots of the workers that run something.
    fn running_room(&self) -> usize {
        self.fleet
            .iter()
            .filter(|worker| !worker.is_starting() && !worker.is_idle())
            .map(|worker| self.slots.saturating_sub(worker.busy.len()))
            .sum()
    }

    /// When each local slot is free.
    fn local_slots(&self) -> Vec<i64> {
        let local = self.view.picture.local.iter();
        local.map(|at| at.as_millis().max(self.now)).collect()
    }

    /// How many workers to start now rather than one period later.
    fn starts(&self) -> usize {
        let room = (self.view.max as usize).saturating_sub(self.fleet.len());
        let mut best = self.best(0, room);
        let mut starts = 0;
        while starts < room {
            let next = self.best(starts + 1, room);
            if next >= best {
                break;
            }
            (best, starts) = (next, starts + 1);
        }
        starts
    }

    /// The least cost with `starts` workers started now, over how many start one period later.
    fn best(&self, starts: usize, room: usize) -> f64 {
        let mut best = f64::INFINITY;
        let mut misses = 0;
        for later in 0..=room - starts {
            let cost = self.cost(starts, later, best);
            if cost < best {
                best = cost;
                misses = 0;
            } else {
                misses += 1;
                if misses == 2 {
                    break;
                }
            }
        }
        best
    }

    fn cost(&self, starts: usize, later: usize, limit: f64) -> f64 {
        let price = (starts + later) as f64 * self.start_price;
        if price >= limit {
            return f64::INFINITY;
        }
        let ready = self.now + millis(self.view.history.start_longest());
        let ready_later = ready + millis(self.constants.period);
        let mut free = self.local_slots();
        free.extend_from_slice(&self.cloud);
        free.extend(std::iter::repeat_n(ready, starts * self.slots));
        free.extend(std::iter::repeat_n(ready_later, later * self.slots));
        price + self.lateness(free, &self.works, limit - price)
    }

    /// What it costs that jobs start late, each going to the slot that is free first; stops
    /// counting beyond `limit`.
    fn lateness(&self, free: Vec<i64>, works: &[Work], limit: f64) -> f64 {
        if free.is_empty() {
            return if works.is_empty() { 0.0 } else { f64::INFINITY };
        }
        let price = self.constants.lateness_price * self.start_price;
        let mut free: BinaryHeap<Reverse<i64>> = free.into_iter().map(Reverse).collect();
        let mut total = 0.0;
        let mut forgiven = self.forgiven;
        for work in works {
            let mut slot = free
                .peek_mut()
                .expect("there is a slot, and none is taken away");
            let start = slot.0.max(work.at);
            slot.0 = start + work.length;
            let wait = (start - work.at) as f64;
            if wait > self.late_after {
                if forgiven >= 1.0 && wait <= self.forgiven_until {
                    forgiven -= 1.0;
                    continue;
                }
                total += price * (1.0 + (wait - self.late_after) / self.promise);
                if total > limit {
                    return total;
                }
            }
        }
        total
    }
}

/// Whether any job waits longer than `late_after`, each going to the slot that is free first.
fn is_late(free: Vec<i64>, works: &[Work], late_after: f64) -> bool {
    let mut free: BinaryHeap<Reverse<i64>> = free.into_iter().map(Reverse).collect();
    works.iter().any(|work| {
        let Some(mut slot) = free.peek_mut() else {
            return true;
        };
        let start = slot.0.max(work.at);
        slot.0 = start + work.length;
        (start - work.at) as f64 > late_after
    })
}

/// When each cloud slot that there is, or that is on its way, is free.
fn cloud_slots(view: &View<'_>, fleet: &[CloudWorker], slots: usize) -> Vec<i64> {
    let now = view.picture.now;
    let mean = view.history.start_mean();
    let mut free = Vec::with_capacity(fleet.len() * slots);
    for worker in fleet {
        let ready = match worker.phase {
            Phase::Starting { since } => overdue(since + mean, now),
            Phase::Ready { .. } => now,
        };
        free.extend(worker.busy.iter().map(|at| at.as_millis()));
        let idle = slots.saturating_sub(worker.busy.len());
        free.extend(std::iter::repeat_n(ready.as_millis(), idle));
    }
    free
}

fn overdue(ready: Timestamp, now: Timestamp) -> Timestamp {
    if ready > now { ready } else { now + OVERDUE }
}

fn millis(length: DurationMs) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 4)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of expected arrivals: never negative, and capped"
)]
fn whole(expected: f64) -> usize {
    expected as usize
}

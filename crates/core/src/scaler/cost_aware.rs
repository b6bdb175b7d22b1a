//! The default: the cheapest way to keep the promise.
//!
//! Projects the queue, and the arrivals to be expected, on the slots that there are and that are on
//! their way, and starts a worker only at the last moment at which a start still helps. The price
//! of a start is K (the mean start-up, in worker-seconds); a job that starts later than its share of
//! the promise costs V = [`Constants::lateness_price`] × K, and more the later it is. A worker
//! stops as soon as nothing that waits may go to it: with a promise longer than a start-up, the next
//! start waits anyway and serves all that arrives meanwhile.
//!
//! With a promise shorter than a start-up no start can keep it, and idle workers are kept warm: each for
//! the price of a start-up, longer while too many jobs are late and shorter while hardly any is.
//!
//! With local cards, nothing goes to the cloud and nothing starts unless the local slots alone would
//! be late; then the first jobs go that must go for the rest to be served locally in time.
//! `docs/design/scaler.md` has the measurements behind each constant.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{CloudWorker, Phase, View, Weighed, Wish, count};
use crate::time::{DurationMs, Timestamp};

/// What is overdue is thought to be ready this much later than now.
const OVERDUE: DurationMs = DurationMs::from_secs(5);
/// Expected arrivals that are looked at, at most.
const PHANTOMS_MAX: usize = 300;
/// Waiting jobs beyond those seen one by one are looked at in so many blocks, at most.
const BLOCKS_MAX: usize = 200;
/// After so many starts at once, more are tried in growing steps.
const STARTS_SINGLE: usize = 8;

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
    /// While cautious, a projected start is moved back by this many times the root of the summed squares
    /// of the durations ahead of it on its slot: durations are guesses, and the first guesses are poor.
    pub caution: f64,
    /// It is cautious until so many jobs have started, and while too many were late.
    pub cautious_until: f64,
    /// Share of the jobs that may be late with a promise shorter than a start-up.
    pub tight_late_share: f64,
    /// With such a promise an idle worker is kept for the price of a start-up, longer or shorter by this
    /// many times the share by which too many or too few jobs were late.
    pub tight_gain: f64,
    /// An idle worker is kept for at most so many start-ups.
    pub tight_keep_max: f64,
    /// An idle worker is kept at least this long, whatever the promise.
    pub min_idle: DurationMs,
}

impl Default for Constants {
    fn default() -> Self {
        Self {
            wait_share: 1.0,
            wait_share_strict: 0.95,
            lateness_price: 2.0,
            period: DurationMs::from_secs(2),
            horizon: DurationMs::from_secs(60),
            late_share: 0.022,
            forgiven_max: 6.0,
            forgiven_until: 2.0,
            relief_share: 0.5,
            caution: 0.3,
            cautious_until: 120.0,
            tight_late_share: 0.08,
            tight_gain: 4.0,
            tight_keep_max: 20.0,
            min_idle: DurationMs::ZERO,
        }
    }
}

/// What the rule wants with these constants.
#[must_use]
pub fn wish(constants: &Constants, view: &View<'_>) -> Wish {
    decide(constants, view).0
}

/// The same, with what it weighed; none where only counts of workers are known.
#[must_use]
pub fn decide(constants: &Constants, view: &View<'_>) -> (Wish, Option<Weighed>) {
    let Some(fleet) = view.fleet else {
        // Without a picture of the single workers it acts on the projection at once.
        return (super::queue_delay::wish(DurationMs::ZERO, view), None);
    };
    let scene = Scene::new(constants, view, fleet);
    let starting = fleet.iter().filter(|w| w.is_starting()).count();
    let idle = fleet.iter().filter(|w| w.is_idle()).count();
    let running = fleet.len() - idle - starting;
    let quota = scene.quota();
    // Jobs that RunPod has already are the first to go.
    let submitted = view.submitted.len();
    let warm = scene.warm();
    let going = quota
        .min(view.picture.waiting_total.saturating_add(submitted))
        .max(submitted);
    // Idle workers are wanted only as far as jobs go to them now.
    let kept = going
        .saturating_sub(scene.running_room())
        .div_ceil(scene.slots)
        .min(idle)
        .max(warm);
    let choice = if quota == 0 {
        Choice::none(scene.start_price)
    } else {
        scene.starts()
    };
    // What RunPod has must be run there: no limit may be too low for it.
    let caused = view.cloud.outstanding.div_ceil(view.cloud.slots.max(1));
    let workers = count(running + starting + kept + choice.starts).max(caused);
    let weighed = Weighed {
        ready: count(running + idle),
        idle: count(idle),
        starting: count(starting),
        starts: count(choice.starts),
        kept: count(kept),
        price: worker_time(choice.price),
        more: choice.more.map(worker_time),
        fewer: choice.fewer.map(worker_time),
        start_mean: view.history.start_mean(),
        start_longest: view.history.start_longest(),
        keep: scene.keep,
        is_cautious: scene.caution > 0.0,
    };
    let spill = if quota == usize::MAX {
        quota
    } else {
        quota.saturating_sub(submitted)
    };
    let wish = Wish {
        workers,
        spill: count(spill),
        keep: scene.keep,
    };
    (wish, Some(weighed))
}

/// How many starts are the cheapest, and what they and their neighbours would cost, in
/// worker-seconds.
#[derive(Debug, Clone, Copy)]
struct Choice {
    starts: usize,
    price: f64,
    /// With at least one start more; none where there is no room for one.
    more: Option<f64>,
    /// With at least one start fewer; none where there is none to leave out.
    fewer: Option<f64>,
}

impl Choice {
    /// Nothing waits for the cloud: a start would cost its price and bring nothing.
    const fn none(start_price: f64) -> Self {
        Self {
            starts: 0,
            price: 0.0,
            more: Some(start_price),
            fewer: None,
        }
    }
}

/// A job in the projection: when it came or is expected to, and how long it will run.
#[derive(Debug, Clone, Copy)]
struct Work {
    at: i64,
    length: i64,
    /// How many jobs it stands for, one after the other.
    jobs: usize,
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
    /// What a start is moved back by, in ms for each second of deviation.
    caution: f64,
    /// How long an idle worker is kept.
    keep: DurationMs,
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
        // What RunPod has and has not begun came first, and its first slots are for it.
        let mut works: Vec<Work> = view
            .submitted
            .iter()
            .chain(may_go)
            .map(|job| Work {
                at: job.submitted_at.as_millis(),
                length: millis(job.execution),
                jobs: 1,
            })
            .collect();
        let length = millis(view.history.typical(view.expected));
        let beyond = picture.waiting_total.saturating_sub(picture.waiting.len());
        if let Some(at) = works.last().map(|last| last.at) {
            let jobs = beyond.div_ceil(BLOCKS_MAX).max(1);
            works.extend((0..beyond / jobs).map(|_| Work {
                at,
                length: length.saturating_mul(i64::try_from(jobs).unwrap_or(i64::MAX)),
                jobs,
            }));
        }
        let waiting = works.len();
        let horizon = constants.horizon.as_secs_f64();
        let phantoms = whole(view.history.rate_per_s(picture.now) * horizon).min(PHANTOMS_MAX);
        let step = millis(constants.horizon) / i64::try_from(phantoms.max(1)).unwrap_or(i64::MAX);
        let mut at = now;
        for _ in 0..phantoms {
            at += step;
            works.push(Work {
                at,
                length,
                jobs: 1,
            });
        }
        let promise = picture.max_wait.as_secs_f64() * 1_000.0;
        let credit = view.history.credit(constants.late_share);
        let is_cautious = credit < 0.0 || begun(view) < constants.cautious_until;
        let wait_share = if credit < 0.0 {
            constants.wait_share_strict
        } else {
            constants.wait_share
        };
        let mut scene = Self {
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
            caution: if is_cautious {
                constants.caution * 1_000.0
            } else {
                0.0
            },
            keep: DurationMs::ZERO,
        };
        scene.keep = scene.keep();
        scene
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
        let jobs = self.works[..enough].iter().map(|work| work.jobs).sum();
        self.in_whole_workers(jobs)
    }

    /// Whether the promise is shorter than a start-up, so that no start can keep it.
    fn is_tight(&self) -> bool {
        self.promise < millis(self.view.history.start_longest()) as f64
    }

    /// How long an idle worker is kept for work that may come: with a promise longer than a start-up
    /// no longer than it must be, else for the price of a start-up, by how many jobs were late.
    fn keep(&self) -> DurationMs {
        let least = self.constants.min_idle;
        if !self.is_tight() {
            return least.min(self.view.idle_max);
        }
        let late = -self.view.history.credit(0.0) / begun(self.view).max(1.0);
        let excess = late / self.constants.tight_late_share.max(1e-3) - 1.0;
        let times = 1.0 + self.constants.tight_gain * excess;
        let times = times.clamp(0.0, self.constants.tight_keep_max);
        let keep = DurationMs::from_secs_f64(self.start_price * times);
        keep.max(least).min(self.view.idle_max)
    }

    /// Idle workers that are kept warm.
    fn warm(&self) -> usize {
        let keep = millis(self.keep);
        self.fleet
            .iter()
            .filter(|worker| worker.is_idle())
            .filter(|worker| match worker.phase {
                Phase::Ready { since } => self.now - since.as_millis() < keep,
                Phase::Starting { .. } => false,
            })
            .count()
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
    fn starts(&self) -> Choice {
        let room = (self.view.max as usize).saturating_sub(self.fleet.len());
        let mut choice = Choice {
            starts: 0,
            price: self.best(0, room),
            more: None,
            fewer: None,
        };
        let mut step = 1;
        while choice.starts < room {
            let tried = (choice.starts + step).min(room);
            let next = self.best(tried, room);
            if next < choice.price {
                choice = Choice {
                    starts: tried,
                    price: next,
                    more: None,
                    fewer: Some(choice.price),
                };
                if tried >= STARTS_SINGLE {
                    step *= 2;
                }
            } else {
                choice.more = Some(next);
                if step == 1 {
                    break;
                }
                step /= 2;
            }
        }
        choice
    }

    /// The least cost with `starts` workers started now, over how many start one period later.
    fn best(&self, starts: usize, room: usize) -> f64 {
        let most = room - starts;
        let mut best = f64::INFINITY;
        let mut misses = 0;
        for later in 0..=most.min(STARTS_SINGLE) {
            let cost = self.cost(starts, later, best);
            if cost < best {
                best = cost;
                misses = 0;
            } else {
                misses += 1;
                if misses == 2 {
                    return best;
                }
            }
        }
        let (mut later, mut step) = (STARTS_SINGLE, 2);
        while later < most {
            let tried = (later + step).min(most);
            let cost = self.cost(starts, tried, best);
            if cost < best {
                best = cost;
                later = tried;
                step *= 2;
            } else if step == 1 {
                break;
            } else {
                step /= 2;
            }
        }
        best
    }

    fn cost(&self, starts: usize, later: usize, limit: f64) -> f64 {
        let price = (starts + later) as f64 * self.start_price;
        if price >= limit {
            return f64::INFINITY;
        }
        let length = if self.is_tight() {
            self.view.history.start_mean()
        } else {
            self.view.history.start_longest()
        };
        let ready = self.now + millis(length);
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
        // Each slot with the summed squares, in s², of the durations that it was given here.
        let mut free: BinaryHeap<Reverse<(i64, u64)>> =
            free.into_iter().map(|at| Reverse((at, 0))).collect();
        let mut total = 0.0;
        let mut forgiven = self.forgiven;
        let mut at = 0;
        while let Some(work) = works.get(at) {
            if work.jobs > 1 {
                let end = works[at..].iter().take_while(|work| work.jobs > 1).count() + at;
                total += self.lateness_of_blocks(&mut free, &works[at..end]);
                if total > limit {
                    return total;
                }
                at = end;
                continue;
            }
            at += 1;
            let mut slot = free
                .peek_mut()
                .expect("there is a slot, and none is taken away");
            let (at, squares) = slot.0;
            let start = at.max(work.at);
            // A slot that was free before its job came is on time again.
            let squares = if at < work.at { 0 } else { squares };
            let seconds = work.length.unsigned_abs() / 1_000;
            slot.0 = (
                start + work.length,
                squares + seconds.saturating_mul(seconds),
            );
            let wait = (start - work.at) as f64 + self.caution * (squares as f64).sqrt();
            if wait > self.late_after {
                if forgiven >= 1.0 && wait <= self.forgiven_until {
                    forgiven -= 1.0;
                    continue;
                }
                total += price * self.times_late(wait);
                if total > limit {
                    return total;
                }
            }
        }
        total
    }

    /// What a job that waits so long costs, in prices of lateness.
    fn times_late(&self, wait: f64) -> f64 {
        1.0 + (wait - self.late_after) / self.promise
    }

    /// The same for blocks of many jobs: they fill all slots like water, the one that is free first to
    /// begin with, and leave none free before the last of them has begun.
    fn lateness_of_blocks(
        &self,
        free: &mut BinaryHeap<Reverse<(i64, u64)>>,
        blocks: &[Work],
    ) -> f64 {
        let price = self.constants.lateness_price * self.start_price;
        let mut times: Vec<f64> = free.drain().map(|slot| slot.0.0 as f64).collect();
        times.sort_unstable_by(f64::total_cmp);
        let mut level = times[0];
        let mut filled = 1;
        let mut total = 0.0;
        for block in blocks {
            let jobs = block.jobs as f64;
            let mut volume = block.length as f64;
            let before = level;
            while let Some(next) = times.get(filled)
                && (next - level) * filled as f64 <= volume
            {
                volume -= (next - level) * filled as f64;
                level = *next;
                filled += 1;
            }
            level += volume / filled as f64;
            // On average its jobs begin half-way, and the last one ends at the level.
            let each = block.length as f64 / jobs;
            let begun = (f64::midpoint(before, level) - each / 2.0).max(before);
            let wait = begun - block.at as f64;
            if wait > self.late_after {
                total += price * self.times_late(wait) * jobs;
            }
        }
        free.extend(
            times
                .into_iter()
                .map(|at| Reverse((at.max(level) as i64, 0))),
        );
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

/// Jobs that have started, older ones faded.
fn begun(view: &View<'_>) -> f64 {
    view.history.credit(1.0) - view.history.credit(0.0)
}

fn overdue(ready: Timestamp, now: Timestamp) -> Timestamp {
    if ready > now { ready } else { now + OVERDUE }
}

fn millis(length: DurationMs) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Worker-seconds as a length of time; what no start can prevent counts as a day.
fn worker_time(seconds: f64) -> DurationMs {
    DurationMs::from_secs_f64(seconds.min(86_400.0))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of expected arrivals: never negative, and capped"
)]
fn whole(expected: f64) -> usize {
    expected as usize
}

//! What a pool's cloud workers cost, from their counts over time.
//!
//! RunPod bills each worker by the second from its start to its full stop, and tells nobody as it
//! does; the counts of a pool's workers are what there is. Between two counts a worker that came or
//! went did so in the middle, as far as anybody knows. After a long time without a count, or a restart, what
//! RunPod says of the jobs that there were tells what its workers did meanwhile ([`crate::blind`]). The most that
//! may have been is put down beside that: caps count it, and RunPod's records settle it.
//!
//! **Words.** *Billed*: workers that cost money now, by what they do. *Blind*: a
//! stretch of time without a count.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::attribution::Stretch;
use crate::blind::{Blind, Told};
use crate::booked::{hour_of, start_of};
use crate::event::CloudWorkerCounts;
use crate::ledger::EntryKind;
use crate::money::{NanoUsd, RatePerHour};
use crate::time::{DurationMs, Timestamp};

/// A stretch without a count that is longer than this is blind.
const BLIND_MIN: DurationMs = DurationMs::from_secs(35);
/// Lines are written at most this often while workers run.
const BOOK_PERIOD: DurationMs = DurationMs::from_secs(15);
/// A started second of a worker counts whole: half a second more than it lived, on average.
const ROUNDED_UP_MS: u64 = 500;

/// Workers that cost money, by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Billed {
    /// On their way to being ready.
    pub cold: u32,
    /// At work.
    pub run: u32,
    /// Waiting, within their idle time-out or as always-on ones.
    pub idle: u32,
}

impl Billed {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.cold + self.run + self.idle
    }
}

/// Worker time that is not in the ledger yet, and what is known of the workers that make it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    counted_at: Option<Timestamp>,
    billed: Billed,
    /// How long the jobs of the last count would keep its workers at work.
    work: DurationMs,
    /// Workers that were always on then.
    #[serde(default)]
    min: u32,
    /// Idle workers are billed until then.
    warm_until: Timestamp,
    booked_at: Timestamp,
    /// Workers that were billed when that was looked at last.
    booked: u32,
    /// In halves of a worker's millisecond: a worker that came between two counts came in the middle.
    halves: [u64; 3],
    unsettled_ms: u64,
    /// The stretch before the next count began before a restart.
    is_resumed: bool,
    /// What is to be written for hours that are over.
    #[serde(default)]
    earlier: Vec<Reading>,
    /// Nothing is written before it is understood.
    #[serde(default)]
    blind: Option<Blind>,
    /// Hours that were not wholly counted, and that a record has settled: nothing more is added for them.
    #[serde(default)]
    settled: BTreeSet<i64>,
}

/// What is to be written to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When it was, where not now: in an hour that is over.
    pub at: Option<Timestamp>,
    /// What the time was for.
    pub kind: EntryKind,
    /// How much of a worker's time.
    pub worker_time: DurationMs,
}

/// One count, with what it needs to be understood.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// When.
    pub now: Timestamp,
    /// Workers by state.
    pub workers: CloudWorkerCounts,
    /// Workers that the running attempts keep busy.
    pub busy: u32,
    /// Whether the pool has jobs: between two of them a worker idles.
    pub has_jobs: bool,
    /// How long its workers would have to do with the jobs that it has, if no further ones came.
    pub work: DurationMs,
    /// Workers that are always on.
    pub min: u32,
    /// Idle workers that RunPod lists as on though nothing asks for them.
    pub standby: u32,
    /// How long a worker that has nothing to do is billed.
    pub idle_timeout: DurationMs,
    /// Workers that there may be.
    pub allowed: u32,
    /// How long a start takes.
    pub start: DurationMs,
}

/// The kinds of time that is counted.
const KINDS: [EntryKind; 3] = [EntryKind::ColdStart, EntryKind::Run, EntryKind::Idle];

impl Meter {
    /// The meter of a process that has just begun, with what an earlier one wrote down, and when; `min`
    /// workers are always on.
    #[must_use]
    pub fn resumed(at: Timestamp, billed: Billed, min: u32) -> Self {
        Self {
            counted_at: Some(at),
            billed,
            min,
            booked_at: at,
            booked: billed.total(),
            is_resumed: true,
            ..Self::default()
        }
    }

    /// Until now there was nothing that could cost: no worker, and no money set aside for one.
    pub const fn nothing_until(&mut self, now: Timestamp) {
        if self.billed.total() == 0 {
            self.counted_at = Some(now);
        }
    }

    /// Workers that are billed, as last counted.
    #[must_use]
    pub const fn billed(&self) -> Billed {
        self.billed
    }

    /// Takes in a count; what it adds. What a long time without one adds is known later: see
    /// [`Self::settle`].
    pub fn on_count(&mut self, count: &Count) -> Stretch {
        let now = count.now;
        let from = self.counted_at.unwrap_or(now);
        let billed = self.understand(count);
        let mut stretch = Stretch {
            from,
            to: now,
            halves: [0; 4],
        };
        if self.counted_at.is_none() {
            self.booked_at = now;
        }
        if from < now && (self.is_resumed || now.since(from) > BLIND_MIN) {
            let last = hour_of(from);
            if last < hour_of(now) {
                self.end_hour(last);
            }
            // While no process of ours ran, nothing was submitted that could cause a worker.
            let most = if self.is_resumed { 0 } else { count.allowed };
            self.blind = Some(Blind {
                from,
                to: now,
                before: self.billed,
                after: billed,
                most: most.max(self.billed.total()).max(billed.total()),
                min: self.min,
                work: self.work,
                idle_timeout: count.idle_timeout,
                start: count.start,
            });
        } else {
            let ms = now.since(from).as_millis();
            let pairs = [
                (self.billed.cold, billed.cold),
                (self.billed.run, billed.run),
                (self.billed.idle, billed.idle),
            ];
            let halves = pairs.map(|(before, after)| ms * (u64::from(before) + u64::from(after)));
            let started = billed.total().saturating_sub(self.billed.total());
            self.turn_hour(from, now, halves);
            self.halves[0] += 2 * ROUNDED_UP_MS * u64::from(started);
            let [cold, run, idle] = halves;
            let cold = cold + 2 * ROUNDED_UP_MS * u64::from(started);
            stretch.halves = [cold, run, idle, 0];
        }
        self.counted_at = Some(now);
        self.is_resumed = false;
        self.billed = billed;
        self.work = count.work;
        self.min = count.min;
        stretch
    }

    /// Adds what a stretch took. What was before the turn of an hour belongs to the hour before.
    fn turn_hour(&mut self, from: Timestamp, to: Timestamp, halves: [u64; 3]) {
        let hour = start_of(hour_of(to));
        let mut rest = halves;
        if from < hour {
            let (part, all) = (hour.since(from).as_millis(), to.since(from).as_millis());
            for (rest, sum) in rest.iter_mut().zip(&mut self.halves) {
                let before = u128::from(*rest) * u128::from(part) / u128::from(all.max(1));
                let before = u64::try_from(before).unwrap_or(*rest);
                *rest -= before;
                *sum += before;
            }
            self.end_hour(hour_of(to) - 1);
        }
        for (sum, part) in self.halves.iter_mut().zip(rest) {
            *sum += part;
        }
    }

    /// What was counted so far was in an hour that is over.
    fn end_hour(&mut self, hour: i64) {
        let unsettled = std::mem::take(&mut self.unsettled_ms);
        let sums = std::mem::take(&mut self.halves);
        let counted = KINDS.into_iter().zip(sums.map(|halves| halves / 2));
        let at = Some(last_of(hour));
        for (kind, ms) in counted.chain([(EntryKind::Unsettled, unsettled)]) {
            self.add_earlier(at, kind, ms);
        }
    }

    fn add_earlier(&mut self, at: Option<Timestamp>, kind: EntryKind, ms: u64) {
        if ms > 0 {
            self.earlier.push(Reading {
                at,
                kind,
                worker_time: DurationMs::from_millis(ms),
            });
        }
    }

    /// The blind stretch that is not understood yet.
    #[must_use]
    pub const fn blind(&self) -> Option<&Blind> {
        self.blind.as_ref()
    }

    /// Now it is told what became of the jobs that there were in a blind stretch: what it adds.
    pub fn settle(&mut self, told: &[Told]) -> Option<Stretch> {
        let blind = self.blind.take()?;
        let (spans, starts) = blind.spans(told);
        let current = hour_of(self.counted_at.unwrap_or(blind.to));
        let mut sums = [0_u64; 4];
        for hour in hour_of(blind.from)..=hour_of(blind.to) {
            if self.settled.contains(&hour) {
                continue;
            }
            let (begin, end) = (start_of(hour), start_of(hour + 1));
            let within =
                |from: Timestamp, to: Timestamp| to.min(end).since(from.max(begin)).as_millis();
            let mut ms = KINDS.map(|kind| {
                let its = spans.iter().filter(|span| span.kind == kind);
                its.map(|span| within(span.from, span.to)).sum::<u64>()
            });
            let likely: u64 = ms.iter().sum();
            let most = within(blind.from, blind.to) * u64::from(blind.most);
            let unsettled = most.saturating_sub(likely);
            if hour == hour_of(blind.to) {
                ms[0] += ROUNDED_UP_MS * u64::from(starts);
            }
            let at = Some(last_of(hour));
            for (place, ms) in ms.into_iter().chain([unsettled]).enumerate() {
                sums[place] += 2 * ms;
                match (hour == current, place) {
                    (true, 3) => self.unsettled_ms += ms,
                    (true, place) => self.halves[place] += 2 * ms,
                    (false, 3) => self.add_earlier(at, EntryKind::Unsettled, ms),
                    (false, place) => self.add_earlier(at, KINDS[place], ms),
                }
            }
        }
        self.settled.retain(|&hour| hour >= current);
        Some(Stretch {
            from: blind.from,
            to: blind.to,
            halves: sums,
        })
    }

    /// From when on something may have cost that is in no count yet, as far as no record has settled it.
    #[must_use]
    pub fn known_until(&self) -> Option<Timestamp> {
        let from = self.blind.map(|blind| blind.from).or(self.counted_at)?;
        let mut hour = hour_of(from);
        while self.settled.contains(&hour) {
            hour += 1;
        }
        Some(from.max(start_of(hour)))
    }

    /// A record settles an hour that is over: nothing is added for it any more. What is to be written for it
    /// before that, with the most that may have been while nobody counted.
    pub fn close(&mut self, hour: i64, allowed: u32) -> Vec<Reading> {
        let most = self.lacking(hour, allowed).as_millis();
        if self.counted_at.is_some_and(|at| hour_of(at) == hour) {
            self.end_hour(hour);
        }
        self.add_earlier(Some(last_of(hour)), EntryKind::Unsettled, most);
        self.settled.insert(hour);
        std::mem::take(&mut self.earlier)
    }

    /// The most worker time that there may have been in an hour that is over while nobody counted, and that no
    /// record has settled.
    #[must_use]
    pub fn lacking(&self, hour: i64, allowed: u32) -> DurationMs {
        if self.settled.contains(&hour) {
            return DurationMs::ZERO;
        }
        let (begin, end) = (start_of(hour), start_of(hour + 1));
        let within = |from: Timestamp, to: Timestamp, workers: u32| {
            to.min(end).since(from.max(begin)).as_millis() * u64::from(workers)
        };
        let blind = self.blind.map_or(0, |b| within(b.from, b.to, b.most));
        let since = self
            .counted_at
            .map_or(0, |at| within(at, end, allowed.max(self.billed.total())));
        DurationMs::from_millis(blind + since)
    }

    /// How long it is between two moments, hours that a record has settled left out, in milliseconds.
    fn unsettled_between(&self, from: Timestamp, to: Timestamp) -> u64 {
        let settled = self.settled.iter().map(|&hour| {
            let (begin, end) = (start_of(hour), start_of(hour + 1));
            to.min(end).since(from.max(begin)).as_millis()
        });
        let settled: u64 = settled.sum();
        to.since(from).as_millis().saturating_sub(settled)
    }

    /// What is to be written, when it is time to.
    pub fn take(&mut self, now: Timestamp) -> Vec<Reading> {
        if self.blind.is_some() {
            return Vec::new();
        }
        let total = self.billed.total();
        // More workers than before are written down at once: a restart goes on from there.
        let is_more = std::mem::replace(&mut self.booked, total) < total;
        let is_due = !self.earlier.is_empty() || now.since(self.booked_at) >= BOOK_PERIOD;
        if total > 0 && !is_more && !is_due {
            return Vec::new();
        }
        let mut readings = std::mem::take(&mut self.earlier);
        let mut add = |kind, ms: u64| {
            if ms > 0 {
                readings.push(Reading {
                    at: None,
                    kind,
                    worker_time: DurationMs::from_millis(ms),
                });
            }
        };
        for (halves, kind) in self.halves.iter_mut().zip(KINDS) {
            let ms = *halves / 2;
            *halves -= ms * 2;
            add(kind, ms);
        }
        add(EntryKind::Unsettled, std::mem::take(&mut self.unsettled_ms));
        if !readings.is_empty() {
            self.booked_at = now;
        }
        readings
    }

    /// What is to be written where nothing is counted any more: the workers of the last count lived until now.
    pub fn end(mut self, now: Timestamp) -> Vec<Reading> {
        if let Some(at) = self.counted_at
            && now.since(at) <= BLIND_MIN
        {
            let workers = [self.billed.cold, self.billed.run, self.billed.idle];
            let ms = now.since(at).as_millis();
            self.turn_hour(at, now, workers.map(|workers| 2 * ms * u64::from(workers)));
        }
        self.billed = Billed::default();
        self.blind = None;
        self.take(now)
    }

    /// What is not in the ledger yet; workers are taken to live on, and when nobody has looked for
    /// long, to be as many as may be.
    #[must_use]
    pub fn pending(&self, now: Timestamp, price: RatePerHour, allowed: u32) -> NanoUsd {
        let mut ms = self.halves.iter().sum::<u64>().div_ceil(2) + self.unsettled_ms;
        let earlier = self.earlier.iter();
        ms += earlier.map(|r| r.worker_time.as_millis()).sum::<u64>();
        if let Some(blind) = &self.blind {
            ms += self.unsettled_between(blind.from, blind.to) * u64::from(blind.most);
        }
        if let Some(at) = self.counted_at {
            let since = now.since(at);
            let is_blind = since > BLIND_MIN;
            let workers = if is_blind { allowed } else { 0 }.max(self.billed.total());
            ms += self.unsettled_between(at, now) * u64::from(workers);
        }
        price.over(DurationMs::from_millis(ms))
    }

    fn understand(&mut self, count: &Count) -> Billed {
        let workers = count.workers;
        let busy = workers.initializing + workers.running;
        if busy > 0 || count.has_jobs || self.is_resumed {
            self.warm_until = count.now + count.idle_timeout;
        }
        // RunPod counts workers that it could resume as idle too, and bills nothing for them: no more
        // than there may be, and none for longer than they may idle.
        let warm = if count.now <= self.warm_until {
            count.allowed.saturating_sub(busy)
        } else {
            0
        };
        let run = workers.running.min(count.busy);
        Billed {
            cold: workers.initializing,
            run,
            idle: workers.running - run + workers.idle.min(warm.max(count.min).max(count.standby)),
        }
    }
}

/// The last moment of an hour.
fn last_of(hour: i64) -> Timestamp {
    start_of(hour + 1) - DurationMs::from_millis(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(initializing: u32, running: u32, idle: u32) -> CloudWorkerCounts {
        CloudWorkerCounts {
            initializing,
            running,
            idle,
            ..CloudWorkerCounts::default()
        }
    }

    fn count(meter: &mut Meter, secs: i64, workers: CloudWorkerCounts) {
        meter.on_count(&Count {
            now: Timestamp::from_millis(secs * 1_000),
            workers,
            busy: workers.running,
            has_jobs: false,
            work: DurationMs::ZERO,
            min: 0,
            standby: 0,
            idle_timeout: DurationMs::from_secs(5),
            allowed: 4,
            start: DurationMs::from_secs(10),
        });
    }

    fn taken(meter: &mut Meter, secs: i64) -> Vec<(EntryKind, u64)> {
        let readings = meter.take(Timestamp::from_millis(secs * 1_000));
        let pairs = readings.iter().map(|r| (r.kind, r.worker_time.as_millis()));
        pairs.collect()
    }

    #[test]
    fn counts_over_time_become_worker_time_by_what_it_was_for() {
        let mut meter = Meter::default();
        count(&mut meter, 0, counts(0, 0, 0));
        count(&mut meter, 2, counts(2, 0, 0));
        // 2 s in the middle of which they came, and rounding up: written down at once.
        assert_eq!(
            taken(&mut meter, 2),
            [(EntryKind::ColdStart, 2_000 + 1_000)]
        );
        count(&mut meter, 12, counts(0, 2, 0));
        assert_eq!(
            taken(&mut meter, 12),
            [],
            "a quarter of a minute is collected"
        );
        count(&mut meter, 22, counts(0, 2, 0));
        assert_eq!(
            taken(&mut meter, 22),
            [
                (EntryKind::ColdStart, 10_000),
                (EntryKind::Run, 10_000 + 20_000)
            ]
        );
        count(&mut meter, 23, counts(0, 0, 2));
        count(&mut meter, 27, counts(0, 0, 2));
        // Resumable ones stay in the count for as long as RunPod likes.
        count(&mut meter, 29, counts(0, 0, 2));
        assert_eq!(
            taken(&mut meter, 29),
            [
                (EntryKind::Run, 1_000),
                (EntryKind::Idle, 1_000 + 8_000 + 2_000)
            ]
        );
        count(&mut meter, 90, counts(0, 0, 2));
        assert_eq!(taken(&mut meter, 90), [], "nobody knows yet");
        let stretch = meter.settle(&[]).unwrap();
        assert_eq!(stretch.halves, [0, 0, 0, 2 * 61 * 4 * 1_000]);
        assert_eq!(
            taken(&mut meter, 90),
            [(EntryKind::Unsettled, 61 * 4 * 1_000)]
        );
    }

    #[test]
    fn what_may_have_been_while_nobody_looked_is_put_down_beside_the_likely() {
        let mut meter = Meter::default();
        count(&mut meter, 0, counts(0, 1, 0));
        let price = RatePerHour::new(NanoUsd::from_nanos(3_600_000));
        let pending = |meter: &Meter, secs: i64| {
            let now = Timestamp::from_millis(secs * 1_000);
            meter.pending(now, price, 4).as_nanos()
        };
        // A thousand nano-dollars a second, and half a second of rounding up.
        assert_eq!(pending(&meter, 30), 30_500);
        assert_eq!(pending(&meter, 100), 400_500);
        count(&mut meter, 100, counts(0, 1, 0));
        assert_eq!(pending(&meter, 100), 400_500, "the most, until it is told");
        meter.settle(&[]).unwrap();
        let expected = [
            (EntryKind::ColdStart, 500),
            (EntryKind::Run, 100_000),
            (EntryKind::Unsettled, 300_000),
        ];
        assert_eq!(taken(&mut meter, 100), expected);
        assert_eq!(pending(&meter, 100), 0);
    }

    #[test]
    fn of_workers_that_went_unseen_each_likely_did_the_jobs_that_there_were() {
        let mut meter = Meter::default();
        let mut at = |secs: i64, running: u32, work: u64| {
            meter.on_count(&Count {
                now: Timestamp::from_millis(secs * 1_000),
                workers: counts(0, running, 0),
                busy: running,
                has_jobs: running > 0,
                work: DurationMs::from_secs(work),
                min: 0,
                standby: 0,
                idle_timeout: DurationMs::from_secs(5),
                allowed: 4,
                start: DurationMs::from_secs(10),
            });
            meter.settle(&[]);
            meter.take(Timestamp::from_millis(secs * 1_000))
        };
        let _first = at(0, 0, 0);
        let _came = at(2, 3, 60);
        let readings = at(302, 1, 0);
        let times: Vec<(EntryKind, u64)> = readings
            .iter()
            .map(|reading| (reading.kind, reading.worker_time.as_millis() / 1_000))
            .collect();
        // One all the time, two for 65 s each; at most four were on all the time.
        let expected = [
            (EntryKind::Run, 300 + 2 * 65),
            (EntryKind::Unsettled, 4 * 300 - 430),
        ];
        assert_eq!(times, expected);
    }

    #[test]
    fn workers_that_are_always_on_cost_while_idle() {
        let mut meter = Meter::default();
        for secs in [0, 30, 60] {
            meter.on_count(&Count {
                now: Timestamp::from_millis(secs * 1_000),
                workers: counts(0, 0, 3),
                busy: 0,
                has_jobs: false,
                work: DurationMs::ZERO,
                min: 1,
                standby: 0,
                idle_timeout: DurationMs::from_secs(5),
                allowed: 1,
                start: DurationMs::from_secs(10),
            });
        }
        let expected = [(EntryKind::ColdStart, 500), (EntryKind::Idle, 60_000)];
        assert_eq!(taken(&mut meter, 60), expected);
    }

    #[test]
    fn what_jobs_tell_of_a_blind_stretch_stands_in_for_the_counts() {
        let mut meter = Meter::default();
        count(&mut meter, 0, counts(0, 2, 0));
        let _first = taken(&mut meter, 0);
        count(&mut meter, 200, counts(0, 0, 0));
        let ran = |worker: &str, ended: i64| Told {
            at: Timestamp::from_millis(201_000),
            leased_at: Timestamp::from_millis(-9_000),
            worker: Some(worker.to_owned()),
            began: Some(Timestamp::from_millis(-1_000)),
            ended: Some(Timestamp::from_millis(ended * 1_000)),
        };
        meter.settle(&[ran("a", 20), ran("b", 30)]).unwrap();
        let expected = [
            (EntryKind::Run, 50_000),
            (EntryKind::Idle, 10_000),
            (EntryKind::Unsettled, 4 * 200_000 - 60_000),
        ];
        assert_eq!(taken(&mut meter, 200), expected);
    }

    #[test]
    fn the_time_before_the_turn_of_an_hour_is_written_into_that_hour() {
        let hour = 3_600;
        let mut meter = Meter::default();
        count(&mut meter, hour - 2, counts(0, 1, 0));
        let _first = taken(&mut meter, hour - 2);
        count(&mut meter, hour + 1, counts(0, 1, 0));
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        let parts = |readings: Vec<Reading>| -> Vec<(Option<i64>, EntryKind, u64)> {
            let parts = readings.iter().map(|r| {
                let hour = r.at.map(hour_of);
                (hour, r.kind, r.worker_time.as_millis())
            });
            parts.collect()
        };
        let expected = [
            (Some(0), EntryKind::Run, 2_000),
            (None, EntryKind::Run, 1_000),
        ];
        assert_eq!(parts(meter.take(at(hour + 1))), expected);
        // The same of a stretch without a count: an hour and a half, told of afterwards.
        count(&mut meter, 2 * hour + 1_800, counts(0, 0, 0));
        let told = Told {
            at: at(2 * hour + 1_801),
            leased_at: at(0),
            worker: Some("a".to_owned()),
            began: Some(at(hour)),
            ended: Some(at(2 * hour + 95)),
        };
        meter.settle(&[told]).unwrap();
        let found = parts(meter.take(at(2 * hour + 1_800)));
        let run = |hour, secs: u64| (hour, EntryKind::Run, secs * 1_000);
        assert!(found.contains(&run(Some(1), 3_599)), "{found:?}");
        assert!(found.contains(&run(None, 95)), "{found:?}");
        assert!(found.contains(&(None, EntryKind::Idle, 5_000)), "{found:?}");
    }

    #[test]
    fn an_hour_that_a_record_settled_is_left_out_of_a_stretch_without_a_count() {
        let hour = 3_600;
        let price = RatePerHour::new(NanoUsd::from_nanos(3_600_000));
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        let mut meter = Meter::default();
        count(&mut meter, hour - 100, counts(0, 0, 0));
        count(&mut meter, hour - 90, counts(0, 1, 0));
        let _first = taken(&mut meter, hour - 90);
        count(&mut meter, hour - 80, counts(0, 1, 0));
        // Eighty seconds in which nobody counted, and ten that were counted and are not written.
        assert_eq!(meter.lacking(0, 4), DurationMs::from_secs(4 * 80));
        assert_eq!(meter.known_until(), Some(at(hour - 80)));
        let before = meter.pending(at(2 * hour), price, 4).as_nanos();
        let of_hour = |readings: &[Reading]| {
            let pairs = readings.iter().map(|r| {
                assert_eq!(r.at.map(hour_of), Some(0));
                (r.kind, r.worker_time.as_millis())
            });
            pairs.collect::<Vec<_>>()
        };
        assert_eq!(
            of_hour(&meter.close(0, 4)),
            [(EntryKind::Run, 10_000), (EntryKind::Unsettled, 320_000)]
        );
        assert_eq!(meter.lacking(0, 4), DurationMs::ZERO);
        assert_eq!(meter.known_until(), Some(at(hour)));
        let after = meter.pending(at(2 * hour), price, 4).as_nanos();
        assert_eq!(before - after, 330_000);
        // Counted again: it worked until a minute after the turn of the hour.
        count(&mut meter, hour + 500, counts(0, 0, 0));
        let told = Told {
            at: at(hour + 501),
            leased_at: at(0),
            worker: Some("a".to_owned()),
            began: Some(at(hour - 90)),
            ended: Some(at(hour + 60)),
        };
        let stretch = meter.settle(&[told]).unwrap();
        let expected = [0, 2 * 60_000, 2 * 5_000, 2 * (4 * 500_000 - 65_000)];
        assert_eq!(stretch.halves, expected);
        assert_eq!(
            taken(&mut meter, hour + 500),
            [
                (EntryKind::Run, 60_000),
                (EntryKind::Idle, 5_000),
                (EntryKind::Unsettled, 4 * 500_000 - 65_000)
            ]
        );
        assert_eq!(meter.known_until(), Some(at(hour + 500)));
    }
}

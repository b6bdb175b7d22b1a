//! What a pool's cloud workers cost, from their counts over time.
//!
//! RunPod bills each worker by the second from its start to its full stop, and tells nobody as it
//! does; the counts of a pool's workers are what there is. Between two counts a worker that came or
//! went did so in the middle, as far as anybody knows. After a long time without a count the most that
//! may have been is put down beside the likely: caps count it, and RunPod's records settle it.
//!
//! **Words.** *Billed*: workers that cost money now, by what they do. *Blind*: time without a count.

use serde::{Deserialize, Serialize};

use crate::attribution::Stretch;
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
}

/// What is to be written to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
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
}

impl Meter {
    /// The meter of a process that has just begun, with what an earlier one wrote down, and when.
    #[must_use]
    pub fn resumed(at: Timestamp, billed: Billed) -> Self {
        Self {
            counted_at: Some(at),
            billed,
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

    /// Takes in a count; what it adds.
    pub fn on_count(&mut self, count: &Count) -> Stretch {
        let now = count.now;
        let (halves, unsettled_ms) = (self.halves, self.unsettled_ms);
        let from = self.counted_at.unwrap_or(now);
        let billed = self.understand(count);
        if let Some(at) = self.counted_at {
            let ms = now.since(at).as_millis();
            let pairs = [
                (self.billed.cold, billed.cold),
                (self.billed.run, billed.run),
                (self.billed.idle, billed.idle),
            ];
            let halves = pairs.map(|(before, after)| ms * (u64::from(before) + u64::from(after)));
            let is_blind = now.since(at) > BLIND_MIN;
            let likely = if is_blind {
                self.likely_ms(ms, billed.total(), count.idle_timeout)
            } else {
                halves.iter().sum::<u64>() / 2
            };
            let all = halves.iter().sum::<u64>().max(1);
            for (sum, part) in self.halves.iter_mut().zip(halves) {
                let scaled = u128::from(part) * u128::from(2 * likely) / u128::from(all);
                *sum += u64::try_from(scaled).unwrap_or(u64::MAX);
            }
            if self.is_resumed || is_blind {
                // While no process of ours ran, nothing was submitted that could cause a worker.
                let most = if self.is_resumed { 0 } else { count.allowed };
                let most = most.max(self.billed.total()).max(billed.total());
                self.unsettled_ms += (ms * u64::from(most)).saturating_sub(likely);
            }
        } else {
            self.booked_at = now;
        }
        let started = billed.total().saturating_sub(self.billed.total());
        self.halves[0] += 2 * ROUNDED_UP_MS * u64::from(started);
        self.counted_at = Some(now);
        self.is_resumed = false;
        self.billed = billed;
        self.work = count.work;
        let [cold, run, idle] = [0, 1, 2].map(|kind| self.halves[kind] - halves[kind]);
        let unsettled = 2 * (self.unsettled_ms - unsettled_ms);
        Stretch {
            from,
            to: now,
            halves: [cold, run, idle, unsettled],
        }
    }

    /// How long workers likely were on in a long stretch without a count: those that are still there all
    /// the time; of those that went each until the jobs that there were had been done and it had
    /// idled, for nobody submitted any; those that came since the middle.
    fn likely_ms(&self, ms: u64, after: u32, idle_timeout: DurationMs) -> u64 {
        let before = self.billed.total();
        let life = (self.work + idle_timeout).as_millis().min(ms);
        let (stayed, went) = (before.min(after), before.saturating_sub(after));
        let came = after.saturating_sub(before);
        ms * u64::from(stayed) + life * u64::from(went) + ms * u64::from(came) / 2
    }

    /// What is to be written, when it is time to.
    pub fn take(&mut self, now: Timestamp) -> Vec<Reading> {
        let total = self.billed.total();
        // More workers than before are written down at once: a restart goes on from there.
        let is_more = std::mem::replace(&mut self.booked, total) < total;
        let is_time = total == 0 || is_more || now.since(self.booked_at) >= BOOK_PERIOD;
        if !is_time {
            return Vec::new();
        }
        let kinds = [EntryKind::ColdStart, EntryKind::Run, EntryKind::Idle];
        let mut readings = Vec::new();
        for (halves, kind) in self.halves.iter_mut().zip(kinds) {
            let ms = *halves / 2;
            *halves -= ms * 2;
            readings.push((kind, ms));
        }
        readings.push((EntryKind::Unsettled, std::mem::take(&mut self.unsettled_ms)));
        readings.retain(|&(_, ms)| ms > 0);
        if !readings.is_empty() {
            self.booked_at = now;
        }
        let reading = |(kind, ms)| Reading {
            kind,
            worker_time: DurationMs::from_millis(ms),
        };
        readings.into_iter().map(reading).collect()
    }

    /// What is not in the ledger yet; workers are taken to live on, and when nobody has looked for
    /// long, to be as many as may be.
    #[must_use]
    pub fn pending(&self, now: Timestamp, price: RatePerHour, allowed: u32) -> NanoUsd {
        let mut ms = self.halves.iter().sum::<u64>().div_ceil(2) + self.unsettled_ms;
        if let Some(at) = self.counted_at {
            let since = now.since(at);
            let is_blind = since > BLIND_MIN;
            let workers = if is_blind { allowed } else { 0 }.max(self.billed.total());
            ms += since.as_millis() * u64::from(workers);
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
            });
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
            });
        }
        let expected = [(EntryKind::ColdStart, 500), (EntryKind::Idle, 60_000)];
        assert_eq!(taken(&mut meter, 60), expected);
    }
}

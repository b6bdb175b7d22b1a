//! A stretch in which nobody counted a pool's workers, told afterwards by what became of its jobs.
//!
//! When the server was killed or stood still, or RunPod did not answer, the counts before and after say
//! little about what was between them. But RunPod tells of each job how long it waited, how long it ran and
//! on which worker: so each worker is known to have been on from its first job's start, and its own
//! before that, until its last job's end and its idle time-out. What the jobs do not tell is reckoned with as
//! the counts have it.
//!
//! **Words.** *Told*: what RunPod said last of a job. *Span*: a part of one worker's life, and what for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::EntryKind;
use crate::meter::Billed;
use crate::time::{DurationMs, Timestamp};

/// What RunPod said of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When it said so last.
    pub at: Timestamp,
    /// When the job was submitted.
    pub leased_at: Timestamp,
    /// The worker that runs it, or did.
    pub worker: Option<String>,
    /// When its run began.
    pub began: Option<Timestamp>,
    /// When its run was over; `None` while it runs.
    pub ended: Option<Timestamp>,
}

/// A stretch without a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    /// The last count before.
    pub from: Timestamp,
    /// The first one after.
    pub to: Timestamp,
    /// Workers that were billed before.
    pub before: Billed,
    /// Workers that are billed after.
    pub after: Billed,
    /// Workers that there may have been.
    pub most: u32,
    /// Workers that are always on.
    pub min: u32,
    /// How long the jobs of before would have kept its workers at work.
    pub work: DurationMs,
    /// How long a worker that has nothing to do is billed.
    pub idle_timeout: DurationMs,
    /// How long a start takes.
    pub start: DurationMs,
}

/// A part of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What it was for.
    pub kind: EntryKind,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

/// One worker, by the jobs that it ran.
struct Seen {
    submitted: Timestamp,
    began: Timestamp,
    /// Its last job's end.
    ended: Timestamp,
}

impl Blind {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> DurationMs {
        self.to.since(self.from)
    }

    /// What the workers likely did meanwhile, and how many of them started.
    #[must_use]
    pub fn spans(&self, told: &[Told]) -> (Vec<Span>, u32) {
        let mut spans = Vec::new();
        let mut add = |kind, from: Timestamp, to: Timestamp| {
            let (from, to) = (from.max(self.from), to.min(self.to));
            if from < to {
                spans.push(Span { kind, from, to });
            }
        };
        let seen = self.seen(told);
        // Those that are always on are those that worked last, and others only where these are too few.
        let mut ends: Vec<Timestamp> = seen.iter().map(|worker| worker.ended).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let mut always_on = self.min as usize;
        let stays_from = ends.get(always_on.saturating_sub(1)).copied();
        let (mut cold_before, mut unseen) = (self.before.cold, self.before.total());
        let mut starts = 0;
        let mut stayed = 0;
        for worker in &seen {
            if worker.began <= self.from {
                unseen = unseen.saturating_sub(1);
            } else if unseen > 0 {
                // It was there before, on its way or without a job.
                unseen -= 1;
                let is_cold = cold_before > 0;
                cold_before = cold_before.saturating_sub(1);
                let kind = if is_cold {
                    EntryKind::ColdStart
                } else {
                    EntryKind::Idle
                };
                add(kind, self.from, worker.began);
            } else {
                starts += 1;
                let since = (worker.began - self.start).max(worker.submitted);
                add(EntryKind::ColdStart, since, worker.began);
            }
            add(EntryKind::Run, worker.began, worker.ended);
            let is_always_on = always_on > 0 && stays_from.is_none_or(|last| worker.ended >= last);
            if is_always_on {
                always_on -= 1;
            }
            if worker.ended < self.to {
                let over = if is_always_on {
                    Timestamp::NEVER
                } else {
                    worker.ended + self.idle_timeout
                };
                add(EntryKind::Idle, worker.ended, over);
                stayed += u32::from(over > self.to);
            } else {
                stayed += 1;
            }
        }
        // Of those that no job tells of, as many as are there afterwards stayed, and the others did
        // what there was to do. Who is on its way afterwards came of late, unless all was so short that it
        // is the one that was on its way before.
        let ready = (self.after.run + self.after.idle).saturating_sub(stayed);
        let mut coming = self.after.cold;
        let mut stays = ready.min(unseen);
        let came = ready - stays;
        stays = stays.max(u32::try_from(always_on).unwrap_or(u32::MAX).min(unseen));
        let is_short = self.length() <= self.start;
        for at in 0..unseen {
            let kind = if at < cold_before {
                EntryKind::ColdStart
            } else if at < cold_before + self.before.idle {
                EntryKind::Idle
            } else {
                EntryKind::Run
            };
            let life = match kind {
                EntryKind::ColdStart => self.start + self.idle_timeout,
                EntryKind::Idle => self.idle_timeout,
                _ => self.work + self.idle_timeout,
            };
            let mut until = self.from + life;
            if kind == EntryKind::ColdStart && is_short && coming > 0 {
                coming -= 1;
                until = self.to;
            } else if stays > 0 {
                stays -= 1;
                until = self.to;
            }
            add(kind, self.from, until);
        }
        for _ in 0..came + coming {
            starts += 1;
            let half = DurationMs::from_millis(self.start.min(self.length()).as_millis() / 2);
            add(EntryKind::ColdStart, self.to - half, self.to);
        }
        (spans, starts)
    }

    /// The workers that ran jobs meanwhile, by when they began.
    fn seen(&self, told: &[Told]) -> Vec<Seen> {
        let mut named: BTreeMap<&str, Seen> = BTreeMap::new();
        let mut seen = Vec::new();
        for told in told {
            let Some(began) = told.began.filter(|&began| began < self.to) else {
                continue;
            };
            let ended = told.ended.unwrap_or(Timestamp::NEVER);
            if ended + self.idle_timeout <= self.from {
                continue;
            }
            let run = Seen {
                submitted: told.leased_at,
                began,
                ended,
            };
            match told.worker.as_deref().map(|name| named.entry(name)) {
                None => seen.push(run),
                Some(entry) => {
                    let known = entry.or_insert(Seen {
                        began: Timestamp::NEVER,
                        submitted: Timestamp::NEVER,
                        ended,
                    });
                    if run.began < known.began {
                        (known.began, known.submitted) = (run.began, run.submitted);
                    }
                    known.ended = known.ended.max(run.ended);
                }
            }
        }
        seen.extend(named.into_values());
        seen.sort_by_key(|worker| worker.began);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn told(worker: &str, leased: i64, began: i64, ended: Option<i64>) -> Told {
        Told {
            at: at(400),
            leased_at: at(leased),
            worker: Some(worker.to_owned()),
            began: Some(at(began)),
            ended: ended.map(at),
        }
    }

    fn blind(before: (u32, u32, u32), after: (u32, u32, u32)) -> Blind {
        let billed = |(cold, run, idle)| Billed { cold, run, idle };
        Blind {
            from: at(100),
            to: at(300),
            before: billed(before),
            after: billed(after),
            most: 4,
            min: 0,
            work: DurationMs::from_secs(30),
            idle_timeout: DurationMs::from_secs(5),
            start: DurationMs::from_secs(10),
        }
    }

    /// Seconds of cold starts, runs and idle workers, and starts.
    fn secs(blind: &Blind, told: &[Told]) -> ([u64; 3], u32) {
        let (spans, starts) = blind.spans(told);
        let kinds = [EntryKind::ColdStart, EntryKind::Run, EntryKind::Idle];
        let sum = |kind| {
            let its = spans.iter().filter(|span| span.kind == kind);
            its.map(|span| span.to.since(span.from).as_millis() / 1_000)
                .sum()
        };
        (kinds.map(sum), starts)
    }

    #[test]
    fn jobs_tell_how_long_their_workers_were_on() {
        // One ran two jobs, one after the other, and one runs on.
        let all = [
            told("a", 80, 90, Some(120)),
            told("a", 82, 120, Some(150)),
            told("b", 80, 95, None),
        ];
        let found = secs(&blind((0, 2, 0), (0, 1, 0)), &all);
        assert_eq!(found, ([0, 50 + 200, 5], 0));
    }

    #[test]
    fn a_worker_that_came_meanwhile_started_before_its_first_job() {
        let all = [told("a", 99, 130, Some(140))];
        // None was there: it came. One was on its way: that was it.
        assert_eq!(secs(&blind((0, 0, 0), (0, 0, 0)), &all), ([10, 10, 5], 1));
        assert_eq!(secs(&blind((1, 0, 0), (0, 0, 0)), &all), ([30, 10, 5], 0));
        let fast = [told("a", 125, 130, Some(140))];
        assert_eq!(secs(&blind((0, 0, 0), (0, 0, 0)), &fast), ([5, 10, 5], 1));
    }

    #[test]
    fn where_no_job_tells_the_counts_do() {
        // They did the work that there was, or stayed, or were idle anyway.
        assert_eq!(
            secs(&blind((0, 3, 0), (0, 1, 0)), &[]),
            ([0, 200 + 2 * 35, 0], 0)
        );
        assert_eq!(secs(&blind((0, 0, 1), (0, 0, 0)), &[]), ([0, 0, 5], 0));
        assert_eq!(secs(&blind((0, 0, 0), (2, 0, 0)), &[]), ([10, 0, 0], 2));
        // Who is on its way after so long is not who ran before.
        assert_eq!(secs(&blind((0, 1, 0), (1, 0, 0)), &[]), ([5, 35, 0], 1));
        let short = Blind {
            to: at(108),
            ..blind((1, 0, 0), (1, 0, 0))
        };
        assert_eq!(secs(&short, &[]), ([8, 0, 0], 0));
    }

    #[test]
    fn workers_that_are_always_on_stay_on() {
        let kept = |min, before, after| Blind {
            min,
            ..blind(before, after)
        };
        let all = [told("a", 80, 90, Some(120)), told("b", 80, 90, Some(150))];
        // The limits are lowered as soon as anybody looks: none is there any more.
        let found = secs(&kept(1, (0, 2, 0), (0, 0, 0)), &all);
        assert_eq!(found, ([0, 20 + 50, 5 + 150], 0));
        let found = secs(&kept(2, (0, 2, 0), (0, 0, 0)), &all);
        assert_eq!(found, ([0, 20 + 50, 180 + 150], 0));
        assert_eq!(secs(&kept(1, (0, 0, 1), (0, 0, 1)), &[]), ([0, 0, 200], 0));
        assert_eq!(secs(&kept(2, (0, 0, 2), (0, 0, 0)), &[]), ([0, 0, 400], 0));
    }

    #[test]
    fn what_was_over_before_it_and_what_began_after_it_does_not_count() {
        let all = [
            told("a", 10, 20, Some(90)),
            told("b", 10, 310, None),
            Told {
                began: None,
                ..told("c", 10, 0, None)
            },
        ];
        assert_eq!(secs(&blind((0, 0, 0), (0, 0, 0)), &all), ([0, 0, 0], 0));
    }
}

//! When would each waiting job start, if the local slots alone served the queue in order?
//!
//! A pure function over a [`Picture`]; the answer says how many of the first waiting jobs must go
//! to the cloud so that all others keep the promise.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::{DurationMs, Timestamp};

/// Waiting jobs that are looked at one by one; beyond them the rest is judged by the last.
pub const WAITING_MAX: usize = 500;

/// One endpoint at one moment, as placement and scaler see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The moment.
    pub now: Timestamp,
    /// The promise: submit to first start.
    pub max_wait: DurationMs,
    /// The first waiting jobs in order, at most [`WAITING_MAX`].
    pub waiting: Vec<Waiting>,
    /// All waiting jobs; without local cards, those that nobody pays for are left out.
    pub waiting_total: usize,
    /// Of those looked at, the ones that the caps of their keys leave no money for.
    pub capped: usize,
    /// When each local slot is free, in no order; no slots at all means no local cards.
    pub local: Vec<Timestamp>,
}

/// A waiting job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// When it came in.
    pub submitted_at: Timestamp,
    /// How long it is thought to run.
    pub execution: DurationMs,
    /// The cloud may have it.
    pub is_cloudable: bool,
    /// It never causes a scale-up.
    pub is_low_priority: bool,
}

/// What the local slots alone would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Projection {
    /// How many of the first waiting jobs (those the cloud may have) must go to the cloud.
    pub spill: usize,
    /// The longest projected wait of a waiting job on local slots alone; `None` without slots.
    pub latest: Option<DurationMs>,
}

/// Projects the queue on the local slots.
#[must_use]
pub fn project(picture: &Picture) -> Projection {
    let candidates = || picture.waiting.iter().filter(|job| may_spill(job));
    if picture.local.is_empty() {
        let beyond = picture.waiting_total.saturating_sub(picture.waiting.len());
        return Projection {
            spill: candidates().count() + beyond,
            latest: None,
        };
    }
    let latest = longest_wait(picture, 0);
    let Some(wait) = latest.filter(|&wait| wait > picture.max_wait) else {
        return Projection {
            spill: 0,
            latest: latest.or(Some(DurationMs::ZERO)),
        };
    };
    // Fewer jobs never wait longer, so the least number that suffices is found by halving.
    let (mut too_few, mut enough) = (0, candidates().count());
    while too_few + 1 < enough {
        let middle = usize::midpoint(too_few, enough);
        match longest_wait(picture, middle) {
            Some(wait) if wait > picture.max_wait => too_few = middle,
            _ => enough = middle,
        }
    }
    Projection {
        spill: enough,
        latest: Some(wait),
    }
}

const fn may_spill(job: &Waiting) -> bool {
    job.is_cloudable && !job.is_low_priority
}

/// The longest wait of a job that counts, with the first `spilled` jobs that may spill left out.
fn longest_wait(picture: &Picture, spilled: usize) -> Option<DurationMs> {
    let mut free: BinaryHeap<Reverse<Timestamp>> = picture
        .local
        .iter()
        .map(|&at| Reverse(at.max(picture.now)))
        .collect();
    let (mut left_out, mut longest) = (0, None);
    for job in &picture.waiting {
        if left_out < spilled && may_spill(job) {
            left_out += 1;
            continue;
        }
        let Reverse(start) = free.pop()?;
        if may_spill(job) {
            longest = longest.max(Some(start.since(job.submitted_at)));
        }
        free.push(Reverse(start + job.execution));
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(waiting: usize, slots: usize) -> Picture {
        let job = Waiting {
            submitted_at: Timestamp::ZERO,
            execution: DurationMs::from_secs(10),
            is_cloudable: true,
            is_low_priority: false,
        };
        Picture {
            now: Timestamp::ZERO,
            max_wait: DurationMs::from_secs(20),
            waiting: vec![job; waiting],
            waiting_total: waiting,
            capped: 0,
            local: vec![Timestamp::ZERO; slots],
        }
    }

    #[test]
    fn what_local_cards_carry_stays() {
        // Two slots, ten seconds a job: starts at 0, 0, 10, 10, 20, 20.
        assert_eq!(project(&picture(6, 2)).spill, 0);
        assert_eq!(project(&picture(7, 2)).spill, 1);
        assert_eq!(project(&picture(20, 2)).spill, 14);
    }

    #[test]
    fn without_local_cards_everything_spills() {
        assert_eq!(
            project(&picture(3, 0)),
            Projection {
                spill: 3,
                latest: None
            }
        );
    }

    #[test]
    fn low_priority_and_large_inputs_never_spill() {
        let mut low = picture(20, 1);
        for job in &mut low.waiting {
            job.is_low_priority = true;
        }
        assert_eq!(project(&low).spill, 0);
        let mut large = picture(20, 1);
        for job in &mut large.waiting {
            job.is_cloudable = false;
        }
        assert_eq!(project(&large).spill, 0);
    }
}

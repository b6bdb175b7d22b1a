//! The limits of one pool's workers on their way to `RunPod`. Pure: takes the time, says what to send.
//!
//! The first [`AT_ONCE`] changes go at once, so that a limit set and set back has its effect within a second; on
//! average there is at most one per [`APART_MS`], always the newest wish. A wish that `RunPod` has
//! confirmed is not sent again until something casts doubt on it: a refused submission, or a reading that differs
//! (`RunPod` lowers limits by itself: to 2 after three days without a request, to 0 after seven).

/// The least time between two changes of one endpoint on average, in milliseconds.
pub const APART_MS: i64 = 2_000;

/// Changes that may follow each other without a pause after a quiet time.
pub const AT_ONCE: i64 = 3;

/// Limits of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerRange {
    /// Always on.
    pub min: u32,
    /// At most.
    pub max: u32,
}

/// Wanted, sent and confirmed limits of one pool.
#[derive(Debug, Clone, Default)]
pub struct ScaleLane {
    wanted: Option<WorkerRange>,
    confirmed: Option<WorkerRange>,
    is_sending: bool,
    not_before_ms: i64,
    /// When the average allows the next change; up to [`AT_ONCE`] may run ahead of it.
    paid_until_ms: Option<i64>,
    failures: u32,
}

impl ScaleLane {
    /// Takes in a wish. A lower one need not wait for as long as the one that failed.
    pub fn want(&mut self, range: WorkerRange) {
        let is_lower = self.wanted.is_some_and(|wanted| range.max < wanted.max);
        if is_lower && self.failures > 0 && !self.is_sending {
            self.failures = 0;
            self.not_before_ms = self.paid_until_ms.map_or(i64::MIN, Self::next_paid);
        }
        self.wanted = Some(range);
    }

    /// When the next change may be sent, by what the last ones have used up.
    const fn next_paid(paid_until_ms: i64) -> i64 {
        paid_until_ms - (AT_ONCE - 1) * APART_MS
    }

    /// What is wanted at last.
    #[must_use]
    pub fn wanted(&self) -> Option<WorkerRange> {
        self.wanted
    }

    /// What to send now, if anything; the caller must report how it ended.
    pub fn take(&mut self, now_ms: i64) -> Option<WorkerRange> {
        if self.is_sending || now_ms < self.not_before_ms {
            return None;
        }
        let wanted = self
            .wanted
            .filter(|wanted| Some(*wanted) != self.confirmed)?;
        self.is_sending = true;
        let paid = self.paid_until_ms.map_or(now_ms, |paid| paid.max(now_ms)) + APART_MS;
        self.paid_until_ms = Some(paid);
        self.not_before_ms = Self::next_paid(paid);
        Some(wanted)
    }

    /// When [`ScaleLane::take`] may have something, in milliseconds.
    #[must_use]
    pub fn next_ms(&self) -> Option<i64> {
        let has_news = self.wanted.is_some() && self.wanted != self.confirmed;
        (has_news && !self.is_sending).then_some(self.not_before_ms)
    }

    /// `RunPod` confirmed what was sent.
    pub fn on_confirmed(&mut self, sent: WorkerRange) {
        self.is_sending = false;
        self.failures = 0;
        self.confirmed = Some(sent);
    }

    /// It failed; the wish stands, and is sent again after `wait_ms` at the soonest. Says whether this is the first
    /// failure in a row.
    pub fn on_failed(&mut self, now_ms: i64, wait_ms: i64) -> bool {
        self.is_sending = false;
        self.confirmed = None;
        self.not_before_ms = self.not_before_ms.max(now_ms + wait_ms);
        self.failures += 1;
        self.failures == 1
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What was confirmed may no longer hold.
    pub fn doubt(&mut self) {
        self.confirmed = None;
    }

    /// What is wanted is confirmed, and no change of it is on its way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.is_sending && self.wanted.is_some() && self.wanted == self.confirmed
    }

    /// `RunPod`'s limits as read; a difference to what it had confirmed is put right by sending the wish again. Says
    /// whether there is one that no change on its way explains.
    pub fn on_read(&mut self, seen: WorkerRange) -> bool {
        let was_settled = self.is_settled();
        let differs = self.confirmed.is_some_and(|confirmed| confirmed != seen);
        if differs {
            self.confirmed = None;
        }
        differs && was_settled
    }
}

/// Workers that are there although none are wanted: `RunPod` was seen to keep one warm that nobody asked for.
#[derive(Debug, Clone, Default)]
pub struct Surplus {
    since_ms: Option<i64>,
}

impl Surplus {
    /// How long workers may outlive the wish for none, in milliseconds: they idle and end first.
    const PATIENCE_MS: i64 = 120_000;

    /// Takes in how many workers there are; says true once they have stayed too long, and again after as long.
    pub fn on_counts(&mut self, now_ms: i64, wanted: Option<WorkerRange>, workers: u32) -> bool {
        if workers == 0 || wanted.is_none_or(|wanted| wanted.max > 0) {
            self.since_ms = None;
            return false;
        }
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        let is_overdue = now_ms - since_ms >= Self::PATIENCE_MS;
        if is_overdue {
            self.since_ms = Some(now_ms);
        }
        is_overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_outlive_the_wish_for_none_are_noticed() {
        let mut surplus = Surplus::default();
        assert!(!surplus.on_counts(0, Some(range(0)), 1));
        assert!(!surplus.on_counts(119_999, Some(range(0)), 1));
        assert!(surplus.on_counts(120_000, Some(range(0)), 1));
        assert!(
            !surplus.on_counts(121_000, Some(range(0)), 1),
            "not at each reading"
        );
        assert!(
            !surplus.on_counts(500_000, Some(range(1)), 1),
            "one is wanted"
        );
        assert!(
            !surplus.on_counts(500_001, Some(range(0)), 1),
            "the count starts anew"
        );
        assert!(
            !surplus.on_counts(900_000, None, 1),
            "nothing was ever wanted of us"
        );
    }

    fn range(max: u32) -> WorkerRange {
        WorkerRange { min: 0, max }
    }

    #[test]
    fn the_first_go_at_once_and_later_ones_are_merged() {
        let mut lane = ScaleLane::default();
        for max in 1..=3 {
            lane.want(range(max));
            assert_eq!(
                lane.take(100),
                Some(range(max)),
                "change {max} goes at once"
            );
            assert_eq!(lane.take(100), None, "one is on its way");
            lane.on_confirmed(range(max));
        }
        lane.want(range(4));
        lane.want(range(5));
        assert_eq!(lane.next_ms(), Some(2_100));
        assert_eq!(lane.take(2_099), None);
        assert_eq!(lane.take(2_100), Some(range(5)), "the newest wish alone");
        lane.on_confirmed(range(5));
        assert_eq!(lane.next_ms(), None);
        lane.want(range(5));
        assert_eq!(lane.take(90_000), None, "it holds already");
        lane.want(range(0));
        assert_eq!(
            lane.take(90_000),
            Some(range(0)),
            "after a quiet time the next goes at once"
        );
    }

    #[test]
    fn a_failed_change_stays_wanted() {
        let mut lane = ScaleLane::default();
        lane.want(range(0));
        assert!(lane.take(0).is_some());
        assert!(lane.on_failed(10, 5_000));
        assert_eq!(lane.take(5_009), None);
        assert_eq!(lane.take(5_010), Some(range(0)));
        assert!(!lane.on_failed(5_020, 5_000), "told once");
    }

    #[test]
    fn a_lower_wish_after_a_refusal_goes_at_once_and_its_failure_is_told() {
        let mut lane = ScaleLane::default();
        lane.want(range(50));
        assert_eq!(lane.take(0), Some(range(50)));
        assert!(lane.on_failed(10, 60_000));
        lane.want(range(50));
        assert_eq!(lane.take(20), None, "the same wish waits");
        lane.want(range(25));
        assert_eq!(lane.take(20), Some(range(25)));
        assert!(lane.on_failed(30, 60_000), "told again");
    }

    #[test]
    fn limits_that_runpod_lowered_are_set_again() {
        let mut lane = ScaleLane::default();
        lane.want(range(3));
        assert!(lane.take(0).is_some());
        lane.on_confirmed(range(3));
        assert!(!lane.on_read(range(3)));
        assert_eq!(lane.take(10_000), None);
        assert!(lane.on_read(range(2)));
        assert_eq!(lane.take(10_000), Some(range(3)));
    }
}

//! The breaker of one cloud pool: after a run of failures nothing is sent for a while, then one probe.
//!
//! A pure state machine over a time that is handed in; it neither sends nor waits. What counts as a failure is the
//! caller's: time-outs, broken connections, 5xx and unreadable answers do; a refused job (4xx) does not, because it
//! says that the cloud is there. A refused *key* (401, 403) latches the breaker: probing goes on, but slowly,
//! since no number of retries makes a key valid.
//!
//! The breaker holds back *new* submissions only. Results of jobs that run already are still asked for: a cloud
//! that refuses new jobs may well give out finished ones, and their retention is short.

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a row that open it.
    pub failures_to_open: u32,
    /// First time it stays open, in milliseconds; doubles at each failed probe.
    pub open_ms_first: i64,
    /// Longest time it stays open, in milliseconds.
    pub open_ms_max: i64,
    /// Time between probes after a refused key, in milliseconds.
    pub latched_probe_ms: i64,
    /// Probes in a row that must succeed before it closes.
    pub probes_to_close: u32,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            failures_to_open: 5,
            open_ms_first: 2_000,
            open_ms_max: 60_000,
            latched_probe_ms: 60_000,
            probes_to_close: 1,
        }
    }
}

/// What a call to the cloud said about the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, whatever it said about the job.
    Alive,
    /// It did not answer, or with nonsense.
    Failed,
    /// It refuses our key (401 or 403).
    Unauthorized,
}

/// What the breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes until `until_ms`, then one probe.
    Open {
        /// When the next probe may go, in milliseconds of the caller's clock.
        until_ms: i64,
    },
    /// One probe is on its way; nothing else passes.
    HalfOpen,
    /// The key was refused; one slow probe at a time from `until_ms` on.
    Latched {
        /// When the next probe may go, in milliseconds of the caller's clock.
        until_ms: i64,
    },
}

/// The breaker of one pool.
#[derive(Debug, Clone)]
pub struct Breaker {
    rules: BreakerRules,
    state: BreakerState,
    failures: u32,
    probes_succeeded: u32,
    open_ms: i64,
    is_key_refused: bool,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            state: BreakerState::Closed,
            failures: 0,
            probes_succeeded: 0,
            open_ms: rules.open_ms_first,
            is_key_refused: false,
        }
    }

    /// The state as it is, without letting anything through.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a call may go now. In the half-open state the caller that gets `true` is the probe and must
    /// report its outcome.
    pub fn admits(&mut self, now_ms: i64) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::HalfOpen => false,
            BreakerState::Open { until_ms } | BreakerState::Latched { until_ms } => {
                let is_due = now_ms >= until_ms;
                if is_due {
                    self.state = BreakerState::HalfOpen;
                }
                is_due
            }
        }
    }

    /// Takes in how a call ended; returns the new state if it changed.
    ///
    /// `jitter` in 0..=1000 stretches the open time by up to a half, so that pools do not probe in step.
    pub fn record(&mut self, now_ms: i64, outcome: Outcome, jitter: u16) -> Option<BreakerState> {
        let before = self.state;
        match outcome {
            Outcome::Alive => self.on_alive(),
            Outcome::Failed => self.on_failed(now_ms, jitter),
            Outcome::Unauthorized => {
                self.is_key_refused = true;
                self.probes_succeeded = 0;
                self.state = BreakerState::Latched {
                    until_ms: now_ms + self.rules.latched_probe_ms,
                };
            }
        }
        (self.state != before).then_some(self.state)
    }

    fn on_alive(&mut self) {
        self.failures = 0;
        match self.state {
            BreakerState::Closed => {}
            // A late answer to a call from before the breaker opened proves nothing about now.
            BreakerState::Open { .. } | BreakerState::Latched { .. } => {}
            BreakerState::HalfOpen => {
                self.probes_succeeded += 1;
                if self.probes_succeeded >= self.rules.probes_to_close {
                    *self = Self::new(self.rules);
                } else {
                    self.state = BreakerState::Open { until_ms: 0 };
                }
            }
        }
    }

    fn on_failed(&mut self, now_ms: i64, jitter: u16) {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures < self.rules.failures_to_open => {}
            BreakerState::Closed => self.open(now_ms, jitter),
            BreakerState::HalfOpen if self.is_key_refused => {
                self.state = BreakerState::Latched {
                    until_ms: now_ms + self.rules.latched_probe_ms,
                };
            }
            BreakerState::HalfOpen => {
                self.probes_succeeded = 0;
                self.open_ms = (self.open_ms * 2).min(self.rules.open_ms_max);
                self.open(now_ms, jitter);
            }
            BreakerState::Open { .. } | BreakerState::Latched { .. } => {}
        }
    }

    fn open(&mut self, now_ms: i64, jitter: u16) {
        let stretch = self.open_ms * i64::from(jitter.min(1000)) / 2000;
        self.state = BreakerState::Open {
            until_ms: now_ms + self.open_ms + stretch,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> BreakerRules {
        BreakerRules {
            failures_to_open: 3,
            open_ms_first: 1_000,
            ..BreakerRules::default()
        }
    }

    #[test]
    fn opens_after_a_run_of_failures_only() {
        let mut breaker = Breaker::new(rules());
        breaker.record(0, Outcome::Failed, 0);
        breaker.record(0, Outcome::Failed, 0);
        breaker.record(0, Outcome::Alive, 0);
        breaker.record(0, Outcome::Failed, 0);
        breaker.record(0, Outcome::Failed, 0);
        assert!(
            breaker.admits(0),
            "an answer in between starts the count again"
        );
        let opened = breaker.record(5, Outcome::Failed, 0);
        assert_eq!(opened, Some(BreakerState::Open { until_ms: 1_005 }));
        assert!(!breaker.admits(1_004));
    }

    #[test]
    fn one_probe_goes_and_closes_it() {
        let mut breaker = Breaker::new(rules());
        for _ in 0..3 {
            breaker.record(0, Outcome::Failed, 0);
        }
        assert!(breaker.admits(1_000), "the probe");
        assert!(!breaker.admits(1_000), "and nothing beside it");
        assert_eq!(
            breaker.record(1_001, Outcome::Alive, 0),
            Some(BreakerState::Closed)
        );
        assert!(breaker.admits(1_001));
    }

    #[test]
    fn failed_probes_wait_longer_up_to_a_bound() {
        let mut breaker = Breaker::new(rules());
        let mut now = 0;
        for _ in 0..3 {
            breaker.record(now, Outcome::Failed, 0);
        }
        let mut waits = Vec::new();
        for _ in 0..8 {
            let BreakerState::Open { until_ms } = breaker.state() else {
                panic!("{:?}", breaker.state())
            };
            waits.push(until_ms - now);
            now = until_ms;
            assert!(breaker.admits(now));
            breaker.record(now, Outcome::Failed, 0);
        }
        assert_eq!(
            waits,
            [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        );
    }

    #[test]
    fn a_refused_key_latches_until_a_probe_is_answered() {
        let mut breaker = Breaker::new(rules());
        let latched = breaker.record(0, Outcome::Unauthorized, 0);
        assert_eq!(latched, Some(BreakerState::Latched { until_ms: 60_000 }));
        breaker.record(1, Outcome::Alive, 0);
        assert!(!breaker.admits(59_999), "a late answer does not unlatch it");
        assert!(breaker.admits(60_000));
        breaker.record(60_000, Outcome::Failed, 0);
        assert_eq!(breaker.state(), BreakerState::Latched { until_ms: 120_000 });
        assert!(breaker.admits(120_000));
        assert_eq!(
            breaker.record(120_000, Outcome::Alive, 0),
            Some(BreakerState::Closed)
        );
    }

    #[test]
    fn jitter_stretches_by_at_most_a_half() {
        let mut breaker = Breaker::new(rules());
        for _ in 0..3 {
            breaker.record(0, Outcome::Failed, 1000);
        }
        assert_eq!(breaker.state(), BreakerState::Open { until_ms: 1_500 });
    }
}

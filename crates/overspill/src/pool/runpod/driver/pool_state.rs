//! One pool and what is under way there.

use super::super::breaker::{Breaker, BreakerRules};
use super::super::limits::RetryBudget;
use super::scale::{ScaleLane, Surplus};
use super::standby::StandbyWatch;
use super::{CloudPool, Managed};
use overspill_core::event::CloudWorkerCounts;
use overspill_core::time::DurationMs;
use std::collections::BTreeSet;

/// One pool and what is under way there.
pub(super) struct PoolState {
    pub(super) access: CloudPool,
    pub(super) breaker: Breaker,
    pub(super) lane: ScaleLane,
    /// The idle time-out that is wanted, in seconds; `None`: the longest.
    idle_s: Option<u32>,
    /// What went with the last change of limits.
    idle_sent_s: Option<u32>,
    pub(super) surplus: Surplus,
    pub(super) standby: StandbyWatch,
    pub(super) retries: RetryBudget,
    pub(super) counts: Option<CloudWorkerCounts>,
    pub(super) counts_told_ms: i64,
    pub(super) health_due_ms: i64,
    pub(super) is_health_asked: bool,
    pub(super) health_failures: u32,
    pub(super) read_due_ms: i64,
    pub(super) is_read_asked: bool,
    pub(super) polls_in_flight: usize,
    pub(super) polls_not_before_ms: i64,
    pub(super) poll_failures: u32,
    pub(super) submits_in_flight: usize,
    pub(super) unknown_words: BTreeSet<String>,
}

impl PoolState {
    pub(super) fn new(access: CloudPool, now_ms: i64) -> Self {
        let read_due_ms = now_ms + access.limits_check_ms;
        Self {
            access,
            breaker: Breaker::new(BreakerRules::default()),
            lane: ScaleLane::default(),
            idle_s: None,
            idle_sent_s: None,
            surplus: Surplus::default(),
            standby: StandbyWatch::default(),
            retries: RetryBudget::new(),
            counts: None,
            counts_told_ms: now_ms,
            health_due_ms: now_ms,
            is_health_asked: false,
            health_failures: 0,
            read_due_ms,
            is_read_asked: false,
            polls_in_flight: 0,
            polls_not_before_ms: i64::MIN,
            poll_failures: 0,
            submits_in_flight: 0,
            unknown_words: BTreeSet::new(),
        }
    }

    /// The idle time-out that `RunPod` is to have, in seconds: as wanted, and never longer than configured.
    fn idle_timeout_s(&self) -> u32 {
        let most = self.access.idle_timeout_s;
        self.idle_s
            .map_or(most, |idle| idle.min(most))
            .clamp(1, 3_600)
    }

    /// Takes in a wished idle time-out; another one than before is sent with the limits again.
    pub(super) fn want_idle(&mut self, idle: DurationMs) {
        let seconds = idle.as_millis().div_ceil(1_000);
        self.idle_s = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self.look_at_idle();
    }

    /// The idle time-out of now, which goes with a change of limits.
    pub(super) fn take_idle_s(&mut self) -> u32 {
        let idle_s = self.idle_timeout_s();
        self.idle_sent_s = Some(idle_s);
        idle_s
    }

    /// Has the limits sent again where another idle time-out went with them.
    pub(super) fn look_at_idle(&mut self) {
        let is_ours = self.access.managed == Managed::Everything;
        let sent = self.idle_sent_s;
        if is_ours && sent.is_some_and(|sent| sent != self.idle_timeout_s()) {
            self.lane.doubt();
        }
    }

    pub(super) fn can_manage(&self) -> bool {
        self.access.managed != Managed::Nothing && self.access.management.is_some()
    }

    /// The next moment at which something of this pool besides polls is due.
    pub(super) fn next_ms(&self) -> i64 {
        let health = if self.is_health_asked || !self.access.is_counted {
            i64::MAX
        } else {
            self.health_due_ms
        };
        let is_reading = self.is_read_asked || !self.can_manage() || self.lane.wanted().is_none();
        let read = if is_reading {
            i64::MAX
        } else {
            self.read_due_ms
        };
        let scale = self
            .lane
            .next_ms()
            .filter(|_| self.can_manage())
            .unwrap_or(i64::MAX);
        health.min(read).min(scale)
    }
}

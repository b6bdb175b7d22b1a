//! What the engine does beside its batches: looks after disk and clock, deletes what is no longer kept,
//! copies the log back; and what it does after it stood still.

use std::collections::BTreeMap;
use std::time::Duration;

use overspill_core::event::Event;
use overspill_core::id::PoolId;
use overspill_core::time::Timestamp;
use overspill_store::StoreError;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{EXPIRE_SLICE, Engine, IDLE, die};
use crate::clock::{self, StepWatch};

/// Housekeeping happens this often, however much there is to do.
const PERIOD: Duration = Duration::from_secs(1);
/// The longest that it waits for something to happen.
#[cfg(test)]
pub(super) const WAIT_MAX: Duration = IDLE;
/// An engine that did not get to its inbox for so long stood still: the process was stopped, the
/// machine slept, or the disk hung.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// For so long afterwards, what waited outside is heard before any deadline counts.
const CATCH_UP: Duration = Duration::from_secs(2);

/// When what was done last.
#[derive(Debug)]
pub(super) struct House {
    kept_at: Instant,
    steps: StepWatch,
    /// When the inbox was last looked into.
    gathered_at: Instant,
    /// After a standstill: the time that the core is kept at, and until when.
    catching_up: Option<(Timestamp, Instant)>,
    /// Counts of workers that came while it catches up, the last of each pool.
    counts: BTreeMap<PoolId, Event>,
    /// The last time that the core was given.
    last: Timestamp,
    is_full: bool,
    /// There was more to delete.
    has_more: bool,
}

impl House {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            kept_at: now,
            steps: StepWatch::default(),
            gathered_at: now,
            catching_up: None,
            counts: BTreeMap::new(),
            last: Timestamp::ZERO,
            is_full: false,
            has_more: false,
        }
    }

    /// The inbox is about to be looked into. After a standstill, time stands still a little longer for the
    /// core (F27): results, heartbeats and ends that waited outside come in first, and only then do
    /// deadlines count that passed meanwhile.
    fn gathers(&mut self, at: Instant) -> Option<Duration> {
        let stood_still = at.saturating_duration_since(self.gathered_at);
        self.gathered_at = at;
        if stood_still < STOOD_STILL {
            return None;
        }
        self.catching_up = Some((self.last, at + CATCH_UP));
        Some(stood_still)
    }

    /// The time for the core: the clock's, but while it catches up.
    fn time(&mut self, clock: Timestamp, at: Instant) -> Timestamp {
        if let Some((kept, until)) = self.catching_up {
            if at < until {
                return kept.max(self.last);
            }
            self.catching_up = None;
        }
        self.last = clock.max(self.last);
        self.last
    }

    /// Keeps a count of workers back while the core is kept at the time before a standstill: it is of
    /// after that, and would be taken for what there was all along. Everything else is for now.
    fn hold(&mut self, event: Event, at: Instant) -> Option<Event> {
        match event {
            Event::CloudHealth { pool, .. } if self.is_catching_up(at) => {
                self.counts.insert(pool, event);
                None
            }
            event => Some(event),
        }
    }

    /// The counts that were kept back, once it has caught up.
    fn release(&mut self, at: Instant) -> BTreeMap<PoolId, Event> {
        if self.is_catching_up(at) {
            return BTreeMap::new();
        }
        std::mem::take(&mut self.counts)
    }

    fn is_catching_up(&self, at: Instant) -> bool {
        self.catching_up.is_some_and(|(_, until)| at < until)
    }

    /// How long the engine may wait for something to happen.
    fn wait(&self, until_timer: Duration, at: Instant) -> Duration {
        match self.catching_up {
            // Timers that are overdue must not make it spin.
            Some((_, until)) => until.saturating_duration_since(at).min(IDLE),
            None => until_timer.min(IDLE),
        }
    }
}

impl Engine {
    /// The time, as the core is told it.
    pub(super) fn now(&mut self) -> Timestamp {
        let now = self.clock.now();
        self.house.time(now, Instant::now())
    }

    /// Notices whether the engine stood still, and says how long it may wait now.
    pub(super) fn begin_gathering(&mut self) -> Duration {
        let at = Instant::now();
        if let Some(stood_still) = self.house.gathers(at) {
            warn!(
                seconds = stood_still.as_secs(),
                "nothing was done for a while (the process was stopped, the machine slept, or the disk hung): \
                 what waited is heard before any deadline counts"
            );
        }
        let timer = self.core.next_wakeup();
        let until = timer.map_or(IDLE, |timer| self.clock.until(timer));
        self.house.wait(until, at)
    }

    /// The inbox was waited for, which is no standstill.
    pub(super) fn has_gathered(&mut self, waited: Duration) {
        // A process that is stopped while it waits wakes up much later than it wanted to.
        if self.house.gathered_at.elapsed() < waited + STOOD_STILL {
            self.house.gathered_at = Instant::now();
        } else {
            let _ = self.begin_gathering();
        }
    }

    /// What the core is told now of what came in; see [`House::hold`].
    pub(super) fn now_or_later(&mut self, event: Event) -> Option<Event> {
        self.house.hold(event, Instant::now())
    }

    /// What was kept back and is due now.
    pub(super) fn kept_back(&mut self) -> impl Iterator<Item = Event> + use<> {
        self.house.release(Instant::now()).into_values()
    }

    /// Does what is due, once a second, and as soon as there is nothing else to do.
    pub(super) fn keep_house(&mut self, is_idle: bool) {
        let is_due = self.house.kept_at.elapsed() >= PERIOD;
        let goes_on = self.house.has_more && is_idle;
        if !is_due && !goes_on {
            return;
        }
        self.house.kept_at = Instant::now();
        self.look_at_clock();
        let now = self.now();
        match self.store.expire(now, EXPIRE_SLICE) {
            // There may be more: go on at the next idle moment, or in a second.
            Ok(deleted) => self.house.has_more = deleted == EXPIRE_SLICE,
            Err(error) => self.kept_badly("ended jobs could not be deleted", &error),
        }
        if let Err(error) = self.store.checkpoint(is_idle) {
            self.kept_badly("the store's log could not be copied back", &error);
        }
        self.look_at_disk();
    }

    /// Refuses submissions at the door while there is no room, so that what runs can still be recorded.
    pub(super) fn look_at_disk(&mut self) {
        let space = match self.store.space() {
            Ok(space) => space,
            Err(error) => {
                warn!(%error, "the disk's free space cannot be told");
                return;
            }
        };
        let is_full = !space.admits();
        self.live.set_room(!is_full);
        if is_full != self.house.is_full {
            self.house.is_full = is_full;
            if is_full {
                let free_mb = space.free_bytes.unwrap_or_default() / 1_000_000;
                let text = format!(
                    "the disk that holds the data directory is full ({free_mb} MB free): new jobs are refused, \
                     results are still recorded; free some space"
                );
                error!(code = "storage_full", "{text}");
                self.live.troubles.begin("storage_full", text);
            } else {
                info!("the disk has room again: new jobs are taken");
                self.live.troubles.end("storage_full");
            }
        }
    }

    fn look_at_clock(&mut self) {
        let Some(step) = self.house.steps.look(self.clock.now(), clock::wall()) else {
            return;
        };
        if step.is_over() {
            info!("the system's clock agrees with the server's again");
            self.live.troubles.end("clock_step");
            return;
        }
        let (by, ahead) = (step.by_ms / 1_000, step.ahead_ms / 1_000);
        let text = format!(
            "the system's clock was set by {by} s and is {ahead} s from the server's, which goes on as it was: no \
             deadline moves; times that are shown and budget days follow the new time after a restart"
        );
        warn!(code = "clock_step", "{text}");
        self.live.troubles.begin("clock_step", text);
    }

    fn kept_badly(&self, what: &'static str, error: &StoreError) {
        match error {
            // Said once, by the look at the disk.
            StoreError::Full(_) => {}
            // It must not go on to answer reads as if all were well.
            StoreError::Io { .. } | StoreError::Corrupt { .. } | StoreError::Stopped => die(error),
            _ => warn!(%error, "{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn f27_after_a_standstill_time_waits_until_what_waited_was_heard() {
        let mut house = House::new();
        let start = house.gathered_at;
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(house.time(at(100), start), at(100));
        assert_eq!(house.gathers(after(1)), None);
        assert_eq!(house.time(at(101), after(1)), at(101));
        let stood_still = house.gathers(after(601));
        assert_eq!(stood_still, Some(Duration::from_secs(600)));
        // Two seconds for what waited; an overdue timer does not make the engine spin.
        assert_eq!(house.time(at(701), after(601)), at(101));
        assert_eq!(house.wait(Duration::ZERO, after(601)), IDLE);
        assert_eq!(house.gathers(after(602)), None);
        assert_eq!(house.time(at(702), after(602)), at(101));
        assert_eq!(house.time(at(703), after(603)), at(703));
        assert_eq!(house.wait(Duration::ZERO, after(603)), Duration::ZERO);
    }

    #[test]
    fn f27_a_count_of_after_a_standstill_is_not_one_of_before() {
        let mut house = House::new();
        let start = house.gathered_at;
        let after = |seconds| start + Duration::from_secs(seconds);
        let count = |running| Event::CloudHealth {
            pool: PoolId(3),
            workers: overspill_core::event::CloudWorkerCounts {
                running,
                ..Default::default()
            },
        };
        assert_eq!(house.hold(count(1), start), Some(count(1)));
        house.gathers(after(600));
        assert_eq!(house.hold(count(2), after(600)), None);
        assert_eq!(house.hold(count(0), after(601)), None);
        let other = Event::TimePassed;
        assert_eq!(house.hold(other.clone(), after(601)), Some(other));
        assert!(house.release(after(601)).is_empty());
        let kept: Vec<Event> = house.release(after(602)).into_values().collect();
        assert_eq!(kept, [count(0)], "the last of the pool");
        assert_eq!(house.hold(count(1), after(602)), Some(count(1)));
        assert!(house.release(after(603)).is_empty());
    }

    #[test]
    fn f26_the_cores_time_never_goes_back() {
        let mut house = House::new();
        let start = house.gathered_at;
        assert_eq!(house.time(at(100), start), at(100));
        assert_eq!(house.time(at(50), start), at(100));
    }
}

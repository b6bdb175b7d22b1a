//! Whether and when a serving process that ended is started again: a pure rule.

use std::time::Duration;

/// Exit code of a serving process that wants a new one in its place at once.
pub const EXIT_RESTART: i32 = 75;
/// Exit code for storage that failed: the next start runs the recovery.
pub const EXIT_STORAGE: i32 = 74;
/// Exit code for a configuration that cannot be used.
pub const EXIT_CONFIGURATION: i32 = 78;
/// Exit code for a command line that cannot be understood.
const EXIT_USAGE: i32 = 2;

/// First pause before a restart; it doubles with each crash.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause before a restart.
const PAUSE_MOST: Duration = Duration::from_secs(5);
/// A serving process that answered this long was healthy: what came before is forgotten.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// Restarts in a row after a storage failure.
const STORAGE_RESTARTS: u32 = 3;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is gone and nobody could say how.
    Unknown,
}

/// What to do after a serving process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// End the keeper with this exit code.
    Finish(i32),
    /// Start another one after a pause.
    StartIn(Duration),
}

/// The memory that the rule needs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct RestartRule {
    crashes: u32,
    storage_failures: u32,
}

impl RestartRule {
    /// Judges one ending. `ready_for` is how long it had been answering requests (`None`: it never
    /// did); `on_purpose` is true once a stop was asked for or announced.
    pub(super) fn judge(
        &mut self,
        ending: Ending,
        ready_for: Option<Duration>,
        on_purpose: bool,
    ) -> Verdict {
        if ready_for.is_some_and(|time| time >= STEADY_AFTER) {
            *self = Self::default();
        }
        match ending {
            Ending::Code(code) if on_purpose => return Verdict::Finish(code),
            Ending::Signal(signal) if on_purpose => return Verdict::Finish(128 + signal),
            Ending::Unknown if on_purpose => return Verdict::Finish(1),
            Ending::Code(code @ (0 | EXIT_USAGE | EXIT_CONFIGURATION)) => {
                return Verdict::Finish(code);
            }
            Ending::Code(EXIT_RESTART) if ready_for.is_some() => {
                return Verdict::StartIn(Duration::ZERO);
            }
            Ending::Code(EXIT_STORAGE) => {
                self.storage_failures += 1;
                if self.storage_failures > STORAGE_RESTARTS {
                    return Verdict::Finish(EXIT_STORAGE);
                }
            }
            Ending::Code(_) | Ending::Signal(_) | Ending::Unknown => {}
        }
        let pause = PAUSE_FIRST
            .saturating_mul(1 << self.crashes.min(16))
            .min(PAUSE_MOST);
        self.crashes += 1;
        Verdict::StartIn(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(verdict: Verdict) -> u128 {
        match verdict {
            Verdict::StartIn(pause) => pause.as_millis(),
            Verdict::Finish(code) => panic!("finished with {code}"),
        }
    }

    #[test]
    fn pauses_double_up_to_five_seconds_and_a_steady_run_resets_them() {
        let mut rule = RestartRule::default();
        let pauses: Vec<_> = (0..9)
            .map(|_| millis(rule.judge(Ending::Signal(9), None, false)))
            .collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let steady = Some(Duration::from_secs(10));
        assert_eq!(millis(rule.judge(Ending::Code(101), steady, false)), 50);
    }

    #[test]
    fn being_ready_for_a_moment_does_not_reset_the_pauses() {
        let mut rule = RestartRule::default();
        let moment = Some(Duration::from_secs(1));
        assert_eq!(millis(rule.judge(Ending::Code(101), moment, false)), 50);
        assert_eq!(millis(rule.judge(Ending::Code(101), moment, false)), 100);
    }

    #[test]
    fn codes_that_mean_do_not_come_back_are_passed_on() {
        for code in [0, EXIT_USAGE, EXIT_CONFIGURATION] {
            let verdict = RestartRule::default().judge(Ending::Code(code), None, false);
            assert_eq!(verdict, Verdict::Finish(code));
        }
    }

    #[test]
    fn storage_is_tried_three_times_more() {
        let mut rule = RestartRule::default();
        for _ in 0..3 {
            millis(rule.judge(Ending::Code(EXIT_STORAGE), None, false));
        }
        let fourth = rule.judge(Ending::Code(EXIT_STORAGE), None, false);
        assert_eq!(fourth, Verdict::Finish(EXIT_STORAGE));
    }

    #[test]
    fn a_wanted_restart_has_no_pause_unless_it_never_got_ready() {
        let mut rule = RestartRule::default();
        let ready = Some(Duration::from_millis(1));
        assert_eq!(
            millis(rule.judge(Ending::Code(EXIT_RESTART), ready, false)),
            0
        );
        assert_eq!(
            millis(rule.judge(Ending::Code(EXIT_RESTART), None, false)),
            50
        );
    }

    #[test]
    fn nothing_is_started_again_after_a_stop() {
        let mut rule = RestartRule::default();
        assert_eq!(
            rule.judge(Ending::Signal(9), None, true),
            Verdict::Finish(137)
        );
        assert_eq!(
            rule.judge(Ending::Code(101), None, true),
            Verdict::Finish(101)
        );
    }
}

//! The faults that storms model: each has a name, a likelihood and a count of how often it fired.
//!
//! Every seed draws which faults it has at all, so that some runs have one fault alone and others
//! many together; and how likely those are. After the storm has calmed down, none fires.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

macro_rules! faults {
    ($($name:ident $word:literal $chance:literal $what:literal,)*) => {
        /// Something that goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = $what] $name,)*
        }

        impl Fault {
            /// All of them, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name, as `--fault` takes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// In words.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// How likely it is at each occasion, in a seed that has it: the middle of the range.
            const fn chance(self) -> f64 {
                match self { $(Self::$name => $chance,)* }
            }
        }
    };
}

faults! {
    Crash "crash" 0.002 "The serving process is killed at any moment; the workers live on.",
    CrashBeforeCommit "crash_before_commit" 0.004 "It is killed after a batch was handled, before its commit.",
    CrashAfterCommit "crash_after_commit" 0.004 "It is killed after a commit, before any effect of it.",
    CrashBetweenEffects "crash_between_effects" 0.002 "It is killed between two effects of one batch.",
    CrashAtBoot "crash_at_boot" 0.1 "It is killed again while it starts.",
    KeeperCrash "keeper_crash" 0.1 "A crash takes the keeper and all workers along.",
    CommitFailed "commit_failed" 0.01 "A commit fails, and nothing of it is written.",
    CommitUnknown "commit_unknown" 0.01 "A commit is reported as failed, and all of it is written.",
    TakeLost "take_lost" 0.02 "A job-take never reaches the server.",
    TakeDoubled "take_doubled" 0.01 "A job-take arrives twice.",
    TakeGone "take_gone" 0.02 "The connection of a held job-take closes, and the server sees it.",
    DeliverFailed "deliver_failed" 0.02 "A job cannot be written to the connection of its job-take.",
    DeliverLost "deliver_lost" 0.01 "A job is written to a connection whose other end is gone.",
    ResultLost "result_lost" 0.01 "A result never arrives, and the worker gives it up.",
    ResultDoubled "result_doubled" 0.03 "A result arrives twice.",
    ResultLate "result_late" 0.02 "A result takes up to two minutes to arrive.",
    ResultZombie "result_zombie" 0.02 "A result arrives after its worker went on to the next job.",
    PingLost "ping_lost" 0.1 "A heartbeat never arrives.",
    PingZombie "ping_zombie" 0.3 "The heartbeat outlives its killed worker.",
    WorkerKilled "worker_killed" 0.003 "A worker's process is killed.",
    WorkerExits "worker_exits" 0.02 "A handler ends its process in the middle of a job.",
    WorkerFrozen "worker_frozen" 0.01 "A worker's process group is stopped for up to five minutes.",
    WorkerSilent "worker_silent" 0.01 "An idle worker asks for no further jobs, and lives on.",
    WorkerNeverReady "worker_never_ready" 0.06 "A worker starts, and never asks for a job.",
    HandlerHangs "handler_hangs" 0.02 "A handler never returns; it hears no stop and no SIGTERM.",
    ResultUnsendable "result_unsendable" 0.02 "A handler returns what is not JSON: nothing is posted.",
    HandlerFails "handler_fails" 0.05 "A handler raises.",
    StopIgnored "stop_ignored" 0.5 "A synchronous handler does not hear that its job is cancelled.",
    WorkerRefreshes "worker_refreshes" 0.03 "A worker ends by itself after a job.",
    SpawnFails "spawn_fails" 0.05 "A worker's process cannot be started.",
    StartCrashes "start_crashes" 0.1 "A worker's process ends within a second of its start.",
    ExitLate "exit_late" 0.2 "That a process ended is known only seconds later.",
    SubmitUnreachable "submit_unreachable" 0.05 "RunPod cannot be reached for a submission.",
    SubmitAnswerLost "submit_answer_lost" 0.05 "RunPod accepts a submission, and the answer is lost.",
    SubmitAnswerLate "submit_answer_late" 0.03 "The answer to a submission comes after it was given up.",
    SubmitLost "submit_lost" 0.03 "A submission is lost on its way, and nobody knows.",
    StatusLost "status_lost" 0.05 "A status call gets no answer.",
    StatusLate "status_late" 0.03 "A status answer is overtaken by a later one.",
    CancelLost "cancel_lost" 0.1 "A cancel call gets no answer.",
    ScaleFails "scale_fails" 0.1 "A change of limits at RunPod fails.",
    HealthLost "health_lost" 0.1 "A health call gets no answer.",
    Cloud429 "cloud_429" 0.3 "RunPod answers 429 for a while.",
    Cloud5xx "cloud_5xx" 0.3 "RunPod answers 503 for a while.",
    CloudHangs "cloud_hangs" 0.3 "RunPod accepts submissions and never answers, for a while.",
    CloudWorkerLost "cloud_worker_lost" 0.5 "A cloud worker is gone, and its job goes to another.",
    CloudResultLost "cloud_result_lost" 0.2 "RunPod loses an output: completed, with nothing.",
    CloudExpiresEarly "cloud_expires_early" 0.2 "RunPod forgets results within seconds.",
    CloudIdLate "cloud_id_late" 0.3 "RunPod does not know new jobs for some seconds.",
    CloudThrottled "cloud_throttled" 0.3 "RunPod has no room for new workers for a while.",
    CloudUnhealthy "cloud_unhealthy" 0.2 "RunPod's workers become unhealthy.",
    CloudCrashLoop "cloud_crash_loop" 0.2 "New cloud workers crash for a while.",
    CloudMaxLowered "cloud_max_lowered" 0.2 "RunPod lowers an endpoint's maximum by itself.",
    CloudStandby "cloud_standby" 0.2 "RunPod keeps a worker warm that nobody asked for.",
    MessageSlow "message_slow" 0.01 "A request takes up to a minute to arrive.",
}

/// The faults of one run.
#[derive(Debug)]
pub struct Faults {
    chances: Vec<f64>,
    fired: Vec<u64>,
    rng: ChaCha12Rng,
    is_calm: bool,
}

impl Faults {
    /// Draws the faults of a seed; with `only`, that one alone, and none of `without`.
    #[must_use]
    pub fn new(seed: u64, only: Option<Fault>, without: &[Fault]) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(7);
        // From a fair-weather day with a fault or two to everything at once.
        let share = rng.random_range(0.05..0.8);
        let chances = Fault::ALL
            .iter()
            .map(|&fault| {
                let has = rng.random::<f64>() < share;
                let strength: f64 = rng.random_range(0.3..2.0);
                let has = only.map_or(has, |only| only == fault) && !without.contains(&fault);
                if has {
                    (fault.chance() * strength).min(0.9)
                } else {
                    0.0
                }
            })
            .collect();
        Self {
            chances,
            fired: vec![0; Fault::ALL.len()],
            rng,
            is_calm: false,
        }
    }

    /// The same, each so many times as likely.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        for chance in &mut self.chances {
            *chance = (*chance * factor).min(0.9);
        }
        self
    }

    /// Whether it happens at this occasion.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let chance = self.chances[fault as usize];
        if self.is_calm || chance == 0.0 || self.rng.random::<f64>() >= chance {
            return false;
        }
        self.fired[fault as usize] += 1;
        true
    }

    /// Nothing fires any more.
    pub fn calm_down(&mut self) {
        self.is_calm = true;
    }

    /// Whether the storm is over.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.is_calm
    }

    /// Names of the faults that this run may have.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let has = |fault: &&Fault| self.chances[**fault as usize] > 0.0;
        Fault::ALL.iter().filter(has).map(|f| f.name()).collect()
    }

    /// How often each fired, in the order of [`Fault::ALL`].
    #[must_use]
    pub fn fired(&self) -> &[u64] {
        &self.fired
    }
}

/// The fault of a name.
#[must_use]
pub fn named(name: &str) -> Option<Fault> {
    Fault::ALL
        .iter()
        .copied()
        .find(|fault| fault.name() == name)
}

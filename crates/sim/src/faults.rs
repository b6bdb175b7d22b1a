//! The faults that storms model: each has a name, a likelihood and a count of how often it fired.
//!
//! Every seed draws which faults it has at all, so that some runs have one fault alone and others
//! many together; and how likely those are. After a storm has calmed down, none fires.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::weather::Weather;

macro_rules! faults {
    ($($name:ident $word:literal $number:literal $chance:literal $what:literal,)*) => {
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

            /// Its number in the catalogue of faults, or `-` where that has none.
            #[must_use]
            pub const fn number(self) -> &'static str {
                match self { $(Self::$name => $number,)* }
            }

            /// How likely it is at each occasion, in a seed that has it: the middle of the range.
            const fn chance(self) -> f64 {
                match self { $(Self::$name => $chance,)* }
            }
        }
    };
}

faults! {
    Crash "crash" "F01" 0.005 "The serving process is killed at any moment; the workers live on.",
    CrashBeforeCommit "crash_before_commit" "F01" 0.006 "It is killed after a batch was handled, before its commit.",
    CrashAfterCommit "crash_after_commit" "F01" 0.006 "It is killed after a commit, before any effect of it.",
    CrashBetweenEffects "crash_between_effects" "F01" 0.003 "It is killed between two effects of one batch.",
    CrashAtBoot "crash_at_boot" "F01" 0.2 "It is killed again while it starts.",
    KeeperCrash "keeper_crash" "F16" 0.3 "A crash takes the keeper and all workers along.",
    ServerFrozen "server_frozen" "F27" 0.006 "The serving process is stopped for up to ten minutes, and goes on.",
    CommitFailed "commit_failed" "F05" 0.01 "A commit fails, and nothing of it is written.",
    CommitUnknown "commit_unknown" "F04" 0.01 "A commit is reported as failed, and all of it is written.",
    TakeLost "take_lost" "F17" 0.025 "A job-take never reaches the server.",
    TakeDoubled "take_doubled" "F17" 0.025 "A job-take arrives twice.",
    TakeGone "take_gone" "F17" 0.03 "The connection of a held job-take closes, and the server sees it.",
    DeliverFailed "deliver_failed" "F17" 0.045 "A job cannot be written to the connection of its job-take.",
    DeliverLost "deliver_lost" "F17" 0.04 "A job is written to a connection whose other end is gone.",
    ResultLost "result_lost" "F16" 0.05 "A result never arrives, and the worker gives it up.",
    ResultDoubled "result_doubled" "F15" 0.05 "A result arrives twice.",
    ResultLate "result_late" "F14" 0.05 "A result takes up to two minutes to arrive.",
    ResultZombie "result_zombie" "F14" 0.05 "A result arrives after its worker went on to the next job.",
    PingLost "ping_lost" "F17" 0.1 "A heartbeat never arrives.",
    PingZombie "ping_zombie" "F12" 0.3 "The heartbeat outlives its killed worker.",
    WorkerKilled "worker_killed" "F12" 0.006 "A worker's process is killed.",
    WorkerExits "worker_exits" "F19" 0.04 "A handler ends its process in the middle of a job.",
    WorkerFrozen "worker_frozen" "F14" 0.01 "A worker's process group is stopped for up to five minutes.",
    WorkerSilent "worker_silent" "F46" 0.06 "An idle worker asks for no further jobs, and lives on.",
    WorkerNeverReady "worker_never_ready" "F19" 0.16 "A worker starts, and never asks for a job.",
    HandlerHangs "handler_hangs" "F13" 0.035 "A handler never returns; it hears no stop and no SIGTERM.",
    ResultUnsendable "result_unsendable" "F18" 0.04 "A handler returns what is not JSON: nothing is posted.",
    HandlerFails "handler_fails" "-" 0.05 "A handler raises.",
    StopIgnored "stop_ignored" "F14" 0.5 "A synchronous handler does not hear that its job is cancelled.",
    WorkerRefreshes "worker_refreshes" "-" 0.05 "A worker ends by itself after a job.",
    SpawnFails "spawn_fails" "F19" 0.18 "A worker's process cannot be started.",
    StartCrashes "start_crashes" "F19" 0.18 "A worker's process ends within a second of its start.",
    ExitLate "exit_late" "F12" 0.4 "That a process ended is known only seconds later.",
    SubmitUnreachable "submit_unreachable" "F22" 0.05 "RunPod cannot be reached for a submission.",
    SubmitAnswerLost "submit_answer_lost" "F20" 0.06 "RunPod accepts a submission, and the answer is lost.",
    SubmitAnswerLate "submit_answer_late" "F20" 0.06 "The answer to a submission comes after it was given up.",
    SubmitLost "submit_lost" "F20" 0.05 "A submission is lost on its way, and nobody knows.",
    StatusLost "status_lost" "F22" 0.05 "A status call gets no answer.",
    StatusLate "status_late" "F44" 0.03 "A status answer is overtaken by a later one.",
    CancelLost "cancel_lost" "F22" 0.4 "A cancel call gets no answer.",
    ScaleFails "scale_fails" "F22" 0.1 "A change of limits at RunPod fails.",
    HealthLost "health_lost" "F22" 0.1 "A health call gets no answer.",
    Cloud429 "cloud_429" "F21" 0.3 "RunPod answers 429 for a while.",
    Cloud5xx "cloud_5xx" "F22" 0.3 "RunPod answers 503 for a while.",
    CloudHangs "cloud_hangs" "F20" 0.3 "RunPod accepts submissions and never answers, for a while.",
    CloudWorkerLost "cloud_worker_lost" "F25" 0.5 "A cloud worker is gone, and its job goes to another.",
    CloudResultLost "cloud_result_lost" "F44" 0.2 "RunPod loses an output: completed, with nothing.",
    CloudExpiresEarly "cloud_expires_early" "F23" 0.2 "RunPod forgets results within seconds.",
    CloudIdLate "cloud_id_late" "F23" 0.3 "RunPod does not know new jobs for some seconds.",
    CloudThrottled "cloud_throttled" "F25" 0.3 "RunPod has no room for new workers for a while.",
    CloudUnhealthy "cloud_unhealthy" "F25" 0.2 "RunPod's workers become unhealthy.",
    CloudCrashLoop "cloud_crash_loop" "F25" 0.2 "New cloud workers crash for a while.",
    CloudMaxLowered "cloud_max_lowered" "F24" 0.2 "RunPod lowers an endpoint's maximum by itself.",
    CloudStandby "cloud_standby" "F37" 0.2 "RunPod keeps a worker warm that nobody asked for.",
    MessageSlow "message_slow" "F28" 0.01 "A request takes up to a minute to arrive.",
    CardLost "card_lost" "F45" 0.03 "A card falls off, its driver fails or hangs there, or its memory makes errors, for up to three minutes.",
    CardMemoryStays "card_memory_stays" "F13" 0.3 "The memory of a worker that is no more stays on its card for up to two minutes.",
}

/// The faults of one run.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    chances: Vec<f64>,
    /// Occasions so far, of each.
    asked: Vec<u64>,
    fired: Vec<u64>,
    is_calm: bool,
}

/// Processes are killed, commits fail, limits are not set, and workers of the cloud are lost.
const OF_PROCESSES: [Fault; 10] = [
    Fault::Crash,
    Fault::CrashBeforeCommit,
    Fault::CrashAfterCommit,
    Fault::CrashBetweenEffects,
    Fault::CrashAtBoot,
    Fault::KeeperCrash,
    Fault::CommitFailed,
    Fault::CommitUnknown,
    Fault::ScaleFails,
    Fault::CloudWorkerLost,
];
/// A process is killed every few minutes, not every half: while nobody is there to count, the most is charged,
/// and nothing is in flight for long.
const LIKELY: f64 = 0.06;

impl Faults {
    /// Those of [`OF_PROCESSES`] alone, each of them rare, for runs about money.
    #[must_use]
    pub fn of_processes(seed: u64) -> Self {
        let others = Fault::ALL.iter().copied();
        let weather = Weather {
            without: others
                .filter(|fault| !OF_PROCESSES.contains(fault))
                .collect(),
            ..Weather::default()
        };
        Self::new(seed, &weather).times(LIKELY)
    }

    /// Draws the faults of a seed, within what the weather has at all.
    #[must_use]
    pub fn new(seed: u64, weather: &Weather) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(7);
        // From a fair-weather day with a fault or two to everything at once.
        let share = rng.random_range(0.05..0.8);
        let chances = Fault::ALL
            .iter()
            .map(|&fault| {
                let has = rng.random::<f64>() < share;
                let strength: f64 = rng.random_range(0.3..2.0);
                if weather.has(fault).unwrap_or(has) {
                    (fault.chance() * strength).min(0.9)
                } else {
                    0.0
                }
            })
            .collect();
        Self {
            seed,
            chances,
            asked: vec![0; Fault::ALL.len()],
            fired: vec![0; Fault::ALL.len()],
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

    /// Whether it happens at this occasion. Each fault has its own dice, so that a run without one of
    /// them has the others as before, for as long as all else goes the same way.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let index = fault as usize;
        let chance = self.chances[index];
        if self.is_calm || chance == 0.0 {
            return false;
        }
        self.asked[index] += 1;
        if dice(self.seed, fault, self.asked[index]) >= chance {
            return false;
        }
        self.fired[index] += 1;
        true
    }

    /// Whether this run may have a fault.
    #[must_use]
    pub fn may(&self, fault: Fault) -> bool {
        self.chances[fault as usize] > 0.0
    }

    /// A new storm begins.
    pub fn rage(&mut self) {
        self.is_calm = false;
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

/// A number from 0 up to 1 that seed, fault and occasion fix.
fn dice(seed: u64, fault: Fault, occasion: u64) -> f64 {
    let mut bits = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add((fault as u64 + 1) << 40)
        .wrapping_add(occasion);
    // The finalizer of SplitMix64: every bit of the input moves every bit of the output.
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9_u64), (27, 0x94d0_49bb_1331_11eb)] {
        bits = (bits ^ (bits >> shift)).wrapping_mul(factor);
    }
    bits ^= bits >> 31;
    let upper = u32::try_from(bits >> 32).expect("32 bits are left");
    f64::from(upper) / (f64::from(u32::MAX) + 1.0)
}

/// The fault of a name.
#[must_use]
pub fn named(name: &str) -> Option<Fault> {
    Fault::ALL
        .iter()
        .copied()
        .find(|fault| fault.name() == name)
}

//! What goes wrong, how likely, and how often it did.

use std::fmt;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

macro_rules! faults {
    ($($name:ident $word:literal $chance:literal $what:literal,)*) => {
        /// Something that goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Fault {
            $(#[doc = $what] $name,)*
        }

        impl Fault {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// How likely it is at each occasion: the middle of the range that seeds draw from.
            const fn chance(self) -> f64 {
                match self { $(Self::$name => $chance,)* }
            }
        }
    };
}

faults! {
    Crash "crash" 0.004 "The serving process is killed between two batches.",
    CrashBeforeCommit "crash_before_commit" 0.006 "It is killed before a commit.",
    CrashAfterCommit "crash_after_commit" 0.006 "It is killed after a commit, before anything of it is answered.",
    CrashBetweenEffects "crash_between_effects" 0.02 "It is killed before it orders something of the keeper.",
    KeeperCrash "keeper_crash" 0.2 "A crash takes the keeper, and all workers, along.",
    CommitFailed "commit_failed" 0.02 "A commit fails, and nothing of it is stored.",
    CommitUnknown "commit_unknown" 0.02 "A commit is reported as failed, and all of it is stored.",
    CommitFatal "commit_fatal" 0.004 "An fsync fails: the process must end without another answer.",
    CommitSlow "commit_slow" 0.01 "A commit takes seconds.",
    RequestLost "request_lost" 0.02 "A request never arrives.",
    RequestCut "request_cut" 0.01 "A connection breaks in the middle of a request.",
    RequestSlow "request_slow" 0.02 "A request takes seconds to arrive.",
    RequestDoubled "request_doubled" 0.02 "A request arrives once more, on another connection.",
    ConnectionReset "connection_reset" 0.02 "A connection breaks while its request is being answered.",
    AnswerLost "answer_lost" 0.03 "An answer is written, and nobody gets it.",
    AnswerCut "answer_cut" 0.01 "A connection breaks in the middle of an answer.",
    WorkerKilled "worker_killed" 0.02 "A worker's process is killed.",
    WorkerExits "worker_exits" 0.02 "A handler ends its process in the middle of a job.",
    SpawnFails "spawn_fails" 0.08 "A worker's process cannot be started.",
    HandlerFails "handler_fails" 0.06 "A handler raises.",
    HandlerHangs "handler_hangs" 0.02 "A handler never returns.",
    ResultUnsendable "result_unsendable" 0.02 "A handler returns what is not JSON: nothing is posted.",
    StopIgnored "stop_ignored" 0.5 "A synchronous handler does not hear that its job is cancelled.",
}

/// Which faults a run may have, beyond what its seed draws.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Weather {
    only: Option<Vec<Fault>>,
    without: Vec<Fault>,
}

impl Weather {
    /// Of words such as `--without=crash,request_lost`.
    pub(super) fn read<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut weather = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let list = || {
                let names = value.split(',').filter(|name| !name.is_empty());
                let named = |name: &str| Fault::ALL.iter().copied().find(|f| f.name() == name);
                names
                    .map(|name| named(name).ok_or_else(|| format!("`{name}` is no fault")))
                    .collect::<Result<Vec<_>, _>>()
            };
            match name {
                "--only-faults" => weather.only = Some(list()?),
                "--without" => weather.without.extend(list()?),
                _ => return Err(format!("`{word}` is nothing that a run has")),
            }
        }
        Ok(weather)
    }

    /// These faults in every seed, and no others.
    pub(super) fn only(faults: &[Fault]) -> Self {
        Self {
            only: Some(faults.to_vec()),
            without: Vec::new(),
        }
    }

    fn has(&self, fault: Fault) -> Option<bool> {
        if self.without.contains(&fault) {
            return Some(false);
        }
        self.only.as_ref().map(|only| only.contains(&fault))
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |faults: &[Fault]| {
            let names: Vec<_> = faults.iter().map(|fault| fault.name()).collect();
            names.join(",")
        };
        let mut words = Vec::new();
        words.extend(
            self.only
                .as_deref()
                .map(|o| format!("--only-faults={}", list(o))),
        );
        if !self.without.is_empty() {
            words.push(format!("--without={}", list(&self.without)));
        }
        f.write_str(&words.join(" "))
    }
}

/// The dice of one run: each fault has its own.
pub(super) struct Dice {
    chances: Vec<f64>,
    dice: Vec<ChaCha12Rng>,
    fired: Vec<u64>,
    is_calm: bool,
}

impl Dice {
    pub(super) fn new(seed: u64, weather: &Weather) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(1);
        let share = rng.random_range(0.1..0.9);
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
        let stream = |index: usize| {
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            rng.set_stream(100 + index as u64);
            rng
        };
        Self {
            chances,
            dice: (0..Fault::ALL.len()).map(stream).collect(),
            fired: vec![0; Fault::ALL.len()],
            is_calm: false,
        }
    }

    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let index = fault as usize;
        if self.is_calm || self.chances[index] == 0.0 {
            return false;
        }
        let strikes = self.dice[index].random::<f64>() < self.chances[index];
        self.fired[index] += u64::from(strikes);
        strikes
    }

    pub(super) fn calm_down(&mut self) {
        self.is_calm = true;
    }

    pub(super) fn fired(&self) -> Vec<u64> {
        self.fired.clone()
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        let has = |fault: &&Fault| self.chances[**fault as usize] > 0.0;
        Fault::ALL.iter().filter(has).map(|f| f.name()).collect()
    }
}

#[test]
fn a_weather_is_read_as_it_is_written() {
    for text in ["", "--only-faults=crash,answer_cut --without=request_lost"] {
        let weather = Weather::read(text.split_whitespace()).unwrap();
        assert_eq!(weather.to_string(), text);
    }
    assert!(Weather::read(["--only-faults=none"].into_iter()).is_err());
    assert!(Weather::read(["--short"].into_iter()).is_err());
}

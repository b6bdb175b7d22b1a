//! What came of a number of faults, and the dice that choose them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::StoreError;

/// What came of a number of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Which fault.
    pub fault: &'static str,
    /// Names the runs, with their number.
    pub seed: u64,
    /// How many.
    pub runs: u64,
    /// The store opened and gave back exactly what was stored.
    pub identical: u64,
    /// The store refused, at opening or at reading.
    pub refused: u64,
    /// The store gave back something else, or lost what was acknowledged: one line a run.
    pub wrong: Vec<String>,
}

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All that was stored up to this step of the history, and nothing else.
    Identical {
        /// The last step.
        step: u64,
    },
    /// The store refused, with these words.
    Refused(String),
    /// Something else came back.
    Wrong(String),
}

/// What came of one run, and what was done in it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// The damage, in words.
    pub(super) which: String,
}

/// Does `one` so many times, on all cores; each run has dice of its own, named by seed and number.
pub(super) fn sweep(
    fault: &'static str,
    count: u64,
    seed: u64,
    one: impl Fn(&mut Dice) -> Result<Outcome, StoreError> + Sync,
) -> Result<Report, StoreError> {
    let next = AtomicU64::new(0);
    let work = || -> Result<Report, StoreError> {
        let mut report = Report::new(fault, seed);
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= count {
                return Ok(report);
            }
            report.count(run, one(&mut Dice::of_run(seed, run))?);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("a run that goes wrong is a verdict")
        };
        threads.into_iter().map(join).collect()
    });
    let mut report = Report::new(fault, seed);
    for part in parts {
        report.add(part?);
    }
    report.wrong.sort();
    Ok(report)
}

impl Report {
    fn new(fault: &'static str, seed: u64) -> Self {
        Self {
            fault,
            seed,
            ..Self::default()
        }
    }

    fn count(&mut self, run: u64, outcome: Outcome) {
        self.runs += 1;
        match outcome.verdict {
            Verdict::Identical { .. } => self.identical += 1,
            Verdict::Refused(_) => self.refused += 1,
            Verdict::Wrong(what) => self
                .wrong
                .push(format!("run {run}, {}: {what}", outcome.which)),
        }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.identical += other.identical;
        self.refused += other.refused;
        self.wrong.extend(other.wrong);
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub const fn is_survived(&self) -> bool {
        self.wrong.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} runs of seed {}: {} identical, {} refused, {} wrong",
            self.fault,
            self.runs,
            self.seed,
            self.identical,
            self.refused,
            self.wrong.len()
        )?;
        for line in self.wrong.iter().take(20) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// A sequence of numbers that a seed names.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The sequence of a run of this seed.
    #[must_use]
    pub(super) const fn of_run(seed: u64, run: u64) -> Self {
        Self(Self(seed).roll() ^ Self(!run).roll())
    }

    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        // A counter with a strong finish; a weak one shows in the choice of bits.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x ^ (x >> 32)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// Yes or no.
    pub const fn flip(&mut self) -> bool {
        self.roll() & 1 == 1
    }
}

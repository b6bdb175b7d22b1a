//! What came of a number of faults, and the dice that choose them.

use std::fmt;

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

impl Report {
    pub(super) fn new(fault: &'static str, seed: u64) -> Self {
        Self {
            fault,
            seed,
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, verdict: Verdict, which: impl FnOnce() -> String) {
        self.runs += 1;
        match verdict {
            Verdict::Identical { .. } => self.identical += 1,
            Verdict::Refused(_) => self.refused += 1,
            Verdict::Wrong(what) => self.wrong.push(format!("{}: {what}", which())),
        }
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

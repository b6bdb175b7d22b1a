//! What is said of a run, and of many.

use std::fmt;

use overspill_core::time::DurationMs;

use crate::faults::Fault;
use crate::weather::Weather;

/// What came of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Names the run, with the commit.
    pub seed: u64,
    /// What was left of its weather.
    pub weather: Weather,
    /// What it drew: endpoints, cards, pools and the like, in words.
    pub drawn: String,
    /// The faults that it may have.
    pub faults: Vec<&'static str>,
    /// SHA-256 over every event, change and effect.
    pub hash: String,
    /// Jobs that were accepted.
    pub jobs: usize,
    /// Runs of a handler that began.
    pub runs: usize,
    /// Events, changes and effects.
    pub events: u64,
    /// Virtual time.
    pub lasted: DurationMs,
    /// How often each fault fired, in the order of [`Fault::ALL`].
    pub fired: Vec<u64>,
    /// What was not as it must be; empty when all is well.
    pub violations: Vec<String>,
    /// The last lines of the trace.
    pub last: Vec<String>,
}

/// What came of many seeds.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Seeds that ran, each twice.
    pub seeds: u64,
    /// Jobs over all seeds.
    pub jobs: usize,
    /// Runs over all seeds.
    pub runs: usize,
    /// Events, changes and effects over all seeds.
    pub events: u64,
    /// Virtual time over all seeds.
    pub lasted: DurationMs,
    /// How often each fault fired, in the order of [`Fault::ALL`].
    pub fired: Vec<u64>,
    /// All hashes in one, whatever the order of the seeds, so that two runs can be compared.
    pub digest: u128,
    /// Seeds where something was wrong.
    pub failed: Vec<Outcome>,
}

impl Report {
    /// Takes a seed in.
    pub fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        let half = outcome.hash.get(..32);
        let half = half.and_then(|half| u128::from_str_radix(half, 16).ok());
        self.digest ^= half.expect("a hash is 64 hexadecimal digits");
        self.jobs += outcome.jobs;
        self.runs += outcome.runs;
        self.events += outcome.events;
        self.lasted = self.lasted.saturating_add(outcome.lasted);
        self.fired.resize(Fault::ALL.len(), 0);
        for (sum, fired) in self.fired.iter_mut().zip(&outcome.fired) {
            *sum += fired;
        }
        if !outcome.violations.is_empty() {
            self.failed.push(outcome);
        }
    }

    /// Faults that struck less often than that, with how often.
    #[must_use]
    pub fn rarer_than(&self, least: u64) -> Vec<String> {
        let counts = Fault::ALL.iter().zip(&self.fired);
        let rare = counts.filter(|&(_, &fired)| fired < least);
        rare.map(|(fault, fired)| format!("{} {fired}", fault.name()))
            .collect()
    }

    /// Takes in what other seeds gave.
    pub fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.digest ^= other.digest;
        self.jobs += other.jobs;
        self.runs += other.runs;
        self.events += other.events;
        self.lasted = self.lasted.saturating_add(other.lasted);
        self.fired.resize(Fault::ALL.len(), 0);
        for (sum, fired) in self.fired.iter_mut().zip(&other.fired) {
            *sum += fired;
        }
        self.failed.extend(other.failed);
        self.failed.sort_by_key(|outcome| outcome.seed);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasted = self.lasted.as_secs_f64();
        writeln!(
            f,
            "seed {} {}: {} jobs, {} runs, {lasted:.0} s",
            self.seed, self.weather, self.jobs, self.runs
        )?;
        writeln!(f, "  drawn {}", self.drawn)?;
        writeln!(f, "  hash {}", self.hash)?;
        writeln!(f, "  faults {}", self.faults.join(" "))?;
        for line in &self.last {
            writeln!(f, "  | {line}")?;
        }
        for violation in &self.violations {
            writeln!(f, "  violated: {violation}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.failed {
            writeln!(f, "{outcome}")?;
        }
        for (fault, fired) in Fault::ALL.iter().zip(&self.fired) {
            writeln!(f, "{fired:>9} {:>4} {}", fault.number(), fault.name())?;
        }
        let days = self.lasted.as_secs_f64() / 86_400.0;
        writeln!(
            f,
            "{} seeds, each twice: {} jobs, {} runs, {} events, {days:.1} simulated days, digest {:032x}, {} failed",
            self.seeds,
            self.jobs,
            self.runs,
            self.events,
            self.digest,
            self.failed.len()
        )
    }
}

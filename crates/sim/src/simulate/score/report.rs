//! Every policy over a set of traces, beside the published figures; what `cargo xtask score` prints.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use overspill_core::time::DurationMs;

use super::super::policies::{Policy, named};
use super::super::record::Summary;
use super::super::trace::Trace;
use super::{KnownTrace, Line, ScoreError, line, score};

/// Start-up times with which constants are chosen.
pub const TUNING: [u64; 3] = [11, 12, 13];
/// Start-up times with which a choice is judged; never to be looked at while choosing.
pub const JUDGING: [u64; 3] = [1_001, 1_002, 1_003];
/// The least share on time, on every trace, that a score counts with.
pub const ON_TIME: f64 = 0.97;

/// A line of the table: a policy with constants, and what is published of it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The policy's name.
    pub policy: &'static str,
    /// Its constants, where they are not the default.
    pub set: &'static [(&'static str, &'static str)],
    /// The published S and lowest share on time in percent, where there are any.
    pub published: Option<(f64, f64)>,
}

const fn entry(policy: &'static str, published: Option<(f64, f64)>) -> Entry {
    Entry {
        policy,
        set: &[],
        published,
    }
}

/// The lines of the table.
pub const ENTRIES: [Entry; 13] = [
    entry("cost_aware", Some((1.36, 97.7))),
    entry("clairvoyant", Some((1.32, 99.9))),
    entry("ladder", None),
    entry("queue_delay", None),
    entry("request_count", None),
    entry("classic_ladder", Some((2.19, 44.0))),
    entry("runpod_queue_delay", Some((2.28, 99.6))),
    Entry {
        policy: "runpod_queue_delay",
        set: &[("delay", "30s")],
        published: Some((1.89, 99.2)),
    },
    entry("runpod_request_count", Some((2.45, 99.7))),
    entry("knative", Some((3.43, 99.8))),
    entry("keda", Some((3.49, 99.7))),
    entry("ray_serve", Some((4.36, 60.0))),
    entry("sky_serve", Some((3.44, 41.0))),
];

/// The tight promise; for each trace the worker-seconds that it is measured in, and how many times as
/// many the best published rule needs. To be kept are 1.5 times as many, with 90 % on time.
pub const TIGHT: (DurationMs, [(&str, f64, f64); 5]) = (
    DurationMs::from_secs(20),
    [
        ("img_low", 22_455.0, 2.38),
        ("img_busy", 77_426.0, 1.61),
        ("llm_conv", 12_272.0, 1.39),
        ("vlm_bursty", 41_398.0, 1.64),
        ("sparse_a", 109_700.0, 1.91),
    ],
);

impl Entry {
    /// Its name with its constants.
    #[must_use]
    pub fn title(&self) -> String {
        let set = self.set.iter().map(|(key, text)| format!(" {key} {text}"));
        self.policy.to_owned() + &set.collect::<String>()
    }

    /// The policy, ready to decide.
    #[must_use]
    pub fn policy(&self, slots: u32) -> Box<dyn Policy> {
        let mut policy = named(self.policy, slots).expect("the table names policies that exist");
        for (key, text) in self.set {
            let is_known = policy.set(key, text);
            assert_eq!(is_known, Ok(true), "the table sets constants that exist");
        }
        policy
    }
}

/// A policy's results on each trace.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which policy.
    pub entry: Entry,
    /// One a trace, in their order.
    pub lines: Vec<Line>,
}

impl Row {
    /// Its score.
    #[must_use]
    pub fn score(&self) -> f64 {
        score(&self.lines)
    }

    /// The lowest share on time, and on which trace.
    #[must_use]
    pub fn lowest(&self) -> (f64, &'static str) {
        let share = |line: &Line| (line.mean(|run| run.on_time_share), line.trace.name);
        let shares = self.lines.iter().map(share);
        shares
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((1.0, "no trace"))
    }

    #[expect(clippy::cast_precision_loss, reason = "a handful of traces")]
    fn mean(&self, figure: fn(&Summary) -> f64) -> f64 {
        let sum: f64 = self.lines.iter().map(|line| line.mean(figure)).sum();
        sum / self.lines.len().max(1) as f64
    }
}

/// Runs each entry on each trace with each seed, on as many threads as there are processors.
///
/// # Errors
/// The first run that does not add up.
pub fn run(
    entries: &[Entry],
    traces: &[(KnownTrace, Trace)],
    seeds: &[u64],
    max_wait: DurationMs,
) -> Result<Vec<Row>, ScoreError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let total = entries.len() * traces.len();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= total {
                return;
            }
            let entry = &entries[at / traces.len()];
            let (known, trace) = &traces[at % traces.len()];
            let policy = || entry.policy(known.cloud.1);
            let line = line(*known, trace, seeds, max_wait, &policy);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((at, line));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(total) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    let mut lines = done.into_iter().map(|(_, line)| line);
    let rows = entries.iter().map(|&entry| {
        let lines = lines.by_ref().take(traces.len());
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        Ok(Row { entry, lines })
    });
    rows.collect()
}

/// The table of scores, as text.
#[derive(Debug)]
pub struct Scores<'a>(pub &'a [Row]);

impl fmt::Display for Scores<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<30} {:>6} {:>9} {:>7}  {:>24}  {:>8} {:>6} {:>6}  {:>8} {:>6}",
            "policy",
            "S",
            "published",
            "differs",
            "lowest on time",
            "wait p50",
            "p95",
            "p99",
            "starts",
            "local"
        )?;
        for row in self.0 {
            let score = row.score();
            let (published, differs) = row.entry.published.map_or_else(
                || ("-".to_owned(), "-".to_owned()),
                |(other, _)| {
                    let by = (score / other - 1.0) * 100.0;
                    (format!("{other:.2}"), format!("{by:+.1} %"))
                },
            );
            let (share, on) = row.lowest();
            let mark = if share < ON_TIME { "fails" } else { "" };
            let lowest = format!("{mark} {:.1} % {on}", share * 100.0);
            writeln!(
                f,
                "{:<30} {score:>6.3} {published:>9} {differs:>7}  {:>24}  {:>6.1} s {:>4.0} s {:>4.0} s  {:>8.0} {:>5.1}%",
                row.entry.title(),
                lowest.trim(),
                row.mean(|run| run.wait_p50_s),
                row.mean(|run| run.wait_p95_s),
                row.mean(|run| run.wait_p99_s),
                row.mean(|run| run.starts as f64),
                row.mean(|run| run.local_share) * 100.0,
            )?;
        }
        Ok(())
    }
}

/// One policy trace by trace, as text.
#[derive(Debug)]
pub struct Detail<'a>(pub &'a Row);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>12} {:>8} {:>10} {:>10} {:>10} {:>7} {:>9} {:>8} {:>8}",
            self.0.entry.title(),
            "billed/bound",
            "on time",
            "init",
            "busy",
            "idle",
            "starts",
            "wait p50",
            "p95",
            "p99"
        )?;
        for line in &self.0.lines {
            writeln!(
                f,
                "  {:<10} {:>12.3} {:>6.1} % {:>8.0} s {:>8.0} s {:>8.0} s {:>7.0} {:>7.1} s {:>6.1} s {:>6.1} s",
                line.trace.name,
                line.ratio(),
                line.mean(|run| run.on_time_share) * 100.0,
                line.mean(|run| run.init_s),
                line.mean(|run| run.busy_s),
                line.mean(|run| run.idle_s),
                line.mean(|run| run.starts as f64),
                line.mean(|run| run.wait_p50_s),
                line.mean(|run| run.wait_p95_s),
                line.mean(|run| run.wait_p99_s),
            )?;
        }
        Ok(())
    }
}

/// The tight goal of one policy, as text.
#[derive(Debug)]
pub struct Tight<'a>(pub &'a Row);

impl fmt::Display for Tight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0.lines {
            let share = line.mean(|run| run.on_time_share);
            let (ratio, is_kept) = (line.ratio(), line.ratio() <= 1.5 && share >= 0.9);
            let best = TIGHT.1.iter().find(|known| known.0 == line.trace.name);
            writeln!(
                f,
                "  {:<10} {ratio:>5.2} (goal 1.50, best published {:.2}) {:>6.1} % on time (goal 90 %) {:>6.1} s p50 {:>6.1} s p95   {}",
                line.trace.name,
                best.map_or(f64::NAN, |known| known.2),
                share * 100.0,
                line.mean(|run| run.wait_p50_s),
                line.mean(|run| run.wait_p95_s),
                if is_kept { "kept" } else { "missed" },
            )?;
        }
        Ok(())
    }
}

/// The traces of the tight goal among `traces`, with what they are measured in as their bound.
#[must_use]
pub fn tight(traces: &[(KnownTrace, Trace)]) -> Vec<(KnownTrace, Trace)> {
    let measure = |name: &str| TIGHT.1.iter().find(|known| known.0 == name);
    let measured = |(known, trace): &(KnownTrace, Trace)| {
        let bound_s = measure(known.name)?.1;
        Some((KnownTrace { bound_s, ..*known }, trace.clone()))
    };
    traces.iter().filter_map(measured).collect()
}

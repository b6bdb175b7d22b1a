//! Whether a run decided as the simulator does, up to timing.
//!
//! A decision follows from a threshold, so that a job which comes or ends half a second later can bring another
//! start a minute on: one simulation with exact times is one draw of many. [`Envelope`] therefore simulates the
//! same trace again and again with times as inexact as a server's are (calls take a moment, RunPod starts a
//! worker a moment after a job waits there), with the rule asked as often as a server asks it and
//! jobs in RunPod's own queue ([`served`]), and keeps what these runs have in common: what they
//! bill, how many workers they start, and how many live at each moment. [`Envelope::judge`] lays another run beside that.
//! A run with other constants leaves it; the tests show that.

use overspill_core::time::{DurationMs, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::simulate::policies::{Policy, Shipped};
use crate::simulate::settings::SettingsError;
use crate::simulate::{Run, Settings, Trace, simulate};

/// Simulations of one envelope.
const DRAWS: u64 = 48;
/// A job comes in up to this much later than the trace says.
const LATER: DurationMs = DurationMs::from_millis(500);
/// A start-up takes up to this much longer, from the decision to the first job.
const START_LATER: DurationMs = DurationMs::from_millis(2_000);
/// What one run does at a moment another one may do so much earlier or later.
const NEAR_S: i64 = 10;
/// The bill may be less than the least one simulated by this share, and more than the most by as much.
pub const APART_MAX: f64 = 0.10;
/// For this share of the time with workers there may be more or fewer of them than in any simulation.
pub const OUTSIDE_MAX: f64 = 0.10;

/// A worker's life, from order to stop.
pub type Life = (Timestamp, Timestamp);

/// What simulations of one trace with inexact times have in common.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// What each bills, in worker-seconds.
    billed: Vec<f64>,
    /// How many workers each starts.
    starts: Vec<usize>,
    /// For each second the fewest and the most workers that live in any of them, about then.
    alive: Vec<(usize, usize)>,
}

/// A run beside its envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Billed worker-seconds over those that are simulated: over the least where it is less, over the most
    /// where it is more, and 1 between them.
    pub ratio: f64,
    /// The least and the most that any simulation bills.
    pub billed: (f64, f64),
    /// Workers that the run starts.
    pub started: usize,
    /// The fewest and the most starts of any simulation.
    pub starts: (usize, usize),
    /// Share of the time with workers in which there are more or fewer than in any simulation.
    pub outside: f64,
}

impl Envelope {
    /// Simulates `trace` with a fresh policy for each draw.
    ///
    /// # Errors
    /// When the settings describe no world.
    pub fn of(
        trace: &Trace,
        settings: &Settings,
        policy: &dyn Fn() -> Box<dyn Policy>,
    ) -> Result<Self, SettingsError> {
        let mut envelope = Self {
            billed: Vec::new(),
            starts: Vec::new(),
            alive: Vec::new(),
        };
        let mut counts = Vec::new();
        for draw in 0..DRAWS {
            let (trace, settings) = inexact(trace, settings, draw);
            let run = simulate(&trace, &settings, policy().as_mut())?;
            envelope.billed.push(billed(&run));
            envelope.starts.push(run.workers.len());
            counts.push(alive(&lives(&run)));
        }
        let length = counts.iter().map(Vec::len).max().unwrap_or(0) + seconds(NEAR_S);
        for at in 0..length {
            let near = at.saturating_sub(seconds(NEAR_S))..=at + seconds(NEAR_S);
            let seen = counts
                .iter()
                .flat_map(|count| near.clone().map(|at| count.get(at).copied().unwrap_or(0)));
            let (least, most) = seen.fold((usize::MAX, 0), |(least, most), n| {
                (least.min(n), most.max(n))
            });
            envelope.alive.push((least, most));
        }
        Ok(envelope)
    }

    /// Lays a run beside it: what it billed in worker-seconds, and when its workers lived.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of runs and seconds")]
    pub fn judge(&self, billed: f64, lives: &[Life]) -> Verdict {
        let seen = alive(lives);
        let (mut with_workers, mut outside) = (0_usize, 0_usize);
        for at in 0..seen.len().max(self.alive.len()) {
            let n = seen.get(at).copied().unwrap_or(0);
            let (least, most) = self.alive.get(at).copied().unwrap_or((0, 0));
            with_workers += usize::from(n > 0 || most > 0);
            outside += usize::from(n < least || n > most);
        }
        let range = |values: &[f64]| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            (least, values.iter().copied().fold(0.0, f64::max))
        };
        let (least, most) = range(&self.billed);
        let nearest = billed.clamp(least.min(most), most);
        Verdict {
            ratio: if nearest > 0.0 {
                billed / nearest
            } else {
                1.0 + billed
            },
            billed: (least, most),
            started: lives.len(),
            starts: (
                self.starts.iter().min().copied().unwrap_or(0),
                self.starts.iter().max().copied().unwrap_or(0),
            ),
            outside: outside as f64 / with_workers.max(1) as f64,
        }
    }
}

impl Verdict {
    /// Whether the run bills what is simulated and decides alike.
    ///
    /// # Errors
    /// What is apart, in words.
    pub fn check(&self) -> Result<(), String> {
        self.check_bill()?;
        self.check_decisions()
    }

    /// Whether it bills what is simulated.
    ///
    /// # Errors
    /// How far it is apart, in words.
    pub fn check_bill(&self) -> Result<(), String> {
        let apart = self.ratio - 1.0;
        if apart.abs() > APART_MAX {
            return Err(format!(
                "the bill is {:+.1} % apart from the simulated ones; at most {:.0} % are allowed",
                apart * 100.0,
                APART_MAX * 100.0
            ));
        }
        Ok(())
    }

    /// Whether it starts and keeps as many workers as the simulations do, up to timing.
    ///
    /// # Errors
    /// What is apart, in words.
    pub fn check_decisions(&self) -> Result<(), String> {
        let (fewest, most) = self.starts;
        let allowed = (most / 10).max(1);
        if self.started + allowed < fewest || self.started > most + allowed {
            return Err(format!(
                "{} workers started, {fewest} to {most} are simulated; {allowed} beyond is allowed",
                self.started
            ));
        }
        if self.outside > OUTSIDE_MAX {
            return Err(format!(
                "for {:.1} % of the time there were more or fewer workers than in any simulation; at most {:.0} % \
                 are allowed",
                self.outside * 100.0,
                OUTSIDE_MAX * 100.0
            ));
        }
        Ok(())
    }
}

/// A policy of the core as a server runs it: asked at each event, not at the fixed periods that costs are
/// compared with; and jobs for a worker that starts wait for it in RunPod's own queue, where a local card that
/// gets free takes younger ones first. `None` for a name that no server has.
#[must_use]
pub fn served(name: &str, slots: u32) -> Option<Box<dyn Policy>> {
    Some(Box::new(Shipped::named(name, slots)?.served()))
}

/// The workers' lives of a run.
#[must_use]
pub fn lives(run: &Run) -> Vec<Life> {
    let lives = run.workers.iter();
    lives.map(|w| (w.ordered_at, w.stopped_at)).collect()
}

/// What a run bills, in worker-seconds.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "seconds of hours")]
pub fn billed(run: &Run) -> f64 {
    run.workers.iter().map(|w| w.billed_s() as f64).sum()
}

/// The same trace and world with other moments; draw 0 has them as they are.
fn inexact(trace: &Trace, settings: &Settings, draw: u64) -> (Trace, Settings) {
    let (mut trace, mut settings) = (trace.clone(), settings.clone());
    if draw == 0 {
        return (trace, settings);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(draw);
    let mut later = |most: DurationMs| {
        let most = most.as_millis();
        DurationMs::from_millis(rng.random_range(0..=most))
    };
    for job in &mut trace.jobs {
        job.arrival += later(LATER);
    }
    trace.jobs.sort_by_key(|job| job.arrival);
    let (from, to) = settings.cold_start;
    settings.cold_start = (from, to.saturating_add(START_LATER));
    settings.seed = draw;
    (trace, settings)
}

/// How many workers live at each second.
fn alive(lives: &[Life]) -> Vec<usize> {
    let second = |at: Timestamp| seconds(at.as_millis().div_euclid(1_000));
    let last = lives.iter().map(|life| second(life.1)).max().unwrap_or(0);
    let mut counts = vec![0; last];
    for life in lives {
        for count in &mut counts[second(life.0).min(last)..second(life.1)] {
            *count += 1;
        }
    }
    counts
}

fn seconds(at: i64) -> usize {
    usize::try_from(at).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::load::Load;
    use crate::simulate::trace::TraceJob;
    use crate::trial;
    use overspill_core::topology::{ScalerSpec, Tuning};

    const fn secs(n: u64) -> DurationMs {
        DurationMs::from_secs(n)
    }

    /// Arrivals one by one over ten minutes.
    fn steady(seed: u64) -> Trace {
        let load = Load {
            hourly: [420.0; 24],
            length: (secs(8), secs(40)),
            days: 1,
            seed,
        };
        let mut trace = load.trace().unwrap();
        trace.jobs.retain(|job| job.arrival.as_millis() < 600_000);
        trace
    }

    /// The same arrivals in three bursts, four minutes apart.
    fn bursts(seed: u64) -> Trace {
        let mut trace = steady(seed);
        for job in &mut trace.jobs {
            let at = job.arrival.as_millis();
            let burst = at / 200_000;
            job.arrival = Timestamp::from_millis(burst * 240_000 + (at % 200_000) / 20);
        }
        trace.jobs.sort_by_key(|job: &TraceJob| job.arrival);
        trace
    }

    fn world(slots: u32) -> Settings {
        Settings {
            local_workers: 1,
            max: 6,
            slots,
            cold_start: (secs(40), secs(40)),
            ..Settings::default()
        }
    }

    fn verdict(trace: &Trace, settings: &Settings, tuning: Tuning, seed: u64) -> Verdict {
        let policy = || served("cost_aware", settings.slots).unwrap();
        let envelope = Envelope::of(trace, settings, &policy).unwrap();
        let scaler = ScalerSpec::CostAware(tuning);
        let run = trial::run(trace, settings, &scaler, seed).unwrap();
        envelope.judge(billed(&run), &lives(&run))
    }

    #[test]
    fn the_core_as_a_whole_bills_and_decides_as_the_simulator_up_to_timing() {
        let mut apart = Vec::new();
        for (slots, trace) in [(1, steady as fn(u64) -> Trace), (1, bursts), (3, bursts)] {
            for seed in 1..=4 {
                let verdict = verdict(&trace(seed), &world(slots), Tuning::default(), seed);
                let name = format!("{slots} slots, seed {seed}");
                assert_eq!(verdict.check_bill(), Ok(()), "{name}: {verdict:?}");
                if let Err(reason) = verdict.check_decisions() {
                    apart.push(format!("{name}: {reason}"));
                }
            }
        }
        // On one of the traces they part for good over a single decision.
        assert!(apart.len() <= 1, "{apart:#?}");
    }

    #[test]
    fn a_server_with_another_constant_is_seen() {
        let sees = |trace: fn(u64) -> Trace, tuning: Tuning| {
            let seeds = 2..=4;
            let verdicts = seeds.map(|seed| verdict(&trace(seed), &world(1), tuning, seed));
            verdicts.filter(|verdict| verdict.check().is_err()).count()
        };
        let hasty = Tuning {
            wait_share_milli: 500,
            ..Tuning::default()
        };
        assert_eq!(sees(steady, hasty), 3, "workers start too soon");
        let lavish = Tuning {
            min_idle: secs(20),
            ..Tuning::default()
        };
        assert_eq!(sees(bursts, lavish), 3, "workers idle too long");
    }

    #[test]
    fn counts_over_time_are_compared_with_room_for_other_moments() {
        let at = |s: i64| Timestamp::from_millis(s * 1_000);
        let envelope = Envelope {
            billed: vec![100.0],
            starts: vec![1],
            alive: {
                let mut alive = vec![(0, 0); 40];
                alive.extend([(0, 1); 20]);
                alive.extend([(1, 1); 80]);
                alive.extend([(0, 1); 20]);
                alive
            },
        };
        let verdict = envelope.judge(105.0, &[(at(55), at(145))]);
        assert_eq!((verdict.check(), verdict.outside), (Ok(()), 0.0));
        let verdict = envelope.judge(100.0, &[(at(55), at(100)), (at(110), at(145))]);
        assert!((verdict.outside - 10.0 / 120.0).abs() < 1e-9, "{verdict:?}");
        assert!(envelope.judge(111.0, &[(at(55), at(145))]).check().is_err());
        let many = [(at(50), at(60)); 3];
        assert!(envelope.judge(100.0, &many).check().is_err(), "two beyond");
        assert!(
            envelope.judge(100.0, &[]).check().is_err(),
            "too few over time"
        );
    }
}

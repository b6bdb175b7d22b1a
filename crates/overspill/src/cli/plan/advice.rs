//! What a plan recommends beyond a profile: the least max that keeps the promise, the cheapest min,
//! an idle time-out, a GPU; and how well such a plan would have told the future of its own arrivals.

use std::collections::BTreeSet;

use indicatif::ProgressBar;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_sim::simulate::settings::Offer;
use overspill_sim::simulate::{Settings, Summary, Trace};
use serde_json::{Value, json};

use crate::cli::error::CommandError;
use crate::cli::simulate::{Constants, mean};
use crate::config::units::{format_duration, format_rate};

use super::{HOURS_OF_MONTH, Profile};

/// Limits of cloud workers that are tried, the fewest first.
const MAX_TRIED: [u32; 14] = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 70, 100];
/// A cost this close to another is the same.
const SAME: f64 = 1.01;
/// Halves of the arrivals with fewer jobs than this say nothing of each other.
const BACK_TEST_JOBS: usize = 30;

/// What must hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// 95 % of the jobs wait at most this long, in seconds.
    pub(super) p95_s: f64,
    /// Dollars a month at most.
    pub(super) budget: Option<f64>,
}

impl Wanted {
    pub(super) fn is_kept(&self, found: &Simulated) -> bool {
        found.run.wait_p95_s <= self.p95_s && self.budget.is_none_or(|most| found.month <= most)
    }
}

/// A simulated load and what it would cost in a month.
#[derive(Debug, Clone)]
pub(super) struct Simulated {
    pub(super) run: Summary,
    /// Dollars.
    pub(super) month: f64,
}

/// The arrivals, and the world but for what is decided.
pub(super) struct Ground<'a> {
    pub(super) trace: &'a Trace,
    pub(super) settings: &'a Settings,
    pub(super) bar: &'a ProgressBar,
}

impl Ground<'_> {
    /// The load under the default policy in this world.
    pub(super) fn simulate(&self, world: &Settings) -> Result<Simulated, CommandError> {
        let constants = Constants::default();
        let run = mean("cost_aware", &constants, self.trace, world, 1, self.bar)?;
        let month = run.cost_usd / days(self.trace) * HOURS_OF_MONTH / 24.0;
        Ok(Simulated { run, month })
    }

    /// The world of a profile.
    pub(super) fn world(&self, profile: &Profile) -> Settings {
        Settings {
            min: profile.min,
            max: profile.max,
            max_wait: DurationMs::from_secs(profile.promise_s),
            ..self.settings.clone()
        }
    }
}

/// Whole days, so that a load of one evening is not taken for one of every hour.
fn days(trace: &Trace) -> f64 {
    let first = trace.jobs.first().map_or(0, |job| job.arrival.as_millis());
    let last = trace.jobs.last().map_or(0, |job| job.arrival.as_millis());
    ((last - first) as f64 / 86_400_000.0).ceil().max(1.0)
}

/// What is recommended, and what it would have done.
#[derive(Debug, Clone)]
pub(super) struct Advice {
    pub(super) profile: &'static str,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) max_wait: DurationMs,
    pub(super) idle_timeout: DurationMs,
    pub(super) gpu: String,
    pub(super) price: String,
    pub(super) found: Simulated,
    pub(super) back_test: Option<BackTest>,
}

/// The plan of the first half of the arrivals against what the second half needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackTest {
    /// Dollars a month, as planned and as it came.
    pub(super) planned_month: f64,
    pub(super) came_month: f64,
    /// The wait of 95 % of the jobs, as planned and as it came.
    pub(super) planned_p95_s: f64,
    pub(super) came_p95_s: f64,
}

impl BackTest {
    /// How far the planned cost was from what came, as a share of what came.
    pub(super) fn cost_error(&self) -> f64 {
        (self.planned_month - self.came_month) / self.came_month.max(0.01)
    }
}

/// The cheapest of the profiles and `candidates` of GPU that keeps what is wanted, with its limits made
/// as small as they may be; `None` where none does.
pub(super) fn advise(
    ground: &Ground<'_>,
    profiles: &[Profile],
    wanted: &dyn Fn(&Profile) -> Wanted,
    gpu: &str,
    candidates: &[Offer],
    is_recorded: bool,
) -> Result<Option<Advice>, CommandError> {
    let own = Offer {
        name: gpu.to_owned(),
        rate: ground.settings.rate,
        max: u32::MAX,
        speed: 1.0,
        cold_start: None,
        throttled_share: None,
    };
    let mut best: Option<(&'static str, Settings, Simulated, &Offer)> = None;
    for profile in profiles {
        let wanted = wanted(profile);
        for offer in std::iter::once(&own).chain(candidates) {
            let mut base = ground.world(profile);
            base.max_wait = base.max_wait.min(DurationMs::from_secs_f64(wanted.p95_s));
            base.offers = vec![offer.clone()];
            base.rate = offer.rate;
            // A min that is not needed is money for nothing; none at all is the first guess.
            for min in BTreeSet::from([0, profile.min]) {
                let world = Settings {
                    min,
                    ..base.clone()
                };
                let Some((world, found)) = least_max(ground, &world, &wanted)? else {
                    continue;
                };
                let is_cheaper = |other: &Simulated| found.month * SAME < other.month;
                if best.as_ref().is_none_or(|best| is_cheaper(&best.2)) {
                    best = Some((profile.name, world, found, offer));
                }
            }
        }
    }
    let Some((profile, world, found, offer)) = best else {
        return Ok(None);
    };
    let back_test = if is_recorded {
        back_test(ground, &world)?
    } else {
        None
    };
    Ok(Some(Advice {
        profile,
        min: world.min,
        max: world.max,
        max_wait: world.max_wait,
        idle_timeout: idle_timeout(&world),
        gpu: offer.name.clone(),
        price: format_rate(offer.rate),
        found,
        back_test,
    }))
}

/// The fewest workers at most that keep what is wanted at the least cost.
fn least_max(
    ground: &Ground<'_>,
    world: &Settings,
    wanted: &Wanted,
) -> Result<Option<(Settings, Simulated)>, CommandError> {
    let mut best: Option<(Settings, Simulated)> = None;
    for max in MAX_TRIED {
        if max < world.min.max(1) || max > world.max {
            continue;
        }
        let tried = Settings {
            max,
            ..world.clone()
        };
        let found = ground.simulate(&tried)?;
        let is_cheaper = |other: &Simulated| found.month * SAME < other.month;
        if wanted.is_kept(&found) && best.as_ref().is_none_or(|(_, other)| is_cheaper(other)) {
            best = Some((tried, found.clone()));
        }
        // With room left over, more room changes nothing.
        if found.run.workers_max < max as usize {
            break;
        }
    }
    Ok(best)
}

/// The bound on how long an idle worker is kept: short where a start-up keeps the promise, else as
/// long as the default policy may want.
fn idle_timeout(world: &Settings) -> DurationMs {
    let (least, most) = world.cold_start;
    if world.max_wait >= most {
        DurationMs::from_secs(5)
    } else {
        let mean = u64::midpoint(least.as_millis(), most.as_millis());
        // Whole minutes read better.
        DurationMs::from_secs((mean * 20).div_ceil(60_000) * 60)
    }
}

/// Plans with the first half of the arrivals, and looks at the second.
fn back_test(ground: &Ground<'_>, world: &Settings) -> Result<Option<BackTest>, CommandError> {
    let jobs = &ground.trace.jobs;
    let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else {
        return Ok(None);
    };
    let middle = i64::midpoint(first.arrival.as_millis(), last.arrival.as_millis());
    let cut = jobs.partition_point(|job| job.arrival.as_millis() < middle);
    if cut < BACK_TEST_JOBS || jobs.len() - cut < BACK_TEST_JOBS {
        return Ok(None);
    }
    let half = |from: usize, to: usize, begins: i64| Trace {
        jobs: jobs[from..to]
            .iter()
            .map(|job| {
                let mut job = *job;
                job.arrival = Timestamp::from_millis(job.arrival.as_millis() - begins);
                job
            })
            .collect(),
        classes: ground.trace.classes.clone(),
    };
    let run = |trace: &Trace| {
        let constants = Constants::default();
        mean("cost_aware", &constants, trace, world, 1, ground.bar)
    };
    let planned = run(&half(0, cut, first.arrival.as_millis()))?;
    let came = run(&half(cut, jobs.len(), middle))?;
    // Both halves last equally long, so that each is scaled to a month by the same factor.
    let span = (last.arrival.as_millis() - middle).max(1) as f64 / 3_600_000.0;
    let month = |run: &Summary| run.cost_usd / span * HOURS_OF_MONTH;
    Ok(Some(BackTest {
        planned_month: month(&planned),
        came_month: month(&came),
        planned_p95_s: planned.wait_p95_s,
        came_p95_s: came.wait_p95_s,
    }))
}

impl Advice {
    /// Under the keys of `--json`.
    pub(super) fn shape(&self) -> Value {
        json!({
            "profile": self.profile, "min": self.min, "max": self.max,
            "max_wait_s": self.max_wait.as_secs_f64(),
            "idle_timeout_s": self.idle_timeout.as_secs_f64(),
            "gpu": self.gpu, "price": self.price,
            "cost_usd_per_month": self.found.month,
            "wait_p95_s": self.found.run.wait_p95_s,
            "on_time_share": self.found.run.on_time_share,
            "back_test": self.back_test.map(|test| json!({
                "planned_usd_per_month": test.planned_month,
                "came_usd_per_month": test.came_month,
                "cost_error_share": test.cost_error(),
                "planned_wait_p95_s": test.planned_p95_s,
                "came_wait_p95_s": test.came_p95_s,
            })),
        })
    }

    /// In sentences.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "recommended: {} on {} at {}, min {}, max {}, max wait {}, idle time-out {}: ${:.2} a month, p95 {:.1} s, {:.1} % on time\n\
             `overspill init --profile {} --min {} --max {} --max-wait {} --idle-timeout {}` writes it",
            self.profile,
            self.gpu,
            self.price,
            self.min,
            self.max,
            format_duration(self.max_wait),
            format_duration(self.idle_timeout),
            self.found.month,
            self.found.run.wait_p95_s,
            self.found.run.on_time_share * 100.0,
            self.profile,
            self.min,
            self.max,
            format_duration(self.max_wait),
            format_duration(self.idle_timeout),
        );
        if let Some(test) = &self.back_test {
            text += &format!(
                "\nback-test: planned from the first half of the arrivals ${:.2} a month and p95 {:.1} s; the second half came to ${:.2} and {:.1} s ({:+.0} %)",
                test.planned_month,
                test.planned_p95_s,
                test.came_month,
                test.came_p95_s,
                test.cost_error() * 100.0
            );
        }
        text
    }
}

//! Arguments that `simulate` and `plan` share: what comes in, and the world it meets.

use std::path::PathBuf;

use clap::Args;
use overspill_core::money::RatePerHour;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_sim::simulate::load::{DAY, Load};
use overspill_sim::simulate::trace::TraceJob;
use overspill_sim::simulate::{Settings, Trace};

use crate::config::units::{format_duration, parse_duration, parse_rate};
use crate::config::{Slots, known};

use super::Context;
use super::emulate::DurationRange;
use super::error::{CommandError, ErrorKind};
use super::jobs::{JobView, field};

/// Where the arrivals come from: one of a file, the installation's history, or a description.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Arrivals from a CSV file with the header arrival_s,duration_s,class
    #[arg(long, value_name = "FILE", conflicts_with_all = ["history", "jobs_per_hour", "users"])]
    pub trace: Option<PathBuf>,
    /// The running server's own jobs of this long, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, group = "recorded", conflicts_with_all = ["jobs_per_hour", "users"])]
    pub history: Option<DurationMs>,
    /// Only jobs of this endpoint, of what was recorded
    #[arg(long, value_name = "NAME", requires = "recorded")]
    pub endpoint: Option<String>,
    /// A described load: jobs an hour, as one number or 24 with commas between, by hour of the day
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        conflicts_with = "users"
    )]
    pub jobs_per_hour: Vec<f64>,
    /// A described load: so many users, spread over a working day with an evening
    #[arg(long, value_name = "N")]
    pub users: Option<u32>,
    /// Jobs of one user a day, with --users
    #[arg(long, value_name = "N", default_value_t = 5.0, requires = "users")]
    pub jobs_per_user: f64,
    /// How long a job of a described load runs, as one duration or a range
    #[arg(long, value_name = "RANGE", default_value = "10s..30s")]
    pub job_length: DurationRange,
    /// Days of a described load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub days: u32,
}

impl LoadArgs {
    /// Whether any arrivals were named.
    pub(crate) fn is_given(&self) -> bool {
        self.trace.is_some()
            || self.history.is_some()
            || !self.jobs_per_hour.is_empty()
            || self.users.is_some()
    }

    /// Whether the arrivals really came, rather than being described.
    pub(crate) const fn is_recorded(&self) -> bool {
        self.trace.is_some() || self.history.is_some()
    }

    /// What comes in, in a few words.
    pub(crate) fn title(&self) -> String {
        if let Some(path) = &self.trace {
            let name = path.file_name().unwrap_or(path.as_os_str());
            return name.to_string_lossy().into_owned();
        }
        match (self.history, self.users) {
            (Some(ago), _) => format!("own history, {}", format_duration(ago)),
            (None, Some(users)) => format!("{users} users, {} day(s)", self.days),
            (None, None) => format!("described load, {} day(s)", self.days),
        }
    }

    /// The arrivals.
    pub(crate) fn arrivals(&self, seed: u64, context: &Context) -> Result<Trace, CommandError> {
        if let Some(path) = &self.trace {
            return Trace::read(path).map_err(|error| {
                let is_file = matches!(
                    error,
                    overspill_sim::simulate::trace::TraceError::Read { .. }
                );
                let kind = if is_file {
                    ErrorKind::Io
                } else {
                    ErrorKind::Usage
                };
                CommandError::new(kind, format!("--trace {}", path.display())).because(error)
            });
        }
        if let Some(ago) = self.history {
            return super::block_on_value(history(ago, self.endpoint.as_deref(), context));
        }
        let usage = |text: String| CommandError::new(ErrorKind::Usage, text);
        let hourly = match (self.jobs_per_hour.as_slice(), self.users) {
            ([], None) => {
                return Err(usage("there is nothing to replay".to_owned())
                    .hint("give --trace FILE, --history 7d, --users 500, or --jobs-per-hour 120"));
            }
            ([], Some(users)) => DAY.map(|part| part * f64::from(users) * self.jobs_per_user),
            ([each], _) => [*each; 24],
            (hours, _) => <[f64; 24]>::try_from(hours).map_err(|_| {
                usage(format!(
                    "--jobs-per-hour has {} numbers; give 1, or 24, one for each hour of the day",
                    hours.len()
                ))
            })?,
        };
        if let Some(odd) = hourly.iter().find(|n| !(0.0..=1e9).contains(*n)) {
            return Err(usage(format!(
                "{odd} jobs an hour; expected numbers from 0 to 1e9"
            )));
        }
        let load = Load {
            hourly,
            length: (self.job_length.least, self.job_length.most),
            days: self.days,
            seed,
        };
        load.trace()
            .map_err(|error| usage("the described load cannot be drawn".to_owned()).because(error))
    }
}

/// The jobs that the server has seen end within the last `ago`, by its HTTP interface.
async fn history(
    ago: DurationMs,
    endpoint: Option<&str>,
    context: &Context,
) -> Result<Trace, CommandError> {
    let client = context.client()?;
    let now = jiff::Timestamp::now().as_millisecond();
    let since = now.saturating_sub_unsigned(ago.as_millis());
    let mut rows: Vec<(i64, u64, String)> = Vec::new();
    let mut after = String::new();
    'pages: loop {
        let only = endpoint.map_or_else(String::new, |name| {
            format!("&endpoint={}", super::client::segment(name))
        });
        let page = client
            .get(&format!("/api/v1/jobs?limit=1000{only}{after}"))
            .await?;
        let jobs: Vec<JobView> = field(&page, "jobs")?;
        for job in jobs {
            let Some(submitted) = job.submitted_at_ms else {
                continue;
            };
            if submitted < since {
                break 'pages;
            }
            if let Some(ran) = job.execution_ms.filter(|_| job.ended_at_ms.is_some()) {
                rows.push((submitted, ran, job.endpoint));
            }
        }
        match page.get("next").and_then(serde_json::Value::as_str) {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    rows.sort();
    let Some(first) = rows.first().map(|row| row.0) else {
        return Err(CommandError::new(
            ErrorKind::NotFound,
            "the server has no ended jobs in that time",
        )
        .hint("give a longer --history, or describe a load with --users or --jobs-per-hour"));
    };
    let mut trace = Trace::default();
    for (at, ran, name) in rows {
        let known = trace.classes.iter().position(|class| *class == name);
        let class = known.unwrap_or_else(|| {
            trace.classes.push(name);
            trace.classes.len() - 1
        });
        trace.jobs.push(TraceJob {
            arrival: Timestamp::from_millis(at - first),
            duration: DurationMs::from_millis(ran),
            class: u32::try_from(class).unwrap_or(u32::MAX),
            is_low_priority: false,
        });
    }
    Ok(trace)
}

/// The world that the arrivals meet.
#[derive(Debug, Args)]
pub struct WorldArgs {
    /// Workers of your own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub local_workers: u32,
    /// Jobs at once on each of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub local_slots: u32,
    /// Jobs at once on a cloud worker, or "learn"
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_slots)]
    pub slots: Slots,
    /// Time from start to ready of a cold worker, as one duration or a range
    #[arg(long, value_name = "RANGE", default_value = "30s..60s")]
    pub cold_start: DurationRange,
    /// Seed of all that is drawn
    #[arg(long, value_name = "N", default_value_t = 11)]
    pub seed: u64,
    /// GPU type of the cloud workers, for its price
    #[arg(long, value_name = "GPU", default_value = "RTX 3090")]
    pub gpu: String,
    /// Price of a cloud worker, such as $0.44/h [default: that of --gpu in the built-in table]
    #[arg(long, value_name = "PRICE", value_parser = parse_rate)]
    pub price: Option<RatePerHour>,
}

impl WorldArgs {
    /// The world, with the price of its workers.
    pub(crate) fn settings(&self) -> Result<Settings, CommandError> {
        let usage = |text: String| CommandError::new(ErrorKind::Usage, text);
        let rate = match (self.price, known::gpu(&self.gpu)) {
            (Some(price), _) => price,
            (None, Some(gpu)) => gpu.price().ok_or_else(|| {
                usage(format!(
                    "the built-in table has no price of the {}",
                    gpu.name
                ))
                .hint("give --price, such as --price '$0.44/h'")
            })?,
            (None, None) => {
                return Err(
                    usage(format!("\"{}\" is no GPU type that is known", self.gpu))
                        .hint("`overspill gpus --cloud` lists them; or give --price '$0.44/h'"),
                );
            }
        };
        Ok(Settings {
            local_workers: self.local_workers,
            local_slots: self.local_slots,
            slots: self.slots.initial().max(1),
            learns_slots: self.slots == Slots::Learn,
            cold_start: (self.cold_start.least, self.cold_start.most),
            rate,
            seed: self.seed,
            ..Settings::default()
        })
    }
}

/// A number from 1, or `learn`.
fn parse_slots(text: &str) -> Result<Slots, String> {
    if text == "learn" {
        return Ok(Slots::Learn);
    }
    match text.parse() {
        Ok(count) if count > 0 => Ok(Slots::Fixed(count)),
        _ => Err(format!(
            "`{text}` is no number of slots; expected one from 1, or learn"
        )),
    }
}

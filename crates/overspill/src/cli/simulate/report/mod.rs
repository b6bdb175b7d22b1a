//! `overspill simulate --report`: one HTML file with charts, for people to keep and pass on.
//!
//! The file needs nothing beside it: style, script and figures are in it, the charts are inline
//! SVG drawn here, and the script only adds a cross-hair with readings; without it nothing is lost.
//! It holds no clock and no host name: the same run writes the same bytes.

mod chart;
mod frontier;

use std::path::Path;

use overspill_core::time::DurationMs;
use overspill_sim::simulate::policies::NAMES;
use overspill_sim::simulate::series::{Series, end};
use overspill_sim::simulate::{Run, Settings, Summary, Trace};
use serde_json::json;

use crate::cli::Context;
use crate::cli::error::{CommandError, ErrorKind};
use crate::config::units::{format_duration, format_rate};

use super::compare::{ON_TIME, cheapest, verdict};
use super::replay::{Constants, mean, progress};

use chart::{Band, Time, dollars, money, seconds};

/// Slots of time in each chart: about three pixels each.
const SLOTS: usize = 320;

/// The promises at which the reported policy is tried, in seconds.
const PROMISES_S: [u64; 9] = [5, 10, 20, 30, 45, 60, 90, 150, 300];

/// What is reported.
pub(super) struct Subject<'a> {
    pub(super) title: String,
    pub(super) trace: &'a Trace,
    pub(super) settings: &'a Settings,
    pub(super) constants: &'a Constants,
    pub(super) seeds: u64,
    /// At least one.
    pub(super) results: &'a [Summary],
    /// The runs of the first seed, one for each result.
    pub(super) runs: &'a [Run],
}

impl Subject<'_> {
    /// The policy that the charts over time show: of several, the cheapest that keeps the promise.
    fn focus(&self) -> usize {
        cheapest(self.results).unwrap_or(0)
    }
}

/// Writes the file.
///
/// # Errors
/// When it cannot be written, or the runs for the frontier fail.
pub(super) fn write(
    path: &Path,
    subject: &Subject<'_>,
    context: &Context,
) -> Result<(), CommandError> {
    let page = page(subject, context)?;
    std::fs::write(path, page).map_err(|error| {
        let message = format!("cannot write the report {}", path.display());
        CommandError::new(ErrorKind::Io, message).because(error)
    })
}

/// What the frontier is drawn from.
struct Frontier {
    /// Every policy.
    policies: Vec<Summary>,
    /// The policy in focus at several promises, in seconds.
    promises: Vec<(u64, Summary)>,
}

/// Every policy once, and the focus at several promises.
fn frontier_points(subject: &Subject<'_>, context: &Context) -> Result<Frontier, CommandError> {
    let focus = &subject.results[subject.focus()].policy;
    let missing = NAMES.len() - subject.results.len() + PROMISES_S.len();
    let bar = progress((missing * subject.trace.jobs.len()) as u64, context);
    let mut policies = Vec::new();
    for name in NAMES {
        let known = subject.results.iter().find(|run| run.policy == name);
        policies.push(match known {
            Some(run) => run.clone(),
            None => {
                let constants = subject.constants;
                mean(name, constants, subject.trace, subject.settings, 1, &bar)?
            }
        });
    }
    let mut promises = Vec::new();
    for promise in PROMISES_S {
        let settings = Settings {
            max_wait: DurationMs::from_secs(promise),
            ..subject.settings.clone()
        };
        let run = mean(focus, subject.constants, subject.trace, &settings, 1, &bar)?;
        promises.push((promise, run));
    }
    bar.finish_and_clear();
    Ok(Frontier { policies, promises })
}

fn page(subject: &Subject<'_>, context: &Context) -> Result<String, CommandError> {
    let focus = subject.focus();
    let best = &subject.results[focus];
    let until = subject
        .runs
        .iter()
        .map(end)
        .max()
        .unwrap_or_else(|| end(&Run::default()));
    let all: Vec<Series> = subject
        .runs
        .iter()
        .map(|run| Series::of(run, subject.trace, subject.settings, until, SLOTS))
        .collect();
    let series = &all[focus];
    let time = Time::new(series.step.as_secs_f64(), SLOTS);
    let promise = subject.settings.max_wait.as_secs_f64();
    let local = subject.settings.local_slots_total() as f64;

    let queue = chart::areas(
        "queue",
        &time,
        &[Band::new("waiting", "c1", &series.waiting)],
        None,
        &chart::plain,
    );
    let mut bands = vec![
        Band::new("busy", "c1", &series.busy),
        Band::new("starting", "c2", &series.starting),
        Band::new("idle", "c3", &series.idle),
    ];
    bands.retain(|band| band.values.iter().any(|&value| value > 0.0));
    let max = f64::from(subject.settings.max);
    let workers = chart::areas("workers", &time, &bands, Some(("max", max)), &chart::plain);
    let own = (local > 0.0).then(|| {
        let band = [Band::new("running", "c4", &series.local)];
        chart::areas("local", &time, &band, Some(("slots", local)), &chart::plain)
    });
    let waits = chart::lines(
        "waits",
        &time,
        &[
            Band::gappy("p95", "c5", &series.wait_p95_s),
            Band::gappy("p50", "c1", &series.wait_p50_s),
        ],
        Some(("promise", promise)),
        &seconds,
    );
    let mut spent: Vec<Band<'_>> = Vec::new();
    for (at, (run, other)) in subject.results.iter().zip(&all).enumerate() {
        if at != focus {
            spent.push(Band::new(&run.policy, "faint", &other.spent_usd));
        }
    }
    spent.push(Band::new(&best.policy, "c1", &series.spent_usd));
    let money_chart = chart::lines("money", &time, &spent, None, &dollars);

    let Frontier { policies, promises } = frontier_points(subject, context)?;
    let frontier = frontier::draw(&policies, &promises, &best.policy, promise);

    let legend = |bands: &[Band<'_>]| {
        bands
            .iter()
            .map(|band| format!("<i class=\"key {}\"></i>{}", band.class, escape(band.name)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let card = |title: &str, unit: &str, legend: String, drawing: &str, id: &str| {
        format!(
            "<section class=\"card\"><header><h2>{title}</h2><span class=\"unit\">{unit}</span>\
             <span class=\"legend\">{legend}</span><output data-for=\"{id}\"></output></header>{drawing}</section>\n"
        )
    };
    let mut cards = card("Queue", "jobs waiting", String::new(), &queue, "queue");
    cards += &card("Cloud workers", "", legend(&bands), &workers, "workers");
    if let Some(own) = own {
        let unit = "jobs running on own slots";
        cards += &card("Own cards", unit, String::new(), &own, "local");
    }
    let wait_legend =
        "<i class=\"key c1\"></i>half of the jobs <i class=\"key c5\"></i>95 % of the jobs";
    let unit = "until a job starts, by when it started";
    cards += &card("Waits", unit, wait_legend.to_owned(), &waits, "waits");
    let money_legend = if subject.results.len() > 1 {
        format!(
            "<i class=\"key c1\"></i>{} <i class=\"key faint\"></i>the other policies",
            escape(&best.policy)
        )
    } else {
        String::new()
    };
    cards += &card(
        "Money",
        "billed so far",
        money_legend,
        &money_chart,
        "money",
    );
    let frontier_card = format!(
        "<section class=\"card\"><header><h2>Cost against wait</h2><span class=\"unit\">each policy at the promise of {}; \
         the line is {} at other promises</span><span class=\"legend\"><i class=\"dot\"></i>keeps the promise \
         <i class=\"dot hollow\"></i>does not</span></header>{frontier}</section>\n",
        format_duration(subject.settings.max_wait),
        escape(&best.policy),
    );
    let data = json!({
        "step_s": time.step_s,
        "charts": {
            "queue": [["waiting", "jobs", series.waiting]],
            "workers": bands.iter().map(|band| json!([band.name, "", band.values])).collect::<Vec<_>>(),
            "local": [["running", "jobs", series.local]],
            "waits": [["p50", "s", series.wait_p50_s], ["p95", "s", series.wait_p95_s]],
            "money": [[best.policy, "$", series.spent_usd]],
        },
    });
    // `</` could end the element that holds it.
    let data = rounded(data).to_string().replace("</", "<\\/");
    let text = include_str!("page.html");
    let verdict = if subject.results.len() > 1 {
        let text = escape(&verdict(subject.results));
        let (first, rest) = text.split_at(1);
        format!("<p class=\"verdict\">{}{rest}.</p>", first.to_uppercase())
    } else {
        String::new()
    };
    let title = format!("{} · {}", subject.title, best.policy);
    Ok(text
        .replace("{{style}}", include_str!("page.css"))
        .replace("{{script}}", include_str!("page.js"))
        .replace("{{title}}", &escape(&title))
        .replace("{{heading}}", &escape(&subject.title))
        .replace("{{world}}", &world(subject))
        .replace("{{figures}}", &figures(best))
        .replace("{{verdict}}", &verdict)
        .replace("{{cards}}", &cards)
        .replace("{{frontier}}", &frontier_card)
        .replace("{{table}}", &table(&policies, &best.policy))
        .replace("{{data}}", &data))
}

/// The world in chips.
fn world(subject: &Subject<'_>) -> String {
    let world = subject.settings;
    let (from, to) = world.cold_start;
    let mut chips = vec![
        format!("{} jobs", chart::grouped(subject.trace.jobs.len() as f64)),
        if world.local_workers == 0 {
            "no own cards".to_owned()
        } else {
            format!("{} own × {} slots", world.local_workers, world.local_slots)
        },
        format!("cloud {}–{} × {} slots", world.min, world.max, world.slots),
        format!("promise {}", format_duration(world.max_wait)),
        format!(
            "cold start {}–{}",
            format_duration(from),
            format_duration(to)
        ),
        format!("{} a worker", format_rate(world.rate)),
        format!("{} seed(s) from {}", subject.seeds, world.seed),
    ];
    for (share, what) in [
        (world.flash_share, "flash starts"),
        (world.slow_share, "slow starts"),
        (world.stuck_share, "failed starts"),
        (world.throttled_share, "throttled"),
        (world.failing_share, "failing jobs"),
    ] {
        if share > 0.0 {
            chips.push(format!("{:.0} % {what}", share * 100.0));
        }
    }
    let chip = |text: &String| format!("<li>{}</li>", escape(text));
    chips.iter().map(chip).collect()
}

/// The figures of the policy in focus, large.
fn figures(run: &Summary) -> String {
    let late = if run.on_time_share < ON_TIME {
        " warn"
    } else {
        ""
    };
    let tile = |class: &str, name: &str, value: String, below: String| {
        format!("<div class=\"tile{class}\"><dt>{name}</dt><dd>{value}</dd><p>{below}</p></div>")
    };
    let billed = run.billed_worker_seconds as f64;
    let part = |secs: f64| format!("{:.0} %", secs / billed.max(1.0) * 100.0);
    [
        tile(
            "",
            "Cost",
            money(run.cost_usd),
            format!("{} worker-seconds", chart::grouped(billed)),
        ),
        tile(
            late,
            "On time",
            format!("{:.1} %", run.on_time_share * 100.0),
            format!("{:.1} % ran on own cards", run.local_share * 100.0),
        ),
        tile(
            "",
            "Wait of 95 %",
            seconds(run.wait_p95_s),
            format!(
                "half {} · 99 % {}",
                seconds(run.wait_p50_s),
                seconds(run.wait_p99_s)
            ),
        ),
        tile(
            "",
            "Cold starts",
            chart::grouped(run.starts as f64),
            format!("at most {} workers at once", run.workers_max),
        ),
        tile(
            "",
            "What was billed",
            format!("{} work", part(run.busy_s)),
            format!("{} starting · {} idle", part(run.init_s), part(run.idle_s)),
        ),
    ]
    .concat()
}

fn table(runs: &[Summary], focus: &str) -> String {
    let row = |run: &Summary| {
        let class = if run.policy == focus {
            " class=\"focus\""
        } else {
            ""
        };
        let late = if run.on_time_share < ON_TIME {
            " class=\"warn\""
        } else {
            ""
        };
        format!(
            "<tr{class}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td{late}>{:.1} %</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1} %</td></tr>",
            escape(&run.policy),
            money(run.cost_usd),
            chart::grouped(run.billed_worker_seconds as f64),
            chart::grouped(run.starts as f64),
            run.on_time_share * 100.0,
            seconds(run.wait_p50_s),
            seconds(run.wait_p95_s),
            seconds(run.wait_p99_s),
            run.local_share * 100.0,
        )
    };
    runs.iter().map(row).collect()
}

/// Figures to four digits after the point: more is noise, and a large file.
fn rounded(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && !number.is_u64() => {
                json!((float * 10_000.0).round() / 10_000.0)
            }
            _ => Value::Number(number),
        },
        Value::Array(list) => list.into_iter().map(rounded).collect(),
        Value::Object(map) => map.into_iter().map(|(key, v)| (key, rounded(v))).collect(),
        other => other,
    }
}

/// Text for HTML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

//! `overspill simulate --journal`: a server's decisions again, and its work under other settings.

use std::path::Path;

use overspill_core::time::Timestamp;
use overspill_sim::journal::observe::Lane;
use overspill_sim::journal::verify::{Report, Watch};
use overspill_sim::journal::{Observer, Reader, verify};
use overspill_sim::simulate::bound::bound;
use overspill_sim::simulate::policies::NAMES;
use overspill_sim::simulate::{Settings, Summary};
use serde_json::{Value as Json, json};

use crate::cli::Context;
use crate::cli::error::{CommandError, ErrorKind};
use crate::cli::output::note;
use crate::engine::journal::files;

use super::replay::{Constants, apply, mean, progress};
use super::{HEADINGS, SimulateArgs, row};

/// Replays the journal and says what it comes to.
pub(super) fn run(path: &Path, args: &SimulateArgs, context: &Context) -> Result<(), CommandError> {
    let mut observer = Observer::default();
    let report = if args.verify {
        replay(path, &mut ())?
    } else {
        replay(path, &mut observer)?
    };
    if args.verify {
        if context.output.is_json() {
            context.output.json(&shape(path, &report))?;
        } else {
            context.output.text(&sentence(&report))?;
        }
        notes(&report);
        return verdict(path, &report);
    }
    notes(&report);
    verdict(path, &report)?;
    let only = args.load.endpoint.as_deref();
    let lanes: Vec<&Lane> = observer
        .lanes()
        .filter(|lane| only.is_none_or(|name| lane.name == name))
        .collect();
    if lanes.is_empty() {
        let error = CommandError::new(ErrorKind::NotFound, "the journal has no jobs of that kind");
        return Err(match only {
            Some(name) => error.hint(format!("it was asked for jobs of the endpoint {name} only")),
            None => error.hint("let the server run jobs with `serve --journal FILE`"),
        });
    }
    let mut shapes = Vec::new();
    for lane in lanes {
        shapes.push(tell(lane, args, context)?);
    }
    if context.output.is_json() {
        let all = json!({ "journal": shape(path, &report), "endpoints": shapes });
        return context.output.json(&all);
    }
    note(&sentence(&report));
    Ok(())
}

/// Feeds all files of the journal, oldest first, to the core.
fn replay(path: &Path, watch: &mut dyn Watch) -> Result<Report, CommandError> {
    let unreadable = |path: &Path, error: std::io::Error| {
        CommandError::new(
            ErrorKind::Io,
            format!("the journal \"{}\" cannot be read", path.display()),
        )
        .because(error)
    };
    let files = files(path);
    if files.is_empty() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(unreadable(path, error).hint("a server writes one with `serve --journal FILE`"));
    }
    let mut readers = Vec::new();
    for file in &files {
        let bytes = std::fs::read(file).map_err(|error| unreadable(file, error))?;
        let reader = Reader::new(bytes);
        if !reader.is_journal() && !reader.is_empty() {
            let message = format!("\"{}\" is no journal", file.display());
            return Err(CommandError::new(ErrorKind::Usage, message)
                .hint("give the file that `serve --journal FILE` wrote"));
        }
        readers.push(reader);
    }
    Ok(verify(readers.into_iter().flatten(), watch))
}

/// What one endpoint's work came to, and would come to.
fn tell(lane: &Lane, args: &SimulateArgs, context: &Context) -> Result<Json, CommandError> {
    let (trace, left_out) = lane.trace();
    let mut measured = lane.measured();
    if trace.jobs.is_empty() {
        if !context.output.is_json() {
            note(&format!("{}: no job ran to its end", lane.name));
        }
        return Ok(json!({ "endpoint": lane.name, "measured": measured, "left_out": left_out }));
    }
    let mut settings = lane.settings();
    settings.seed = args.world.seed;
    let (policy, own) = lane.policy();
    let mut constants = Constants::default();
    for (key, value) in own {
        constants.put(policy, key, &value);
    }
    let seeds = args.seeds;
    let bar = progress(2 * seeds * trace.jobs.len() as u64, context);
    let unchanged = mean(policy, &constants, &trace, &settings, seeds, &bar)?;
    let mut changed = None;
    let mut new = settings.clone();
    if !args.set.is_empty() {
        let mut policy = policy.to_owned();
        for text in &args.set {
            match text
                .split_once('=')
                .filter(|(key, _)| key.trim() == "policy")
            {
                Some((_, name)) => policy = named(name.trim())?,
                None => apply(&mut new, &mut constants, text)?,
            }
        }
        changed = Some(mean(&policy, &constants, &trace, &new, seeds, &bar)?);
    }
    bar.finish_and_clear();
    let mut runs = vec![(&settings, unchanged)];
    runs.extend(changed.map(|changed| (&new, changed)));
    if args.bound {
        for (settings, run) in &mut runs {
            run.bound_worker_seconds = bound(&trace, settings, None);
        }
        measured.bound_worker_seconds = runs[0].1.bound_worker_seconds;
    }
    if !context.output.is_json() {
        print(lane, args, &measured, &runs, left_out, context)?;
    }
    let mut shape = json!({
        "endpoint": lane.name,
        "measured": measured,
        "unchanged": runs[0].1,
        "settings": runs[0].0,
        "start_ups_measured": lane.starts_seen(),
        "left_out": left_out,
        "seeds": seeds,
    });
    if let Some((settings, changed)) = runs.get(1) {
        shape["set"] = json!(args.set);
        shape["changed"] = json!(changed);
        shape["changed_settings"] = json!(settings);
    }
    Ok(shape)
}

fn print(
    lane: &Lane,
    args: &SimulateArgs,
    measured: &Summary,
    runs: &[(&Settings, Summary)],
    left_out: usize,
    context: &Context,
) -> Result<(), CommandError> {
    let named = |name: String, run: &Summary| {
        let mut cells = row(run);
        cells[0] = name;
        cells
    };
    let unchanged = &runs[0].1;
    let mut rows = vec![
        named("measured".to_owned(), measured),
        named(format!("simulated: {}", unchanged.policy), unchanged),
    ];
    if let Some((_, changed)) = runs.get(1) {
        rows.push(named(format!("with {}", args.set.join(" ")), changed));
    }
    context.output.text(&format!("endpoint {}", lane.name))?;
    context.output.table(HEADINGS, rows)?;
    if let Some((_, changed)) = runs.get(1) {
        context.output.text(&difference(unchanged, changed))?;
    }
    let (from, to) = runs[0].0.cold_start;
    let source = match lane.cold_start() {
        Some(_) => format!("measured over {} starts", lane.starts_seen()),
        None => "assumed: too few were seen".to_owned(),
    };
    note(&format!("start-ups {from} to {to}, {source}"));
    if left_out > 0 {
        note(&format!(
            "{left_out} jobs never ran to an end and are left out of the simulation"
        ));
    }
    Ok(())
}

/// What the change does, in dollars and waits.
fn difference(unchanged: &Summary, changed: &Summary) -> String {
    let more = changed.cost_usd - unchanged.cost_usd;
    let word = if more < 0.0 { "less" } else { "more" };
    let waits = [
        ("p50", unchanged.wait_p50_s, changed.wait_p50_s),
        ("p95", unchanged.wait_p95_s, changed.wait_p95_s),
        ("p99", unchanged.wait_p99_s, changed.wait_p99_s),
    ]
    .map(|(name, from, to)| format!("{name} {from:.1} → {to:.1} s"));
    format!(
        "the change costs ${:.4} {word} (${:.4} → ${:.4}); waits {}; on time {:.1} → {:.1} %",
        more.abs(),
        unchanged.cost_usd,
        changed.cost_usd,
        waits.join(", "),
        unchanged.on_time_share * 100.0,
        changed.on_time_share * 100.0,
    )
}

fn named(name: &str) -> Result<String, CommandError> {
    if NAMES.contains(&name) {
        return Ok(name.to_owned());
    }
    let message = format!("--set policy={name}: there is no policy `{name}`");
    Err(CommandError::new(ErrorKind::Usage, message)
        .hint(format!("there are {}", NAMES.join(", "))))
}

fn sentence(report: &Report) -> String {
    let span = report.span.map_or_else(String::new, |(from, to)| {
        format!(", {} to {}", clock(from), clock(to))
    });
    let end = if report.holds() {
        "every decision is as it was"
    } else {
        "not every decision is as it was"
    };
    format!(
        "{} segments, {} facts, {} decisions{span}: {end}",
        report.segments, report.facts, report.decisions
    )
}

fn notes(report: &Report) {
    for gap in &report.gaps {
        note(&format!(
            "gap: {} facts from {} to {} could not be written down; what follows up to the next segment is not \
             compared",
            gap.facts,
            clock(gap.from),
            clock(gap.to)
        ));
    }
    for damage in &report.damage {
        note(&format!("damage: {damage}"));
    }
    if report.torn > 0 {
        note(&format!(
            "{} ends were being written when their process was killed: what they held is not compared",
            report.torn
        ));
    }
    if report.skipped > 0 {
        note(&format!(
            "{} facts are not compared, for what came before them is missing",
            report.skipped
        ));
    }
    let own = env!("CARGO_PKG_VERSION");
    let others = report.versions.iter().filter(|version| *version != own);
    for version in others {
        note(&format!(
            "written by version {version}, replayed by {own}: another version may decide otherwise"
        ));
    }
}

/// An error where the replay did not come out as the run did.
fn verdict(path: &Path, report: &Report) -> Result<(), CommandError> {
    if let Some(first) = &report.difference {
        let list = |decisions: &[String]| match decisions {
            [] => "none".to_owned(),
            some => some.join("\n    "),
        };
        let message = format!(
            "decision after fact {} of segment {} at {}: {}\n  fact: {}\n  journal: {}\n  replay: {}",
            first.fact,
            first.segment,
            clock(first.at),
            first.what,
            first.event,
            list(&first.journaled),
            list(&first.replayed),
        );
        return Err(CommandError::new(ErrorKind::Failed, message).hint(
            "the same version of Overspill replays its own journal exactly: see the notes above",
        ));
    }
    if let [first, ..] = report.damage.as_slice() {
        let message = format!("the journal \"{}\" is damaged: {first}", path.display());
        return Err(CommandError::new(ErrorKind::Failed, message).hint(
            "what could be read came out as it was; the rest is gone, unless a copy of the file has it",
        ));
    }
    if report.segments == 0 {
        let message = format!("the journal \"{}\" has no whole segment", path.display());
        return Err(CommandError::new(ErrorKind::NotFound, message)
            .hint("it is written out within a second of the first fact"));
    }
    Ok(())
}

fn shape(path: &Path, report: &Report) -> Json {
    let span = report.span;
    let time = |at: Timestamp| json!(clock(at));
    let gap = |gap: &overspill_sim::journal::Gap| json!({ "facts": gap.facts, "from": clock(gap.from), "to": clock(gap.to) });
    json!({
        "file": path.display().to_string(),
        "segments": report.segments,
        "facts": report.facts,
        "decisions": report.decisions,
        "skipped": report.skipped,
        "from": span.map(|(from, _)| time(from)),
        "to": span.map(|(_, to)| time(to)),
        "gaps": report.gaps.iter().map(gap).collect::<Vec<_>>(),
        "damage": report.damage,
        "torn_ends": report.torn,
        "versions": report.versions,
        "holds": report.holds(),
        "complete": report.is_complete(),
        "difference": report.difference.as_ref().map(|first| json!({
            "segment": first.segment,
            "fact": first.fact,
            "at": clock(first.at),
            "event": first.event,
            "what": first.what,
            "journaled": first.journaled,
            "replayed": first.replayed,
        })),
    })
}

fn clock(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map_or_else(|_| at.to_string(), |at| at.to_string())
}

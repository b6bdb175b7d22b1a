//! The cloud costs too much: idle workers, a minimum without work, a dear GPU, a leak.

use overspill_core::money::NanoUsd;
use overspill_core::time::DurationMs;
use overspill_core::why::CloudFacts;
use serde_json::json;

use super::{EndpointFacts, Finding, PoolCost};
use crate::config::known::GPUS;

/// Money below this is not worth a finding: a tenth of a dollar an hour.
const WORTH: NanoUsd = NanoUsd::from_nanos(100_000_000);
/// So much of the billed time may be starts and idle time, in percent.
const IDLE_PERCENT_MAX: u64 = 75;
/// Of workers that are always on, so much may idle.
const MIN_IDLE_PERCENT_MAX: u64 = 90;
/// A price may be so much above the cheapest card of the same memory, in percent.
const DEARER_PERCENT: i64 = 40;
/// `RunPod` ends idle workers about this long after their idle time-out; one that still runs is astray.
const LEAK_AFTER: DurationMs = DurationMs::from_secs(30);

/// What a standby worker costs is told by the day.
const DAY: DurationMs = DurationMs::from_secs(86_400);
/// So many jobs tell how long one takes.
const HUNG_JOBS_MIN: usize = 5;
/// A run of so many times the longest one hangs.
const HUNG_TIMES: u64 = 10;
/// No run hangs that is shorter.
const HUNG_MIN: DurationMs = DurationMs::from_secs(20);

pub(super) fn examine(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    for pool in &facts.situation.pools {
        let is_hung = hung(facts, pool, found);
        let is_foreign = found.iter().any(|finding| {
            finding.code == "foreign_workers" && finding.pool.as_deref() == Some(&pool.name)
        });
        if !leak(facts, pool, found) && !standby(facts, pool, found) && !is_hung && !is_foreign {
            idle(facts, pool, found);
        }
        gpu_dear(facts, pool, found);
    }
}

/// Workers that run, and are billed, with no job of ours.
fn leak(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) -> bool {
    let now = facts.situation.picture.now;
    let astray = pool.astray_since.map(|since| now.since(since));
    let Some(astray) = astray.filter(|&astray| astray > pool.idle_timeout + LEAK_AFTER) else {
        return false;
    };
    let running = pool.workers.map_or(0, |workers| workers.running);
    let price = pool.price.map_or(NanoUsd::ZERO, |price| price.per_hour());
    let hourly = price.times(running);
    found.push(Finding::new(
        "leak",
        facts,
        Some(&pool.name),
        format!(
            "{running} cloud workers have run for {astray} with no job of ours ({hourly} an hour)"
        ),
        json!({ "workers": running, "astray": astray, "nano_usd_per_hour": hourly }),
        "another program submits to the same RunPod endpoint, or a job there hangs: end them at \
         RunPod, and give each program an endpoint of its own",
        Some(format!("overspill scale {} --max 0", facts.name)),
    ));
    true
}

/// A worker that is on though nothing asks for it.
fn standby(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) -> bool {
    let Some((workers, since)) = pool.standby else {
        return false;
    };
    let on = facts.situation.picture.now.since(since);
    let price = pool.price.unwrap_or_default();
    let per_day = price.over(DAY).times(workers);
    let cost = price.over(on).times(workers);
    let fix = if pool.manage {
        "its limits are set a second time, which ends such workers; if this stays, set workersStandby to \
         0 at RunPod, or end them there"
    } else {
        "set workersStandby to 0 at RunPod, or let Overspill set the limits (`manage = true`)"
    };
    found.push(Finding::new(
        "standby_worker",
        facts,
        Some(&pool.name),
        format!(
            "RunPod keeps {workers} workers on that nothing asks for ({per_day} a day); seen for {on}, \
             {cost} so far"
        ),
        json!({ "workers": workers, "on": on, "nano_usd_per_day": per_day, "nano_usd": cost }),
        fix,
        None,
    ));
    true
}

/// A job that runs in the cloud for far longer than any did that was completed.
fn hung(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) -> bool {
    let now = facts.situation.picture.now;
    let done = facts.ended.iter().filter(|job| job.is_completed);
    let times: Vec<DurationMs> = done.filter_map(|job| job.execution).collect();
    let longest = times.iter().copied().max().unwrap_or_default();
    if times.len() < HUNG_JOBS_MIN {
        return false;
    }
    let limit = HUNG_MIN.max(DurationMs::from_millis(longest.as_millis() * HUNG_TIMES));
    let runs = facts.runs.iter().filter(|run| run.pool == pool.name);
    let worst = runs
        .map(|run| (now.since(run.since), run))
        .filter(|(length, _)| *length > limit)
        .max_by_key(|(length, _)| *length);
    let Some((length, run)) = worst else {
        return false;
    };
    let cost = pool.price.unwrap_or_default().over(length);
    let timeout = run.execution_timeout;
    let worker = run.worker.as_deref().unwrap_or("a worker");
    let job = run.job.to_string();
    found.push(Finding::new(
        "worker_hung",
        facts,
        Some(&pool.name),
        format!(
            "{worker} has run {job} for {length} without an end ({cost} so far); of {} jobs before, none \
             took over {longest}",
            times.len()
        ),
        json!({
            "job": job,
            "worker": run.worker,
            "running": length,
            "longest": longest,
            "jobs": times.len(),
            "nano_usd": cost,
            "execution_timeout": timeout,
        }),
        format!(
            "it is cancelled, and its worker ended, when its execution timeout of {timeout} is over; a shorter \
             `execution_timeout` ends such runs sooner"
        ),
        Some(format!("overspill cancel {} {job}", facts.name)),
    ));
    true
}

/// Most of what is billed is not work.
fn idle(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) {
    let cost = facts.costs.get(&pool.name).copied().unwrap_or_default();
    let min = facts.situation.limits.min;
    let percent = cost.idle_percent();
    let numbers = json!({
        "percent": percent,
        "nano_usd": cost.spent,
        "billed": cost.billed,
        "worked": cost.worked,
        "min": min,
    });
    if cost.spent < WORTH || foreign(facts, pool, cost, found) {
        return;
    }
    if min > 0 && percent > MIN_IDLE_PERCENT_MAX {
        let price = pool.price.map_or(NanoUsd::ZERO, |price| price.per_hour());
        let hourly = price.times(min);
        found.push(Finding::new(
            "min_unused",
            facts,
            Some(&pool.name),
            format!(
                "min keeps {min} workers on ({hourly} an hour), and they had jobs for {} of the {} \
                 that were billed in the last hour",
                cost.worked, cost.billed
            ),
            numbers,
            "lower min; the first jobs after a pause then wait for a start",
            Some(format!("overspill scale {} --min 0", facts.name)),
        ));
    } else if min == 0 && percent > IDLE_PERCENT_MAX {
        found.push(Finding::new(
            "idle_share",
            facts,
            Some(&pool.name),
            format!(
                "{percent} % of the {} of the last hour went to starts and idle workers",
                cost.spent
            ),
            numbers,
            format!(
                "shorten `idle_timeout` of its `workers` (now {}), or promise less (`max_wait`), so \
                 that fewer starts are needed; then reload with SIGHUP",
                pool.idle_timeout
            ),
            None,
        ));
    }
}

/// Most of what was billed without a job of ours ran somebody else's.
fn foreign(
    facts: &EndpointFacts,
    pool: &CloudFacts,
    cost: PoolCost,
    found: &mut Vec<Finding>,
) -> bool {
    let ran = facts.foreign.get(&pool.name).copied().unwrap_or_default();
    let without_job = cost
        .billed
        .as_millis()
        .saturating_sub(cost.worked.as_millis());
    let spent = pool.price.unwrap_or_default().over(ran);
    if ran < LEAK_AFTER || ran.as_millis() * 2 < without_job || spent < WORTH {
        return false;
    }
    found.push(Finding::new(
        "foreign_workers",
        facts,
        Some(&pool.name),
        format!("its cloud workers ran for {ran} with no job of ours lately: {spent}"),
        json!({ "ran": ran, "nano_usd": spent, "billed": cost.billed }),
        "another program uses this RunPod endpoint: give each one of its own",
        None,
    ));
    true
}

/// A card with as much memory is far cheaper.
fn gpu_dear(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) {
    let cost = facts.costs.get(&pool.name).copied().unwrap_or_default();
    let (Some(&memory), Some(price)) = (facts.gpu_memory_gb.get(&pool.name), pool.price) else {
        return;
    };
    let fits = GPUS.iter().filter(|gpu| gpu.memory_gb >= memory);
    let priced = fits.filter_map(|gpu| Some((gpu.price()?.per_hour(), gpu.name)));
    let Some((cheapest, name)) = priced.min() else {
        return;
    };
    let price = price.per_hour();
    let is_dearer = price.as_nanos() > cheapest.as_nanos() / 100 * (100 + DEARER_PERCENT);
    if !is_dearer || cost.spent < WORTH {
        return;
    }
    found.push(Finding::new(
        "gpu_dear",
        facts,
        Some(&pool.name),
        format!("a worker costs {price} an hour; {name} has as much memory for {cheapest}"),
        json!({ "nano_usd_per_hour": price, "cheapest": name, "cheapest_nano_usd_per_hour": cheapest }),
        "put the cheaper card first at RunPod, if it is fast enough for your model",
        Some("overspill gpus".to_owned()),
    ));
}

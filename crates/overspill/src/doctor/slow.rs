//! Answers are slow: starts, a slow GPU, time-outs. That max is too low is told as `max_reached`.

use overspill_core::time::DurationMs;
use serde_json::json;

use super::{EndpointFacts, Finding};

/// Jobs from which a median is taken.
const JOBS_MIN: usize = 5;
/// A cloud card may be so many times slower than the local ones.
const SLOWER: u64 = 2;
/// Time-outs below this may be single odd jobs.
const TIMEOUTS_MIN: usize = 3;

pub(super) fn examine(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    timeouts(facts, found);
    cold_starts(facts, found);
    slow_gpu(facts, found);
    min_held(facts, found);
}

/// Workers that should be kept on are not: nobody could end them if every process of ours died.
fn min_held(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    let situation = &facts.situation;
    let min = situation.min_held;
    if min == 0 {
        return;
    }
    found.push(Finding::new(
        "min_held",
        facts,
        None,
        format!(
            "min is {min} and held at 0: no guard watches this server, and nobody would end these \
             workers if every process of Overspill died"
        ),
        json!({ "min": min }),
        "run `overspill guard` as a service of its own; or set `unguarded_min = true` under [runpod], \
         which is your word that they may then cost money until somebody notices",
        Some("overspill guard".to_owned()),
    ));
}

/// Jobs fail because their execution time is over.
fn timeouts(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    let is_timeout = |code: &str| code == "execution_timeout";
    let codes = facts
        .ended
        .iter()
        .filter_map(|job| job.error_code.as_deref());
    let timeouts = codes.filter(|code| is_timeout(code)).count();
    // One in ten, and more than a few.
    if timeouts < TIMEOUTS_MIN || timeouts * 10 < facts.ended.len() {
        return;
    }
    let limit = facts.situation.spec.execution_timeout;
    let mut runs = completed(facts, |_| true);
    let median = median(&mut runs);
    let usual = median.map_or_else(
        || "none completed".to_owned(),
        |median| format!("completed ones take {median}"),
    );
    found.push(Finding::new(
        "timeouts",
        facts,
        None,
        format!(
            "{timeouts} of the last {} jobs were ended by the execution timeout of {limit}; {usual}",
            facts.ended.len()
        ),
        json!({ "timeouts": timeouts, "jobs": facts.ended.len(), "execution_timeout": limit }),
        "raise `execution_timeout` of its [[endpoint]], or find out why the handler hangs; each \
         such job holds its worker for all of that time",
        None,
    ));
}

/// Most late jobs of the cloud waited for a start, with no worker kept on.
fn cold_starts(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    let situation = &facts.situation;
    let promise = situation.spec.max_wait;
    let cloud = facts.ended.iter().filter(|job| {
        let is_cloud = job.pool.as_deref().is_some_and(|pool| facts.is_cloud(pool));
        job.is_completed && is_cloud
    });
    let delays: Vec<DurationMs> = cloud.filter_map(|job| job.delay).collect();
    let late = delays.iter().filter(|&&delay| delay > promise).count();
    let is_slow = delays.len() >= JOBS_MIN && late * 2 > delays.len();
    // Where the limit was reached, that is the cause.
    let keeps_on = situation.limits.min.max(situation.min_held);
    if !is_slow || keeps_on > 0 || facts.decided.contains("max_reached") {
        return;
    }
    let price = situation.pools.iter().find_map(|pool| pool.price);
    let hourly = price.map(overspill_core::money::RatePerHour::per_hour);
    let cost = hourly.map_or_else(String::new, |hourly| format!(", for {hourly} an hour"));
    found.push(Finding::new(
        "cold_starts",
        facts,
        None,
        format!(
            "{late} of the last {} cloud jobs began later than the promise of {promise}: min is 0, \
             so that each wave waits for a start",
            delays.len()
        ),
        json!({ "late": late, "jobs": delays.len(), "max_wait": promise }),
        format!("keep one worker on{cost}, or promise less (`max_wait`)"),
        Some(format!("overspill scale {} --min 1", facts.name)),
    ));
}

/// The cloud's cards need far longer for the same jobs than the local ones.
fn slow_gpu(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    let mut local = completed(facts, |pool| !facts.is_cloud(pool));
    let local_median = median(&mut local);
    for pool in &facts.situation.pools {
        let mut cloud = completed(facts, |name| name == pool.name);
        let (Some(here), Some(there)) = (local_median, median(&mut cloud)) else {
            continue;
        };
        let (here_ms, there_ms) = (here.as_millis(), there.as_millis());
        if here_ms == 0 || there_ms < here_ms.saturating_mul(SLOWER) || there_ms < here_ms + 1_000 {
            continue;
        }
        found.push(Finding::new(
            "slow_gpu",
            facts,
            Some(&pool.name),
            format!("half of the jobs take over {there} on {}, and {here} on local cards", pool.name),
            json!({ "cloud": there, "local": here }),
            "choose a faster card at RunPod: a job may be cheaper there although the hour is dearer",
            Some("overspill gpus".to_owned()),
        ));
    }
}

fn completed(facts: &EndpointFacts, is_meant: impl Fn(&str) -> bool) -> Vec<DurationMs> {
    let jobs = facts.ended.iter().filter(|job| job.is_completed);
    let jobs = jobs.filter(|job| job.pool.as_deref().is_some_and(&is_meant));
    jobs.filter_map(|job| job.execution).collect()
}

fn median(lengths: &mut [DurationMs]) -> Option<DurationMs> {
    if lengths.len() < JOBS_MIN {
        return None;
    }
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied()
}

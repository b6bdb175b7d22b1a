//! Workers do not scale up: a limit, RunPod's refusal, or no room there.

use overspill_core::budget::CapHit;
use overspill_core::event::CloudRefusal;
use overspill_core::time::DurationMs;
use overspill_core::why::CloudFacts;
use serde_json::json;

use super::{EndpointFacts, Finding};

/// Workers that were ordered should be seen, in whatever state, within this time.
const SEEN_AFTER: DurationMs = DurationMs::from_secs(15);
/// Refusals in a row before a limit of calls counts as trouble: a single one is everyday.
const RATE_LIMITS_MIN: u32 = 3;

pub(super) fn examine(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    if facts.situation.pools.is_empty() {
        return;
    }
    let mut usable = facts.situation.pools.len();
    for pool in &facts.situation.pools {
        // What a pool refuses is the cause; that the limits stand where they are is not.
        if refusal(facts, pool, found) || room(facts, pool, found) {
            usable -= 1;
        }
    }
    if usable > 0 && facts.is_late() {
        limits(facts, found);
    }
}

/// Our own limits, in the order in which they apply.
fn limits(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    let situation = &facts.situation;
    let name = &facts.name;
    if let Some(pool) = situation.pools.iter().find(|pool| pool.price.is_none()) {
        found.push(Finding::new(
            "price_unknown",
            facts,
            Some(&pool.name),
            format!(
                "the price of {} is unknown, so no job goes there",
                pool.name
            ),
            json!({}),
            "set `price` or a known `gpu` in its [[endpoint.cloud]]; then reload with SIGHUP",
            None,
        ));
        return;
    }
    let base = situation.forecast(&situation.as_is());
    let wanted = base.wish.workers;
    let (min, max) = (situation.limits.min, situation.limits.max);
    let waiting = situation.picture.waiting_total;
    let numbers = json!({ "min": min, "max": max, "wanted": wanted, "waiting": waiting });
    if max == 0 {
        found.push(Finding::new(
            "max_zero",
            facts,
            None,
            format!("max is 0 and {waiting} jobs wait longer than promised"),
            numbers,
            "let it have cloud workers",
            Some(format!(
                "overspill scale {name} --max {}",
                wanted.clamp(1, 3)
            )),
        ));
        return;
    }
    if let Some(hit) = situation.cap_hit {
        found.push(budget_reached(facts, &hit, waiting));
        return;
    }
    let allowed = situation.allowed(max);
    if wanted > allowed && allowed < max {
        let account = situation.account.unwrap_or(0);
        found.push(Finding::new(
            "account_limit",
            facts,
            None,
            format!(
                "the account may have {account} workers, {} of them are wanted by other endpoints, \
                 and {waiting} jobs wait longer than promised",
                situation.others
            ),
            json!({ "account": account, "others": situation.others, "wanted": wanted }),
            "lower the max of other endpoints, or raise the account's quota at RunPod and \
             `[runpod] max_workers` with it",
            None,
        ));
        return;
    }
    let learned = situation.pools.iter().find(|pool| pool.quota.is_some());
    if let Some((pool, quota)) = learned.and_then(|pool| Some((pool, pool.quota?))) {
        found.push(Finding::new(
            "account_limit",
            facts,
            Some(&pool.name),
            format!(
                "RunPod refused {} workers for the account's quota; at most {} are asked for",
                quota.refused, quota.max
            ),
            json!({ "refused": quota.refused, "max": quota.max, "wanted": wanted }),
            "raise the account's quota at RunPod (it follows the balance)",
            None,
        ));
        return;
    }
    let own: Option<u32> = situation.pools.iter().map(|pool| pool.max).sum();
    if let Some(own) = own.filter(|&own| own < wanted && own < max) {
        found.push(Finding::new(
            "pool_max_reached",
            facts,
            None,
            format!("its cloud pools may have {own} workers together, {wanted} would help"),
            json!({ "max": own, "wanted": wanted, "waiting": waiting }),
            "raise `max` of its [[endpoint.cloud]]; then reload with SIGHUP",
            None,
        ));
        return;
    }
    if wanted > max {
        found.push(Finding::new(
            "max_reached",
            facts,
            None,
            format!("max is {max}, {wanted} workers would help, {waiting} jobs wait longer than promised"),
            numbers,
            "raise max; `overspill why scale` says what each step brings and costs",
            Some(format!("overspill scale {name} --max {wanted}")),
        ));
    }
}

/// A cap leaves no money for another worker.
fn budget_reached(facts: &EndpointFacts, hit: &CapHit, waiting: usize) -> Finding {
    let state = &hit.state;
    let (whose, key) = match state.endpoint {
        Some(_) => ("the endpoint's cap", "`budget` of the [[endpoint]]"),
        None => ("the cap on everything", "[budget]"),
    };
    let frees_in = state.frees_at.since(facts.situation.picture.now);
    Finding::new(
        "budget_reached",
        facts,
        None,
        format!(
            "{whose} of {} per {} leaves no money for another cloud worker, which needs {}: {} spent, {} set \
             aside, and {waiting} jobs wait longer than promised; the {} ends in {frees_in}",
            state.cap, state.period, hit.each, state.spent, state.reserved, state.period
        ),
        json!({
            "cap": state.cap.as_nanos(),
            "spent": state.spent.as_nanos(),
            "reserved": state.reserved.as_nanos(),
            "each": hit.each.as_nanos(),
            "frees_in": frees_in,
            "waiting": waiting,
        }),
        format!(
            "raise {key} and reload with SIGHUP, or wait: local cards go on, and the cloud does when the {} is over",
            state.period
        ),
        None,
    )
}

/// What RunPod said last, where it still refuses. Whether that is trouble.
fn refusal(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) -> bool {
    let Some((refusal, times)) = pool.refusal else {
        return false;
    };
    // What only submissions meet counts while there are any.
    let waits = facts.situation.picture.waiting_total > 0 || pool.queued > 0;
    let (code, fix) = match refusal {
        // Where limits are ours to set, they are set again after the first refusal: a submission may have met
        // a scale to zero under way.
        CloudRefusal::Paused if waits && (!pool.manage || times > 1) => (
            "endpoint_paused",
            "raise its max workers above 0 at RunPod; with `manage = true` Overspill does it",
        ),
        CloudRefusal::NoBalance if waits => {
            ("no_balance", "top up the balance of the RunPod account")
        }
        CloudRefusal::Unauthorized => (
            "key_refused",
            "give `[runpod] api_key` a key that may use this endpoint, and reload with SIGHUP",
        ),
        CloudRefusal::EndpointGone => (
            "endpoint_gone",
            "correct `id` of its [[endpoint.cloud]], or remove the pool; then reload with SIGHUP",
        ),
        CloudRefusal::RateLimited if waits && times >= RATE_LIMITS_MIN => (
            "rate_limited",
            "other programs use the same key: give Overspill a key and an endpoint of its own",
        ),
        CloudRefusal::Unreachable => (
            "cloud_unreachable",
            "check this machine's network, its proxy and `[runpod] base_url`; jobs go on locally",
        ),
        _ => return false,
    };
    let is_ours = code == "endpoint_paused";
    let max = facts.situation.limits.max.max(1);
    found.push(Finding::new(
        code,
        facts,
        Some(&pool.name),
        format!("{}, {times} times in a row", refusal.words()),
        json!({ "times": times }),
        fix,
        is_ours.then(|| format!("overspill scale {} --max {max}", facts.name)),
    ));
    true
}

/// A change of RunPod's own is told for this long after it was put right.
const CHANGED_TOLD: DurationMs = DurationMs::from_secs(900);

/// RunPod changed the limits by itself.
fn lowered(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) {
    let now = facts.situation.picture.now;
    let Some(changed) = pool
        .changed
        .filter(|changed| now.since(changed.at) < CHANGED_TOLD)
    else {
        return;
    };
    let ((_, asked), (_, seen)) = (changed.asked, changed.seen);
    if seen >= asked {
        return;
    }
    let ago = now.since(changed.at);
    found.push(Finding::new(
        "max_lowered",
        facts,
        Some(&pool.name),
        format!(
            "RunPod lowered max from {asked} to {seen} by itself; that was seen {ago} ago, and {asked} was \
             set again"
        ),
        json!({ "asked": asked, "seen": seen, "ago": ago }),
        "nothing, if it does not come back: RunPod lowers it after days without a job, or when workers \
         crash",
        None,
    ));
}

/// Whether RunPod has no room, or its workers crash.
fn room(facts: &EndpointFacts, pool: &CloudFacts, found: &mut Vec<Finding>) -> bool {
    let now = facts.situation.picture.now;
    let has = pool.workers.unwrap_or_default();
    let waits = facts.situation.picture.waiting_total > 0 || pool.queued > 0;
    if !waits {
        lowered(facts, pool, found);
        return false;
    }
    let ready = has.idle + has.running;
    let pause = pool.crash_pause;
    if pause.is_some() || (has.unhealthy > 0 && ready == 0) {
        let stopped = pause.filter(|pause| pause.until > now);
        let evidence = match (stopped, pause) {
            (Some(pause), _) => format!(
                "its cloud workers crash and none is ready: no start for {} (pause {})",
                pause.until.since(now),
                pause.times
            ),
            (None, Some(pause)) => format!(
                "its cloud workers crashed and none was ready since: one alone may start now, after \
                 pause {}",
                pause.times
            ),
            (None, None) => format!(
                "{} of its cloud workers crashed and none is ready",
                has.unhealthy
            ),
        };
        found.push(Finding::new(
            "cloud_crash_loop",
            facts,
            Some(&pool.name),
            evidence,
            json!({
                "unhealthy": has.unhealthy,
                "pauses": pause.map_or(0, |pause| pause.times),
                "paused_for": stopped.map(|pause| pause.until.since(now)),
            }),
            "read the workers' log at RunPod: usually the image, a missing variable or too little \
             memory; scaling up waits until one start succeeds",
            None,
        ));
        return true;
    }
    lowered(facts, pool, found);
    if has.throttled > 0 && ready == 0 {
        found.push(Finding::new(
            "throttled",
            facts,
            Some(&pool.name),
            format!(
                "{} of its cloud workers are throttled: their hosts have no free GPU",
                has.throttled
            ),
            json!({ "throttled": has.throttled }),
            "allow more data centers or GPU types at RunPod, or add a second [[endpoint.cloud]]",
            None,
        ));
        return true;
    }
    let there = ready + has.initializing + has.throttled + has.unhealthy;
    let waited = pool.first_queued.map(|at| now.since(at));
    if let Some(waited) =
        waited.filter(|&waited| waited > SEEN_AFTER && there == 0 && pool.wanted > 0)
    {
        found.push(Finding::new(
            "no_capacity",
            facts,
            Some(&pool.name),
            format!(
                "{} jobs wait at RunPod for {waited} and it starts no worker for them",
                pool.queued
            ),
            json!({ "queued": pool.queued, "waited": waited, "wanted": pool.wanted }),
            "allow more data centers or GPU types at RunPod, or add a second [[endpoint.cloud]]",
            None,
        ));
        return true;
    }
    false
}

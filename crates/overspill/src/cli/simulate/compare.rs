//! What a comparison of policies comes to.

use overspill_sim::simulate::Summary;

/// The least share of jobs on time with which a policy counts as one that keeps the promise.
pub(super) const ON_TIME: f64 = 0.97;

/// The cheapest of those that keep the promise; what knows the future does not count.
pub(super) fn cheapest(results: &[Summary]) -> Option<usize> {
    let is_real = |name: &str| name != "clairvoyant";
    let on_time = (0..results.len())
        .filter(|&at| results[at].on_time_share >= ON_TIME && is_real(&results[at].policy));
    on_time.min_by(|&a, &b| results[a].cost_usd.total_cmp(&results[b].cost_usd))
}

/// The comparison in one sentence.
pub(super) fn verdict(results: &[Summary]) -> String {
    let Some(at) = cheapest(results) else {
        return format!(
            "no policy starts {:.0} % of the jobs on time: raise --max, or allow a longer --max-wait",
            ON_TIME * 100.0
        );
    };
    let best = &results[at];
    let rest: Vec<Summary> = results
        .iter()
        .enumerate()
        .filter(|&(other, _)| other != at)
        .map(|(_, run)| run.clone())
        .collect();
    let next = cheapest(&rest).map_or_else(
        || ": no other is on time".to_owned(),
        |next| {
            let more = rest[next].cost_usd - best.cost_usd;
            let share = more / best.cost_usd.max(1e-9) * 100.0;
            format!(
                "; the next is {} at ${:.2} ({share:+.0} %)",
                rest[next].policy, rest[next].cost_usd
            )
        },
    );
    format!(
        "cheapest with {:.0} % of the jobs on time: {} at ${:.2}, {:.1} % on time, p95 {:.1} s{next}",
        ON_TIME * 100.0,
        best.policy,
        best.cost_usd,
        best.on_time_share * 100.0,
        best.wait_p95_s,
    )
}

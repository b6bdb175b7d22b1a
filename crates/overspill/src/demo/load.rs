//! What the demo submits, and when: a fixed plan by seed, sent by RunPod's client API.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use serde_json::json;
use tracing::warn;

use crate::cli::demo::DemoLoad;

/// Moments after the start at which a job is submitted, in order.
pub type Plan = Vec<Duration>;

/// How long each job runs, in seconds.
pub const JOB_SECONDS: f64 = 1.0;

/// Two local workers carry two jobs a second. Low: 1.3 a second. Normal: 0.8 a second, and after a
/// quarter of the time a burst of 48 within two seconds (fewer when time is short).
#[must_use]
pub fn plan(load: DemoLoad, length: Duration, seed: u64) -> Plan {
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let per_second = match load {
        DemoLoad::Low => 1.3,
        DemoLoad::Normal => 0.8,
    };
    let end = length.as_secs_f64();
    let mut plan = Vec::new();
    let mut at = 0.0;
    while at < end {
        plan.push(at);
        at += random.random_range(0.8..1.2) / per_second;
    }
    if load == DemoLoad::Normal {
        let burst_at = (end / 4.0).min(15.0);
        plan.extend((0..48).map(|i| burst_at + 2.0 * f64::from(i) / 48.0));
    }
    plan.sort_by(f64::total_cmp);
    plan.into_iter().map(Duration::from_secs_f64).collect()
}

/// Submits the plan's jobs at their moments; returns how many were accepted.
pub async fn submit(http: reqwest::Client, base: String, plan: Plan) -> u64 {
    let start = tokio::time::Instant::now();
    let mut accepted = 0;
    for (number, at) in plan.into_iter().enumerate() {
        tokio::time::sleep_until(start + at).await;
        let body = json!({ "input": { "seconds": JOB_SECONDS, "number": number } });
        let answer = http
            .post(format!("{base}/run"))
            .bearer_auth(super::API_KEY)
            .json(&body)
            .send()
            .await;
        match answer.and_then(reqwest::Response::error_for_status) {
            Ok(_) => accepted += 1,
            Err(error) => warn!(%error, "a job was not accepted"),
        }
    }
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_depend_on_their_seed_alone() {
        let length = Duration::from_secs(60);
        let plan_of = |seed| plan(DemoLoad::Normal, length, seed);
        assert_eq!(plan_of(1), plan_of(1));
        assert_ne!(plan_of(1), plan_of(2));
        assert!(plan_of(1).is_sorted());
        let low = plan(DemoLoad::Low, length, 1);
        assert!((70..=86).contains(&low.len()), "{}", low.len());
    }
}

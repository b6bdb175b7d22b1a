//! RunPod bills something else than was counted.

use std::collections::BTreeMap;

use overspill_core::bill::{HourBill, HourState};
use overspill_core::ledger::Cause;
use overspill_core::money::NanoUsd;
use serde_json::json;

use super::{EndpointFacts, Finding};

/// Money below this is not worth a finding: a tenth of a dollar in a day.
const WORTH: NanoUsd = NanoUsd::from_nanos(100_000_000);
/// Nor is so little of what was counted, in percent.
const PERCENT_MIN: i64 = 5;

pub(super) fn examine(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    for (pool, hours) in &facts.bills {
        differs(facts, pool, hours, found);
        missing(facts, pool, hours, found);
    }
}

/// The cause that most of the difference of the last day has.
fn differs(facts: &EndpointFacts, pool: &str, hours: &[HourBill], found: &mut Vec<Finding>) {
    let mut sums: BTreeMap<Cause, (NanoUsd, NanoUsd, NanoUsd, u32)> = BTreeMap::new();
    for hour in hours {
        let is_running = hour.state == HourState::Running;
        for (&cause, &amount) in &hour.drift {
            // What is not over may still be billed; what is billed will not go away.
            if cause.is_ordinary() || (is_running && amount < NanoUsd::ZERO) {
                continue;
            }
            let sum = sums.entry(cause).or_default();
            sum.0 += amount;
            sum.1 += hour.counted;
            sum.2 += hour.billed.unwrap_or_default();
            sum.3 += 1;
        }
    }
    let size = |amount: NanoUsd| amount.as_nanos().saturating_abs();
    let Some((cause, (amount, counted, billed, hours))) =
        sums.into_iter().max_by_key(|(_, sum)| size(sum.0))
    else {
        return;
    };
    let percent = size(amount).saturating_mul(100) / counted.as_nanos().max(1);
    if size(amount) < WORTH.as_nanos() || percent < PERCENT_MIN {
        return;
    }
    let (code, fix) = advice(cause);
    found.push(Finding::new(
        code,
        facts,
        Some(pool),
        format!(
            "RunPod bills {billed} for {hours} hours of the last day in which {counted} were counted: \
             {amount} ({percent} %) for {}",
            cause.code()
        ),
        json!({
            "cause": cause.code(),
            "nano_usd": amount,
            "percent": percent,
            "counted_nano_usd": counted,
            "billed_nano_usd": billed,
            "hours": hours,
        }),
        fix,
        None,
    ));
}

/// The code of a cause, and what to do about it.
const fn advice(cause: Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::HiddenIdle => (
            "hidden_idle",
            "caps count it from now on; ask RunPod's support with the hours of `overspill cost`, and \
             shorten `idle_timeout` so that fewer workers idle",
        ),
        Cause::PriceDiffers => (
            "price_differs",
            "set `price` of its [[endpoint.cloud]] to what RunPod charges, so that caps reserve enough; \
             then reload with SIGHUP",
        ),
        Cause::StandbyWorker => (
            "standby_worker",
            "set the endpoint's workersStandby to 0 at RunPod; each change of its limits by Overspill \
             asks for that",
        ),
        Cause::ForeignWorkers => (
            "foreign_workers",
            "another program uses this RunPod endpoint: give each one of its own",
        ),
        Cause::BilledTwice => (
            "billed_twice",
            "ask RunPod's support with the hours of `overspill cost`",
        ),
        Cause::Unexplained
        | Cause::BilledLess
        | Cause::Rounding
        | Cause::UnsettledSettled
        | Cause::DisksAndFees => (
            "bill_differs",
            "compare the hours of `overspill cost` with RunPod's billing page; the ledger follows RunPod's \
             records",
        ),
    }
}

/// Hours that RunPod has written no record of.
fn missing(facts: &EndpointFacts, pool: &str, hours: &[HourBill], found: &mut Vec<Finding>) {
    let missing = hours.iter().filter(|hour| hour.state == HourState::Missing);
    let (mut count, mut counted) = (0, NanoUsd::ZERO);
    for hour in missing {
        count += 1;
        counted += hour.counted;
    }
    if counted < WORTH {
        return;
    }
    found.push(Finding::new(
        "record_missing",
        facts,
        Some(pool),
        format!(
            "RunPod has no billing record of {count} hours of the last day in which {counted} were counted"
        ),
        json!({ "hours": count, "counted_nano_usd": counted }),
        "nothing is lost: what was counted stands; look whether RunPod's billing page shows the hours",
        None,
    ));
}

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
    let Some((code, count, counted)) = without_record(hours) else {
        return;
    };
    found.push(Finding::new(
        code,
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

/// The code, the number of hours that a record should long be there of, and what was counted in them, where
/// that is worth a finding.
fn without_record(hours: &[HourBill]) -> Option<(&'static str, usize, NanoUsd)> {
    let missing = hours.iter().filter(|hour| hour.state == HourState::Missing);
    let counted: NanoUsd = missing.clone().map(|hour| hour.counted).sum();
    (counted >= WORTH).then(|| ("record_missing", missing.count(), counted))
}

#[cfg(test)]
mod tests {
    use overspill_core::time::Timestamp;

    use super::*;

    fn hour(state: HourState, cents: i64) -> HourBill {
        HourBill {
            start: Timestamp::ZERO,
            state,
            counted: NanoUsd::from_nanos(cents * 10_000_000),
            unsettled: NanoUsd::ZERO,
            billed: None,
            drift: BTreeMap::new(),
        }
    }

    #[test]
    fn each_cause_has_a_code_that_the_page_explains() {
        let codes =
            |causes: &[Cause]| -> Vec<&str> { causes.iter().map(|&c| advice(c).0).collect() };
        let of_workers = codes(&[
            Cause::ForeignWorkers,
            Cause::StandbyWorker,
            Cause::HiddenIdle,
        ]);
        assert_eq!(
            of_workers,
            ["foreign_workers", "standby_worker", "hidden_idle"]
        );
        let page = include_str!("../../../../docs/doctor.md");
        for cause in Cause::ALL {
            let code = advice(cause).0;
            assert!(page.contains(&format!("`{code}`")), "{code}");
        }
    }

    #[test]
    fn hours_that_have_long_been_due_are_told_from_ten_cents_on() {
        let mut hours = vec![
            hour(HourState::Running, 900),
            hour(HourState::Awaited, 900),
            hour(HourState::Missing, 9),
        ];
        assert_eq!(without_record(&hours), None, "nine cents are missing");
        hours.push(hour(HourState::Missing, 1));
        let dime = NanoUsd::from_nanos(100_000_000);
        assert_eq!(without_record(&hours), Some(("record_missing", 2, dime)));
    }
}

//! What was spent on what, and what local cards saved: sums of the ledger.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use overspill_core::id::{EndpointId, PoolId};
use overspill_core::ledger::EntryKind;
use overspill_core::time::Timestamp;
use overspill_store::{Reader, Spent, SpentFilter, StoreError};
use serde::Serialize;

/// Money in billionths of a dollar, over all endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Money {
    /// What the cloud workers that exist cost an hour.
    pub nano_usd_per_hour: i64,
    /// Set aside for cloud workers that may come of what was submitted.
    pub reserved_nano_usd: i64,
    /// Spent on the cloud since midnight.
    pub today_nano_usd: i64,
    /// What the cloud would have cost for the jobs of local cards since midnight.
    pub saved_today_nano_usd: i64,
    /// Spent on the cloud since the first start.
    pub total_nano_usd: i64,
    /// Saved since the first start.
    pub saved_total_nano_usd: i64,
    /// What cards here took from the socket for jobs since midnight.
    pub electricity_today_nano_usd: i64,
    /// The same since the first start.
    pub electricity_total_nano_usd: i64,
}

/// One line of the money page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpentLine {
    /// The endpoint's name; empty for one that was removed.
    pub endpoint: String,
    /// The pool's; likewise.
    pub pool: String,
    /// Spent on workers' starts.
    pub cold_start_nano_usd: i64,
    /// Spent on jobs.
    pub run_nano_usd: i64,
    /// Spent on idle workers.
    pub idle_nano_usd: i64,
    /// What workers may have cost beyond that while nobody could count them.
    pub unsettled_nano_usd: i64,
    /// What RunPod's records say beyond all of it, or short of it.
    pub drift_nano_usd: i64,
    /// That by its cause: `rounding`, `unsettled_settled`, `hidden_idle`, …
    pub drift_by_cause: BTreeMap<&'static str, i64>,
    /// What the cloud would have cost for jobs of local cards.
    pub saved_nano_usd: i64,
    /// How long its workers ran jobs.
    pub run_ms: u64,
}

/// The last midnight of a time zone.
#[must_use]
pub fn midnight(now: Timestamp, zone: &str) -> Timestamp {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    jiff::Timestamp::from_millisecond(now.as_millis())
        .and_then(|now| now.to_zoned_datetime(zone).start_of_day())
        .map_or(now, |day| {
            Timestamp::from_millis(day.timestamp().as_millisecond())
        })
}

/// Sums of the ledger: today's, and all.
///
/// # Errors
/// When the store does not answer.
pub fn sums(reader: &dyn Reader, midnight: Timestamp) -> Result<Money, StoreError> {
    let today = reader.spent(&SpentFilter {
        since: Some(midnight),
        ..SpentFilter::default()
    })?;
    let all = reader.spent(&SpentFilter::default())?;
    let (today_nano_usd, saved_today_nano_usd) = split(&today);
    let (total_nano_usd, saved_total_nano_usd) = split(&all);
    let electricity = |sums: &[Spent]| {
        let its = sums.iter().filter(|sum| sum.kind == EntryKind::Electricity);
        its.map(|sum| sum.amount.as_nanos()).sum()
    };
    Ok(Money {
        today_nano_usd,
        saved_today_nano_usd,
        total_nano_usd,
        saved_total_nano_usd,
        electricity_today_nano_usd: electricity(&today),
        electricity_total_nano_usd: electricity(&all),
        ..Money::default()
    })
}

/// Spent, and saved.
fn split(sums: &[Spent]) -> (i64, i64) {
    let (mut spent, mut saved) = (0_i64, 0_i64);
    for sum in sums {
        let side = match sum.kind {
            EntryKind::Saved => &mut saved,
            kind if kind.is_spent() => &mut spent,
            // One job's share of lines that are there already, and what cards here took.
            _ => continue,
        };
        *side = side.saturating_add(sum.amount.as_nanos());
    }
    (spent, saved)
}

/// Sums by endpoint and pool, the dearest first; names come from `name_of`.
#[must_use]
pub fn lines(
    sums: &[Spent],
    name_of: impl Fn(EndpointId, PoolId) -> (String, String),
) -> Vec<SpentLine> {
    let mut by_pool: BTreeMap<(EndpointId, PoolId), SpentLine> = BTreeMap::new();
    for sum in sums {
        let line = by_pool.entry((sum.endpoint, sum.pool)).or_insert_with(|| {
            let (endpoint, pool) = name_of(sum.endpoint, sum.pool);
            SpentLine {
                endpoint,
                pool,
                cold_start_nano_usd: 0,
                run_nano_usd: 0,
                idle_nano_usd: 0,
                unsettled_nano_usd: 0,
                drift_nano_usd: 0,
                drift_by_cause: BTreeMap::new(),
                saved_nano_usd: 0,
                run_ms: 0,
            }
        });
        let amount = sum.amount.as_nanos();
        match sum.kind {
            EntryKind::ColdStart => line.cold_start_nano_usd += amount,
            EntryKind::Run => {
                line.run_nano_usd += amount;
                line.run_ms += sum.worker_time.as_millis();
            }
            EntryKind::Idle => line.idle_nano_usd += amount,
            EntryKind::Unsettled => line.unsettled_nano_usd += amount,
            EntryKind::Drift(cause) => {
                line.drift_nano_usd += amount;
                *line.drift_by_cause.entry(cause.code()).or_default() += amount;
            }
            EntryKind::Share
            | EntryKind::ColdShare
            | EntryKind::IdleShare
            | EntryKind::Electricity => {}
            EntryKind::Saved => {
                line.saved_nano_usd += amount;
                line.run_ms += sum.worker_time.as_millis();
            }
        }
    }
    let mut lines: Vec<SpentLine> = by_pool.into_values().collect();
    let spent = |l: &SpentLine| {
        let counted = l.cold_start_nano_usd + l.run_nano_usd + l.idle_nano_usd;
        counted + l.unsettled_nano_usd + l.drift_nano_usd
    };
    lines.sort_by_key(|line| std::cmp::Reverse((spent(line), line.saved_nano_usd)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use overspill_core::ledger::Cause;
    use overspill_core::money::NanoUsd;
    use overspill_core::time::DurationMs;

    #[test]
    fn midnight_is_the_zones_own() {
        let noon: jiff::Timestamp = "2026-03-29T12:00:00Z".parse().unwrap();
        let now = Timestamp::from_millis(noon.as_millisecond());
        let text = |zone| {
            let at = midnight(now, zone).as_millis();
            jiff::Timestamp::from_millisecond(at).unwrap().to_string()
        };
        assert_eq!(text("UTC"), "2026-03-29T00:00:00Z");
        // The night in which summer time begins.
        assert_eq!(text("Europe/Berlin"), "2026-03-28T23:00:00Z");
        assert_eq!(text("no/where"), "2026-03-29T00:00:00Z");
    }

    #[test]
    fn lines_are_by_pool_with_the_dearest_first() {
        let sum = |pool, kind, nanos| Spent {
            endpoint: EndpointId(1),
            pool: PoolId(pool),
            kind,
            entries: 1,
            worker_time: DurationMs::from_secs(1),
            amount: NanoUsd::from_nanos(nanos),
        };
        let sums = [
            sum(1, EntryKind::Saved, 900),
            sum(2, EntryKind::ColdStart, 5),
            sum(2, EntryKind::Run, 10),
            sum(2, EntryKind::Idle, 1),
            sum(2, EntryKind::Drift(Cause::HiddenIdle), 4),
            sum(2, EntryKind::Drift(Cause::UnsettledSettled), -3),
        ];
        assert_eq!(split(&sums), (17, 900));
        let lines = lines(&sums, |_, pool| ("e".into(), pool.to_string()));
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].run_nano_usd, lines[0].run_ms), (10, 1_000));
        assert_eq!(lines[0].drift_nano_usd, 1);
        let causes = [("hidden_idle", 4), ("unsettled_settled", -3)];
        assert_eq!(lines[0].drift_by_cause, BTreeMap::from(causes));
        assert_eq!((lines[1].saved_nano_usd, lines[1].run_ms), (900, 1_000));
    }
}

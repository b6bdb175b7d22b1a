//! Reads `RunPod`'s billing records, those of the whole account in one call, and tells the core of each pool's.
//!
//! Once an hour, some minutes after it has turned, for the hours of the last three days: records come late and are
//! corrected. What `RunPod` lists as a worker's price is read beside, once an hour at most. All in all three of the
//! account's 3,000 management calls an hour.

use super::super::client::CloudError;
use super::super::limits::backoff_ms;
use super::super::management::Management;
use super::run::{Done, Runner};
use overspill_core::booked::HOUR_MS;
use overspill_core::drift::HourRecord;
use overspill_core::event::{BillRead, Event};
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::Timestamp;
use overspill_wire::management::catalog::GpuTypeList;
use overspill_wire::management::endpoint::{Endpoint, Gpus};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Records are asked for from so many hours before now on.
const HOURS_ASKED: i64 = 71;
/// The first reading waits so long after the start, in milliseconds: the limits of workers go first.
const FIRST_MS: i64 = 20_000;
/// An hourly reading comes so long after the hour has turned, in milliseconds: all that was counted is booked by then.
const PAST_HOUR_MS: i64 = 12 * 60_000;
/// And up to so much later, for not every installation should ask at once.
const JITTER_MS: i64 = 5 * 60_000;
/// Wait after a reading that failed, in milliseconds; it doubles.
const RETRY_MS: i64 = 30_000;
/// An amount beyond this is no amount: a billion dollars an hour.
const USD_MAX: f64 = 1e9;

/// Where records are read, and how often.
#[derive(Debug, Clone)]
pub struct BillAccess {
    /// The account.
    pub management: Management,
    /// Time between two readings, in milliseconds.
    pub period_ms: i64,
}

/// What is known of the account's bill.
#[derive(Debug)]
pub(super) struct Bills {
    access: Option<BillAccess>,
    due_ms: i64,
    is_asked: bool,
    failures: u32,
    prices: BTreeMap<String, RatePerHour>,
    prices_due_ms: i64,
}

/// One reading: records by endpoint, and list prices where they were asked for.
pub(super) struct AccountRead {
    records: BTreeMap<String, Vec<HourRecord>>,
    prices: Option<BTreeMap<String, RatePerHour>>,
}

impl Default for Bills {
    fn default() -> Self {
        Self {
            access: None,
            due_ms: i64::MAX,
            is_asked: false,
            failures: 0,
            prices: BTreeMap::new(),
            prices_due_ms: i64::MIN,
        }
    }
}

impl Bills {
    pub(super) fn set(&mut self, access: BillAccess, now_ms: i64) {
        self.due_ms = now_ms + FIRST_MS.min(access.period_ms);
        self.access = Some(access);
    }

    /// The account's management API, for reading.
    pub(super) fn management(&self) -> Option<Management> {
        self.access.as_ref().map(|access| access.management.clone())
    }
}

/// When the next reading is due: in each hour at about the same time, or after the period where that is another one.
fn next_due_ms(now_ms: i64, period_ms: i64, jitter: i64) -> i64 {
    if period_ms != HOUR_MS {
        return now_ms + period_ms;
    }
    let at = now_ms.div_euclid(HOUR_MS) * HOUR_MS + PAST_HOUR_MS;
    let next = if at > now_ms { at } else { at + HOUR_MS };
    next + jitter
}

impl Runner {
    /// When the next reading is due, in milliseconds; never while one is on its way, or no pool is known.
    pub(super) fn bills_next_ms(&self) -> i64 {
        if self.bills.is_asked || self.pools.is_empty() {
            i64::MAX
        } else {
            self.bills.due_ms
        }
    }

    pub(super) fn start_bills(&mut self, now_ms: i64) {
        if now_ms < self.bills_next_ms() {
            return;
        }
        let Some(access) = self.bills.access.clone() else {
            return;
        };
        self.bills.is_asked = true;
        let with_prices = now_ms >= self.bills.prices_due_ms;
        self.calls.spawn(async move {
            let outcome = read(&access.management, now_ms, with_prices).await;
            Done::Bills { outcome }
        });
    }

    pub(super) fn on_bills(&mut self, outcome: Result<AccountRead, CloudError>, now_ms: i64) {
        self.bills.is_asked = false;
        let period_ms = self
            .bills
            .access
            .as_ref()
            .map_or(HOUR_MS, |access| access.period_ms);
        let read = match outcome {
            Ok(read) => read,
            Err(error) => {
                self.bills.failures += 1;
                let failures = self.bills.failures;
                let wait_ms = backoff_ms(failures, RETRY_MS, HOUR_MS, None, rand::random());
                self.bills.due_ms = now_ms + wait_ms;
                if failures == 1 {
                    tracing::warn!(%error, "RunPod's billing records cannot be read; what was counted stands");
                }
                return;
            }
        };
        self.bills.failures = 0;
        self.bills.due_ms = next_due_ms(now_ms, period_ms, rand::random_range(0..JITTER_MS));
        if let Some(prices) = read.prices {
            self.bills.prices = prices;
            self.bills.prices_due_ms = now_ms + HOUR_MS - JITTER_MS;
        }
        // Two pools of one endpoint share a bill: the first has it, of those that are configured where one is.
        let mut told = BTreeSet::new();
        let mut events = Vec::new();
        let (left, configured): (Vec<_>, Vec<_>) = self
            .pools
            .iter()
            .partition(|(_, state)| state.access.is_left);
        for (&pool, state) in configured.into_iter().chain(left) {
            let endpoint = &state.access.endpoint_id;
            if !told.insert(endpoint.clone()) {
                continue;
            }
            events.push(Event::CloudBilled {
                pool,
                bill: BillRead {
                    records: read.records.get(endpoint).cloned().unwrap_or_default(),
                    list_price: self.bills.prices.get(endpoint).copied(),
                },
            });
        }
        for event in events {
            self.tell(event);
        }
    }
}

async fn read(
    management: &Management,
    now_ms: i64,
    with_prices: bool,
) -> Result<AccountRead, CloudError> {
    let hour = now_ms.div_euclid(HOUR_MS);
    let (from, to) = (rfc3339(hour - HOURS_ASKED), rfc3339(hour + 1));
    let billing: Billing = management.billing(&from, &to).await?;
    let prices = if with_prices {
        list_prices(management).await
    } else {
        None
    };
    Ok(AccountRead {
        records: by_endpoint(&billing.records),
        prices,
    })
}

/// What a worker of each endpoint costs by the catalog: the dearest card that it may get. A part that cannot be read
/// is only a clue less.
async fn list_prices(management: &Management) -> Option<BTreeMap<String, RatePerHour>> {
    let endpoints = management.list().await.ok()?;
    let catalog: GpuTypeList = management.gpus().await.ok()?;
    let price = |endpoint: &Endpoint| dearest(endpoint.gpu.as_ref()?, &catalog);
    let prices = endpoints
        .iter()
        .filter_map(|e| Some((e.id.clone(), price(e)?)));
    Some(prices.collect())
}

fn dearest(gpus: &Gpus, catalog: &GpuTypeList) -> Option<RatePerHour> {
    let prices = catalog.gpus.iter().filter_map(|gpu| {
        let pool = gpu.pool.as_ref()?;
        let may = gpus.pools.contains(pool) && !gpus.excluded_types.contains(&gpu.id);
        may.then_some(gpu.price.serverless)?
    });
    let one = nanos(prices.reduce(f64::max)?)?;
    Some(RatePerHour::new(one.times(gpus.count)))
}

#[derive(Debug, Deserialize)]
struct Billing {
    records: Vec<Record>,
}

/// The part of a record that is needed, whatever else a newer cloud says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    start_time: String,
    end_time: String,
    serverless_id: String,
    total_amount: f64,
    #[serde(default)]
    gpu_amount: f64,
    #[serde(default)]
    cpu_amount: f64,
}

/// The records of one hour each. A bucket of another length, or an amount that is none, is left out.
fn by_endpoint(records: &[Record]) -> BTreeMap<String, Vec<HourRecord>> {
    let mut hours: BTreeMap<String, BTreeMap<Timestamp, HourRecord>> = BTreeMap::new();
    for record in records {
        let Some(read) = hour_record(record) else {
            tracing::warn!(?record, "a billing record is not one of an hour");
            continue;
        };
        let of = hours.entry(record.serverless_id.clone()).or_default();
        let hour = of.entry(read.start).or_insert(HourRecord {
            compute: NanoUsd::ZERO,
            other: NanoUsd::ZERO,
            ..read
        });
        hour.compute += read.compute;
        hour.other += read.other;
    }
    let flat = hours.into_iter();
    flat.map(|(id, hours)| (id, hours.into_values().collect()))
        .collect()
}

fn hour_record(record: &Record) -> Option<HourRecord> {
    let time = |text: &str| {
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(at.as_millisecond())
    };
    let (start, end) = (time(&record.start_time)?, time(&record.end_time)?);
    if start.rem_euclid(HOUR_MS) != 0 || end.checked_sub(start)? != HOUR_MS {
        return None;
    }
    let compute = nanos(record.gpu_amount)? + nanos(record.cpu_amount)?;
    Some(HourRecord {
        start: Timestamp::from_millis(start),
        compute,
        other: nanos(record.total_amount)? - compute,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "bounded before")]
fn nanos(usd: f64) -> Option<NanoUsd> {
    (usd.abs() <= USD_MAX).then(|| NanoUsd::from_nanos((usd * 1e9).round() as i64))
}

fn rfc3339(hour: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(hour.saturating_mul(HOUR_MS));
    at.unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(start: &str, end: &str, total: f64, gpu: f64) -> Record {
        Record {
            start_time: start.to_owned(),
            end_time: end.to_owned(),
            serverless_id: "ep1".to_owned(),
            total_amount: total,
            gpu_amount: gpu,
            cpu_amount: 0.0,
        }
    }

    #[test]
    fn records_of_an_hour_are_read_to_the_nano_dollar_and_others_left_out() {
        let (nine, ten) = ("2026-06-01T09:00:00Z", "2026-06-01T10:00:00Z");
        let found = by_endpoint(&[
            record(nine, ten, 1.5, 1.25),
            record(nine, ten, 0.000_000_001, 0.0),
            record(nine, "2026-06-02T09:00:00Z", 7.0, 7.0),
            record("2026-06-01T09:30:00Z", "2026-06-01T10:30:00Z", 7.0, 7.0),
            record("yesterday", ten, 7.0, 7.0),
            record(nine, ten, f64::NAN, 0.0),
        ]);
        let [hour] = found["ep1"].as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(hour.compute.as_nanos(), 1_250_000_000);
        assert_eq!(hour.other.as_nanos(), 250_000_001);
        assert_eq!(hour.start.as_millis() % HOUR_MS, 0);
    }

    #[test]
    fn an_hourly_reading_comes_after_the_hour_has_turned() {
        let minutes = |n: i64| n * 60_000;
        assert_eq!(next_due_ms(minutes(5), HOUR_MS, 7), minutes(12) + 7);
        assert_eq!(next_due_ms(minutes(12), HOUR_MS, 0), minutes(72));
        assert_eq!(next_due_ms(minutes(59), HOUR_MS, 0), minutes(72));
        assert_eq!(next_due_ms(minutes(5), 10_000, 7), minutes(5) + 10_000);
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}

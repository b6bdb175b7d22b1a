//! `/v2/billing…`: what was spent, in half-open UTC buckets.
//!
//! The model's records are by hour; buckets begin with hours. A worker's time on both sides of a border is split in
//! proportion. Running workers are billed as if they stopped now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use overspill_core::money::NanoUsd;
use overspill_sim::cloud::HourAmounts;
use overspill_wire::management::billing::{
    AccountAmounts, AccountBilling, AccountMetadata, AccountRecord, BillingQuery, BucketSize,
    ServerlessAmounts, ServerlessBilling, ServerlessMetadata, ServerlessRecord,
};

use super::problem::Failure;
use super::translate::rfc3339;
use crate::answer::ok;
use crate::state::Shared;

type Answer = Result<Response, Failure>;
type Params = HashMap<String, String>;

/// The first moment that RFC 3339 can say, in milliseconds since the epoch.
const YEAR_0_MS: i64 = -62_167_219_200_000;
/// Length of an hour.
const HOUR_MS: i64 = 3_600_000;
/// The most buckets of one answer.
const BUCKETS_MAX: usize = 100_000;

/// Borders of the buckets in milliseconds: one more than there are buckets.
struct Buckets {
    size: BucketSize,
    borders: Vec<i64>,
}

fn invalid(name: &str, text: &str, rule: &str) -> Failure {
    Failure::unprocessable(vec![format!("{name}: {text:?} is not {rule}")])
}

impl Buckets {
    fn read(params: &Params, now_ms: i64) -> Result<Self, Failure> {
        let size = match params.get("bucketSize").map_or("day", String::as_str) {
            "hour" => BucketSize::Hour,
            "day" => BucketSize::Day,
            "week" => BucketSize::Week,
            "month" => BucketSize::Month,
            "year" => BucketSize::Year,
            other => {
                return Err(invalid(
                    "bucketSize",
                    other,
                    "hour, day, week, month or year",
                ));
            }
        };
        let time = |name: &str| {
            params.get(name).map_or(Ok::<_, Failure>(None), |text| {
                let at: Timestamp = text.parse().map_err(|_| invalid(name, text, "RFC 3339"))?;
                Ok(Some(at.as_millisecond()))
            })
        };
        let (start, end) = (time("startTime")?, time("endTime")?);
        let last = match params.get("lastN") {
            None => None,
            Some(text) => {
                let rule = || invalid("lastN", text, "a whole number of at least 1");
                Some(
                    text.parse::<usize>()
                        .ok()
                        .filter(|n| *n >= 1)
                        .ok_or_else(rule)?,
                )
            }
        };
        if last.is_some() && (start.is_some() || end.is_some()) {
            return Err(Failure::bad_request(
                "lastN and startTime/endTime exclude each other",
            ));
        }
        let mut borders = Vec::new();
        if let Some(last) = last {
            let mut border = floor(now_ms, size);
            borders.push(after(border, size));
            for _ in 0..last.min(BUCKETS_MAX) {
                borders.push(border);
                border = floor(border - 1, size);
                if border < YEAR_0_MS {
                    return Err(Failure::bad_request(format!(
                        "lastN {last} reaches back beyond the year 0"
                    )));
                }
            }
            borders.reverse();
        } else {
            let end_ms = end.unwrap_or(now_ms);
            let start_ms = start.unwrap_or(end_ms - 30 * 86_400_000);
            if start_ms > end_ms {
                return Err(Failure::bad_request("startTime is after endTime"));
            }
            borders.push(floor(start_ms, size));
            while borders.last().is_some_and(|border| *border < end_ms)
                && borders.len() <= BUCKETS_MAX
            {
                let next = after(borders[borders.len() - 1], size);
                borders.push(next);
            }
            if borders.len() == 1 {
                borders.push(after(borders[0], size));
            }
        }
        Ok(Self { size, borders })
    }

    fn query(&self, serverless_id: Option<String>) -> BillingQuery {
        BillingQuery {
            start_time: rfc3339(self.borders[0]),
            end_time: rfc3339(self.borders[self.borders.len() - 1]),
            bucket_size: self.size,
            serverless_id,
        }
    }

    /// The bucket that an hour since the epoch lies in.
    fn of_hour(&self, hour: i64) -> Option<usize> {
        let ms = hour * HOUR_MS;
        let next = self.borders.partition_point(|border| *border <= ms);
        let bucket = next.checked_sub(1)?;
        (bucket + 1 < self.borders.len()).then_some(bucket)
    }
}

/// Start of the bucket that `ms` lies in.
fn floor(ms: i64, size: BucketSize) -> i64 {
    let Ok(at) = Timestamp::from_millisecond(ms) else {
        return ms;
    };
    let zoned = at.to_zoned_datetime(TimeZone::UTC);
    let day = zoned.date();
    let date = match size {
        BucketSize::Hour => return ms.div_euclid(HOUR_MS) * HOUR_MS,
        BucketSize::Day => day,
        BucketSize::Week => {
            let past_monday = i64::from(day.weekday().since(Weekday::Monday));
            day.saturating_sub(past_monday.days())
        }
        BucketSize::Month => day.first_of_month(),
        BucketSize::Year => day.first_of_year(),
    };
    date.to_zoned_datetime(TimeZone::UTC)
        .map_or(ms, |zoned| zoned.timestamp().as_millisecond())
}

/// Start of the next bucket after the one that starts at `ms`.
fn after(ms: i64, size: BucketSize) -> i64 {
    let Ok(at) = Timestamp::from_millisecond(ms) else {
        return ms + 86_400_000;
    };
    let zoned = at.to_zoned_datetime(TimeZone::UTC);
    let span = match size {
        BucketSize::Hour => 1.hour(),
        BucketSize::Day => 1.day(),
        BucketSize::Week => 1.week(),
        BucketSize::Month => 1.month(),
        BucketSize::Year => 1.year(),
    };
    zoned
        .checked_add(span)
        .map_or(ms + 86_400_000, |next| next.timestamp().as_millisecond())
}

/// Amounts by bucket and endpoint.
fn amounts(
    shared: &Arc<Shared>,
    buckets: &Buckets,
    only: Option<&String>,
) -> BTreeMap<(usize, String), ServerlessAmounts> {
    let records = shared.call(|model, now_ms| model.billing(now_ms));
    let mut sums: BTreeMap<(usize, String), HourAmounts> = BTreeMap::new();
    for ((endpoint, hour), amounts) in records {
        if only.is_some_and(|only| endpoint.as_str() != only) {
            continue;
        }
        if let Some(bucket) = buckets.of_hour(hour) {
            let sum = sums.entry((bucket, endpoint.to_string())).or_default();
            sum.gpu += amounts.gpu;
            sum.cpu += amounts.cpu;
        }
    }
    let dollars = |amounts: HourAmounts| ServerlessAmounts {
        total_amount: usd(amounts.gpu + amounts.cpu),
        gpu_amount: usd(amounts.gpu),
        cpu_amount: usd(amounts.cpu),
        ..ServerlessAmounts::default()
    };
    sums.into_iter()
        .map(|(key, amounts)| (key, dollars(amounts)))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn usd(amount: NanoUsd) -> f64 {
    amount.as_nanos() as f64 / 1e9
}

fn sum<'a>(amounts: impl Iterator<Item = &'a ServerlessAmounts>) -> ServerlessAmounts {
    amounts.fold(ServerlessAmounts::default(), |mut total, one| {
        total.total_amount += one.total_amount;
        total.gpu_amount += one.gpu_amount;
        total.cpu_amount += one.cpu_amount;
        total.disk_amount += one.disk_amount;
        total.fee_amount += one.fee_amount;
        total
    })
}

pub(super) async fn serverless(
    State(shared): State<Arc<Shared>>,
    Query(params): Query<Params>,
) -> Answer {
    let buckets = Buckets::read(&params, shared.clock.now_ms())?;
    let only = params.get("serverlessId");
    let found = amounts(&shared, &buckets, only);
    let mut ids: Vec<&String> = found.keys().map(|(_, id)| id).collect();
    ids.sort();
    ids.dedup();
    let metadata = ServerlessMetadata {
        query: buckets.query(only.cloned()),
        record_count: found.len() as u64,
        unique_serverless_count: ids.len() as u64,
        totals: sum(found.values()),
    };
    let records = found
        .iter()
        .map(|((bucket, id), amounts)| ServerlessRecord {
            start_time: rfc3339(buckets.borders[*bucket]),
            end_time: rfc3339(buckets.borders[bucket + 1]),
            serverless_id: id.clone(),
            amounts: *amounts,
        })
        .collect();
    Ok(ok(&ServerlessBilling { records, metadata }))
}

fn of_account(amounts: &ServerlessAmounts) -> AccountAmounts {
    AccountAmounts {
        total_amount: amounts.total_amount,
        serverless_gpu_amount: amounts.gpu_amount,
        serverless_cpu_amount: amounts.cpu_amount,
        serverless_disk_amount: amounts.disk_amount,
        serverless_fee_amount: amounts.fee_amount,
        ..AccountAmounts::default()
    }
}

pub(super) async fn account(
    State(shared): State<Arc<Shared>>,
    Query(params): Query<Params>,
) -> Answer {
    let buckets = Buckets::read(&params, shared.clock.now_ms())?;
    let found = amounts(&shared, &buckets, None);
    let mut by_bucket: BTreeMap<usize, Vec<&ServerlessAmounts>> = BTreeMap::new();
    for ((bucket, _), amounts) in &found {
        by_bucket.entry(*bucket).or_default().push(amounts);
    }
    let metadata = AccountMetadata {
        query: buckets.query(None),
        record_count: by_bucket.len() as u64,
        totals: of_account(&sum(found.values())),
    };
    let records = by_bucket
        .into_iter()
        .map(|(bucket, amounts)| AccountRecord {
            start_time: rfc3339(buckets.borders[bucket]),
            end_time: rfc3339(buckets.borders[bucket + 1]),
            amounts: of_account(&sum(amounts.into_iter())),
        })
        .collect();
    Ok(ok(&AccountBilling { records, metadata }))
}

//! Which type of GPU serves an endpoint's jobs for the least money, by what they really cost.
//!
//! Pure: sums of the ledger over a window, the pools they came from, and the catalog go in. A type is judged by
//! dollars a job, with cold starts and idle workers in it, and never by dollars an hour: a card that costs
//! twice as much an hour and is three times as fast is the cheaper one. Where a type has too few jobs its
//! figure is an estimate from the type with most jobs, by the built-in table's relative speeds, and says so.

use std::collections::BTreeMap;

use overspill_core::id::PoolId;
use overspill_core::ledger::EntryKind;
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::DurationMs;
use overspill_store::Spent;
use serde::Serialize;

use crate::catalog::{Catalog, usd};
use crate::config::known;

/// Jobs of a type below which its figure is an estimate.
pub const SAMPLES_MIN: u64 = 20;
/// An estimate is told as worth a try when it is below this many percent of the recommended type's cost.
const WORTH_TRYING_PERCENT: i64 = 80;

/// A pool of the endpoint, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolCard {
    /// Which.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// Its type of GPU: RunPod's id, or a local card's name.
    pub gpu: Option<String>,
    /// Price of a worker; `None` for a pool of own cards.
    pub price: Option<RatePerHour>,
    /// Memory that a worker needs, where configured.
    pub vram_gb: Option<u32>,
}

/// On what a row's figures rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Enough jobs of this endpoint.
    Measured,
    /// Too few jobs; reckoned from another type by relative speed.
    Estimate,
    /// Nothing to reckon from.
    Unknown,
}

/// One type of GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The short name that people write.
    pub name: String,
    /// RunPod's id.
    pub id: String,
    /// Memory in GB.
    pub memory_gb: u32,
    /// Price of a worker an hour, as its pools have it, else as the catalog does.
    pub price_usd_per_h: Option<String>,
    /// The endpoint's pools of this type.
    pub pools: Vec<String>,
    /// Jobs that were measured.
    pub jobs: u64,
    /// Seconds of a worker that a job took; with several slots its share of them.
    pub seconds_per_job: Option<f64>,
    /// What a job cost in all.
    pub usd_per_job: Option<String>,
    /// Of it, in percent: starts of workers.
    pub cold_start_percent: Option<u32>,
    /// Of it, in percent: idle workers.
    pub idle_percent: Option<u32>,
    /// On what these rest.
    pub basis: Basis,
    /// It may have too little memory: less than any type that is in use, or than `vram` asks for.
    pub may_not_fit: bool,
    /// This is the one.
    pub is_recommended: bool,
    #[serde(skip)]
    cost: Option<NanoUsd>,
}

/// What is said of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The types: measured ones first, each by cost of a job.
    pub rows: Vec<Row>,
    /// The recommended type's name.
    pub recommended: Option<String>,
    /// On what that rests.
    pub basis: Basis,
    /// Why, in words.
    pub reason: String,
    /// A type that no job was measured on and that looks clearly cheaper.
    pub worth_trying: Option<String>,
    /// Jobs of a type below which its figure is an estimate.
    pub samples_min: u64,
}

/// Sums of the ledger of one type.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    jobs: u64,
    run: DurationMs,
    /// Starts and idle workers.
    beside: DurationMs,
    all: NanoUsd,
    cold: NanoUsd,
    idle: NanoUsd,
}

impl Measured {
    fn seconds_per_job(&self) -> f64 {
        self.run.as_secs_f64() / to_f64(self.jobs.max(1))
    }

    fn beside_per_job(&self) -> f64 {
        self.beside.as_secs_f64() / to_f64(self.jobs.max(1))
    }

    fn per_job(&self) -> NanoUsd {
        let jobs = i64::try_from(self.jobs.max(1)).unwrap_or(i64::MAX);
        NanoUsd::from_nanos(self.all.as_nanos() / jobs)
    }
}

/// What another type's figures are reckoned from.
struct Reference {
    name: String,
    speed_percent: u32,
    seconds_per_job: f64,
    beside_per_job: f64,
}

/// Compares the types for an endpoint whose pools are `pools`, by `sums` of the ledger over a window.
#[must_use]
pub fn compare(pools: &[PoolCard], sums: &[Spent], catalog: &Catalog) -> Comparison {
    let measured = measure(pools, sums);
    let local = measure_local(pools, sums);
    let reference = reference(&measured, local.as_ref(), catalog);
    let least_memory = least_memory(pools, catalog);
    let mut rows: Vec<Row> = Vec::new();
    let mut ids: Vec<String> = catalog.gpus.iter().map(|offer| offer.id.clone()).collect();
    for id in measured.keys() {
        if !ids.contains(id) {
            ids.push(id.clone());
        }
    }
    for id in ids {
        let own: Vec<&PoolCard> = pools
            .iter()
            .filter(|pool| pool.price.is_some() && type_id(pool).as_deref() == Some(id.as_str()))
            .collect();
        let offer = catalog.find(&id);
        // The pools of one type may have their own prices: the dearest is what is reserved for.
        let price = own.iter().filter_map(|pool| pool.price).max();
        let price = price.or_else(|| catalog.price_of(&id));
        let found = measured.get(&id).copied().unwrap_or_default();
        if own.is_empty() && found.jobs == 0 && price.is_none() {
            continue;
        }
        let name = offer.map_or_else(|| id.clone(), |offer| offer.name.clone());
        let memory_gb = offer.map_or(0, |offer| offer.memory_gb);
        let speed = offer.and_then(|offer| offer.speed_percent);
        let mut row = Row {
            name,
            memory_gb,
            price_usd_per_h: price.map(|price| usd(price.per_hour())),
            pools: own.iter().map(|pool| pool.name.clone()).collect(),
            jobs: found.jobs,
            seconds_per_job: None,
            usd_per_job: None,
            cold_start_percent: None,
            idle_percent: None,
            basis: Basis::Unknown,
            may_not_fit: own.is_empty() && memory_gb < least_memory,
            is_recommended: false,
            cost: None,
            id,
        };
        if found.jobs >= SAMPLES_MIN {
            row.basis = Basis::Measured;
            row.seconds_per_job = Some(round(found.seconds_per_job()));
            row.cost = Some(found.per_job());
            row.cold_start_percent = Some(percent(found.cold, found.all));
            row.idle_percent = Some(percent(found.idle, found.all));
        } else if let (Some(reference), Some(speed), Some(price)) = (&reference, speed, price)
            && speed > 0
        {
            let ratio = f64::from(reference.speed_percent) / f64::from(speed);
            let seconds = reference.seconds_per_job * ratio;
            row.basis = Basis::Estimate;
            row.seconds_per_job = Some(round(seconds));
            row.cost = Some(price.over(millis(seconds + reference.beside_per_job)));
        }
        row.usd_per_job = row.cost.map(|cost| cost.to_usd(6));
        rows.push(row);
    }
    rows.sort_by(|a, b| {
        let key = |row: &Row| (row.basis, row.may_not_fit, row.cost);
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    conclude(rows, reference.as_ref())
}

fn conclude(mut rows: Vec<Row>, reference: Option<&Reference>) -> Comparison {
    // Sorted: the first of the best basis is the cheapest of it.
    let best = rows
        .iter()
        .position(|row| row.cost.is_some() && !row.may_not_fit);
    let basis = best.map_or(Basis::Unknown, |best| rows[best].basis);
    let mut worth_trying = None;
    let reason = match best {
        None => format!(
            "no jobs of this endpoint are in the ledger for this time, so nothing can be said: run at least \
             {SAMPLES_MIN} jobs"
        ),
        Some(best) if basis == Basis::Estimate => {
            let from = reference.map_or("", |reference| reference.name.as_str());
            format!(
                "an estimate: no type has {SAMPLES_MIN} measured jobs in the cloud; reckoned from {from} by \
                 the relative speeds of the built-in table, {} would cost least a job",
                rows[best].name
            )
        }
        Some(best) => {
            let cost = rows[best].cost.unwrap_or_default();
            let limit = cost.as_nanos() / 100 * WORTH_TRYING_PERCENT;
            let cheap = |row: &&Row| {
                row.basis == Basis::Estimate
                    && !row.may_not_fit
                    && row.cost.is_some_and(|cost| cost.as_nanos() < limit)
            };
            worth_trying = rows.iter().find(cheap).map(|row| row.name.clone());
            measured_reason(&rows, best)
        }
    };
    if let Some(best) = best {
        rows[best].is_recommended = true;
    }
    Comparison {
        recommended: best.map(|best| rows[best].name.clone()),
        basis,
        reason,
        worth_trying,
        samples_min: SAMPLES_MIN,
        rows,
    }
}

fn measured_reason(rows: &[Row], best: usize) -> String {
    let row = &rows[best];
    let cost = |row: &Row| row.usd_per_job.clone().unwrap_or_default();
    let second = rows
        .iter()
        .skip(best + 1)
        .find(|row| row.basis == Basis::Measured && row.cost.is_some());
    let Some(second) = second else {
        return format!(
            "{} costs ${} a job over {} jobs; no other type has {SAMPLES_MIN} jobs to be compared with",
            row.name,
            cost(row),
            row.jobs
        );
    };
    let hourly = |row: &Row| {
        let text = row.price_usd_per_h.as_deref();
        text.and_then(NanoUsd::parse_usd)
    };
    let although = match (hourly(row), hourly(second)) {
        (Some(a), Some(b)) if a > b => {
            format!(
                ", although an hour of it costs ${} and not ${}",
                usd(a),
                usd(b)
            )
        }
        _ => String::new(),
    };
    let time = |row: &Row| row.seconds_per_job.unwrap_or(0.0);
    format!(
        "{} costs ${} a job ({} s of a worker, {} jobs), {} ${} ({} s, {} jobs){although}",
        row.name,
        cost(row),
        time(row),
        row.jobs,
        second.name,
        cost(second),
        time(second),
        second.jobs
    )
}

/// RunPod's id of a pool's type.
fn type_id(pool: &PoolCard) -> Option<String> {
    let name = pool.gpu.as_deref()?;
    Some(known::gpu(name).map_or_else(|| name.to_owned(), |known| known.id.to_owned()))
}

/// Sums by type of the endpoint's cloud pools.
fn measure(pools: &[PoolCard], sums: &[Spent]) -> BTreeMap<String, Measured> {
    let mut measured: BTreeMap<String, Measured> = BTreeMap::new();
    for sum in sums {
        let pool = pools
            .iter()
            .find(|pool| pool.id == sum.pool && pool.price.is_some());
        let Some(id) = pool.and_then(type_id) else {
            continue;
        };
        let of_type = measured.entry(id).or_default();
        match sum.kind {
            EntryKind::Share => {
                of_type.jobs += sum.entries;
                of_type.run = of_type.run + sum.worker_time;
            }
            EntryKind::ColdStart => {
                of_type.cold += sum.amount;
                of_type.beside = of_type.beside + sum.worker_time;
            }
            EntryKind::Idle => {
                of_type.idle += sum.amount;
                of_type.beside = of_type.beside + sum.worker_time;
            }
            _ => {}
        }
        if sum.kind.is_spent() {
            of_type.all += sum.amount;
        }
    }
    measured.retain(|_, sums| sums.jobs > 0);
    measured
}

/// Jobs of own cards of a known type, the type with most.
fn measure_local(pools: &[PoolCard], sums: &[Spent]) -> Option<(String, Measured)> {
    let mut found: BTreeMap<String, Measured> = BTreeMap::new();
    for sum in sums.iter().filter(|sum| sum.kind == EntryKind::Saved) {
        let pool = pools
            .iter()
            .find(|pool| pool.id == sum.pool && pool.price.is_none());
        let Some(known) = pool.and_then(|pool| known::gpu(pool.gpu.as_deref()?)) else {
            continue;
        };
        let of_type = found.entry(known.id.to_owned()).or_default();
        of_type.jobs += sum.entries;
        of_type.run = of_type.run + sum.worker_time;
    }
    let mut found: Vec<(String, Measured)> = found.into_iter().collect();
    found.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.jobs));
    found.into_iter().next().filter(|(_, sums)| sums.jobs > 0)
}

/// The type whose jobs say most: the one with most jobs in the cloud, else own cards.
fn reference(
    measured: &BTreeMap<String, Measured>,
    local: Option<&(String, Measured)>,
    catalog: &Catalog,
) -> Option<Reference> {
    let with_speed = |id: &str, sums: &Measured| {
        let offer = catalog.find(id);
        let speed = offer.and_then(|offer| offer.speed_percent);
        let speed = speed.or_else(|| known::gpu(id).map(|known| known.speed_percent))?;
        Some(Reference {
            name: offer.map_or_else(|| id.to_owned(), |offer| offer.name.clone()),
            speed_percent: speed,
            seconds_per_job: sums.seconds_per_job(),
            beside_per_job: sums.beside_per_job(),
        })
    };
    let mut cloud: Vec<(&String, &Measured)> = measured.iter().collect();
    cloud.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.jobs));
    let of_cloud = cloud
        .into_iter()
        .find_map(|(id, sums)| with_speed(id, sums));
    of_cloud.or_else(|| {
        let (id, sums) = local?;
        with_speed(id, sums)
    })
}

/// The memory below which a type that nobody tried may be too small.
fn least_memory(pools: &[PoolCard], catalog: &Catalog) -> u32 {
    let asked = pools.iter().filter_map(|pool| pool.vram_gb).max();
    let used = pools
        .iter()
        .filter_map(|pool| Some(catalog.find(pool.gpu.as_deref()?)?.memory_gb))
        .min();
    asked.or(used).unwrap_or(0)
}

fn percent(part: NanoUsd, whole: NanoUsd) -> u32 {
    let whole = whole.as_nanos().max(1);
    u32::try_from(part.as_nanos().saturating_mul(100) / whole).unwrap_or(0)
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "durations are small and positive"
)]
fn millis(seconds: f64) -> DurationMs {
    DurationMs::from_millis((seconds.max(0.0) * 1_000.0).round() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "counts of jobs")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use overspill_core::id::EndpointId;

    use super::*;

    const CHEAP: &str = "NVIDIA GeForce RTX 3090";
    const DEAR: &str = "NVIDIA GeForce RTX 4090";

    fn pool(id: u32, gpu: &str, price: Option<&str>) -> PoolCard {
        PoolCard {
            id: PoolId(id),
            name: format!("pool-{id}"),
            gpu: Some(gpu.to_owned()),
            price: price.map(|text| RatePerHour::new(NanoUsd::parse_usd(text).unwrap())),
            vram_gb: None,
        }
    }

    /// The lines of `jobs` jobs of `seconds` each, with starts and idle workers beside.
    fn lines(pool: &PoolCard, jobs: u64, seconds: u64, cold: u64, idle: u64) -> Vec<Spent> {
        let price = pool.price.unwrap();
        let line = |kind, entries, seconds| Spent {
            endpoint: EndpointId(1),
            pool: pool.id,
            kind,
            entries,
            worker_time: DurationMs::from_secs(seconds),
            amount: price.over(DurationMs::from_secs(seconds)),
        };
        vec![
            line(EntryKind::Share, jobs, jobs * seconds),
            line(EntryKind::Run, 1, jobs * seconds),
            line(EntryKind::ColdStart, 1, cold),
            line(EntryKind::Idle, 1, idle),
        ]
    }

    fn row<'c>(comparison: &'c Comparison, id: &str) -> &'c Row {
        comparison.rows.iter().find(|row| row.id == id).unwrap()
    }

    #[test]
    fn the_dearer_card_is_named_where_it_is_cheaper_a_job() {
        let pools = [pool(1, CHEAP, Some("0.44")), pool(2, DEAR, Some("0.69"))];
        // $0.44 for 30 s a job, $0.69 for 12 s a job: 3,667 and 2,300 millionths without the rest.
        let mut sums = lines(&pools[0], 100, 30, 400, 100);
        sums.extend(lines(&pools[1], 100, 12, 400, 100));
        let found = compare(&pools, &sums, &Catalog::built_in());
        assert_eq!(found.recommended.as_deref(), Some("RTX 4090"), "{found:#?}");
        assert_eq!(found.basis, Basis::Measured);
        let dear = row(&found, DEAR);
        assert_eq!((dear.jobs, dear.seconds_per_job), (100, Some(12.0)));
        assert_eq!(dear.usd_per_job.as_deref(), Some("0.003258"));
        assert_eq!(
            (dear.cold_start_percent, dear.idle_percent),
            (Some(23), Some(5))
        );
        assert!(dear.is_recommended && !row(&found, CHEAP).is_recommended);
        assert_eq!(row(&found, CHEAP).usd_per_job.as_deref(), Some("0.004278"));
        assert!(
            found
                .reason
                .contains("although an hour of it costs $0.69 and not $0.44"),
            "{}",
            found.reason
        );
    }

    #[test]
    fn idle_workers_can_make_the_faster_card_the_dearer_one() {
        let pools = [pool(1, CHEAP, Some("0.44")), pool(2, DEAR, Some("0.69"))];
        let mut sums = lines(&pools[0], 100, 30, 0, 0);
        sums.extend(lines(&pools[1], 100, 12, 0, 3_000));
        let found = compare(&pools, &sums, &Catalog::built_in());
        assert_eq!(found.recommended.as_deref(), Some("RTX 3090"));
    }

    #[test]
    fn too_few_jobs_are_no_measurement() {
        let pools = [pool(1, CHEAP, Some("0.44")), pool(2, DEAR, Some("0.69"))];
        let mut sums = lines(&pools[0], 100, 30, 0, 0);
        sums.extend(lines(&pools[1], SAMPLES_MIN - 1, 1, 0, 0));
        let found = compare(&pools, &sums, &Catalog::built_in());
        assert_eq!(found.recommended.as_deref(), Some("RTX 3090"));
        let dear = row(&found, DEAR);
        // By speed: 30 s × 100 / 185.
        assert_eq!(
            (dear.basis, dear.seconds_per_job),
            (Basis::Estimate, Some(16.22))
        );
        assert_eq!(found.worth_trying.as_deref(), None, "{found:#?}");
        assert!(found.reason.contains("no other type"), "{}", found.reason);
    }

    #[test]
    fn with_hardly_any_history_it_says_estimate() {
        let pools = [pool(1, CHEAP, Some("0.44")), pool(2, DEAR, Some("0.69"))];
        let found = compare(&pools, &lines(&pools[0], 3, 30, 0, 0), &Catalog::built_in());
        assert_eq!(found.basis, Basis::Estimate);
        assert!(found.reason.starts_with("an estimate"), "{}", found.reason);
        let small = row(&found, "NVIDIA RTX A4000");
        assert!(small.may_not_fit && !small.is_recommended);
    }

    #[test]
    fn own_cards_serve_where_the_cloud_has_no_history() {
        let pools = [pool(1, CHEAP, None), pool(2, DEAR, Some("0.69"))];
        let saved = Spent {
            endpoint: EndpointId(1),
            pool: PoolId(1),
            kind: EntryKind::Saved,
            entries: 50,
            worker_time: DurationMs::from_secs(50 * 37),
            amount: NanoUsd::from_nanos(5),
        };
        let found = compare(&pools, &[saved], &Catalog::built_in());
        assert_eq!(row(&found, DEAR).seconds_per_job, Some(20.0));
        assert_eq!(found.basis, Basis::Estimate);
        assert!(found.reason.contains("RTX 3090"), "{}", found.reason);
    }

    #[test]
    fn without_any_history_nothing_is_recommended() {
        let pools = [pool(1, CHEAP, Some("0.44"))];
        let found = compare(&pools, &[], &Catalog::built_in());
        assert_eq!(
            (found.recommended.as_deref(), found.basis),
            (None, Basis::Unknown)
        );
        assert!(found.rows.iter().all(|row| row.usd_per_job.is_none()));
        assert!(
            found.reason.contains("at least 20 jobs"),
            "{}",
            found.reason
        );
    }
}

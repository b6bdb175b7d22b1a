//! The bill: per second, rounded up, from the start of a worker's initialisation to its stop.
//!
//! Each worker has a [`Meter`]; when it stops, or its price changes, a [`BillLine`] is written. The bill at
//! any moment is the lines so far and what the running meters would say if their workers stopped now. Its billing
//! records are the same money by hour. Nothing here is shared with what keeps a ledger: not even the arithmetic.

use std::collections::BTreeMap;

use overspill_core::money::{NanoUsd, RatePerHour};
use serde::Serialize;

use super::CloudModel;
use super::worker::Worker;

use super::id::{EndpointId, WorkerId};

/// A stretch of one worker's life at one price.
#[derive(Debug, Clone, Serialize)]
pub struct BillLine {
    /// Endpoint.
    pub endpoint: EndpointId,
    /// Worker.
    pub worker: WorkerId,
    /// Start.
    pub from_ms: i64,
    /// End.
    pub to_ms: i64,
    /// Billed time in milliseconds: the length, and at the end what rounding up adds.
    pub billed_ms: u64,
    /// Price.
    pub usd: NanoUsd,
    /// Whether it was a GPU.
    pub is_gpu: bool,
}

/// Length of an hour.
const HOUR_MS: i64 = 3_600_000;

/// What RunPod's billing record of an endpoint's hour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HourAmounts {
    /// For GPUs.
    pub gpu: NanoUsd,
    /// For CPUs.
    pub cpu: NanoUsd,
}

/// What so many milliseconds cost: hourly price in nano-dollars, to the nearest one.
pub(crate) fn price(rate: RatePerHour, billed_ms: u64) -> NanoUsd {
    let product = i128::from(rate.per_hour().as_nanos()) * i128::from(billed_ms);
    let hour = i128::from(HOUR_MS);
    let nearest = (2 * product + hour).div_euclid(2 * hour);
    NanoUsd::from_nanos(i64::try_from(nearest).unwrap_or(i64::MAX))
}

impl BillLine {
    /// The line's money by hour since the epoch. What rounding up adds comes at the end.
    fn by_hour(&self) -> Vec<(i64, NanoUsd)> {
        let length = i64::try_from(self.billed_ms).unwrap_or(i64::MAX).max(1);
        let to_ms = self.from_ms.saturating_add(length);
        let until = |at_ms: i64| {
            let share = i128::from(self.usd.as_nanos()) * i128::from(at_ms - self.from_ms);
            i64::try_from(share / i128::from(length)).unwrap_or(i64::MAX)
        };
        let first = self.from_ms.div_euclid(HOUR_MS);
        let last = (to_ms - 1).div_euclid(HOUR_MS);
        let parts = (first..=last).map(|hour| {
            let from = self.from_ms.max(hour * HOUR_MS);
            let to = to_ms.min((hour + 1) * HOUR_MS);
            (hour, NanoUsd::from_nanos(until(to) - until(from)))
        });
        parts.collect()
    }
}

impl CloudModel {
    /// Billing records by endpoint and hour since the epoch, as they can be read at `now_ms`; running workers as if they
    /// stopped now.
    pub fn billing(&mut self, now_ms: i64) -> BTreeMap<(EndpointId, i64), HourAmounts> {
        let mut records: BTreeMap<(EndpointId, i64), HourAmounts> = BTreeMap::new();
        for line in self.bill_lines(now_ms) {
            for (hour, usd) in line.by_hour() {
                let amounts = records.entry((line.endpoint.clone(), hour)).or_default();
                if line.is_gpu {
                    amounts.gpu += usd;
                } else {
                    amounts.cpu += usd;
                }
            }
        }
        let now_ms = self.now_ms;
        records.retain(|(endpoint, hour), _| {
            let over_ms = now_ms - (hour + 1) * HOUR_MS;
            !self.faults.withholds_record(endpoint, now_ms, over_ms)
        });
        records
    }

    /// Puts a stretch of a worker's life on the bill; with what the platform adds that nobody sees.
    pub(super) fn write_line(
        &mut self,
        endpoint_id: &EndpointId,
        worker: &Worker,
        stretch: Option<Stretch>,
    ) {
        let Some((from_ms, to_ms, billed_ms, usd)) = stretch else {
            return;
        };
        let percent = self.faults.price_percent(endpoint_id, self.now_ms);
        let usd = percent.map_or(usd, |percent| {
            let wrong = i128::from(usd.as_nanos()) * i128::from(percent) / 100;
            NanoUsd::from_nanos(i64::try_from(wrong).unwrap_or(i64::MAX))
        });
        let line = BillLine {
            endpoint: endpoint_id.clone(),
            worker: worker.id.clone(),
            from_ms,
            to_ms,
            billed_ms,
            usd,
            is_gpu: worker.gpu.is_some(),
        };
        if self.faults.bills_twice(endpoint_id, self.now_ms) {
            self.lines.push(line.clone());
        }
        self.lines.push(line);
    }

    /// The platform kept a worker a little longer than it said: only the bill shows it.
    pub(super) fn write_hidden_idle(
        &mut self,
        endpoint_id: &EndpointId,
        worker: &Worker,
        seen_ms: u64,
    ) {
        let now_ms = self.now_ms;
        let Some(hidden_ms) = self.faults.hidden_idle_ms(endpoint_id, now_ms, seen_ms) else {
            return;
        };
        let to_ms = now_ms.saturating_add_unsigned(hidden_ms);
        let usd = price(worker.rate, hidden_ms);
        self.write_line(endpoint_id, worker, Some((now_ms, to_ms, hidden_ms, usd)));
    }
}

/// What a worker has been billed for since it started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    since_ms: Option<i64>,
    /// Milliseconds already written to lines since the start.
    written_ms: u64,
}

/// A line without its endpoint and worker: start, end, billed milliseconds, price.
pub(crate) type Stretch = (i64, i64, u64, NanoUsd);

impl Meter {
    pub(crate) fn start(&mut self, now_ms: i64) {
        self.since_ms = Some(now_ms);
        self.written_ms = 0;
    }

    /// Closes the stretch because the price changes; the worker goes on.
    pub(crate) fn turn(&mut self, now_ms: i64, rate: RatePerHour) -> Option<Stretch> {
        let since = self.since_ms?;
        let length = super::job::span_ms(since, now_ms);
        self.since_ms = Some(now_ms);
        self.written_ms += length;
        Some((since, now_ms, length, price(rate, length)))
    }

    /// What stopping now would write: whole seconds over the worker's life.
    pub(crate) fn reading(&self, now_ms: i64, rate: RatePerHour) -> Option<Stretch> {
        let since = self.since_ms?;
        let length = super::job::span_ms(since, now_ms);
        let life = self.written_ms + length;
        let billed = life.div_ceil(1_000) * 1_000 - self.written_ms;
        Some((since, now_ms, billed, price(rate, billed)))
    }

    pub(crate) fn stop(&mut self, now_ms: i64, rate: RatePerHour) -> Option<Stretch> {
        let reading = self.reading(now_ms, rate);
        *self = Self::default();
        reading
    }
}

/// The bill of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointBill {
    /// Sum.
    pub usd: NanoUsd,
    /// Billed milliseconds of workers.
    pub worker_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> RatePerHour {
        // A thousand nano-dollars a second.
        RatePerHour::new(NanoUsd::from_nanos(3_600_000))
    }

    #[test]
    fn a_started_second_counts_whole() {
        let mut meter = Meter::default();
        meter.start(500);
        assert_eq!(meter.stop(2_501, rate()).unwrap().2, 3_000);
        assert!(meter.reading(9_000, rate()).is_none());
    }

    #[test]
    fn a_line_is_split_at_the_hours_and_nothing_is_lost() {
        let line = |from_ms: i64, billed_ms: u64| BillLine {
            endpoint: EndpointId::from("e"),
            worker: WorkerId::from("w"),
            from_ms,
            to_ms: from_ms + 1,
            billed_ms,
            usd: price(rate(), billed_ms),
            is_gpu: true,
        };
        let parts = line(HOUR_MS - 1_500, 2_000 + 3_600_000).by_hour();
        let nanos: Vec<(i64, i64)> = parts.iter().map(|(h, usd)| (*h, usd.as_nanos())).collect();
        assert_eq!(nanos, [(0, 1_500), (1, 3_600_000), (2, 500)]);
        assert_eq!(line(0, 3_600_000).by_hour().len(), 1);
        assert_eq!(line(-1, 1_000).by_hour()[0].0, -1);
    }

    #[test]
    fn a_price_change_does_not_round_twice() {
        let mut meter = Meter::default();
        meter.start(0);
        let first = meter.turn(1_500, rate()).unwrap();
        let last = meter.stop(3_200, rate()).unwrap();
        assert_eq!((first.2, last.2), (1_500, 2_500));
        assert_eq!((first.3 + last.3).as_nanos(), 4_000);
    }
}

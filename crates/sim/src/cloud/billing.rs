//! The bill: per second, rounded up, from the start of a worker's initialisation to its stop.
//!
//! Each worker has a [`Meter`]; when it stops, or its price changes, a [`BillLine`] is written. The bill at
//! any moment is the lines so far and what the running meters would say if their workers stopped now.

use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::time::DurationMs;
use serde::Serialize;

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
        Some((
            since,
            now_ms,
            length,
            rate.over(DurationMs::from_millis(length)),
        ))
    }

    /// What stopping now would write: whole seconds over the worker's life.
    pub(crate) fn reading(&self, now_ms: i64, rate: RatePerHour) -> Option<Stretch> {
        let since = self.since_ms?;
        let length = super::job::span_ms(since, now_ms);
        let life = self.written_ms + length;
        let billed = life.div_ceil(1_000) * 1_000 - self.written_ms;
        Some((
            since,
            now_ms,
            billed,
            rate.over(DurationMs::from_millis(billed)),
        ))
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
    fn a_price_change_does_not_round_twice() {
        let mut meter = Meter::default();
        meter.start(0);
        let first = meter.turn(1_500, rate()).unwrap();
        let last = meter.stop(3_200, rate()).unwrap();
        assert_eq!((first.2, last.2), (1_500, 2_500));
        assert_eq!((first.3 + last.3).as_nanos(), 4_000);
    }
}

//! A run over time: queue, workers, waits and money, in equal slots of time, as charts want them.

use overspill_core::time::{DurationMs, Timestamp};

use super::record::Run;
use super::settings::Settings;
use super::trace::Trace;

/// The slots of a run; every list has one figure for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// The length of a slot.
    pub step: DurationMs,
    /// Jobs that wait for their first start, on average.
    pub waiting: Vec<f64>,
    /// Cloud workers on their way, on average.
    pub starting: Vec<f64>,
    /// Cloud workers with at least one job.
    pub busy: Vec<f64>,
    /// Cloud workers that are ready without a job.
    pub idle: Vec<f64>,
    /// Jobs that run on slots of one's own.
    pub local: Vec<f64>,
    /// The median wait of the jobs that started in the slot, in seconds; `None` where none did.
    pub wait_p50_s: Vec<Option<f64>>,
    /// The wait that 95 % of them had at most.
    pub wait_p95_s: Vec<Option<f64>>,
    /// Dollars billed from the beginning to the end of the slot.
    pub spent_usd: Vec<f64>,
}

impl Series {
    /// The run in `slots` slots from 0 to `until`.
    #[must_use]
    pub fn of(
        run: &Run,
        trace: &Trace,
        settings: &Settings,
        until: Timestamp,
        slots: usize,
    ) -> Self {
        let slots = slots.max(1);
        let whole = u64::try_from(until.as_millis()).unwrap_or(0);
        let step = DurationMs::from_millis(whole.div_ceil(slots as u64).max(1));
        let mut grid = Grid { step, slots };
        let mut waiting = grid.zeros();
        let mut local = grid.zeros();
        let mut starts: Vec<Vec<u64>> = vec![Vec::new(); slots];
        let mut spans: Vec<Vec<(Timestamp, Timestamp)>> = vec![Vec::new(); run.workers.len()];
        for attempt in &run.attempts {
            let (from, to) = (attempt.started_at, attempt.ended_at);
            if attempt.is_first {
                let arrival = trace.jobs[attempt.job].arrival;
                grid.add(&mut waiting, arrival, from, 1.0);
                let wait = from.since(arrival).as_millis();
                starts[grid.slot(from)].push(wait);
            }
            match attempt.worker {
                None => grid.add(&mut local, from, to, 1.0),
                Some(worker) => spans[worker].push((from, to)),
            }
        }
        let (mut starting, mut busy, mut idle) = (grid.zeros(), grid.zeros(), grid.zeros());
        let mut spent = grid.zeros();
        let offers = settings.offers();
        for (worker, spans) in run.workers.iter().zip(spans) {
            let end = worker.stopped_at;
            let ready = worker.ready_at.unwrap_or(end);
            grid.add(&mut starting, worker.ordered_at, ready, 1.0);
            let mut until = ready;
            for (from, to) in spans {
                grid.add(&mut idle, until, from, 1.0);
                grid.add(&mut busy, from.max(until), to, 1.0);
                until = until.max(to);
            }
            grid.add(&mut idle, until, end, 1.0);
            if let Some(from) = worker.billed_from {
                let rate = offers
                    .get(worker.offer)
                    .map_or(settings.rate, |offer| offer.rate);
                let cost = rate.over(DurationMs::from_secs(worker.billed_s()));
                let cost = cost.as_nanos() as f64 / 1e9;
                // What is billed is spread over the worker's life; a life of no length is one moment.
                let life = end.since(from).as_millis().max(1) as f64;
                let share = cost * grid.step.as_millis() as f64 / life;
                let end = end.max(from + DurationMs::from_millis(1));
                grid.add(&mut spent, from, end, share);
            }
        }
        let mut total = 0.0;
        for slot in &mut spent {
            total += *slot;
            *slot = total;
        }
        for waits in &mut starts {
            waits.sort_unstable();
        }
        let at = |share: f64| starts.iter().map(|waits| quantile(waits, share)).collect();
        Self {
            step,
            wait_p50_s: at(0.5),
            wait_p95_s: at(0.95),
            waiting,
            starting,
            busy,
            idle,
            local,
            spent_usd: spent,
        }
    }

    /// When each slot begins, in seconds.
    #[must_use]
    pub fn times_s(&self) -> Vec<f64> {
        let step = self.step.as_secs_f64();
        (0..self.waiting.len()).map(|n| n as f64 * step).collect()
    }
}

/// When a run has ended: its last job's end or its last worker's stop.
#[must_use]
pub fn end(run: &Run) -> Timestamp {
    let jobs = run.attempts.iter().map(|attempt| attempt.ended_at);
    let workers = run.workers.iter().map(|worker| worker.stopped_at);
    jobs.chain(workers).max().unwrap_or(Timestamp::ZERO)
}

struct Grid {
    step: DurationMs,
    slots: usize,
}

impl Grid {
    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.slots]
    }

    fn slot(&self, at: Timestamp) -> usize {
        let at = u64::try_from(at.as_millis()).unwrap_or(0);
        let slot = at / self.step.as_millis();
        usize::try_from(slot).map_or(self.slots - 1, |slot| slot.min(self.slots - 1))
    }

    /// Adds `weight` to each slot by the share of it that lies from `from` to `to`.
    fn add(&mut self, sums: &mut [f64], from: Timestamp, to: Timestamp, weight: f64) {
        if to <= from {
            return;
        }
        let step = self.step.as_millis() as f64;
        let (from_ms, to_ms) = (from.as_millis() as f64, to.as_millis() as f64);
        for (slot, sum) in sums
            .iter_mut()
            .enumerate()
            .take(self.slot(to) + 1)
            .skip(self.slot(from))
        {
            let begins = slot as f64 * step;
            let inside = to_ms.min(begins + step) - from_ms.max(begins);
            *sum += weight * inside.max(0.0) / step;
        }
    }
}

fn quantile(sorted: &[u64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let wait = sorted.get(rank.saturating_sub(1))?;
    Some(*wait as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::super::policies::named;
    use super::super::simulate;
    use super::super::trace::TraceJob;
    use super::*;

    #[test]
    fn areas_are_the_sums_of_the_run() {
        let job = |n: i64| TraceJob {
            arrival: Timestamp::from_millis(n * 20_000),
            duration: DurationMs::from_millis(33_000),
            class: 0,
            is_low_priority: false,
        };
        let trace = Trace {
            jobs: (0..60).map(job).collect(),
            classes: vec!["a".to_owned()],
        };
        let settings = Settings {
            local_workers: 1,
            ..Settings::default()
        };
        let mut policy = named("runpod_queue_delay", 1).unwrap();
        let run = simulate(&trace, &settings, policy.as_mut()).unwrap();
        let sums = run.summary("it", &trace, &settings);
        let series = Series::of(&run, &trace, &settings, end(&run), 50);
        let step = series.step.as_secs_f64();
        let area = |list: &[f64]| list.iter().sum::<f64>() * step;
        let close = |a: f64, b: f64| assert!((a - b).abs() < 0.01 * b.max(1.0), "{a} {b}");
        close(area(&series.starting), sums.init_s);
        close(area(&series.busy), sums.busy_s);
        close(area(&series.idle), sums.idle_s);
        let waits: f64 = run.waits(&trace).map(DurationMs::as_secs_f64).sum();
        close(area(&series.waiting), waits);
        close(*series.spent_usd.last().unwrap(), sums.cost_usd);
        assert!(series.spent_usd.is_sorted());
        assert_eq!(series.times_s().len(), 50);
        assert!(series.wait_p50_s.iter().any(Option::is_some));
    }
}

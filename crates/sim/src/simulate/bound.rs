//! The least that any schedule with all jobs on time could bill: a lower bound, not a schedule.
//!
//! A linear programme over time slots with fluid work. The work done until a moment lies between
//! the deadline curve (each job must have run `min(d, t − a − X)`) and the arrival curve
//! (`min(d, t − a)`); it grows by at most the local slots and `slots · n` a second; the cost is the
//! time of the `n` workers and 45 s for each unit started. Without local workers also the best
//! chain of jobs whose windows cannot overlap, each paying its time and `min(45, gap)`; the larger
//! of both counts.
//!
//! The programme is solved here by an interior-point method (Mehrotra's predictor and corrector).
//! With the rows of one time slot beside each other, its normal equations are a matrix with two
//! diagonals on each side, so that a step costs time linear in the number of slots, and no solver
//! need be installed. What is returned is the objective of the dual, cleared of its last
//! infeasibility by weak duality, so that an early end errs downwards.

use overspill_core::time::DurationMs;

use super::settings::Settings;
use super::trace::Trace;

/// What a start costs, in worker-seconds: the mean start-up.
const START_S: f64 = 45.0;
/// The programme goes on for this long after the last job could have ended, in seconds.
const TAIL_S: f64 = 3_600.0;
/// About how many time slots there are where no length is given: near those of the published bounds. Twice as many
/// make the programme stricter by 1.2 % on a fortnight of long jobs, half as many laxer by 3 % on short ones.
const SLOTS: f64 = 6_000.0;
/// Steps of the solver at most; it takes 20 to 60.
const STEPS_MAX: usize = 200;
/// The solver stops at this relative gap.
const GAP: f64 = 1e-6;

/// The bound in worker-seconds; `None` where no schedule has all jobs on time.
///
/// `slot` is the length of a time slot; where `None`, about a 6,000th of the trace.
#[must_use]
pub fn bound(trace: &Trace, settings: &Settings, slot: Option<DurationMs>) -> Option<f64> {
    let fluid = fluid(trace, settings, slot)?;
    if settings.local_slots_total() > 0 {
        return Some(fluid);
    }
    Some(fluid.max(chain(trace, settings.max_wait)))
}

/// The linear programme's value.
fn fluid(trace: &Trace, settings: &Settings, slot: Option<DurationMs>) -> Option<f64> {
    let wait = settings.max_wait.as_secs_f64();
    let secs = |ms: i64| ms as f64 / 1_000.0;
    let jobs: Vec<(f64, f64)> = trace
        .jobs
        .iter()
        .map(|job| (secs(job.arrival.as_millis()), job.duration.as_secs_f64()))
        .collect();
    let last = jobs.iter().map(|(a, d)| a + d).fold(0.0, f64::max);
    let horizon = last + wait + TAIL_S;
    let length = slot.map_or_else(
        || (horizon / SLOTS).ceil().max(1.0),
        |slot| slot.as_secs_f64().max(0.001),
    );
    let count = (horizon / length).ceil() as usize;
    let arrival = curve(jobs.iter().copied(), length, count);
    let deadline = curve(jobs.iter().map(|&(a, d)| (a + wait, d)), length, count);
    let local = settings.local_slots_total() as f64 * length;
    let each = f64::from(settings.slots) * length;
    let max = f64::from(settings.max);
    let keeps = |workers: f64| {
        let mut done = 0.0_f64;
        (1..=count).all(|t| {
            done = (done + local + each * workers).min(arrival[t]);
            done >= deadline[t] - 1e-6
        })
    };
    if keeps(0.0) {
        return Some(0.0);
    }
    if !keeps(max) {
        return None;
    }
    let programme = Programme {
        arrival,
        deadline,
        local,
        each,
        max,
        length,
    };
    Some(programme.solve())
}

/// Cumulative work at the end of each slot, where each job runs from its moment on at full speed.
fn curve(jobs: impl Iterator<Item = (f64, f64)>, length: f64, count: usize) -> Vec<f64> {
    // Second differences: a ramp begins at a job's moment and ends with its duration.
    let mut slopes = vec![0.0; count + 2];
    let mut jumps = vec![0.0; count + 2];
    let mut edge = |at: f64, sign: f64| {
        let slot = ((at / length).floor() as usize).min(count);
        // By the end of slot `slot` the ramp has run for the rest of it, later for whole slots.
        jumps[slot] += sign * ((slot as f64 + 1.0) * length - at);
        slopes[slot + 1] += sign * length;
    };
    for (at, duration) in jobs {
        edge(at, 1.0);
        edge(at + duration, -1.0);
    }
    let mut work = vec![0.0; count + 1];
    let (mut slope, mut sum) = (0.0, 0.0);
    for t in 0..count {
        slope += slopes[t];
        sum += slope + jumps[t];
        work[t + 1] = sum;
    }
    work
}

/// The dearest chain of jobs whose windows cannot overlap.
fn chain(trace: &Trace, wait: DurationMs) -> f64 {
    let wait = wait.as_secs_f64();
    let mut ends: Vec<(f64, usize)> = Vec::with_capacity(trace.jobs.len());
    for (n, job) in trace.jobs.iter().enumerate() {
        let end = job.arrival.as_millis() as f64 / 1_000.0 + wait + job.duration.as_secs_f64();
        ends.push((end, n));
    }
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut value = vec![0.0_f64; trace.jobs.len()];
    let (mut far, mut near) = (0, 0);
    let mut best_far = 0.0_f64;
    // Jobs that end less than a start before this one, by value less their end, best first.
    let mut window: std::collections::VecDeque<(f64, f64)> = std::collections::VecDeque::new();
    let mut best = 0.0_f64;
    for (n, job) in trace.jobs.iter().enumerate() {
        let at = job.arrival.as_millis() as f64 / 1_000.0;
        while far < ends.len() && ends[far].0 <= at - START_S {
            best_far = best_far.max(value[ends[far].1]);
            far += 1;
        }
        while near < ends.len() && ends[near].0 <= at {
            let key = value[ends[near].1] - ends[near].0;
            while window.back().is_some_and(|last| last.1 <= key) {
                window.pop_back();
            }
            window.push_back((ends[near].0, key));
            near += 1;
        }
        while window.front().is_some_and(|first| first.0 <= at - START_S) {
            window.pop_front();
        }
        let close = window.front().map_or(0.0, |(_, key)| key + at);
        value[n] = job.duration.as_secs_f64() + (best_far + START_S).max(close);
        best = best.max(value[n]);
    }
    best
}

/// The programme: for each slot t the workers `n`, those started `s` and stopped `e`, the work done
/// by its end `w` and the room that is left `q`.
///
/// Rows: `n[t] − n[t−1] − s[t] + e[t] = 0` and `w[t] − w[t−1] + q[t] − each·n[t] = local`.
struct Programme {
    arrival: Vec<f64>,
    deadline: Vec<f64>,
    local: f64,
    each: f64,
    max: f64,
    length: f64,
}

/// One column with at most three entries: rows and factors; its bounds and its cost.
#[derive(Clone, Copy)]
struct Column {
    entries: [(usize, f64); 3],
    low: f64,
    high: f64,
    cost: f64,
}

impl Programme {
    fn columns(&self) -> (Vec<Column>, Vec<f64>) {
        let count = self.arrival.len() - 1;
        // Work in units of a slot of one worker, so that all numbers are near 1.
        let unit = self.each;
        let none = 2 * count;
        let mut columns = Vec::with_capacity(5 * count);
        let mut right = vec![0.0; 2 * count];
        for t in 0..count {
            let (balance, work) = (2 * t, 2 * t + 1);
            let after = if t + 1 < count { balance + 2 } else { none };
            right[work] += self.local / unit;
            columns.push(Column {
                entries: [(balance, 1.0), (after, -1.0), (work, -1.0)],
                low: 0.0,
                high: self.max,
                cost: 1.0,
            });
            let single = |row, factor, high, cost| Column {
                entries: [(row, factor), (none, 0.0), (none, 0.0)],
                low: 0.0,
                high,
                cost,
            };
            let price = START_S / self.length;
            columns.push(single(balance, -1.0, f64::INFINITY, price));
            columns.push(single(balance, 1.0, f64::INFINITY, 0.0));
            columns.push(single(work, 1.0, f64::INFINITY, 0.0));
            let low = self.deadline[t + 1] / unit;
            let high = self.arrival[t + 1] / unit;
            let after = if t + 1 < count { work + 2 } else { none };
            // A fixed amount gets a hair of freedom: the method needs an inside.
            columns.push(Column {
                entries: [(work, 1.0), (after, -1.0), (none, 0.0)],
                low,
                high: high.max(low + 1e-7),
                cost: 0.0,
            });
        }
        // Bounds from below move to 0.
        for column in &mut columns {
            for (row, factor) in column.entries {
                if row < none {
                    right[row] -= factor * column.low;
                }
            }
            column.high -= column.low;
            column.low = 0.0;
        }
        (columns, right)
    }

    fn solve(&self) -> f64 {
        let (columns, right) = self.columns();
        let mut state = Interior::new(&columns, &right);
        for _ in 0..STEPS_MAX {
            if state.step() {
                break;
            }
        }
        state.dual_bound() * self.length
    }
}

/// The interior point: `x` and its room to the upper bound `u`, the rows' prices `y`, and the
/// prices of both bounds, `z` and `v`.
struct Interior<'a> {
    columns: &'a [Column],
    right: &'a [f64],
    x: Vec<f64>,
    u: Vec<f64>,
    y: Vec<f64>,
    z: Vec<f64>,
    v: Vec<f64>,
}

impl<'a> Interior<'a> {
    fn new(columns: &'a [Column], right: &'a [f64]) -> Self {
        let inside = |column: &Column| {
            if column.high.is_finite() {
                (column.high / 2.0).min(1.0)
            } else {
                1.0
            }
        };
        let x: Vec<f64> = columns.iter().map(inside).collect();
        let u = columns.iter().zip(&x).map(|(c, x)| c.high - x).collect();
        let v = columns
            .iter()
            .map(|c| if c.high.is_finite() { 1.0 } else { 0.0 })
            .collect();
        Self {
            columns,
            right,
            x,
            u,
            y: vec![0.0; right.len()],
            z: vec![1.0; columns.len()],
            v,
        }
    }

    /// Aᵀy of one column.
    fn priced(column: &Column, y: &[f64]) -> f64 {
        let value = |&(row, factor): &(usize, f64)| y.get(row).map_or(0.0, |y| factor * y);
        column.entries.iter().map(value).sum()
    }

    /// What `y` proves: by weak duality each column gives at least its reduced cost at its best
    /// bound; a column without upper bound and a price below zero counts at `x`'s scale.
    fn dual_bound(&self) -> f64 {
        let mut sum: f64 = self.right.iter().zip(&self.y).map(|(b, y)| b * y).sum();
        for (column, x) in self.columns.iter().zip(&self.x) {
            let reduced = column.cost - Self::priced(column, &self.y);
            if reduced < 0.0 {
                let high = if column.high.is_finite() {
                    column.high
                } else {
                    2.0 * x
                };
                sum += reduced * high;
            }
        }
        sum
    }

    /// One predictor and corrector; whether the gap is closed.
    fn step(&mut self) -> bool {
        let n = self.columns.len();
        let bounded = self.columns.iter().filter(|c| c.high.is_finite()).count();
        let products: f64 = (0..n).map(|j| self.x[j] * self.z[j]).sum::<f64>()
            + (0..n)
                .filter(|&j| self.columns[j].high.is_finite())
                .map(|j| self.u[j] * self.v[j])
                .sum::<f64>();
        let mu = products / (n + bounded) as f64;
        let cost: f64 = (0..n).map(|j| self.columns[j].cost * self.x[j]).sum();
        // Residuals of the rows and of the prices.
        let mut rows = self.right.to_vec();
        for (column, x) in self.columns.iter().zip(&self.x) {
            for (row, factor) in column.entries {
                if row < rows.len() {
                    rows[row] -= factor * x;
                }
            }
        }
        let prices: Vec<f64> = (0..n)
            .map(|j| {
                let column = &self.columns[j];
                column.cost - Self::priced(column, &self.y) - self.z[j] + self.v[j]
            })
            .collect();
        let off_rows = rows.iter().fold(0.0_f64, |most, r| most.max(r.abs()));
        let off_prices = prices.iter().fold(0.0_f64, |most, r| most.max(r.abs()));
        if products < GAP * (1.0 + cost.abs()) && off_rows < 1e-6 && off_prices < 1e-6 {
            return true;
        }
        let weights: Vec<f64> = (0..n)
            .map(|j| {
                let mut d = self.z[j] / self.x[j];
                if self.columns[j].high.is_finite() {
                    d += self.v[j] / self.u[j];
                }
                1.0 / d
            })
            .collect();
        let factor = Band::factored(self.columns, &weights, rows.len());
        let zeros = vec![0.0; n];
        let aim = |sigma: f64, second: (&[f64], &[f64])| {
            self.direction(&factor, &weights, &rows, &prices, sigma * mu, second)
        };
        let guess = aim(0.0, (&zeros, &zeros));
        let (primal, dual) = self.longest(&guess);
        let mut ahead = 0.0;
        for j in 0..n {
            ahead += (self.x[j] + primal * guess.x[j]) * (self.z[j] + dual * guess.z[j]);
            if self.columns[j].high.is_finite() {
                ahead += (self.u[j] - primal * guess.x[j]) * (self.v[j] + dual * guess.v[j]);
            }
        }
        let ratio = (ahead / (n + bounded) as f64 / mu).clamp(0.0, 1.0);
        let low: Vec<f64> = (0..n).map(|j| guess.x[j] * guess.z[j]).collect();
        let high: Vec<f64> = (0..n).map(|j| -guess.x[j] * guess.v[j]).collect();
        let step = aim(ratio.powi(3), (&low, &high));
        let (primal, dual) = self.longest(&step);
        let (primal, dual) = ((0.995 * primal).min(1.0), (0.995 * dual).min(1.0));
        for j in 0..n {
            self.x[j] += primal * step.x[j];
            self.z[j] += dual * step.z[j];
            if self.columns[j].high.is_finite() {
                self.u[j] = (self.u[j] - primal * step.x[j]).max(1e-300);
                self.v[j] += dual * step.v[j];
            }
        }
        for (y, d) in self.y.iter_mut().zip(&step.y) {
            *y += dual * d;
        }
        // Numbers have run out of digits: what is there is good enough, or is no bound at all.
        !(primal > 1e-10 || dual > 1e-10)
    }

    fn direction(
        &self,
        factor: &Band,
        weights: &[f64],
        rows: &[f64],
        prices: &[f64],
        target: f64,
        second: (&[f64], &[f64]),
    ) -> Direction {
        let n = self.columns.len();
        let mut pull = vec![0.0; n];
        let mut right = rows.to_vec();
        for j in 0..n {
            let below = (target - second.0[j]) / self.x[j] - self.z[j];
            let above = if self.columns[j].high.is_finite() {
                (target - second.1[j]) / self.u[j] - self.v[j]
            } else {
                0.0
            };
            pull[j] = prices[j] - below + above;
            for (row, f) in self.columns[j].entries {
                if row < right.len() {
                    right[row] += f * weights[j] * pull[j];
                }
            }
        }
        factor.solve(&mut right);
        let mut direction = Direction {
            x: vec![0.0; n],
            z: vec![0.0; n],
            v: vec![0.0; n],
            y: right,
        };
        for j in 0..n {
            let x = weights[j] * (Self::priced(&self.columns[j], &direction.y) - pull[j]);
            direction.x[j] = x;
            direction.z[j] = (target - second.0[j] - self.z[j] * x) / self.x[j] - self.z[j];
            if self.columns[j].high.is_finite() {
                direction.v[j] = (target - second.1[j] + self.v[j] * x) / self.u[j] - self.v[j];
            }
        }
        direction
    }

    /// How far the point and its prices can go.
    fn longest(&self, step: &Direction) -> (f64, f64) {
        let (mut primal, mut dual) = (1.0_f64, 1.0_f64);
        let limit = |most: &mut f64, value: f64, change: f64| {
            if change < 0.0 {
                *most = most.min(-value / change);
            }
        };
        for j in 0..self.columns.len() {
            limit(&mut primal, self.x[j], step.x[j]);
            limit(&mut dual, self.z[j], step.z[j]);
            if self.columns[j].high.is_finite() {
                limit(&mut primal, self.u[j], -step.x[j]);
                limit(&mut dual, self.v[j], step.v[j]);
            }
        }
        (primal, dual)
    }
}

struct Direction {
    x: Vec<f64>,
    y: Vec<f64>,
    z: Vec<f64>,
    v: Vec<f64>,
}

/// The Cholesky factor of a symmetric matrix with two diagonals on each side: of each row the
/// entries two left, one left, and on the diagonal.
struct Band {
    rows: Vec<[f64; 3]>,
}

impl Band {
    fn factored(columns: &[Column], weights: &[f64], size: usize) -> Self {
        let mut rows = vec![[0.0, 0.0, 1e-12]; size];
        for (column, weight) in columns.iter().zip(weights) {
            for &(i, a) in column.entries.iter().filter(|e| e.0 < size) {
                for &(k, b) in column.entries.iter().filter(|e| e.0 <= i) {
                    rows[i][2 + k - i] += a * b * weight;
                }
            }
        }
        for i in 0..size {
            if i >= 2 {
                rows[i][0] /= rows[i - 2][2];
            }
            if i >= 1 {
                let cross = if i >= 2 {
                    rows[i][0] * rows[i - 1][1]
                } else {
                    0.0
                };
                rows[i][1] = (rows[i][1] - cross) / rows[i - 1][2];
            }
            let [far, near, own] = rows[i];
            rows[i][2] = (own - far * far - near * near).max(1e-14).sqrt();
        }
        Self { rows }
    }

    fn solve(&self, right: &mut [f64]) {
        let size = self.rows.len();
        for i in 0..size {
            let [far, near, own] = self.rows[i];
            let mut value = right[i];
            if i >= 1 {
                value -= near * right[i - 1];
            }
            if i >= 2 {
                value -= far * right[i - 2];
            }
            right[i] = value / own;
        }
        for i in (0..size).rev() {
            let mut value = right[i];
            if i + 1 < size {
                value -= self.rows[i + 1][1] * right[i + 1];
            }
            if i + 2 < size {
                value -= self.rows[i + 2][0] * right[i + 2];
            }
            right[i] = value / self.rows[i][2];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::trace::TraceJob;
    use overspill_core::time::Timestamp;

    fn trace(jobs: &[(i64, u64)]) -> Trace {
        let job = |&(at, secs): &(i64, u64)| TraceJob {
            arrival: Timestamp::from_millis(at * 1_000),
            duration: DurationMs::from_secs(secs),
            class: 0,
            is_low_priority: false,
        };
        Trace {
            jobs: jobs.iter().map(job).collect(),
            classes: vec!["a".to_owned()],
        }
    }

    fn close(found: Option<f64>, wanted: f64) {
        let found = found.unwrap();
        assert!(
            (found - wanted).abs() < wanted * 0.005 + 0.01,
            "{found} for {wanted}"
        );
    }

    #[test]
    fn jobs_far_apart_pay_their_time_and_a_start_each() {
        let jobs = trace(&[(0, 60), (10_000, 30), (20_000, 10)]);
        close(bound(&jobs, &Settings::default(), None), 100.0 + 3.0 * 45.0);
    }

    #[test]
    fn local_cards_that_suffice_cost_nothing() {
        let settings = Settings {
            local_workers: 1,
            ..Settings::default()
        };
        assert_eq!(
            bound(&trace(&[(0, 60), (10, 60)]), &settings, None),
            Some(0.0)
        );
    }

    #[test]
    fn where_max_is_too_low_there_is_none() {
        let settings = Settings {
            max: 1,
            ..Settings::default()
        };
        let burst: Vec<(i64, u64)> = (0..50).map(|_| (0, 600)).collect();
        assert_eq!(bound(&trace(&burst), &settings, None), None);
    }

    #[test]
    fn a_burst_shares_what_one_start_opens() {
        // 12 jobs of 30 s at once, 90 s of patience: work in the fluid picture is 360 s, and each
        // must have run for 30 s by 120 s: three workers for 120 s.
        let settings = Settings {
            max: 12,
            ..Settings::default()
        };
        let burst: Vec<(i64, u64)> = (0..12).map(|_| (0, 30)).collect();
        let found = bound(&trace(&burst), &settings, Some(DurationMs::from_secs(1))).unwrap();
        close(Some(found), 360.0 + 3.0 * 45.0);
    }
}

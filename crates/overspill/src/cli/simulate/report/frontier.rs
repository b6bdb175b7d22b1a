//! Cost against wait: each policy a dot, and the policy in focus at other promises a line.

use std::fmt::Write as _;

use overspill_sim::simulate::Summary;

use super::super::compare::ON_TIME;
use super::chart::{dollars, money, round_step, seconds};
use super::escape;

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;
struct Axes {
    /// The shortest and the longest wait shown.
    least_s: f64,
    most_s: f64,
    top: f64,
}

impl Axes {
    /// Logarithmic: a policy that waits an hour leaves room for those that wait a second.
    fn x(&self, wait_s: f64) -> f64 {
        let share = (wait_s.max(self.least_s) / self.least_s).ln();
        let share = share / (self.most_s / self.least_s).ln();
        LEFT + (WIDTH - LEFT - RIGHT) * share
    }

    fn y(&self, cost: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * cost / self.top
    }
}

pub(super) fn draw(
    policies: &[Summary],
    promises: &[(u64, Summary)],
    focus: &str,
    promise: f64,
) -> String {
    let all = || policies.iter().chain(promises.iter().map(|(_, run)| run));
    let most_s = all()
        .map(|run| run.wait_p95_s)
        .fold(promise * 1.5, f64::max);
    let least_s = all().map(|run| run.wait_p95_s).fold(promise, f64::min);
    let most = all().map(|run| run.cost_usd).fold(0.0, f64::max);
    let step = round_step(most.max(1e-6) / 5.0);
    let axes = Axes {
        least_s: (least_s / 1.6).max(1.0),
        most_s: most_s * 1.1,
        top: (most / step).ceil().max(1.0) * step,
    };
    let mut svg = format!(
        "<svg class=\"frontier\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"cost against wait\">"
    );
    let count = (axes.top / step).round() as usize;
    for n in 0..=count {
        let cost = n as f64 * step;
        let y = axes.y(cost);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 3.5,
            dollars(cost)
        );
    }
    for mark in [
        1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 90.0, 180.0, 600.0, 1_800.0, 7_200.0, 36_000.0,
    ] {
        if (axes.least_s..=axes.most_s).contains(&mark) {
            let _ = write!(
                svg,
                "<text class=\"tick middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                axes.x(mark),
                HEIGHT - BOTTOM + 18.0,
                seconds(mark)
            );
        }
    }
    let _ = write!(
        svg,
        "<text class=\"tick middle\" x=\"{:.1}\" y=\"{:.1}\">95 % of the jobs wait at most</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 6.0
    );
    let x = axes.x(promise);
    let _ = write!(
        svg,
        "<path class=\"limit\" d=\"M{x:.1} {TOP}V{:.1}\"/><text class=\"tick limit-name\" x=\"{:.1}\" y=\"{:.1}\">promise</text>",
        HEIGHT - BOTTOM,
        x + 5.0,
        HEIGHT - BOTTOM - 6.0
    );
    let mut path = String::new();
    for (at, (_, run)) in promises.iter().enumerate() {
        let word = if at == 0 { 'M' } else { 'L' };
        let _ = write!(
            path,
            "{word}{:.1} {:.1}",
            axes.x(run.wait_p95_s),
            axes.y(run.cost_usd)
        );
    }
    let _ = write!(svg, "<path class=\"line c1 thin\" d=\"{path}\"/>");
    for (promise_s, run) in promises {
        let _ = write!(
            svg,
            "<circle class=\"step\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{} with a promise of {promise_s} s: {}, p95 {}, {:.1} % on time</title></circle>",
            axes.x(run.wait_p95_s),
            axes.y(run.cost_usd),
            escape(focus),
            money(run.cost_usd),
            seconds(run.wait_p95_s),
            run.on_time_share * 100.0
        );
    }
    let class = |run: &Summary| {
        let kept = if run.on_time_share >= ON_TIME {
            ""
        } else {
            " hollow"
        };
        let focus = if run.policy == focus { " focus" } else { "" };
        format!("policy{focus}{kept}")
    };
    // Names first: each has an edge in the paper's colour, which must not cover a dot.
    for (run, label_y) in policies.iter().zip(label_heights(policies, &axes)) {
        let (x, y) = (axes.x(run.wait_p95_s), axes.y(run.cost_usd));
        let _ = write!(
            svg,
            "<g class=\"{}\"><path class=\"lead\" d=\"M{x:.1} {y:.1}L{:.1} {label_y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            class(run),
            x + 11.0,
            x + 13.0,
            label_y + 4.0,
            escape(&run.policy)
        );
    }
    for run in policies {
        let _ = write!(
            svg,
            "<g class=\"{}\"><circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"6\"><title>{}: {}, p95 {}, {:.1} % on time</title></circle></g>",
            class(run),
            axes.x(run.wait_p95_s),
            axes.y(run.cost_usd),
            escape(&run.policy),
            money(run.cost_usd),
            seconds(run.wait_p95_s),
            run.on_time_share * 100.0
        );
    }
    svg.push_str("</svg>");
    svg
}

/// How high each label stands: at its dot, but moved up where it would cover another.
fn label_heights(policies: &[Summary], axes: &Axes) -> Vec<f64> {
    const LINE: f64 = 15.0;
    const LENGTH: f64 = 150.0;
    let at = |run: &Summary| (axes.x(run.wait_p95_s), axes.y(run.cost_usd));
    // From the bottom upwards, so that a label is only ever moved up, into less crowded air.
    let mut order: Vec<usize> = (0..policies.len()).collect();
    order.sort_by(|&a, &b| at(&policies[b]).1.total_cmp(&at(&policies[a]).1));
    let mut placed: Vec<(f64, f64)> = Vec::new();
    let mut heights = vec![0.0; policies.len()];
    for index in order {
        let (x, mut y) = at(&policies[index]);
        while let Some(other) = placed
            .iter()
            .find(|(other_x, other_y)| (other_x - x).abs() < LENGTH && (other_y - y).abs() < LINE)
        {
            y = other.1 - LINE;
        }
        placed.push((x, y));
        heights[index] = y;
    }
    heights
}

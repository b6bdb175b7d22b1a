//! Charts over time as inline SVG: stacked areas and lines, in steps, for each slot its figure.

use std::fmt::Write as _;

use super::escape;

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// The time axis.
pub(super) struct Time {
    pub(super) step_s: f64,
    slots: usize,
}

impl Time {
    pub(super) const fn new(step_s: f64, slots: usize) -> Self {
        Self { step_s, slots }
    }

    fn x(&self, slot: usize) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * slot as f64 / self.slots as f64
    }

    fn total_s(&self) -> f64 {
        self.step_s * self.slots as f64
    }

    /// Where the axis has marks, in seconds: at most eight, at round times.
    fn marks(&self) -> Vec<f64> {
        const STEPS: [f64; 16] = [
            10.0,
            30.0,
            60.0,
            300.0,
            600.0,
            1_800.0,
            3_600.0,
            7_200.0,
            10_800.0,
            21_600.0,
            43_200.0,
            86_400.0,
            172_800.0,
            604_800.0,
            2_592_000.0,
            31_536_000.0,
        ];
        let total = self.total_s();
        let fits = |step: &&f64| total / **step <= 8.0;
        let step = STEPS
            .iter()
            .find(fits)
            .copied()
            .unwrap_or_else(|| total.max(1.0));
        let count = (total / step) as usize;
        (0..=count).map(|n| n as f64 * step).collect()
    }

    fn label(&self, at_s: f64) -> String {
        let minutes = (at_s / 60.0).round() as u64;
        let (days, hours, rest) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
        if self.total_s() < 600.0 {
            format!("{at_s:.0} s")
        } else if self.total_s() > 1.5 * 86_400.0 && minutes.is_multiple_of(1_440) {
            format!("day {}", days + 1)
        } else {
            format!("{hours}:{rest:02}")
        }
    }
}

/// A named row of figures, one for each slot; a gap where there is none.
pub(super) struct Band<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'static str,
    pub(super) values: Vec<f64>,
}

impl<'a> Band<'a> {
    pub(super) fn new(name: &'a str, class: &'static str, values: &[f64]) -> Self {
        let values = values.to_vec();
        Self {
            name,
            class,
            values,
        }
    }

    pub(super) fn gappy(name: &'a str, class: &'static str, values: &[Option<f64>]) -> Self {
        let values: Vec<f64> = values.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        Self {
            name,
            class,
            values,
        }
    }
}

/// Bands on top of each other, with a limit that is drawn where it is near.
pub(super) fn areas(
    id: &str,
    time: &Time,
    bands: &[Band<'_>],
    limit: Option<(&str, f64)>,
    label: &dyn Fn(f64) -> String,
) -> String {
    let mut sums = vec![0.0_f64; time.slots];
    let mut layers = Vec::new();
    for band in bands {
        let below = sums.clone();
        for (sum, value) in sums.iter_mut().zip(&band.values) {
            *sum += value;
        }
        layers.push((band, below, sums.clone()));
    }
    let top = sums.iter().copied().fold(0.0, f64::max);
    // A limit far above what is there would flatten everything.
    let limit = limit.filter(|(_, at)| *at <= top * 2.0 || top == 0.0);
    let scale = Scale::new(limit.map_or(top, |(_, at)| top.max(at)));
    let mut svg = open(id, time, &scale, label);
    for (band, below, above) in layers {
        let mut path = String::new();
        for (slot, &value) in above.iter().enumerate() {
            let y = scale.y(value);
            let word = if slot == 0 { 'M' } else { 'L' };
            let _ = write!(
                path,
                "{word}{:.1} {y:.1}H{:.1}",
                time.x(slot),
                time.x(slot + 1)
            );
        }
        for (slot, &value) in below.iter().enumerate().rev() {
            let y = scale.y(value);
            let _ = write!(path, "L{:.1} {y:.1}H{:.1}", time.x(slot + 1), time.x(slot));
        }
        let (class, name) = (band.class, escape(band.name));
        let _ = write!(
            svg,
            "<path class=\"area {class}\" d=\"{path}Z\"><title>{name}</title></path>"
        );
    }
    close(svg, time, &scale, limit)
}

/// Bands as lines, the last one on top, with a limit.
pub(super) fn lines(
    id: &str,
    time: &Time,
    bands: &[Band<'_>],
    limit: Option<(&str, f64)>,
    label: &dyn Fn(f64) -> String,
) -> String {
    let values = bands.iter().flat_map(|band| &band.values);
    let top = values
        .copied()
        .filter(|v| v.is_finite())
        .fold(0.0, f64::max);
    let scale = Scale::new(limit.map_or(top, |(_, at)| top.max(at)));
    let mut svg = open(id, time, &scale, label);
    for band in bands {
        let mut path = String::new();
        let mut is_open = false;
        for (slot, &value) in band.values.iter().enumerate() {
            if !value.is_finite() {
                is_open = false;
                continue;
            }
            let word = if is_open { 'L' } else { 'M' };
            let y = scale.y(value);
            let _ = write!(
                path,
                "{word}{:.1} {y:.1}H{:.1}",
                time.x(slot),
                time.x(slot + 1)
            );
            is_open = true;
        }
        let (class, name) = (band.class, escape(band.name));
        let _ = write!(
            svg,
            "<path class=\"line {class}\" d=\"{path}\"><title>{name}</title></path>"
        );
    }
    close(svg, time, &scale, limit)
}

/// A vertical axis from 0 to a round number.
pub(super) struct Scale {
    top: f64,
    step: f64,
}

impl Scale {
    fn new(most: f64) -> Self {
        let step = round_step(most.max(1e-9) / 4.0);
        let top = (most / step).ceil().max(1.0) * step;
        Self { top, step }
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.top
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below `least`.
pub(super) fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
    steps
        .into_iter()
        .find(|&n| n >= least * 0.999_999)
        .unwrap_or(10.0 * power)
}

fn open(id: &str, time: &Time, scale: &Scale, label: &dyn Fn(f64) -> String) -> String {
    let mut svg = format!(
        "<svg class=\"plot\" data-chart=\"{id}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{id} over time\">"
    );
    let count = (scale.top / scale.step).round() as usize;
    for n in 0..=count {
        let value = n as f64 * scale.step;
        let y = scale.y(value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 3.5,
            label(value)
        );
    }
    for at in time.marks() {
        let x = LEFT + (WIDTH - LEFT - RIGHT) * at / time.total_s();
        let anchor = if x > WIDTH - 40.0 { "end" } else { "middle" };
        let _ = write!(
            svg,
            "<text class=\"tick {anchor}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            HEIGHT - 7.0,
            time.label(at)
        );
    }
    svg
}

fn close(mut svg: String, time: &Time, scale: &Scale, limit: Option<(&str, f64)>) -> String {
    if let Some((name, at)) = limit {
        let y = scale.y(at);
        let _ = write!(
            svg,
            "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"tick limit-name end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT,
            y - 4.0
        );
    }
    let _ = write!(
        svg,
        "<path class=\"cross\" data-left=\"{LEFT}\" data-right=\"{:.1}\" d=\"M0 {TOP}V{:.1}\"/></svg>",
        time.x(time.slots),
        HEIGHT - BOTTOM
    );
    svg
}

/// A count: `0`, `2.5`, `1,200`.
pub(super) fn plain(value: f64) -> String {
    if value.fract() == 0.0 {
        grouped(value)
    } else {
        format!("{value:.1}")
    }
}

/// A wait: `0.4 s`, `86 s`, `12 min`.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v >= 7_200.0 => format!("{:.1} h", v / 3_600.0),
        v if v >= 600.0 => format!("{:.0} min", v / 60.0),
        v if v >= 10.0 || v.fract() == 0.0 => format!("{v:.0} s"),
        v => format!("{v:.1} s"),
    }
}

/// Dollars: `$0.004`, `$1.25`, `$1,250`.
pub(super) fn money(value: f64) -> String {
    match value {
        0.0 => "$0".to_owned(),
        v if v < 0.1 => format!("${v:.3}"),
        v if v < 1_000.0 => format!("${v:.2}"),
        v => format!("${}", grouped(v)),
    }
}

/// Dollars on an axis: without cents where there are none.
pub(super) fn dollars(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("${}", grouped(value))
    } else {
        money(value)
    }
}

/// A whole number with a comma every three digits.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(123.0), "123");
        assert_eq!(
            (money(0.0), money(0.0042), money(12.5)),
            ("$0".into(), "$0.004".into(), "$12.50".into())
        );
        assert_eq!(
            (seconds(0.44), seconds(86.2), seconds(720.0)),
            ("0.4 s".into(), "86 s".into(), "12 min".into())
        );
        assert_eq!(
            [round_step(0.3), round_step(2.0), round_step(7.0)],
            [0.5, 2.0, 10.0]
        );
    }

    #[test]
    fn a_day_has_marks_at_round_hours_and_a_gap_is_no_line() {
        let time = Time::new(86_400.0 / 320.0, 320);
        let labels: Vec<String> = time.marks().iter().map(|&at| time.label(at)).collect();
        assert_eq!(labels[..3], ["0:00", "3:00", "6:00"]);
        let days = Time::new(4.0 * 86_400.0 / 320.0, 320);
        let labels: Vec<String> = days.marks().iter().map(|&at| days.label(at)).collect();
        assert_eq!(labels[..4], ["day 1", "12:00", "day 2", "12:00"]);
        let mut waits = vec![None; 320];
        waits[5] = Some(10.0);
        waits[9] = Some(20.0);
        let band = Band::gappy("p50", "c1", &waits);
        let svg = lines("waits", &time, &[band], None, &seconds);
        let path = svg.split("class=\"line c1\" d=\"").nth(1).unwrap();
        let path = path.split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
    }
}

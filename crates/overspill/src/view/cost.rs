//! What was spent on what, and what the cards here saved: sums of the ledger by one of its sides.
//!
//! All sides but the job are sums of quarters of an hour, so that any length of time is read in no time;
//! what a job cost is the sum of its own entries, which add up to its pool's lines and are no money
//! beside them. The command line, the dashboard and scripts get the same lines.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use overspill_core::id::{EndpointId, JobId, KeyId, PoolId};
use overspill_core::ledger::{Entry, EntryKind};
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_store::SpentRow;
use serde::{Deserialize, Serialize};

use crate::config::{known, units};

/// A side of the ledger that it is summed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum By {
    /// The endpoint.
    #[default]
    Endpoint,
    /// The pool of an endpoint.
    Pool,
    /// The type of GPU.
    Gpu,
    /// The region.
    Region,
    /// The API key whose jobs bear it.
    Key,
    /// The job.
    Job,
    /// What the time was for.
    Kind,
    /// The calendar day.
    Day,
    /// The clock hour.
    Hour,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Endpoint,
        Self::Pool,
        Self::Gpu,
        Self::Region,
        Self::Key,
        Self::Job,
        Self::Kind,
        Self::Day,
        Self::Hour,
    ];

    /// Its word in the API and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Pool => "pool",
            Self::Gpu => "gpu",
            Self::Region => "region",
            Self::Key => "key",
            Self::Job => "job",
            Self::Kind => "kind",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    /// The side of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.word() == word)
    }
}

/// Worker time and money of one line, in milliseconds and billionths of a dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// All that was spent in the cloud.
    pub spent_nano_usd: i64,
    /// Of it, on workers' starts.
    pub cold_start_nano_usd: i64,
    /// Of it, on jobs.
    pub run_nano_usd: i64,
    /// Of it, on idle workers.
    pub idle_nano_usd: i64,
    /// Of it, what workers may have cost while nobody could count them.
    pub unsettled_nano_usd: i64,
    /// Of it, what RunPod's records say beyond all else, or short of it.
    pub drift_nano_usd: i64,
    /// What the cloud would have cost for jobs of cards here.
    pub saved_nano_usd: i64,
    /// What the cards here took from the socket for them.
    pub electricity_nano_usd: i64,
    /// Time of cloud workers that started.
    pub cold_start_ms: u64,
    /// Time of cloud workers at work.
    pub run_ms: u64,
    /// Time of cloud workers that were idle.
    pub idle_ms: u64,
    /// Time of jobs on cards here.
    pub local_ms: u64,
}

impl Sums {
    fn add(&mut self, kind: EntryKind, amount: NanoUsd, time: DurationMs) {
        let (nanos, ms) = (amount.as_nanos(), time.as_millis());
        let (sum, time_sum) = match kind {
            EntryKind::ColdStart | EntryKind::ColdShare => {
                (&mut self.cold_start_nano_usd, Some(&mut self.cold_start_ms))
            }
            EntryKind::Run | EntryKind::Share => (&mut self.run_nano_usd, Some(&mut self.run_ms)),
            EntryKind::Idle | EntryKind::IdleShare => {
                (&mut self.idle_nano_usd, Some(&mut self.idle_ms))
            }
            EntryKind::Unsettled => (&mut self.unsettled_nano_usd, None),
            EntryKind::Drift(_) => (&mut self.drift_nano_usd, None),
            EntryKind::Saved => (&mut self.saved_nano_usd, Some(&mut self.local_ms)),
            EntryKind::Electricity => (&mut self.electricity_nano_usd, None),
        };
        *sum = sum.saturating_add(nanos);
        if let Some(time_sum) = time_sum {
            *time_sum = time_sum.saturating_add(ms);
        }
        if kind.is_spent() || kind.is_share() {
            self.spent_nano_usd = self.spent_nano_usd.saturating_add(nanos);
        }
    }
}

impl<'a> FromIterator<&'a Entry> for Sums {
    /// What entries come to: what one job cost, from its own.
    fn from_iter<I: IntoIterator<Item = &'a Entry>>(entries: I) -> Self {
        let mut sums = Self::default();
        for entry in entries {
            sums.add(entry.kind, entry.amount, entry.worker_time);
        }
        sums
    }
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostLine {
    /// What it is about: a name, an id, a day.
    pub name: String,
    /// Its endpoint, for a pool and a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A key's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// By which side.
    pub by: By,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Until then.
    pub until: Option<Timestamp>,
    /// Only of these endpoints; `None` for all.
    pub endpoints: Option<Vec<EndpointId>>,
    /// Names of keys are shown.
    pub shows_keys: bool,
    /// The asking key, which sees itself.
    pub key: Option<KeyId>,
    /// Lines at most.
    pub limit: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// By which side.
    pub by: String,
    /// From then on; nothing for all there is. Sums are of whole quarters of an hour.
    pub since_ms: Option<i64>,
    /// Until then.
    pub until_ms: Option<i64>,
    /// Whose days and hours they are.
    pub time_zone: String,
    /// The dearest first; days and hours in their order.
    pub lines: Vec<CostLine>,
    /// Over all, those beyond the limit too.
    pub total: Sums,
    /// Lines that the limit left out.
    pub left_out: usize,
}

/// What names are looked up in.
pub struct Names<'a> {
    /// An endpoint's; `None` for one that was removed.
    pub endpoint: &'a dyn Fn(EndpointId) -> Option<String>,
    /// A pool's; likewise.
    pub pool: &'a dyn Fn(PoolId) -> Option<String>,
    /// A key's.
    pub key: &'a dyn Fn(KeyId) -> Option<String>,
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Endpoint(EndpointId),
    Pool(EndpointId, PoolId),
    Text(String),
    Key(Option<KeyId>),
    /// Keys that are none of the caller's business.
    OtherKeys,
    Job(JobId, EndpointId),
    Kind(EntryKind),
    /// Since the epoch, in milliseconds.
    From(i64),
}

/// Adds up rows and entries.
pub struct Summing {
    ask: Ask,
    zone: TimeZone,
    sums: BTreeMap<Side, Sums>,
    total: Sums,
}

impl Summing {
    /// Nothing yet.
    #[must_use]
    pub fn new(ask: Ask, zone: &str) -> Self {
        Self {
            ask,
            zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC),
            sums: BTreeMap::new(),
            total: Sums::default(),
        }
    }

    fn is_asked_for(&self, endpoint: EndpointId) -> bool {
        let of = self.ask.endpoints.as_ref();
        of.is_none_or(|of| of.contains(&endpoint))
    }

    /// Takes in a sum of the ledger; jobs' shares of other lines are left out.
    pub fn row(&mut self, row: &SpentRow) {
        let sum = &row.sum;
        if !self.is_asked_for(sum.endpoint) || sum.kind.is_share() {
            return;
        }
        let is_local = matches!(sum.kind, EntryKind::Saved | EntryKind::Electricity);
        let side = match self.ask.by {
            By::Endpoint | By::Job => Side::Endpoint(sum.endpoint),
            By::Pool => Side::Pool(sum.endpoint, sum.pool),
            By::Gpu => {
                let name = row.gpu.as_deref().unwrap_or("unknown");
                Side::Text(known::gpu(name).map_or(name, |gpu| gpu.name).to_owned())
            }
            By::Region => Side::Text(match &row.region {
                Some(region) => region.to_string(),
                None if is_local => "local".to_owned(),
                None => "none".to_owned(),
            }),
            By::Key if self.ask.shows_keys || row.key.is_none() || row.key == self.ask.key => {
                Side::Key(row.key)
            }
            By::Key => Side::OtherKeys,
            By::Kind => Side::Kind(sum.kind),
            By::Day | By::Hour => Side::From(self.begin(row.from).unwrap_or(0)),
        };
        let line = self.sums.entry(side).or_default();
        line.add(sum.kind, sum.amount, sum.worker_time);
        self.total.add(sum.kind, sum.amount, sum.worker_time);
    }

    /// Takes in what one job caused.
    pub fn entry(&mut self, entry: &Entry) {
        let Some(job) = entry.job else { return };
        if !self.is_asked_for(entry.endpoint) {
            return;
        }
        let side = Side::Job(job, entry.endpoint);
        let line = self.sums.entry(side).or_default();
        line.add(entry.kind, entry.amount, entry.worker_time);
        self.total.add(entry.kind, entry.amount, entry.worker_time);
    }

    /// When the day or the hour of a moment began.
    fn begin(&self, at: Timestamp) -> Option<i64> {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
        let local = at.to_zoned_datetime(self.zone.clone());
        let begin = if self.ask.by == By::Day {
            local.start_of_day().ok()?
        } else {
            local.round(hour_floor()).ok()?
        };
        Some(begin.timestamp().as_millisecond())
    }

    /// The lines.
    #[must_use]
    pub fn lines(self, names: &Names<'_>) -> Costs {
        let mut sides: Vec<(Side, Sums)> = self.sums.into_iter().collect();
        if !matches!(self.ask.by, By::Day | By::Hour) {
            let amount = |sums: &Sums| (sums.spent_nano_usd, sums.saved_nano_usd, sums.local_ms);
            sides.sort_by_key(|(_, sums)| std::cmp::Reverse(amount(sums)));
        }
        let left_out = sides.len().saturating_sub(self.ask.limit);
        sides.truncate(self.ask.limit);
        let (by, zone) = (self.ask.by, &self.zone);
        let line = |(side, sums)| named(side, sums, by, zone, names);
        Costs {
            by: by.word().to_owned(),
            since_ms: self.ask.since.map(Timestamp::as_millis),
            until_ms: self.ask.until.map(Timestamp::as_millis),
            time_zone: zone.iana_name().unwrap_or("UTC").to_owned(),
            lines: sides.into_iter().map(line).collect(),
            total: self.total,
            left_out,
        }
    }
}

fn hour_floor() -> jiff::ZonedDateTimeRound {
    jiff::ZonedDateTimeRound::new()
        .smallest(jiff::Unit::Hour)
        .mode(jiff::RoundMode::Trunc)
}

fn named(side: Side, sums: Sums, by: By, zone: &TimeZone, names: &Names<'_>) -> CostLine {
    let endpoint_name =
        |id: EndpointId| (names.endpoint)(id).unwrap_or_else(|| format!("endpoint {id} (removed)"));
    let line = |name: String| CostLine {
        name,
        sums,
        ..CostLine::default()
    };
    match side {
        Side::Endpoint(id) => line(endpoint_name(id)),
        Side::Pool(endpoint, pool) => CostLine {
            endpoint: Some(endpoint_name(endpoint)),
            ..line((names.pool)(pool).unwrap_or_else(|| format!("pool {pool} (removed)")))
        },
        Side::Text(name) => line(name),
        Side::Key(None) => line("no key".to_owned()),
        Side::Key(Some(key)) => CostLine {
            id: Some(key.to_string()),
            ..line((names.key)(key).unwrap_or_else(|| key.to_string()))
        },
        Side::OtherKeys => line("other keys".to_owned()),
        Side::Job(job, endpoint) => CostLine {
            endpoint: Some(endpoint_name(endpoint)),
            ..line(job.to_string())
        },
        Side::Kind(kind) => line(kind.word().to_owned()),
        Side::From(at) => {
            let form = if by == By::Day {
                "%Y-%m-%d"
            } else {
                "%Y-%m-%dT%H:%M%:z"
            };
            let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
            line(
                at.to_zoned_datetime(zone.clone())
                    .strftime(form)
                    .to_string(),
            )
        }
    }
}

/// A moment as people write it: `7d` ago, `today`, `always`, a day, or a moment of RFC 3339.
///
/// # Errors
/// Says what is wrong and what would be right.
pub fn moment(text: &str, now: Timestamp, zone: &str) -> Result<Option<Timestamp>, String> {
    let of = |at: jiff::Timestamp| Some(Timestamp::from_millis(at.as_millisecond()));
    match text {
        "always" => return Ok(None),
        "today" => return Ok(Some(super::spending::midnight(now, zone))),
        _ => {}
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(of(at));
    }
    if let Ok(date) = text.parse::<Date>() {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        return match date.to_zoned_datetime(zone) {
            Ok(day) => Ok(of(day.timestamp())),
            Err(_) => Err(format!("`{text}` is out of range")),
        };
    }
    match units::parse_duration(text) {
        Ok(ago) => Ok(Some(now - ago)),
        Err(_) => Err(format!(
            "`{text}` is no moment; use 7d for seven days ago, today, always, 2026-11-20, or \
             2026-11-20T08:00:00Z"
        )),
    }
}

/// The headings of [`csv`].
const COLUMNS: [&str; 15] = [
    "name",
    "endpoint",
    "id",
    "spent_usd",
    "cold_start_usd",
    "run_usd",
    "idle_usd",
    "unsettled_usd",
    "drift_usd",
    "saved_usd",
    "electricity_usd",
    "cold_start_s",
    "run_s",
    "idle_s",
    "local_s",
];

/// The lines as comma-separated values (RFC 4180), with the heading row first. The first heading says by
/// which side they are.
#[must_use]
pub fn csv(costs: &Costs) -> String {
    let mut text = String::new();
    let headings = COLUMNS.iter().skip(1).copied();
    let headings: Vec<&str> = std::iter::once(costs.by.as_str()).chain(headings).collect();
    text.push_str(&headings.join(","));
    text.push_str("\r\n");
    for line in &costs.lines {
        let sums = &line.sums;
        let optional = |text: &Option<String>| cell(text.as_deref().unwrap_or(""));
        let mut cells = vec![
            cell(&line.name),
            optional(&line.endpoint),
            optional(&line.id),
        ];
        let money = [
            sums.spent_nano_usd,
            sums.cold_start_nano_usd,
            sums.run_nano_usd,
            sums.idle_nano_usd,
            sums.unsettled_nano_usd,
            sums.drift_nano_usd,
            sums.saved_nano_usd,
            sums.electricity_nano_usd,
        ];
        cells.extend(money.map(|nanos| NanoUsd::from_nanos(nanos).to_usd(9)));
        let times = [sums.cold_start_ms, sums.run_ms, sums.idle_ms, sums.local_ms];
        cells.extend(times.map(|ms| format!("{}.{:03}", ms / 1_000, ms % 1_000)));
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A text as one value: quoted where it has to be, and never a formula.
fn cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use overspill_core::ledger::Cause;
    use overspill_store::Spent;

    fn row(minutes: i64, pool: u32, kind: EntryKind, nanos: i64) -> SpentRow {
        SpentRow {
            from: Timestamp::from_millis(minutes * 60_000),
            sum: Spent {
                endpoint: EndpointId(pool / 10),
                pool: PoolId(pool),
                kind,
                entries: 1,
                worker_time: DurationMs::from_secs(1),
                amount: NanoUsd::from_nanos(nanos),
            },
            gpu: None,
            region: None,
            key: None,
        }
    }

    fn costs(ask: &Ask, rows: &[SpentRow]) -> Costs {
        let mut summing = Summing::new(ask.clone(), "Europe/Berlin");
        rows.iter().for_each(|row| summing.row(row));
        summing.lines(&Names {
            endpoint: &|id| (id.0 == 1).then(|| "tts".to_owned()),
            pool: &|id| Some(format!("pool-{id}")),
            key: &|_| Some("app".to_owned()),
        })
    }

    fn ask(by: By) -> Ask {
        Ask {
            by,
            limit: 100,
            ..Ask::default()
        }
    }

    fn told(costs: &Costs) -> Vec<(&str, i64)> {
        let lines = costs.lines.iter();
        lines
            .map(|line| (line.name.as_str(), line.sums.spent_nano_usd))
            .collect()
    }

    #[test]
    fn lines_are_by_what_is_asked_for() {
        let key = KeyId::of("k1");
        let a40 = SpentRow {
            gpu: Some("NVIDIA A40".into()),
            region: Some("eu".into()),
            key,
            ..row(0, 11, EntryKind::Run, 70)
        };
        let rows = [
            a40,
            row(15, 11, EntryKind::ColdStart, 5),
            row(60, 12, EntryKind::Idle, 30),
            row(30, 25, EntryKind::Unsettled, 1),
            row(30, 10, EntryKind::Saved, 900),
            row(30, 11, EntryKind::Share, 60),
            row(24 * 60, 11, EntryKind::Drift(Cause::Rounding), -2),
        ];
        let by = |by| costs(&ask(by), &rows);
        let all = by(By::Endpoint);
        assert_eq!(told(&all), [("tts", 103), ("endpoint 2 (removed)", 1)]);
        assert_eq!(
            (all.total.spent_nano_usd, all.total.saved_nano_usd),
            (104, 900)
        );
        assert_eq!((all.total.run_ms, all.total.local_ms), (1_000, 1_000));
        let pools = by(By::Pool);
        assert_eq!(told(&pools)[..2], [("pool-11", 73), ("pool-12", 30)]);
        assert_eq!(pools.lines[0].endpoint.as_deref(), Some("tts"));
        assert_eq!(told(&by(By::Gpu)), [("A40", 70), ("unknown", 34)]);
        let regions = [("eu", 70), ("none", 34), ("local", 0)];
        assert_eq!(told(&by(By::Region)), regions);
        // The day begins an hour earlier in Berlin's winter.
        assert_eq!(
            told(&by(By::Day)),
            [("1970-01-01", 106), ("1970-01-02", -2)]
        );
        assert_eq!(
            told(&by(By::Hour))[..2],
            [
                ("1970-01-01T01:00+01:00", 76),
                ("1970-01-01T02:00+01:00", 30)
            ]
        );
        let kinds = by(By::Kind);
        assert_eq!(told(&kinds)[..2], [("run", 70), ("idle", 30)]);
        assert!(!told(&kinds).contains(&("share", 0)), "no money of its own");
    }

    #[test]
    fn others_keys_are_not_named_to_those_who_may_not_see_them() {
        let keyed = |key: &str, nanos| SpentRow {
            key: KeyId::of(key),
            ..row(0, 11, EntryKind::Run, nanos)
        };
        let rows = [
            keyed("k1", 7),
            keyed("k2", 5),
            keyed("k3", 1),
            row(0, 11, EntryKind::Idle, 2),
        ];
        let all = Ask {
            shows_keys: true,
            ..ask(By::Key)
        };
        assert_eq!(
            told(&costs(&all, &rows)),
            [("app", 7), ("app", 5), ("no key", 2), ("app", 1)]
        );
        let own = Ask {
            key: KeyId::of("k1"),
            ..ask(By::Key)
        };
        let found = costs(&own, &rows);
        assert_eq!(told(&found), [("app", 7), ("other keys", 6), ("no key", 2)]);
        assert_eq!(found.lines[0].id.as_deref(), Some("k1"));
        let none = Ask {
            endpoints: Some(vec![EndpointId(9)]),
            ..ask(By::Endpoint)
        };
        assert_eq!(costs(&none, &rows).lines, []);
    }

    #[test]
    fn a_job_is_told_by_its_own_entries() {
        let ask = Ask {
            limit: 1,
            ..ask(By::Job)
        };
        let mut summing = Summing::new(ask, "UTC");
        let entry = |n, kind, nanos| Entry {
            at: Timestamp::ZERO,
            endpoint: EndpointId(1),
            pool: PoolId(11),
            job: Some(JobId::new(n, false)),
            kind,
            worker_time: DurationMs::from_secs(2),
            amount: NanoUsd::from_nanos(nanos),
            gpu: None,
            region: None,
            key: None,
        };
        for entry in [
            entry(1, EntryKind::ColdShare, 10),
            entry(1, EntryKind::Share, 20),
            entry(1, EntryKind::IdleShare, 3),
            entry(2, EntryKind::Saved, 50),
        ] {
            summing.entry(&entry);
        }
        let costs = summing.lines(&Names {
            endpoint: &|_| None,
            pool: &|_| None,
            key: &|_| None,
        });
        assert_eq!(costs.lines.len(), 1);
        let sums = costs.lines[0].sums;
        assert_eq!((sums.spent_nano_usd, sums.run_nano_usd), (33, 20));
        assert_eq!((costs.left_out, costs.total.saved_nano_usd), (1, 50));
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now: jiff::Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let now = Timestamp::from_millis(now.as_millisecond());
        let read = |text: &str| {
            let at = moment(text, now, "Europe/Berlin").unwrap()?;
            let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap();
            Some(at.to_string())
        };
        assert_eq!(read("always"), None);
        assert_eq!(read("7d").as_deref(), Some("2026-11-13T12:00:00Z"));
        assert_eq!(read("today").as_deref(), Some("2026-11-19T23:00:00Z"));
        assert_eq!(read("2026-11-18").as_deref(), Some("2026-11-17T23:00:00Z"));
        assert_eq!(
            read("2026-11-18T01:00:00+01:00").as_deref(),
            Some("2026-11-18T00:00:00Z")
        );
        let error = moment("soon", now, "UTC").unwrap_err();
        assert!(error.contains("`soon`") && error.contains("7d"), "{error}");
    }

    #[test]
    fn csv_is_quoted_and_holds_no_formula() {
        let line = |name: &str| CostLine {
            name: name.to_owned(),
            sums: Sums {
                spent_nano_usd: 1_500_000_000,
                run_ms: 1_234,
                ..Sums::default()
            },
            ..CostLine::default()
        };
        let costs = Costs {
            by: "key".to_owned(),
            lines: vec![line("a, \"b\""), line("=1+1")],
            ..Costs::default()
        };
        let text = csv(&costs);
        let rows: Vec<&str> = text.split("\r\n").collect();
        assert!(rows[0].starts_with("key,endpoint,id,spent_usd,"), "{text}");
        assert!(
            rows[1].starts_with("\"a, \"\"b\"\"\",,,1.500000000,"),
            "{text}"
        );
        assert!(rows[1].contains(",1.234,"), "{text}");
        assert!(rows[2].starts_with("'=1+1,"), "{text}");
    }
}

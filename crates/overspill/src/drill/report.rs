//! What an outage came to: jobs, waits, recovery and money, as a table and as one JSON object. Pure: stories
//! and bills go in.

use overspill_core::money::NanoUsd;
use overspill_core::time::Timestamp;
use overspill_emulator::Bill;
use serde::Serialize;

use super::scene::Scene;
use crate::catalog::usd;
use crate::cli::{CommandError, ErrorKind, Output};
use crate::engine::api::{AttemptView, JobState, JobStory};
use crate::rehearsal::{quantile, round};

/// When the region went and came, and what the cloud had billed then.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// It went down.
    pub down_at: Timestamp,
    /// It came back.
    pub up_at: Timestamp,
    /// Billed until it went down.
    pub bill_down: NanoUsd,
    /// Billed until it came back.
    pub bill_up: NanoUsd,
}

/// Waits from submission to the start of the attempt that ended the job, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Waits {
    /// Jobs.
    pub jobs: usize,
    /// The median.
    pub p50_s: f64,
    /// 95 of 100 waited no longer.
    pub p95_s: f64,
}

/// Jobs by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Jobs {
    /// Accepted.
    pub submitted: usize,
    /// Completed.
    pub completed: usize,
    /// Neither completed nor known any more.
    pub lost: usize,
    /// At the region when it went down, or handed there while it was down.
    pub hit: usize,
    /// Of those, completed in another region or on own cards.
    pub finished_elsewhere: usize,
    /// Of those, completed in the region after it was back.
    pub finished_there_later: usize,
    /// Began more than once: what they had done when their worker went is lost.
    pub began_again: usize,
}

/// In dollars, by the emulated cloud's bill unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Money {
    /// Of the whole drill.
    pub bill_usd: String,
    /// The same by the server's own ledger.
    pub ledger_usd: String,
    /// A job before the outage.
    pub per_job_before_usd: String,
    /// A job while the region was down.
    pub per_job_during_usd: String,
    /// What the outage cost beyond the price of its jobs before; negative where it cost less.
    pub extra_usd: String,
}

/// The drill's result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The region that was down.
    pub region: String,
    /// The endpoint.
    pub endpoint: String,
    /// Its pools that were down.
    pub pools_down: Vec<String>,
    /// How long.
    pub down_s: f64,
    /// Jobs.
    pub jobs: Jobs,
    /// From the outage to the first start elsewhere of a job that it hit.
    pub first_start_elsewhere_s: Option<f64>,
    /// From the outage until every job that it hit had started elsewhere, or there again.
    pub recovery_s: Option<f64>,
    /// From the region's return to the first start there.
    pub used_again_s: Option<f64>,
    /// Waits of the region's callers before the outage.
    pub waits_before: Waits,
    /// Of those who submitted while it was down.
    pub waits_during: Waits,
    /// Of those who submitted after it.
    pub waits_after: Waits,
    /// Seconds that the median caller of the region waited longer while it was down.
    pub extra_wait_p50_s: f64,
    /// Money.
    pub money: Money,
}

impl Report {
    /// Works it out from what the server stored.
    #[must_use]
    pub fn new(
        region: &str,
        scene: &Scene,
        stories: &[JobStory],
        submitted: usize,
        moments: &Moments,
        bill: &Bill,
        ledger_nano_usd: i64,
    ) -> Self {
        let (down_at, up_at) = (moments.down_at, moments.up_at);
        let down: Vec<String> = scene
            .pools
            .iter()
            .filter(|pool| pool.region == region)
            .map(|pool| pool.name.clone())
            .collect();
        let is_down = |attempt: &AttemptView| down.contains(&attempt.pool);
        let mut jobs = Jobs {
            submitted,
            ..Jobs::default()
        };
        let (mut first_elsewhere, mut recovered, mut used_again) = (None, None, None);
        let (mut done_before, mut done_during) = (0, 0);
        for story in stories {
            let is_completed = story.job.state == JobState::Completed;
            jobs.completed += usize::from(is_completed);
            let began = story.attempts.iter().filter(|a| a.started_at.is_some());
            jobs.began_again += usize::from(began.count() > 1);
            if let Some(at) = story.job.ended_at.filter(|_| is_completed) {
                done_before += i64::from(at < down_at);
                done_during += i64::from(at >= down_at && at < up_at);
            }
            let starts = story.attempts.iter().filter(|a| is_down(a));
            let starts = starts.filter_map(|attempt| attempt.started_at);
            used_again = starts.filter(|at| *at >= up_at).chain(used_again).min();
            // It did not end well there before the region was back.
            let was_hit = story.attempts.iter().any(|attempt| {
                let was_there =
                    attempt.leased_at < up_at && attempt.ended_at.is_none_or(|end| end >= down_at);
                let ended_well = attempt.outcome == "completed"
                    && attempt.ended_at.is_some_and(|end| end < up_at);
                is_down(attempt) && was_there && !ended_well
            });
            let Some(last) = story.attempts.last().filter(|_| was_hit) else {
                continue;
            };
            jobs.hit += 1;
            if !is_completed {
                continue;
            }
            jobs.finished_there_later += usize::from(is_down(last));
            jobs.finished_elsewhere += usize::from(!is_down(last));
            if let Some(at) = last.started_at {
                recovered = Some(at).max(recovered);
                if !is_down(last) {
                    first_elsewhere =
                        first_elsewhere.map_or(Some(at), |first: Timestamp| Some(first.min(at)));
                }
            }
        }
        jobs.lost = submitted.saturating_sub(jobs.completed);
        let waits = |from: Timestamp, to: Timestamp| {
            let mut found: Vec<u64> = stories
                .iter()
                .map(|story| &story.job)
                .filter(|job| job.region.is_some_and(|of| of.as_str() == region))
                .filter(|job| job.submitted_at >= from && job.submitted_at < to)
                .filter_map(|job| job.delay_ms)
                .collect();
            found.sort_unstable();
            Waits {
                jobs: found.len(),
                p50_s: quantile(&found, 50),
                p95_s: quantile(&found, 95),
            }
        };
        let waits_before = waits(Timestamp::ZERO, down_at);
        let waits_during = waits(down_at, up_at);
        let per_job =
            |money: NanoUsd, jobs: i64| NanoUsd::from_nanos(money.as_nanos() / jobs.max(1));
        let before = per_job(moments.bill_down, done_before);
        let spent_during = moments.bill_up - moments.bill_down;
        let usual = NanoUsd::from_nanos(before.as_nanos().saturating_mul(done_during));
        Self {
            region: region.to_owned(),
            endpoint: scene.endpoint.clone(),
            down_s: seconds(down_at, up_at),
            first_start_elsewhere_s: first_elsewhere.map(|at| seconds(down_at, at)),
            recovery_s: recovered.map(|at| seconds(down_at, at)),
            used_again_s: used_again.map(|at| seconds(up_at, at)),
            extra_wait_p50_s: round(waits_during.p50_s - waits_before.p50_s),
            waits_before,
            waits_during,
            waits_after: waits(up_at, Timestamp::NEVER),
            money: Money {
                bill_usd: bill.total_usd.clone(),
                ledger_usd: NanoUsd::from_nanos(ledger_nano_usd).to_usd(6),
                per_job_before_usd: usd(before),
                per_job_during_usd: usd(per_job(spent_during, done_during)),
                extra_usd: (spent_during - usual).to_usd(6),
            },
            pools_down: down,
            jobs,
        }
    }

    /// Prints the table, or the object.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print(&self, output: &Output) -> Result<(), CommandError> {
        if output.is_json() {
            let value = serde_json::to_value(self).unwrap_or_default();
            return output.json(&value);
        }
        let (jobs, money) = (&self.jobs, &self.money);
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let or_never = |time: Option<f64>| {
            time.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"))
        };
        let waits = |waits: &Waits| {
            format!(
                "{:.1} s, {:.1} s ({} jobs)",
                waits.p50_s, waits.p95_s, waits.jobs
            )
        };
        output.table(
            &["what", "result"],
            vec![
                row(
                    "region down",
                    format!("{} for {:.0} s", self.region, self.down_s),
                ),
                row("pools down", self.pools_down.join(", ")),
                row("jobs submitted", jobs.submitted.to_string()),
                row("completed", jobs.completed.to_string()),
                row("lost", jobs.lost.to_string()),
                row("hit by the outage", jobs.hit.to_string()),
                row("finished elsewhere", jobs.finished_elsewhere.to_string()),
                row(
                    "finished there later",
                    jobs.finished_there_later.to_string(),
                ),
                row("began again", jobs.began_again.to_string()),
                row(
                    "first start elsewhere after",
                    or_never(self.first_start_elsewhere_s),
                ),
                row("recovery time", or_never(self.recovery_s)),
                row("region used again after", or_never(self.used_again_s)),
                row("wait p50, p95 before", waits(&self.waits_before)),
                row("wait p50, p95 during", waits(&self.waits_during)),
                row("wait p50, p95 after", waits(&self.waits_after)),
                row("cloud bill", format!("${}", money.bill_usd)),
                row("by the ledger", format!("${}", money.ledger_usd)),
                row("a job before", format!("${}", money.per_job_before_usd)),
                row("a job during", format!("${}", money.per_job_during_usd)),
                row("extra cost of the outage", format!("${}", money.extra_usd)),
            ],
        )
    }

    /// Whether no job was lost.
    ///
    /// # Errors
    /// How many were.
    pub fn verdict(&self) -> Result<(), CommandError> {
        let jobs = &self.jobs;
        if jobs.submitted == 0 {
            return Err(CommandError::new(ErrorKind::Failed, "no job was accepted"));
        }
        if jobs.lost > 0 {
            let message = format!("{} of {} jobs were lost", jobs.lost, jobs.submitted);
            return Err(CommandError::new(ErrorKind::Failed, message));
        }
        Ok(())
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    round(to.since(from).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use overspill_core::id::{AttemptId, EndpointId, JobId};

    use super::*;
    use crate::engine::api::{JobVersion, JobView};
    use crate::view::cost::Sums;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn attempt(
        number: u32,
        pool: &str,
        from: i64,
        start: i64,
        end: i64,
        outcome: &str,
    ) -> AttemptView {
        AttemptView {
            id: AttemptId {
                job: JobId::new(1, false),
                generation: 0,
                number,
            },
            pool: pool.to_owned(),
            worker: None,
            leased_at: at(from),
            started_at: (start >= 0).then(|| at(start)),
            ended_at: Some(at(end)),
            outcome: outcome.to_owned(),
            site: None,
        }
    }

    fn story(region: &str, submitted: i64, attempts: Vec<AttemptView>) -> JobStory {
        let last = attempts.last().unwrap();
        let start = last.started_at.unwrap();
        JobStory {
            job: JobView {
                id: JobId::new(1, false),
                endpoint: EndpointId(1),
                state: JobState::Completed,
                submitted_at: at(submitted),
                started_at: last.started_at,
                ended_at: last.ended_at,
                delay_ms: Some(start.since(at(submitted)).as_millis()),
                execution_ms: None,
                worker: None,
                pool: Some(last.pool.clone()),
                attempt: last.id.number,
                retries: 0,
                output: None,
                progress: None,
                error: None,
                error_code: None,
                webhook: None,
                trace: None,
                region: Some(region.parse().unwrap()),
                is_stream: false,
                result_sha256: None,
                version: JobVersion::default(),
            },
            attempts,
            cost: Sums::default(),
        }
    }

    fn report(stories: &[JobStory], submitted: usize) -> Report {
        let moments = Moments {
            down_at: at(100),
            up_at: at(200),
            bill_down: NanoUsd::from_nanos(2_000_000),
            bill_up: NanoUsd::from_nanos(8_000_000),
        };
        let bill = Bill {
            total_usd: "0.009000".to_owned(),
            endpoints: std::collections::BTreeMap::new(),
        };
        let scene = Scene::built_in("eu");
        Report::new("eu", &scene, stories, submitted, &moments, &bill, 9_100_000)
    }

    #[test]
    fn what_was_hit_is_told_from_what_was_not() {
        let stories = [
            // Before; one that ran when the region went; one that was handed there while it was down.
            story(
                "eu",
                50,
                vec![attempt(1, "cloud-eu", 50, 51, 53, "completed")],
            ),
            story(
                "eu",
                98,
                vec![
                    attempt(1, "cloud-eu", 98, 99, 141, "taken_back"),
                    attempt(2, "cloud-us", 141, 146, 148, "completed"),
                ],
            ),
            story(
                "eu",
                110,
                vec![
                    attempt(1, "cloud-eu", 110, -1, 141, "taken_back"),
                    attempt(2, "cloud-us", 141, 150, 152, "completed"),
                ],
            ),
            story(
                "us",
                120,
                vec![attempt(1, "cloud-us", 120, 121, 123, "completed")],
            ),
            story(
                "eu",
                205,
                vec![attempt(1, "cloud-eu", 205, 209, 211, "completed")],
            ),
        ];
        let report = report(&stories, 5);
        let jobs = report.jobs;
        assert_eq!((jobs.completed, jobs.lost, jobs.hit), (5, 0, 2));
        assert_eq!((jobs.finished_elsewhere, jobs.finished_there_later), (2, 0));
        assert_eq!(jobs.began_again, 1);
        assert_eq!(report.first_start_elsewhere_s, Some(46.0));
        assert_eq!(report.recovery_s, Some(50.0));
        assert_eq!(report.used_again_s, Some(9.0));
        assert_eq!(
            (report.waits_before.p95_s, report.waits_during.p50_s),
            (1.0, 40.0)
        );
        // Before: 1 job for 2 thousandths. During: 3 jobs for 6: no dearer than before.
        assert_eq!(report.money.per_job_during_usd, "0.002");
        assert_eq!(report.money.extra_usd, "0.000000");
        assert_eq!(report.money.ledger_usd, "0.009100");
        report.verdict().unwrap();
    }

    #[test]
    fn a_lost_job_fails_the_drill() {
        let stories = [story(
            "eu",
            50,
            vec![attempt(1, "cloud-eu", 50, 51, 53, "completed")],
        )];
        assert!(report(&stories, 2).verdict().is_err());
        assert!(report(&[], 0).verdict().is_err());
    }
}

//! What the demo showed, as a table and as one JSON object.

use overspill_core::money::NanoUsd;
use overspill_emulator::Emulator;
use overspill_store::SpentFilter;
use serde::Serialize;

use super::load::JOB_SECONDS;
use super::watch::Watched;
use crate::cli::{CommandError, ErrorKind, Output};
use crate::engine::api::{JobState, JobView};
use crate::engine::handle::Handle;
use crate::rehearsal::{quantile, round};

/// Jobs by what became of them and where they ran.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Jobs {
    submitted: u64,
    completed: u64,
    failed: u64,
    local: u64,
    cloud: u64,
}

/// The demo's result. Waits are from submission to the start of the job, in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    jobs: Jobs,
    wait_p50_s: f64,
    wait_p95_s: f64,
    cloud_workers_peak: usize,
    cloud_workers_end: usize,
    cold_starts: u64,
    local_utilisation: f64,
    cost_usd: String,
    saved_usd: String,
    #[serde(skip)]
    submissions_seen: u64,
    #[serde(skip)]
    changes_seen: u64,
}

impl Report {
    /// Counts what is recorded, and asks the emulated cloud for its bill.
    #[must_use]
    pub fn new(
        jobs: &[JobView],
        watched: &Watched,
        emulator: &Emulator,
        saved: NanoUsd,
        local_workers: u32,
    ) -> Self {
        let mut counts = Jobs {
            submitted: watched.submitted,
            ..Jobs::default()
        };
        let (mut waits, mut busy_ms) = (Vec::new(), 0);
        for job in jobs {
            let is_cloud = job
                .pool
                .as_deref()
                .is_some_and(|key| key.starts_with("cloud"));
            match job.state {
                JobState::Completed if is_cloud => counts.cloud += 1,
                JobState::Completed => {
                    counts.local += 1;
                    busy_ms += job.execution_ms.unwrap_or(0);
                }
                _ => {}
            }
            counts.completed += u64::from(job.state == JobState::Completed);
            counts.failed += u64::from(job.state == JobState::Failed);
            waits.extend(job.delay_ms);
        }
        waits.sort_unstable();
        let requests = emulator.requests();
        let seen = |part: &str| -> u64 {
            let fitting = requests.iter().filter(|(route, _)| route.contains(part));
            fitting.map(|(_, count)| count).sum()
        };
        // Jobs that came in at the very end run on after it.
        let length_s = watched.load_seconds + JOB_SECONDS;
        #[expect(clippy::cast_precision_loss, reason = "a demo is short")]
        let busy_s = busy_ms as f64 / 1_000.0;
        Self {
            jobs: counts,
            wait_p50_s: quantile(&waits, 50),
            wait_p95_s: quantile(&waits, 95),
            cloud_workers_peak: watched.cloud_workers_peak,
            cloud_workers_end: watched.cloud_workers_end,
            cold_starts: watched.cold_starts,
            local_utilisation: round(busy_s / (length_s * f64::from(local_workers))).min(1.0),
            cost_usd: emulator.bill().total_usd,
            saved_usd: saved.to_usd(4),
            submissions_seen: seen("/run"),
            changes_seen: seen("PATCH"),
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
        let jobs = &self.jobs;
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        output.table(
            &["what", "result"],
            vec![
                row("jobs submitted", jobs.submitted.to_string()),
                row("completed", jobs.completed.to_string()),
                row("failed", jobs.failed.to_string()),
                row("ran on local workers", jobs.local.to_string()),
                row("ran in the cloud", jobs.cloud.to_string()),
                row("wait p50", format!("{:.1} s", self.wait_p50_s)),
                row("wait p95", format!("{:.1} s", self.wait_p95_s)),
                row("cloud workers, peak", self.cloud_workers_peak.to_string()),
                row("cloud workers, now", self.cloud_workers_end.to_string()),
                row("cold starts", self.cold_starts.to_string()),
                row(
                    "local utilisation",
                    format!("{:.0} %", self.local_utilisation * 100.0),
                ),
                row("cloud bill", format!("${}", self.cost_usd)),
                row("saved by local cards", format!("${}", self.saved_usd)),
            ],
        )
    }

    /// Whether everything went as promised.
    ///
    /// # Errors
    /// What did not.
    pub fn verdict(&self, must_stay_local: bool) -> Result<(), CommandError> {
        let jobs = &self.jobs;
        let failed = |message: String| Err(CommandError::new(ErrorKind::Failed, message));
        if jobs.completed != jobs.submitted || jobs.submitted == 0 {
            return failed(format!(
                "{} of {} jobs were completed",
                jobs.completed, jobs.submitted
            ));
        }
        if self.cloud_workers_end != 0 {
            return failed(format!(
                "{} cloud workers still run",
                self.cloud_workers_end
            ));
        }
        if must_stay_local && self.submissions_seen + self.changes_seen > 0 {
            return failed(format!(
                "the cloud saw {} submissions and {} changes, though the local workers carry this \
                 load",
                self.submissions_seen, self.changes_seen
            ));
        }
        Ok(())
    }
}

/// What local runs would have cost in the cloud, by the ledger.
pub async fn saved(handle: &Handle) -> NanoUsd {
    let reader = std::sync::Arc::clone(handle.reader());
    let sums = tokio::task::spawn_blocking(move || reader.spent(&SpentFilter::default())).await;
    let Ok(Ok(sums)) = sums else {
        return NanoUsd::ZERO;
    };
    let is_saved = |kind| kind == overspill_core::ledger::EntryKind::Saved;
    sums.iter()
        .filter(|sum| is_saved(sum.kind))
        .map(|sum| sum.amount)
        .sum()
}

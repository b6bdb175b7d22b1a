//! What must be true of a run, from what clients were told, what workers did, and what the store holds.

use std::collections::{BTreeMap, BTreeSet};

use overspill_core::change::FinalState;
use overspill_core::id::{EndpointId, JobId};
use overspill_core::ledger::EntryKind;
use overspill_store::{JobFilter, Reader, RowState, SpentFilter, StoreError, WebhookFilter};
use serde_json::Value;

/// A job that some client was told is accepted.
#[derive(Debug, Default)]
struct Told {
    /// Where its end is reported, if anywhere.
    has_webhook: bool,
    /// Somebody asked for it to be run again, so that its end is not its last.
    may_be_retried: bool,
    /// A final state that some client saw, and when.
    end: Option<(String, u64)>,
    /// When a client was told that it is cancelled.
    cancelled_ms: Option<u64>,
    /// Results that workers were told are recorded, or were recorded before.
    recorded: BTreeSet<u64>,
}

/// The witnesses.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    jobs: BTreeMap<JobId, Told>,
    /// Clients' own names for submissions, and the jobs that they were told.
    keys: BTreeMap<(String, String), JobId>,
    /// Runs by number: of which job.
    begun: BTreeMap<u64, JobId>,
    next_run: u64,
    pub(super) violations: Vec<String>,
}

impl Oracle {
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn runs(&self) -> usize {
        self.begun.len()
    }

    /// The accepted jobs, the newest last.
    pub(super) fn accepted(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    /// Jobs that some client saw fail.
    pub(super) fn failed(&self) -> Vec<JobId> {
        let failed = |told: &Told| matches!(&told.end, Some((end, _)) if end == "FAILED" || end == "TIMED_OUT");
        let jobs = self.jobs.iter().filter(|(_, told)| failed(told));
        jobs.map(|(&job, _)| job).collect()
    }

    /// A client was told that its job is accepted.
    pub(super) fn acked(
        &mut self,
        endpoint: &str,
        job: JobId,
        key: Option<&str>,
        has_webhook: bool,
    ) {
        let told = self.jobs.entry(job).or_default();
        told.has_webhook |= has_webhook;
        let Some(key) = key else { return };
        let named = (endpoint.to_owned(), key.to_owned());
        let first = *self.keys.entry(named).or_insert(job);
        if first != job {
            self.violations.push(format!(
                "the submission {key} at {endpoint} is two jobs: {first} and {job}"
            ));
        }
    }

    /// Two submissions under different names, or at different endpoints, must be two jobs.
    fn judge_keys(&mut self) {
        let mut names: BTreeMap<JobId, &(String, String)> = BTreeMap::new();
        for (name, &job) in &self.keys {
            if let Some(other) = names.insert(job, name) {
                self.violations.push(format!(
                    "the submissions {other:?} and {name:?} are one job: {job}"
                ));
            }
        }
    }

    /// Somebody asks for a job to be run again.
    pub(super) fn retries(&mut self, job: JobId) {
        self.jobs.entry(job).or_default().may_be_retried = true;
    }

    /// A client that asked at `asked_ms` saw a job in some state.
    pub(super) fn saw(&mut self, asked_ms: u64, now_ms: u64, job: JobId, state: &str) {
        let is_final = !matches!(state, "IN_QUEUE" | "IN_PROGRESS");
        let told = self.jobs.entry(job).or_default();
        if told.may_be_retried {
            return;
        }
        // What was asked before others saw the end may be an older word, that came late.
        if let Some((end, seen_ms)) = &told.end
            && end != state
            && (is_final || asked_ms > *seen_ms)
        {
            self.violations
                .push(format!("job {job} was {end}, and is {state} now"));
        }
        if is_final {
            told.end.get_or_insert_with(|| (state.to_owned(), now_ms));
        }
        if state == "CANCELLED" {
            told.cancelled_ms.get_or_insert(now_ms);
        }
    }

    /// A worker begins to run a job; numbers the run.
    pub(super) fn begins(&mut self, job: JobId) -> u64 {
        self.next_run += 1;
        self.begun.insert(self.next_run, job);
        self.next_run
    }

    /// A worker posted a run's result at `posted_ms`, and was answered.
    pub(super) fn posted(&mut self, job: JobId, run: u64, posted_ms: u64, status: u16) {
        if status != 200 {
            return;
        }
        let told = self.jobs.entry(job).or_default();
        if told.may_be_retried {
            return;
        }
        told.recorded.insert(run);
        if told.recorded.len() > 1 {
            let recorded = &told.recorded;
            self.violations.push(format!(
                "several results of job {job} were recorded: {recorded:?}"
            ));
        }
        if told.cancelled_ms.is_some_and(|at| at < posted_ms) {
            self.violations.push(format!(
                "job {job} was cancelled, and a result that came later was recorded: {run}"
            ));
        }
    }

    /// What the store holds when everything is over.
    pub(super) fn judge(&mut self, reader: &dyn Reader) -> Result<(), StoreError> {
        self.judge_keys();
        let mut wrong = Vec::new();
        for (&job, told) in &self.jobs {
            let Some(row) = reader.row(job)? else {
                wrong.push(format!("job {job} was accepted, and is lost"));
                continue;
            };
            let RowState::Ended(_) = row.state else {
                wrong.push(format!("job {job} never ended"));
                continue;
            };
            let Some(end) = reader.ended(job)? else {
                wrong.push(format!("job {job} has ended, and there is no record of it"));
                continue;
            };
            let output = reader.output(job, end.generation)?;
            let word = match end.state {
                FinalState::Completed => "COMPLETED",
                FinalState::Failed => "FAILED",
                FinalState::Cancelled => "CANCELLED",
                FinalState::TimedOut => "TIMED_OUT",
            };
            if let Some((seen, _)) = &told.end
                && !told.may_be_retried
                && seen != word
            {
                wrong.push(format!("job {job} was seen {seen}, and is recorded {word}"));
            }
            let run = output.and_then(|bytes| run_of(&bytes));
            if end.state == FinalState::Completed {
                let is_its = run.is_some_and(|run| self.begun.get(&run) == Some(&job));
                if !is_its {
                    wrong.push(format!(
                        "job {job} completed with an output that no run of it made: {run:?}"
                    ));
                }
            }
            if let Some(recorded) = told.recorded.first()
                && !told.may_be_retried
            {
                let is_it = match end.state {
                    FinalState::Completed => run == Some(*recorded),
                    // The handler's own error.
                    FinalState::Failed => end.error_code.is_none(),
                    FinalState::Cancelled | FinalState::TimedOut => false,
                };
                if !is_it {
                    wrong.push(format!(
                        "the result {recorded} of job {job} was recorded, and the job is {word} with {run:?}"
                    ));
                }
            }
            let filter = WebhookFilter {
                job: Some(job),
                ..WebhookFilter::default()
            };
            let webhooks = reader.webhooks(&filter, None, 100)?.len();
            let expected = if end.webhook.is_some() {
                end.generation as usize + 1
            } else {
                0
            };
            if webhooks != expected || (told.has_webhook && end.webhook.is_none()) {
                wrong.push(format!(
                    "job {job} ended {expected} times, and has {webhooks} webhooks"
                ));
            }
        }
        self.violations.append(&mut wrong);
        self.judge_ledger(reader)
    }

    /// Every completed job has one entry of what it saved, and nothing else has one.
    fn judge_ledger(&mut self, reader: &dyn Reader) -> Result<(), StoreError> {
        let mut completed: BTreeMap<EndpointId, u64> = BTreeMap::new();
        let filter = JobFilter {
            endpoint: None,
            states: vec![RowState::Ended(FinalState::Completed)],
        };
        let mut after = None;
        loop {
            let page = reader.jobs(&filter, after, 500)?;
            for row in &page {
                *completed.entry(row.endpoint).or_default() += 1;
            }
            after = page.last().map(|row| row.id);
            if page.len() < 500 {
                break;
            }
        }
        let saved = SpentFilter {
            kind: Some(EntryKind::Saved),
            ..SpentFilter::default()
        };
        let mut entries: BTreeMap<EndpointId, u64> = BTreeMap::new();
        for spent in reader.spent(&saved)? {
            *entries.entry(spent.endpoint).or_default() += spent.entries;
        }
        if completed != entries {
            self.violations.push(format!(
                "completed jobs {completed:?} and entries of the ledger {entries:?} differ"
            ));
        }
        Ok(())
    }
}

/// Which run an output says that it is of.
fn run_of(output: &[u8]) -> Option<u64> {
    let output: Value = serde_json::from_slice(output).ok()?;
    output.get("run")?.as_u64()
}

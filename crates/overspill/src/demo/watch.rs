//! Looks on while the demo runs: a line a second for people, and the peak for the report.

use std::io::IsTerminal as _;
use std::time::Duration;

use overspill_emulator::Emulator;
use overspill_sim::cloud::EndpointId;
use tokio::task::JoinHandle;

use crate::cli::output::note;
use crate::engine::api::{EndpointView, Engine as _, JobFilter, JobView, Unavailable};
use crate::engine::handle::Handle;
use crate::rehearsal::spinner;

/// How often is looked.
const PERIOD: Duration = Duration::from_millis(200);

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watched {
    /// Jobs that were accepted.
    pub submitted: u64,
    /// The most cloud workers at once.
    pub cloud_workers_peak: usize,
    /// Cloud workers at the end.
    pub cloud_workers_end: usize,
    /// Starts of cold cloud workers.
    pub cold_starts: u64,
    /// How long jobs came in, in seconds.
    pub load_seconds: f64,
}

/// The onlooker.
pub struct Watch {
    handle: Handle,
    emulator: Emulator,
    cloud_endpoint: EndpointId,
}

impl Watch {
    /// Looks at a server and at the emulated cloud behind it.
    #[must_use]
    pub fn new(handle: Handle, emulator: Emulator, cloud_endpoint: String) -> Self {
        Self {
            handle,
            emulator,
            cloud_endpoint: EndpointId::from(cloud_endpoint),
        }
    }

    async fn endpoint(&self) -> Option<EndpointView> {
        let id = self.handle.endpoints().find(super::ENDPOINT)?.id;
        self.handle.endpoint(id).await
    }

    /// Waits until all local workers are ready for jobs; else says how many were in the end.
    ///
    /// # Errors
    /// The number that was ready after `patience`.
    pub async fn local_ready(&self, wanted: u32, patience: Duration) -> Result<(), u32> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            let ready = self.endpoint().await.map_or(0, |view| view.workers.idle);
            if ready >= wanted {
                return Ok(());
            }
            if tokio::time::Instant::now() >= end {
                return Err(ready);
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn cloud_workers(&self) -> usize {
        self.emulator.with_model(|model, now| {
            let workers = model.workers(now, &self.cloud_endpoint);
            workers.map_or(0, |(workers, _)| workers.len())
        })
    }

    /// Looks on until all jobs are done and the cloud is at zero, or `patience` after the load.
    pub async fn follow(&self, submitting: JoinHandle<u64>, patience: Duration) -> Watched {
        let mut watched = Watched::default();
        let start = tokio::time::Instant::now();
        let bar = std::io::stderr().is_terminal().then(spinner);
        let (mut load_end, mut ticks) = (None, 0_u64);
        loop {
            tokio::time::sleep(PERIOD).await;
            ticks += 1;
            let workers = self.cloud_workers();
            watched.cloud_workers_peak = watched.cloud_workers_peak.max(workers);
            watched.cloud_workers_end = workers;
            if load_end.is_none() && submitting.is_finished() {
                load_end = Some(tokio::time::Instant::now());
            }
            let Some(view) = self.endpoint().await else {
                continue;
            };
            if ticks.is_multiple_of(5) {
                let line = self.line(&view, workers, start.elapsed());
                match &bar {
                    Some(bar) => bar.set_message(line),
                    None if ticks.is_multiple_of(25) => note(&line),
                    None => {}
                }
            }
            let is_done = view.queued + view.running == 0 && workers == 0;
            let Some(end) = load_end else { continue };
            if is_done || end.elapsed() > patience {
                watched.load_seconds = (end - start).as_secs_f64();
                break;
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        watched.submitted = submitting.await.unwrap_or(0);
        watched.cold_starts = self.emulator.with_model(|model, now| {
            let starts = model.cold_starts(now, &self.cloud_endpoint);
            starts.unwrap_or(0)
        });
        watched
    }

    fn line(&self, view: &EndpointView, workers: usize, elapsed: Duration) -> String {
        format!(
            "{:>3} s  waiting {:>3}  local {}/{}  cloud workers {} of {}  done {:>3}  bill ${}",
            elapsed.as_secs(),
            view.queued,
            view.local.busy,
            view.local.slots,
            workers,
            view.limits.max,
            view.completed,
            self.emulator.bill().total_usd,
        )
    }

    /// Every job of the demo, as recorded.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn jobs(&self) -> Result<Vec<JobView>, Unavailable> {
        let mut jobs = Vec::new();
        let mut after = None;
        loop {
            let filter = JobFilter {
                limit: 500,
                after,
                ..JobFilter::default()
            };
            let page = self.handle.jobs(filter).await?;
            jobs.extend(page.jobs);
            after = page.next;
            if after.is_none() {
                return Ok(jobs);
            }
        }
    }
}

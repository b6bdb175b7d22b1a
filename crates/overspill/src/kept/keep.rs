//! The server's part: endpoints that the configuration asks for and RunPod lacks are made, at start, at
//! each reload, and when one has gone since. Nothing is changed or removed here: what differs is told of.
//!
//! It also notices when `overspill apply` in another process has made or removed some.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::carry_out::{Account, Extent, carry_out, purposes, survey};
use super::record::{Ledger, Record};
use crate::config::Loaded;

/// How often RunPod is looked at while nothing is known to be amiss.
const LOOK: Duration = Duration::from_secs(15 * 60);
/// The first pause after a failure; the next ones double it.
const RETRY: Duration = Duration::from_secs(10);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(10 * 60);
/// How often the data folder's record is read again, for what another process wrote there.
const READ: Duration = Duration::from_secs(3);

/// What the task is started with.
pub struct Options {
    /// The account.
    pub account: Account,
    /// The data folder.
    pub folder: PathBuf,
    /// The configuration, as it is and as it becomes.
    pub loaded: watch::Receiver<Arc<Loaded>>,
    /// Called when the ids that the record holds have changed.
    pub on_ids: Box<dyn Fn() + Send + Sync>,
}

/// Starts the task; it ends with the sender of configurations.
#[must_use]
pub fn start(options: Options) -> JoinHandle<()> {
    tokio::spawn(run(options))
}

async fn run(mut options: Options) {
    let mut known = Record::read(&options.folder).unwrap_or_default();
    let mut retry = RETRY;
    loop {
        let loaded = Arc::clone(&options.loaded.borrow_and_update());
        let pause = if purposes(&loaded.config).is_empty() {
            LOOK
        } else if make_missing(&options, &loaded).await {
            retry = RETRY;
            LOOK
        } else {
            let pause = retry;
            retry = (retry * 2).min(RETRY_MAX);
            pause
        };
        tell(&options, &mut known);
        let next = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                changed = options.loaded.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                () = tokio::time::sleep_until(next) => break,
                () = tokio::time::sleep(READ) => tell(&options, &mut known),
            }
        }
    }
}

/// Tells of ids that are new since the last time.
fn tell(options: &Options, known: &mut Record) {
    match Record::read(&options.folder) {
        Ok(record) if record != *known => {
            *known = record;
            (options.on_ids)();
        }
        Ok(_) => {}
        Err(error) => warn!(error = &error as &dyn std::error::Error, "kept endpoints"),
    }
}

/// Makes what is missing; `false` when it has to be tried again.
async fn make_missing(options: &Options, loaded: &Loaded) -> bool {
    let folder = options.folder.clone();
    let opened = tokio::task::spawn_blocking(move || Ledger::open(&folder)).await;
    let mut ledger = match opened {
        Ok(Ok(ledger)) => ledger,
        Ok(Err(error)) => {
            error!(
                error = &error as &dyn std::error::Error,
                "no endpoint can be made at RunPod"
            );
            return false;
        }
        Err(_) => return false,
    };
    let survey = match survey(&options.account, &loaded.config, &ledger).await {
        Ok(survey) => survey,
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "RunPod's endpoints cannot be listed; it is tried again"
            );
            return false;
        }
    };
    for missing in &survey.missing {
        warn!("{missing}");
    }
    let plan = &survey.plan;
    if !plan.change.is_empty() || !plan.remove.is_empty() {
        warn!(
            change = plan.change.len(),
            remove = plan.remove.len(),
            "endpoints of ours at RunPod are not as the configuration asks; `overspill apply` shows \
             what differs and puts it right"
        );
    }
    let applied = carry_out(&options.account, plan, &mut ledger, Extent::Missing).await;
    for (desired, id) in &applied.created {
        info!(
            endpoint = desired.endpoint,
            gpu = desired.gpu,
            id,
            "made an endpoint at RunPod; it is paused until workers are wanted"
        );
    }
    for failure in &applied.failures {
        error!(error = failure as &dyn std::error::Error, "kept endpoints");
    }
    applied.failures.is_empty()
}

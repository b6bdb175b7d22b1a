//! Looks at RunPod and does what a plan says, one call after the other.
//!
//! Each step can be cut off: the next run plans anew from what there is then. A making whose answer was
//! lost is looked for by its name before it is tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use overspill_wire::management::catalog::GpuTypeList;
use overspill_wire::management::endpoint::{Endpoint, UpdateEndpoint, WorkerLimits};
use rand::Rng as _;
use serde::Serialize;

use super::desired::{self, Desired, NoSuchGpu};
use super::gpus::Catalog;
use super::name::{Mark, nonce, purpose};
use super::plan::{Change, Plan, Remove, plan};
use super::record::{Ledger, RecordError};
use crate::config::Config;
use crate::pool::runpod::client::{CloudError, DataPlane};
use crate::pool::runpod::management::Management;

/// How often a making whose answer was lost is looked for.
const LOOKS: u32 = 5;
/// The first pause between two looks; the next ones double it.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// The account whose endpoints are kept, and by whom.
#[derive(Debug, Clone)]
pub struct Account {
    /// Endpoints.
    pub management: Management,
    /// Jobs: asked only whether an endpoint still has some.
    pub data_plane: DataPlane,
    /// The installation's id.
    pub installation: String,
}

/// What there is to do, and what was looked at to say so.
#[derive(Debug)]
pub struct Survey {
    /// What is to be done.
    pub plan: Plan,
    /// Types of GPU that RunPod does not have.
    pub missing: Vec<NoSuchGpu>,
    /// Whether RunPod's own catalog said which types there are.
    pub catalog_is_live: bool,
}

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Made: what for, and RunPod's id.
    pub created: Vec<(Desired, String)>,
    /// Changed: RunPod's id.
    pub changed: Vec<String>,
    /// Removed: RunPod's id.
    pub removed: Vec<String>,
    /// Left, because jobs are there: RunPod's id, and how many.
    pub left: Vec<(String, u32)>,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} {what}")]
pub struct Failure {
    /// What was tried.
    pub step: Step,
    /// With which: a label, or RunPod's id.
    pub what: String,
    /// Why it failed.
    #[source]
    pub cause: StepError,
}

/// A kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Make an endpoint.
    Create,
    /// Change one.
    Change,
    /// Remove one.
    Remove,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create => "cannot make",
            Self::Change => "cannot change",
            Self::Remove => "cannot remove",
        })
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// RunPod.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The data folder.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The answer was lost, and no endpoint of that name has shown up.
    #[error(
        "the answer was lost, and RunPod does not list it; apply again to see what became of it"
    )]
    Unknown,
}

/// Which steps of a plan may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What is missing is made; nothing else.
    Missing,
    /// Everything.
    All {
        /// Endpoints go with the jobs that are there.
        force: bool,
    },
}

/// Every purpose of a configuration.
#[must_use]
pub fn purposes(config: &Config) -> BTreeSet<String> {
    desired::purposes(config)
        .map(|(endpoint, pool, gpu)| purpose(&endpoint.name, &pool.name, gpu))
        .collect()
}

/// Looks at RunPod and says what is to be done. Endpoints that the data folder remembers and the list
/// lacks are asked for one by one: a list that lacks them by mistake must not have them made again.
///
/// # Errors
/// [`CloudError`], of the list of endpoints.
pub async fn survey(
    account: &Account,
    config: &Config,
    ledger: &Ledger,
) -> Result<Survey, CloudError> {
    let catalog = match account.management.gpus::<GpuTypeList>().await {
        Ok(list) => Catalog::of(&list),
        Err(error @ CloudError::Unauthorized { .. }) => return Err(error),
        Err(_) => Catalog::built_in(),
    };
    let (desired, missing) = desired::of(config, &catalog);
    let mut seen = account.management.list().await?;
    for wanted in &desired {
        let Some(id) = ledger.record().id_of(&wanted.purpose) else {
            continue;
        };
        if !seen.iter().any(|endpoint| endpoint.id == id) {
            match account.management.get(id).await {
                Ok(endpoint) => seen.push(endpoint),
                Err(CloudError::Gone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let plan = plan(
        &account.installation,
        &desired,
        &purposes(config),
        &seen,
        ledger.record(),
    );
    Ok(Survey {
        plan,
        missing,
        catalog_is_live: catalog.is_live,
    })
}

/// Does what a plan says, as far as `extent` allows; goes on after a failure.
pub async fn carry_out(
    account: &Account,
    plan: &Plan,
    ledger: &mut Ledger,
    extent: Extent,
) -> Applied {
    let mut applied = Applied::default();
    let fail = |step, what: String, cause| Failure { step, what, cause };
    let known = plan.keep.iter().map(|(p, id)| (p.as_str(), id.as_str()));
    let differing = plan.change.iter();
    let differing = differing.map(|change| (change.desired.purpose.as_str(), change.id.as_str()));
    if let Err(cause) = ledger.found(known.chain(differing)) {
        let failure = fail(Step::Change, "the record".into(), cause.into());
        applied.failures.push(failure);
    }
    for wanted in &plan.create {
        match create(account, wanted, ledger).await {
            Ok(id) => applied.created.push((wanted.clone(), id)),
            Err(cause) => {
                let failure = fail(Step::Create, wanted.label(), cause);
                applied.failures.push(failure);
            }
        }
    }
    let Extent::All { force } = extent else {
        return applied;
    };
    for change in &plan.change {
        match alter(account, change).await {
            Ok(()) => applied.changed.push(change.id.clone()),
            Err(cause) => {
                let failure = fail(Step::Change, change.id.clone(), cause.into());
                applied.failures.push(failure);
            }
        }
    }
    for needless in &plan.remove {
        match remove(account, needless, ledger, force).await {
            Ok(Removed::Gone) => applied.removed.push(needless.id.clone()),
            Ok(Removed::Busy(jobs)) => applied.left.push((needless.id.clone(), jobs)),
            Err(cause) => {
                let failure = fail(Step::Remove, needless.id.clone(), cause);
                applied.failures.push(failure);
            }
        }
    }
    applied
}

async fn create(
    account: &Account,
    wanted: &Desired,
    ledger: &mut Ledger,
) -> Result<String, StepError> {
    let fresh = nonce(rand::rng().next_u32());
    let mark = Mark {
        installation: account.installation.clone(),
        nonce: ledger.begin(&wanted.purpose, &fresh)?,
        purpose: wanted.purpose.clone(),
    };
    let body = wanted.settings.create(mark.name(&wanted.label()));
    let id = match account.management.create(&body).await {
        Ok(endpoint) => endpoint.id,
        // Whether it was made is open.
        Err(
            CloudError::Transport(_) | CloudError::Unavailable { .. } | CloudError::Protocol(_),
        ) => look_for(account, &mark).await?,
        Err(refused) => return Err(refused.into()),
    };
    ledger.found([(wanted.purpose.as_str(), id.as_str())])?;
    Ok(id)
}

/// Finds what was made under a name, once RunPod lists it.
async fn look_for(account: &Account, mark: &Mark) -> Result<String, StepError> {
    let mut pause = LOOK_PAUSE;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let Ok(seen) = account.management.list().await else {
            continue;
        };
        let is_it = |endpoint: &&Endpoint| Mark::find(&endpoint.name).as_ref() == Some(mark);
        if let Some(endpoint) = seen.iter().find(is_it) {
            return Ok(endpoint.id.clone());
        }
    }
    Err(StepError::Unknown)
}

async fn alter(account: &Account, change: &Change) -> Result<(), CloudError> {
    let update = change.update();
    account.management.update(&change.id, &update).await?;
    Ok(())
}

/// What came of removing an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// It is gone.
    Gone,
    /// So many jobs are there.
    Busy(u32),
}

/// Pauses an endpoint, and removes it once no job is there: removing one ends its jobs.
pub(super) async fn remove(
    account: &Account,
    needless: &Remove,
    ledger: &mut Ledger,
    force: bool,
) -> Result<Removed, StepError> {
    let paused = account
        .management
        .update(&needless.id, &UpdateEndpoint::of_workers(NO_WORKERS))
        .await;
    match paused {
        Ok(_) => {
            if !force {
                let health = account.data_plane.health(&needless.id).await?;
                let jobs = health.jobs_queued + health.jobs_running;
                if jobs > 0 {
                    return Ok(Removed::Busy(jobs));
                }
            }
            account.management.delete(&needless.id).await?;
        }
        Err(CloudError::Gone { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    ledger.forget(&needless.id)?;
    Ok(Removed::Gone)
}

/// Limits that let no worker start.
const NO_WORKERS: WorkerLimits = WorkerLimits {
    min: Some(0),
    max: Some(0),
    idle_timeout: None,
};

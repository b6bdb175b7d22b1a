//! The one change that a guard can make: no worker of an endpoint, neither kept on nor started.
//!
//! [`Lower`] holds the management API and gives none of it away: there is no way through it to any other
//! body than [`NOTHING`], which a test reads off the wire.

use overspill_wire::management::endpoint::{UpdateEndpoint, WorkerLimits};

use crate::kept::name::Mark;
use crate::pool::runpod::client::CloudError;
use crate::pool::runpod::management::Management;

/// Limits that keep no worker on and let none start.
const NOTHING: WorkerLimits = WorkerLimits {
    min: Some(0),
    max: Some(0),
    idle_timeout: None,
};

/// Lowers, and cannot raise.
#[derive(Debug, Clone)]
pub struct Lower {
    management: Management,
}

/// What was found at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lowered {
    /// Its limits were these, and are zero now.
    From(u32, u32),
    /// They were zero already.
    Already,
    /// There is no such endpoint.
    Gone,
}

/// Why limits are not zero.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// RunPod.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// RunPod took the change, twice, and keeps others all the same.
    #[error("RunPod was told min 0 and max 0 twice and says min {min}, max {max}")]
    Kept {
        /// What it says.
        min: u32,
        /// What it says.
        max: u32,
    },
}

impl Lower {
    /// Takes the account's management API, and keeps it.
    #[must_use]
    pub const fn new(management: Management) -> Self {
        Self { management }
    }

    /// Sets an endpoint's limits to zero, and sees that they are.
    ///
    /// # Errors
    /// [`LowerError`]; safe to repeat.
    pub async fn lower(&self, endpoint: &str) -> Result<Lowered, LowerError> {
        let before = match self.management.limits(endpoint).await {
            Ok(limits) => (limits.min, limits.max),
            Err(CloudError::Gone { .. }) => return Ok(Lowered::Gone),
            // What cannot be read may still be changed.
            Err(_) => (None, None),
        };
        if before == (Some(0), Some(0)) {
            return Ok(Lowered::Already);
        }
        let nothing = UpdateEndpoint::of_workers(NOTHING);
        let mut kept = (0, 0);
        for _ in 0..2 {
            let now = match self.management.update(endpoint, &nothing).await {
                Ok(now) => now,
                Err(CloudError::Gone { .. }) => return Ok(Lowered::Gone),
                Err(error) => return Err(error.into()),
            };
            kept = (now.min.unwrap_or(0), now.max.unwrap_or(0));
            if kept == (0, 0) {
                let (min, max) = before;
                return Ok(Lowered::From(min.unwrap_or(0), max.unwrap_or(0)));
            }
        }
        Err(LowerError::Kept {
            min: kept.0,
            max: kept.1,
        })
    }

    /// Endpoints that an installation has made, by the mark in their names.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn made_by(&self, installation: &str) -> Result<Vec<String>, CloudError> {
        let seen = self.management.list().await?;
        let ours = seen.into_iter().filter(|endpoint| {
            Mark::find(&endpoint.name).is_some_and(|mark| mark.installation == installation)
        });
        Ok(ours.map(|endpoint| endpoint.id).collect())
    }
}

//! Where worker processes are started: by the keeper, or by this process itself.

use super::client::{KeeperClient, KeeperGone};
use super::direct::DirectHost;
use super::protocol::{AliveWorker, SpawnOrder, WorkerSignal};

/// Starts, signals and counts worker processes. Its notices come out of the receiver that was
/// made with it, and are the same for both kinds.
#[derive(Debug)]
pub enum ProcessHost {
    /// The parent process does it; workers outlive this process.
    Keeper(KeeperClient),
    /// This process does it; workers end with it.
    Direct(DirectHost),
}

impl ProcessHost {
    /// Starts a worker process; `Spawned` or `SpawnFailed` follows as a notice.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn spawn(&self, order: SpawnOrder) -> Result<(), KeeperGone> {
        match self {
            Self::Keeper(keeper) => keeper.spawn(order),
            Self::Direct(direct) => {
                direct.spawn(order);
                Ok(())
            }
        }
    }

    /// Signals a worker; unknown and ended workers are ignored.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn signal(&self, worker: &str, signal: WorkerSignal) -> Result<(), KeeperGone> {
        match self {
            Self::Keeper(keeper) => keeper.signal(worker, signal),
            Self::Direct(direct) => {
                direct.signal(worker, signal);
                Ok(())
            }
        }
    }

    /// The workers whose main process lives, in the order of their names.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub async fn alive(&self) -> Result<Vec<AliveWorker>, KeeperGone> {
        match self {
            Self::Keeper(keeper) => keeper.alive().await,
            Self::Direct(direct) => Ok(direct.alive()),
        }
    }

    /// Says that this process answers requests now.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn ready(&self) -> Result<(), KeeperGone> {
        match self {
            Self::Keeper(keeper) => keeper.ready(),
            Self::Direct(_) => Ok(()),
        }
    }

    /// Says that this process is ending on purpose.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn stopping(&self) -> Result<(), KeeperGone> {
        match self {
            Self::Keeper(keeper) => keeper.stopping(),
            Self::Direct(_) => Ok(()),
        }
    }
}

//! Puts a configuration in force: at a reload, and when endpoints at RunPod were made or have gone.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use overspill_core::event::Event;
use tracing::{info, warn};

use super::{aliases, classes};
use crate::config::Loaded;
use crate::engine::api::Engine as _;
use crate::engine::handle::Handle;
use crate::gpu;
use crate::kept::record::Record;
use crate::region::{Locator, SharedLocator};
use crate::topology::{self, Installation};
use crate::view::after_death;
use crate::view::board::Board;

/// What RunPod could still bill if every process of ours died, with the limits in force; `None` where it could
/// bill nothing.
pub(super) async fn bound_in_words(handle: &Handle) -> Option<String> {
    let bound = handle.query(|core| Some(core.bound_most())).await;
    after_death::in_words(&bound.ok()??)
}

/// Everyone who must hear of a configuration.
pub(super) struct Force {
    pub(super) handle: Handle,
    pub(super) board: Arc<Board>,
    pub(super) installation: Arc<RwLock<Installation>>,
    pub(super) data_dir: PathBuf,
    pub(super) locator: SharedLocator,
}

impl Force {
    /// Lays it over this machine and what is kept at RunPod, as they are now.
    pub(super) fn put_in(&self, loaded: &Loaded) {
        let gpus = gpu::detect().unwrap_or_default();
        let kept = match Record::read(&self.data_dir) {
            Ok(kept) => kept,
            Err(error) => {
                // What is in force knows the endpoints; nothing would.
                warn!(error = &error as &dyn std::error::Error, "kept endpoints");
                return;
            }
        };
        let mut installation = topology::install(loaded, &gpus, &kept);
        for warning in &installation.warnings {
            warn!("{warning}");
        }
        match Locator::new(&loaded.config) {
            Ok(locator) => self.locator.set(locator),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "callers are located as before");
            }
        }
        let topology = Box::new(installation.topology.clone());
        self.handle.live().set_aliases(aliases(&loaded.config));
        self.handle.live().set_classes(classes(&loaded.config));
        self.board.configure(loaded, &installation);
        let mut in_force = self
            .installation
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        installation.number = in_force.number + 1;
        *in_force = installation;
        drop(in_force);
        self.handle.tell(Event::Configured { topology }, Vec::new());
        let handle = self.handle.clone();
        tokio::spawn(async move {
            if let Some(bound) = bound_in_words(&handle).await {
                info!("{bound}");
            }
        });
    }
}

//! Puts a configuration in force: at a reload, when endpoints at RunPod were made or have gone, and
//! when a driver answers that did not.
//!
//! A task of its own: nothing else waits for a driver that hangs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use overspill_core::event::Event;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::cards::Cards;
use super::{aliases, classes};
use crate::config::Loaded;
use crate::engine::api::Engine as _;
use crate::engine::handle::Handle;
use crate::kept::record::{Record, RecordError};
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

/// What is to be put in force.
pub(super) enum Order {
    /// A configuration that was read again.
    Reload(Box<Loaded>),
    /// That of before: what it is laid over has changed.
    Again,
}

/// Everyone who must hear of a configuration.
pub(super) struct Force {
    pub(super) handle: Handle,
    pub(super) board: Arc<Board>,
    pub(super) installation: Arc<RwLock<Installation>>,
    pub(super) data_dir: PathBuf,
    pub(super) locator: SharedLocator,
    pub(super) cards: Cards,
    /// Whether the driver has listed the cards since it was last asked.
    pub(super) is_certain: bool,
    /// Whether there is an account in the cloud; it is connected at a start.
    pub(super) has_account: bool,
    pub(super) configured: watch::Sender<Arc<Loaded>>,
}

impl Force {
    /// Carries out orders, one after the other, until nobody is left who gives any.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let monitor = Arc::clone(self.cards.monitor());
        let started = Arc::clone(&self.configured.borrow());
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                () = monitor.well_again(), if !self.is_certain => Some(Order::Again),
            };
            match order {
                None => return,
                Some(Order::Again) => {
                    let loaded = Arc::clone(&self.configured.borrow());
                    if let Err(error) = self.put_in(&loaded).await {
                        warn!(error = &error as &dyn std::error::Error, "kept endpoints");
                    }
                }
                Some(Order::Reload(loaded)) if !self.has_account && loaded.config.uses_cloud() => {
                    error!(
                        "the configuration was read again and is not in force: it has the first cloud pool, and \
                         the RunPod account is connected at a start; start Overspill again, workers go on meanwhile"
                    );
                }
                Some(Order::Reload(loaded)) => match self.put_in(&loaded).await {
                    Ok(()) => {
                        let waiting = started.config.waiting_for_a_start(&loaded.config);
                        if !waiting.is_empty() {
                            let settings = waiting.join(", ");
                            warn!(
                                settings,
                                "these settings act only once Overspill is started again"
                            );
                        }
                        self.configured.send_replace(Arc::from(loaded));
                        info!("the configuration was read again and is in force");
                    }
                    Err(error) => error!(
                        error = &error as &dyn std::error::Error,
                        "the configuration was read again and is not in force: what is in force stays, for \
                         nothing else says which endpoints at RunPod are kept; put the file right and reload"
                    ),
                },
            }
        }
    }

    /// Lays it over this machine and what is kept at RunPod, as they are now.
    async fn put_in(&mut self, loaded: &Loaded) -> Result<(), RecordError> {
        let kept = Record::read(&self.data_dir)?;
        let looked = self.cards.look().await;
        self.is_certain = looked.is_certain;
        let mut installation = topology::install(loaded, self.cards.list(), &kept);
        installation.warnings.extend(looked.warnings);
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
        *self
            .installation
            .write()
            .unwrap_or_else(PoisonError::into_inner) = installation;
        self.handle.tell(Event::Configured { topology }, Vec::new());
        let handle = self.handle.clone();
        tokio::spawn(async move {
            if let Some(bound) = bound_in_words(&handle).await {
                info!("{bound}");
            }
        });
        Ok(())
    }
}

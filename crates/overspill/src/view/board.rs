//! Looks at the core once a second, keeps an hour of what it saw, and tells whoever watches.
//!
//! One task looks; everyone else reads what it published. It asks the engine like any reader, so it
//! sees committed state only, and costs one pass over endpoints, pools and workers a second,
//! whatever the number of jobs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use overspill_core::budget::{CapScope, Caps};
use overspill_core::event::Event;
use overspill_core::id::{DeviceId, EndpointId, JobId, PoolId};
use overspill_core::machine::Core;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::topology::PoolKind;
use overspill_store::{Counts, SpentFilter};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::budget;
use super::cost::{Ask, By, Costs, Names, Summing};
use super::gpus::{self, Comparison, PoolCard};
use super::metrics;
use super::overview::{Beside, Look, Overview};
use super::pools::Pools;
use super::series::{Sample, Series};
use super::spending::{self, Money, SpentLine};
use super::tally::Sums;
use super::time_line::{self, DecisionLine};
use super::why::{self, Why};
use crate::catalog::Catalog;
use crate::config::{Loaded, known};
use crate::doctor::{self, Finding};
use crate::engine::api::{Engine as _, Unavailable};
use crate::engine::handle::Handle;
use crate::gpu::GpuMonitor;
use crate::kept::desired::{is_kept, pool_key};
use crate::pool::local::cards;
use crate::topology::Installation;

/// How often the core is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Sums of the store are read every so many looks: they grow with endpoints, and change slowly.
const LOOKS_PER_SUM: u64 = 5;
/// The core is told what cards at work take every so many looks.
const LOOKS_PER_POWER: u64 = 5;

/// See the module.
pub struct Board {
    handle: Handle,
    settings: RwLock<Arc<Settings>>,
    series: Mutex<Series>,
    latest: watch::Sender<Arc<Overview>>,
    gpus: Arc<GpuMonitor>,
    catalog: RwLock<Arc<Catalog>>,
}

/// The configuration in force, for people.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Settings {
    /// The version of this binary.
    pub version: &'static str,
    /// Every effective value as TOML, secrets redacted; live changes are not in it.
    pub config: String,
    /// What people should know of it.
    pub warnings: Vec<String>,
    /// Keys that are understood and do nothing yet.
    pub not_active: Vec<String>,
    /// Time zone whose days count for money.
    pub time_zone: String,
    #[serde(skip)]
    uuids: BTreeMap<DeviceId, String>,
    /// Memory of the card that a cloud pool asks for, by endpoint and pool.
    #[serde(skip)]
    gpu_memory_gb: BTreeMap<(String, String), u32>,
}

impl Settings {
    fn new(loaded: &Loaded, installation: &Installation) -> Self {
        let known = installation.devices.iter();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            config: loaded.config.to_toml(),
            warnings: loaded
                .warnings()
                .map(ToString::to_string)
                .chain(installation.warnings.iter().cloned())
                .collect(),
            not_active: loaded.not_active().map(ToString::to_string).collect(),
            time_zone: loaded.config.budget.time_zone.name().to_owned(),
            gpu_memory_gb: gpu_memory(loaded),
            uuids: known
                .filter_map(|(id, device)| Some((*id, device.uuid.clone()?)))
                .collect(),
        }
    }
}

fn gpu_memory(loaded: &Loaded) -> BTreeMap<(String, String), u32> {
    let endpoints = loaded.config.endpoint.iter();
    let pools = endpoints.flat_map(|e| e.cloud.iter().map(move |pool| (&e.name, pool)));
    let known = pools.flat_map(|(endpoint, pool)| {
        let types = pool.gpu.0.iter();
        let memory = types.filter_map(|name| Some((name, known::gpu(name)?.memory_gb)));
        let of = |name: &String| {
            if is_kept(pool) {
                pool_key(&pool.name, name)
            } else {
                pool.name.clone()
            }
        };
        // Of a pool that may get several types, the first is the one that is meant.
        let first = if is_kept(pool) { usize::MAX } else { 1 };
        let memory = memory.take(first);
        memory
            .map(|(name, gb)| ((endpoint.clone(), of(name)), gb))
            .collect::<Vec<_>>()
    });
    known.collect()
}

/// What one look leaves for the next.
#[derive(Default)]
struct Last {
    number: u64,
    sums: Option<Sums>,
    ended: BTreeMap<EndpointId, Counts>,
    money: Money,
}

impl Board {
    /// Begins to look, until `stop` is cancelled.
    #[must_use]
    pub fn start(
        handle: Handle,
        loaded: &Loaded,
        installation: &Installation,
        gpus: Arc<GpuMonitor>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let board = Arc::new(Self {
            handle,
            settings: RwLock::new(Arc::new(Settings::new(loaded, installation))),
            series: Mutex::default(),
            latest: watch::Sender::new(Arc::default()),
            gpus,
            catalog: RwLock::default(),
        });
        let seen = cards::watch(board.handle.clone(), Arc::clone(&board.gpus));
        tokio::spawn(stop.clone().run_until_cancelled_owned(seen));
        let looking = Arc::clone(&board);
        tokio::spawn(async move {
            tokio::select! {
                () = looking.look_on() => {}
                () = stop.cancelled() => {}
            }
        });
        board
    }

    /// Takes over a changed configuration.
    pub fn configure(&self, loaded: &Loaded, installation: &Installation) {
        let settings = Arc::new(Settings::new(loaded, installation));
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The configuration in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    /// The overview, now and whenever it is new; its number is 0 before the first look.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Overview>> {
        self.latest.subscribe()
    }

    /// Samples of the last `length`, `points` at most.
    #[must_use]
    pub fn series(&self, length: DurationMs, points: usize) -> Vec<Sample> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.last(self.handle.now(), length, points)
    }

    /// Every pool with its workers, as of now.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn pools(&self) -> Result<Pools, Unavailable> {
        let now = self.handle.now();
        self.handle.query(move |core| Pools::read(core, now)).await
    }

    /// Decisions that are remembered, newest first.
    #[must_use]
    pub fn decisions(&self, before: Option<u64>, limit: usize) -> Vec<DecisionLine> {
        time_line::lines(self.handle.live(), before, limit)
    }

    /// Why a job is where it is; `None` for one that nobody knows.
    ///
    /// # Errors
    /// When the engine or the store does not answer.
    pub async fn why_job(&self, id: JobId) -> Result<Option<Why>, Unavailable> {
        let mut why = why::job(&self.handle, id).await?;
        if let Some(why) = &mut why {
            why.findings = self.findings_of(&why.endpoint).await?;
        }
        Ok(why)
    }

    /// Why an endpoint has the cloud workers that it has.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn why_scale(&self, id: EndpointId) -> Result<Option<Why>, Unavailable> {
        let mut why = why::scale(&self.handle, id).await?;
        if let Some(why) = &mut why {
            why.findings = self.findings_of(&why.endpoint).await?;
        }
        Ok(why)
    }

    async fn findings_of(&self, endpoint: &str) -> Result<Vec<Finding>, Unavailable> {
        let directory = self.handle.endpoints();
        let ids = directory.find(endpoint).map(|entry| entry.id);
        self.examined(ids.into_iter().collect()).await
    }

    /// Every known fault that is there now.
    ///
    /// # Errors
    /// When the engine or the store does not answer.
    pub async fn doctor(&self) -> Result<Vec<Finding>, Unavailable> {
        let directory = self.handle.endpoints();
        let ids = directory.entries().iter().map(|entry| entry.id);
        self.examined(ids.collect()).await
    }

    async fn examined(&self, ids: Vec<EndpointId>) -> Result<Vec<Finding>, Unavailable> {
        let settings = self.settings();
        let mut found = Vec::new();
        for id in ids {
            let facts = doctor::gather(&self.handle, id, &settings.gpu_memory_gb).await?;
            let Some(facts) = facts else { continue };
            let examined = tokio::task::spawn_blocking(move || doctor::examine(&facts));
            found.extend(examined.await.map_err(|_| Unavailable)?);
        }
        Ok(found)
    }

    /// The last midnight, where days begin for money.
    #[must_use]
    pub fn midnight(&self) -> Timestamp {
        spending::midnight(self.handle.now(), &self.settings().time_zone)
    }

    /// What was spent and saved from then on, by endpoint and pool.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn spent(&self, since: Option<Timestamp>) -> Result<Vec<SpentLine>, Unavailable> {
        let filter = SpentFilter {
            since,
            ..SpentFilter::default()
        };
        let sums = self
            .handle
            .read(move |reader| reader.spent(&filter))
            .await?;
        let live = self.handle.live();
        let directory = live.directory();
        let name_of = |endpoint: EndpointId, pool: PoolId| {
            let endpoint = directory.get(endpoint).map(|entry| entry.name.clone());
            (
                endpoint.unwrap_or_default(),
                live.pool(pool).unwrap_or_default(),
            )
        };
        Ok(spending::lines(&sums, name_of))
    }

    /// What can be rented, as last known.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        let catalog = self.catalog.read();
        Arc::clone(&catalog.unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over a newer catalog.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
    }

    /// The cards of this machine, where a driver shows them.
    #[must_use]
    pub fn cards(&self) -> Vec<crate::gpu::Gpu> {
        self.gpus.watch().borrow().gpus.clone()
    }

    /// The cards that pools use, each with its driver's id where it has one.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn devices(&self) -> Result<Vec<(DeviceId, Option<String>)>, Unavailable> {
        let read = |core: &Core| {
            let cards = core.devices();
            cards.map(|spec| (spec.id, spec.uuid.clone())).collect()
        };
        self.handle.query(read).await
    }

    /// Which type of GPU serves an endpoint's jobs for the least money, by what was spent from `since` on;
    /// `None` for an endpoint that is not configured.
    ///
    /// # Errors
    /// When the engine or the store does not answer.
    pub async fn gpus_for(
        &self,
        id: EndpointId,
        since: Timestamp,
    ) -> Result<Option<Comparison>, Unavailable> {
        let pools = self.handle.query(move |core| pool_cards(core, id)).await?;
        let Some(pools) = pools else { return Ok(None) };
        let filter = SpentFilter {
            endpoint: Some(id),
            since: Some(since),
            ..SpentFilter::default()
        };
        let sums = self
            .handle
            .read(move |reader| reader.spent(&filter))
            .await?;
        Ok(Some(gpus::compare(&pools, &sums, &self.catalog())))
    }

    /// Every cap with what stands against it.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn budget(&self) -> Result<budget::Look, Unavailable> {
        self.handle.query(budget::Look::at).await
    }

    /// The same, with the names of endpoints; keys go by their ids.
    async fn told_budget(&self) -> Result<budget::Budget, Unavailable> {
        let look = self.budget().await?;
        let zone = self.settings().time_zone.clone();
        let directory = self.handle.endpoints();
        let name_of = |id| Some(directory.get(id)?.name.clone());
        Ok(look.told(&zone, |_| true, name_of, |_| None))
    }

    /// The caps of a scope that hold, and those of the file.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn caps(&self, scope: CapScope) -> Result<(Caps, Caps), Unavailable> {
        let of_scope = move |core: &Core| {
            let mut all = core.caps_in_force().into_iter();
            let found = all.find(|it| it.scope == scope);
            found.map(|it| (it.caps, it.file)).unwrap_or_default()
        };
        self.handle.query(of_scope).await
    }

    /// What was spent on what, by the side that is asked for.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn cost(&self, ask: Ask) -> Result<Costs, Unavailable> {
        let filter = SpentFilter {
            since: ask.since,
            until: ask.until,
            ..SpentFilter::default()
        };
        let by = ask.by;
        let mut summing = Summing::new(ask, &self.settings().time_zone);
        let summing = self.handle.read(move |reader| {
            if by == By::Job {
                reader.entries_of_jobs(&filter, &mut |entry| summing.entry(&entry))?;
            } else {
                reader.spent_rows(&filter, &mut |row| summing.row(&row))?;
            }
            Ok(summing)
        });
        let summing = summing.await?;
        let (live, keys) = (self.handle.live(), self.handle.keys());
        let directory = live.directory();
        Ok(summing.lines(&Names {
            endpoint: &|id| Some(directory.get(id)?.name.clone()),
            pool: &|id| live.pool(id),
            key: &|id| {
                let id = id.to_string();
                let key = keys.iter().find(|key| key.id == id)?;
                Some(key.name.clone())
            },
        }))
    }

    /// Everything as metrics, as of this overview.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn metrics(
        &self,
        overview: &Overview,
        format: metrics::Format,
    ) -> Result<String, Unavailable> {
        let spent = self.spent(None).await?;
        let live = self.handle.live();
        let directory = live.directory();
        let name = |id: EndpointId| Some(directory.get(id)?.name.clone());
        let histograms = live.tally.histograms().into_iter();
        let decisions = live.decided_counts().into_iter();
        let failures = live.tally.failures().into_iter();
        let sources = metrics::Sources {
            overview,
            histograms: &histograms
                .filter_map(|(id, of)| Some((name(id)?, of)))
                .collect(),
            decisions: &decisions
                .filter_map(|((id, code), count)| Some(((name(id)?, code), count)))
                .collect(),
            failures: &failures
                .filter_map(|((id, kind), count)| Some(((name(id)?, kind), count)))
                .collect(),
            spent: &spent,
            spans: live.tracer.counts(),
            budget: &self.told_budget().await?,
        };
        Ok(metrics::write(&sources, format))
    }

    async fn look_on(&self) {
        let mut last = Last::default();
        let mut clock = tokio::time::interval(PERIOD);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            // A store that is being restored answers later: what was seen last stays.
            if let Err(Unavailable) = self.look(&mut last).await {
                warn!("the engine did not answer the board");
            }
        }
    }

    async fn look(&self, last: &mut Last) -> Result<(), Unavailable> {
        let now = self.handle.now();
        let look = self.handle.query(move |core| Look::at(core, now)).await?;
        let settings = self.settings();
        if last.number.is_multiple_of(LOOKS_PER_SUM) {
            let midnight = spending::midnight(now, &settings.time_zone);
            let directory = self.handle.endpoints();
            let ids: Vec<EndpointId> = directory.entries().iter().map(|e| e.id).collect();
            let read = self.handle.read(move |reader| {
                let money = spending::sums(reader, midnight)?;
                let mut ended = BTreeMap::new();
                for id in ids {
                    ended.insert(id, reader.counts(id)?);
                }
                Ok((money, ended))
            });
            (last.money, last.ended) = read.await?;
        }
        last.number += 1;
        let live = self.handle.live();
        let sums = live.tally.sums();
        let gpus = self.gpus.watch().borrow().clone();
        let mut overview = Overview::new(
            &look,
            &Beside {
                now,
                number: last.number,
                recent: live.tally.recent(now),
                ended: &last.ended,
                money: last.money,
                gpus: &gpus,
                uuids: &settings.uuids,
                last_decision: live.last_decision(),
                troubles: live.troubles.list(),
            },
        );
        if last.number.is_multiple_of(LOOKS_PER_POWER) {
            for device in overview.devices.iter().filter(|device| device.jobs > 0) {
                if let Some(milliwatts) = device.power_mw {
                    let device = DeviceId(device.id);
                    self.handle
                        .tell(Event::CardMeasured { device, milliwatts }, Vec::new());
                }
            }
        }
        if let Some(before) = last.sums.replace(sums) {
            overview.sample.submitted = sums.submitted - before.submitted;
            overview.sample.completed = sums.completed - before.completed;
            overview.sample.failed = sums.failed - before.failed;
        }
        {
            let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            series.push(overview.sample);
        }
        self.latest.send_replace(Arc::new(overview));
        Ok(())
    }
}

/// The pools of an endpoint with their cards.
fn pool_cards(core: &Core, id: EndpointId) -> Option<Vec<PoolCard>> {
    core.configured()
        .find(|endpoint| endpoint.record.id == id)?;
    let names: BTreeMap<DeviceId, &str> = core
        .devices()
        .map(|device| (device.id, device.name.as_str()))
        .collect();
    let own = core.pools().filter(|pool| pool.record.endpoint == id);
    let cards = own.filter_map(|pool| {
        let (gpu, price, vram) = match &pool.spec.as_ref()?.kind {
            PoolKind::RunPod(spec) => {
                (spec.gpu.clone(), Some(spec.price.unwrap_or_default()), None)
            }
            PoolKind::Command {
                devices,
                vram_bytes,
            } => {
                let name = devices.first().and_then(|device| names.get(device));
                (name.map(|name| (*name).to_owned()), None, *vram_bytes)
            }
        };
        Some(PoolCard {
            id: pool.record.id,
            name: pool.record.key.clone(),
            gpu,
            price,
            vram_gb: vram.and_then(|bytes| u32::try_from(bytes / 1_000_000_000).ok()),
        })
    });
    Some(cards.collect())
}

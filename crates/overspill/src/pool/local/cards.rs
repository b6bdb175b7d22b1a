//! Tells the core what is seen of its cards: faults, and whose memory is free.
//!
//! Looks twice a second at what the core was told and tells it what is new, so that a fact that got
//! lost with a restored core is told again. It decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use overspill_core::event::Event;
use overspill_core::id::DeviceId;
use overspill_core::machine::Core;
use overspill_core::quarantine::CardReading;

use crate::engine::api::{Engine as _, Unavailable};
use crate::engine::handle::Handle;
use crate::gpu::health::{Groups, of_card};
use crate::gpu::{GpuMonitor, GpuSnapshot};

/// How often the core is looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// What the core knows of a card.
struct Known {
    id: DeviceId,
    uuid: String,
    reading: Option<CardReading>,
    /// Process groups that are gone and may still hold memory there.
    leaving: Vec<u32>,
}

fn known(core: &Core) -> Vec<Known> {
    let cards = core.cards().filter_map(|card| {
        Some(Known {
            id: card.spec.id,
            uuid: card.spec.uuid.clone()?,
            reading: card.reading.clone(),
            leaving: card.leaving.keys().copied().collect(),
        })
    });
    cards.collect()
}

/// Looks until the engine is gone.
pub async fn watch(handle: Handle, monitor: Arc<GpuMonitor>) {
    let snapshots = monitor.watch();
    let mut groups = Groups::default();
    let mut asked: BTreeMap<(DeviceId, u32), Instant> = BTreeMap::new();
    let mut clock = tokio::time::interval(PERIOD);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let snapshot = snapshots.borrow().clone();
        groups.look(&snapshot);
        let Ok(cards) = handle.query(known).await else {
            // A store that is being restored answers later.
            let _: Unavailable = Unavailable;
            continue;
        };
        let stall = monitor.stall();
        for card in &cards {
            let said = of_card(&card.uuid, &snapshot, &stall);
            if let Some(reading) = said.filter(|said| card.reading.as_ref() != Some(said)) {
                let device = card.id;
                handle.tell(Event::CardRead { device, reading }, Vec::new());
            }
        }
        asked.retain(|(id, pid), _| {
            let mut cards = cards.iter();
            cards.any(|card| card.id == *id && card.leaving.contains(pid))
        });
        for card in &cards {
            for &pid in &card.leaving {
                let first = *asked.entry((card.id, pid)).or_insert_with(|| {
                    monitor.read_now();
                    Instant::now()
                });
                if is_free(card, pid, first, &snapshot, &groups) {
                    let device = card.id;
                    handle.tell(Event::CardFreed { device, pid }, Vec::new());
                }
            }
        }
    }
}

/// Whether a reading that began after the group's end was known lists no process of it.
fn is_free(
    card: &Known,
    pid: u32,
    since: Instant,
    snapshot: &GpuSnapshot,
    groups: &Groups,
) -> bool {
    let is_new = snapshot.begun_at.is_some_and(|at| at >= since);
    let lists = snapshot.fault.is_none()
        && snapshot
            .gpus
            .iter()
            .any(|gpu| gpu.uuid == card.uuid && gpu.readings.processes.is_some());
    is_new && lists && !groups.holds(&card.uuid, pid, snapshot)
}

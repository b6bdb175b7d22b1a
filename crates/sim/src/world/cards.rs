//! The cards of this host, and the driver that reads them: some fall off for a while, some keep the
//! memory of a process that is no more.
//!
//! Only runs that have such a fault have a driver at all; in others nobody reads cards.

use std::collections::BTreeMap;

use overspill_core::event::Event;
use overspill_core::id::DeviceId;
use overspill_core::machine::Core;
use overspill_core::quarantine::CardReading;
use overspill_core::time::{DurationMs, Timestamp};
use rand::RngExt;

use crate::faults::Fault;
use crate::scene::{Action, Local, Scene};

/// Time between two readings.
const READING: DurationMs = DurationMs::from_secs(2);

/// All cards of this host.
#[derive(Default)]
pub(crate) struct Cards {
    troubles: BTreeMap<DeviceId, Trouble>,
    /// When the memory of each process that is no more is free.
    frees_at: BTreeMap<u32, Timestamp>,
    /// A look is planned.
    is_watched: bool,
}

/// What is wrong with a card.
struct Trouble {
    kind: Kind,
    until: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Failing,
    Hanging,
    /// The count of errors while it lasts; then the card is reset.
    MemoryErrors,
}

impl Cards {
    /// Whether somebody reads them in this run.
    fn are_read(scene: &Scene) -> bool {
        let faults = [Fault::CardLost, Fault::CardMemoryStays];
        faults.into_iter().any(|fault| scene.faults.may(fault))
    }

    /// Something may be to be said of them: looks from now on, for as long as it is.
    pub(crate) fn watch(&mut self, scene: &mut Scene) {
        if !self.is_watched && Self::are_read(scene) {
            self.is_watched = true;
            scene.after(READING, Action::Local(Local::Cards));
        }
    }

    /// Tells the core what it was not told, as the server's own driver does.
    pub(crate) fn look(&mut self, scene: &mut Scene, core: &Core) {
        self.is_watched = false;
        let now = scene.now;
        self.troubles.retain(|_, trouble| trouble.until > now);
        let is_served = scene.is_up && !scene.is_frozen();
        let mut is_busy = !scene.faults.is_calm() || !self.troubles.is_empty() || !is_served;
        for card in core.cards() {
            let id = card.spec.id;
            is_busy |= !card.takes_work();
            let reading = self.reading(id);
            if is_served && card.reading.as_ref() != Some(&reading) {
                is_busy = true;
                let device = id;
                scene.tell(Event::CardRead { device, reading });
            }
            for &pid in card.leaving.keys() {
                let is_free = self.frees_at.get(&pid).is_none_or(|&at| at <= now);
                if is_served && is_free {
                    scene.tell(Event::CardFreed { device: id, pid });
                }
            }
        }
        self.frees_at.retain(|_, at| *at > now);
        if is_busy {
            self.watch(scene);
        }
    }

    fn reading(&self, id: DeviceId) -> CardReading {
        let memory_errors = match self.troubles.get(&id).map(|trouble| trouble.kind) {
            Some(Kind::Missing) => return CardReading::Missing,
            Some(Kind::Hanging) => return CardReading::Hanging,
            Some(Kind::Failing) => {
                let error = "GPU is lost".to_owned();
                return CardReading::Failing { error };
            }
            Some(Kind::MemoryErrors) => 2,
            None => 0,
        };
        CardReading::Answers {
            memory_errors: Some(memory_errors),
            lists_processes: true,
        }
    }

    /// A card falls off, maybe; says until when what runs there hangs.
    pub(crate) fn misfortune(&mut self, scene: &mut Scene, id: DeviceId) -> Option<Timestamp> {
        if self.troubles.contains_key(&id) || !scene.strikes(Fault::CardLost) {
            return None;
        }
        let length = scene.ms(1_000, 180_000);
        let kinds = [
            Kind::Missing,
            Kind::Failing,
            Kind::Hanging,
            Kind::MemoryErrors,
        ];
        let kind = kinds[scene.rng.random_range(0..kinds.len())];
        let until = scene.now + length;
        self.troubles.insert(id, Trouble { kind, until });
        self.watch(scene);
        // Memory errors are counted; what runs on goes on.
        (kind != Kind::MemoryErrors).then_some(until)
    }

    /// Until when nothing can run on a card.
    pub(crate) fn lost_until(&self, id: DeviceId, now: Timestamp) -> Option<Timestamp> {
        let trouble = self.troubles.get(&id)?;
        let is_lost = trouble.kind != Kind::MemoryErrors && trouble.until > now;
        is_lost.then_some(trouble.until)
    }

    /// Until when a process there cannot even be killed.
    pub(crate) fn stuck_until(&self, id: DeviceId, now: Timestamp) -> Option<Timestamp> {
        let trouble = self.troubles.get(&id)?;
        let hangs = trouble.kind == Kind::Hanging;
        self.lost_until(id, now).filter(|_| hangs)
    }

    /// A process is no more.
    pub(crate) fn left(&mut self, scene: &mut Scene, pid: u32) {
        if !Self::are_read(scene) {
            return;
        }
        let stays = if scene.strikes(Fault::CardMemoryStays) {
            scene.ms(1_000, 120_000)
        } else {
            DurationMs::ZERO
        };
        self.frees_at.insert(pid, scene.now + stays);
        self.watch(scene);
    }
}

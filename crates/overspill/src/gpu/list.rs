//! The list of cards in force: which card has which number, whatever the driver says just now.
//!
//! A driver lists what it reaches. With one card off the bus it may list the others under other
//! indices, and while it fails it lists none. So the list is kept, in the data directory
//! (`cards.json`), and what the driver says is laid over it by uuid: a card that is missing keeps its
//! place, and what is known of it never passes to another.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Gpu;

/// The file's name in the data directory.
pub const FILE: &str = "cards.json";

/// A card of the list, or an instance of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its number here, for as long as it is in the list: its place in the driver's list when it was
    /// first seen, where the instances of a split card have places of their own.
    pub id: u32,
    /// The driver's index, which the configuration names cards by; an instance has that of its card.
    pub index: u32,
    /// The driver's lasting id.
    pub uuid: String,
    /// Marketing name.
    pub name: String,
    /// Installed memory in bytes, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The card that this is an instance of, by its uuid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig_of: Option<String>,
}

/// The cards in force, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardList {
    cards: Vec<Card>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The system.
    #[error("\"{}\" cannot be read or written", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("\"{}\" is damaged; cards are numbered as the driver lists them", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
}

impl CardList {
    /// The list as the driver has it.
    #[must_use]
    pub fn of(found: &[Gpu]) -> Self {
        let cards = (0..).zip(found).map(|(id, gpu)| Card {
            id,
            index: gpu.index,
            uuid: gpu.uuid.clone(),
            name: gpu.name.clone(),
            memory_bytes: gpu.readings.memory_bytes,
            mig_of: gpu.mig_of.clone(),
        });
        Self {
            cards: cards.collect(),
        }
    }

    /// Reads it; an absent file is an empty list.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn read(folder: &Path) -> Result<Self, ListError> {
        let path = folder.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| ListError::Damaged { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ListError::Io { path, source }),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`ListError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), ListError> {
        let path = folder.join(FILE);
        let fresh = folder.join("cards.new");
        let json = serde_json::to_vec_pretty(self).expect("a list of plain texts is always JSON");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&json)?;
            file.sync_all()
        });
        written
            .and_then(|()| std::fs::rename(&fresh, &path))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|source| ListError::Io { path, source })
    }

    /// The cards, by number.
    #[must_use]
    pub fn cards(&self) -> &[Card] {
        &self.cards
    }

    /// Cards that the driver does not list.
    pub fn missing(&self, found: &[Gpu]) -> impl Iterator<Item = &Card> {
        let is_listed = |card: &&Card| found.iter().any(|gpu| gpu.uuid == card.uuid);
        self.cards.iter().filter(move |card| !is_listed(card))
    }

    /// What the driver lists laid over the list of a running server: nothing that may be in use loses
    /// its number, and no number is given anew.
    #[must_use]
    pub fn laid_over(&self, found: &[Gpu]) -> Self {
        let next = self.cards.iter().map(|card| card.id + 1).max();
        self.lay(found, |_| true, next.unwrap_or(0))
    }

    /// What the driver lists at a start laid over the list of the run before. A card that it lacks
    /// stays only where `is_held` says so of its uuid, and leaves its place to a new card: somebody
    /// changed one for the other. Where nothing is missing and no worker is left of the run before
    /// (`is_idle`), the list is as the driver has it.
    #[must_use]
    pub fn at_start(&self, found: &[Gpu], is_held: impl Fn(&str) -> bool, is_idle: bool) -> Self {
        let is_whole = |mig_of: Option<&String>| mig_of.is_none();
        let knows = |uuid: &str| self.cards.iter().any(|card| card.uuid == uuid);
        let new = found
            .iter()
            .filter(|gpu| is_whole(gpu.mig_of.as_ref()) && !knows(&gpu.uuid));
        let held: Vec<&Card> = self
            .missing(found)
            .filter(|card| is_held(&card.uuid) && !is_gone(card, found))
            .collect();
        let whole = held.iter().filter(|card| is_whole(card.mig_of.as_ref()));
        let replaced: Vec<&str> = whole
            .take(new.count())
            .map(|card| card.uuid.as_str())
            .collect();
        let is_replaced = |card: &Card| {
            let of = card.mig_of.as_deref().unwrap_or(&card.uuid);
            replaced.contains(&of)
        };
        let stays = |card: &Card| is_held(&card.uuid) && !is_replaced(card);
        if is_idle && !held.iter().any(|card| stays(card)) {
            return Self::of(found);
        }
        self.lay(found, stays, 0)
    }

    /// Known cards keep their numbers; of the missing, those that stay. New ones get the first free
    /// number from `from` on.
    fn lay(&self, found: &[Gpu], stays: impl Fn(&Card) -> bool, from: u32) -> Self {
        let is_missing = |card: &Card| !found.iter().any(|gpu| gpu.uuid == card.uuid);
        let mut cards: Vec<Card> = self
            .cards
            .iter()
            .filter(|card| !is_missing(card) || (stays(card) && !is_gone(card, found)))
            .cloned()
            .collect();
        // A driver that lacks a card may have given its index to the next one.
        let lacks_one = cards.iter().any(is_missing);
        for gpu in found {
            let of_card = gpu.mig_of.as_ref();
            let of_card = of_card.and_then(|of| cards.iter().find(|card| card.uuid == *of));
            let of_card = of_card.map(|card| card.index);
            if let Some(card) = cards.iter_mut().find(|card| card.uuid == gpu.uuid) {
                if !lacks_one {
                    card.index = gpu.index;
                }
                // One in trouble is listed, and nothing is read of it.
                card.memory_bytes = gpu.readings.memory_bytes.or(card.memory_bytes);
                card.name.clone_from(&gpu.name);
                continue;
            }
            let index = of_card.unwrap_or_else(|| {
                let is_taken = |index: u32| cards.iter().any(|card| card.index == index);
                if lacks_one {
                    first_free(0, is_taken)
                } else {
                    gpu.index
                }
            });
            cards.push(Card {
                id: first_free(from, |id| cards.iter().any(|card| card.id == id)),
                index,
                uuid: gpu.uuid.clone(),
                name: gpu.name.clone(),
                memory_bytes: gpu.readings.memory_bytes,
                mig_of: gpu.mig_of.clone(),
            });
        }
        cards.sort_by_key(|card| card.id);
        Self { cards }
    }
}

fn first_free(from: u32, is_taken: impl Fn(u32) -> bool) -> u32 {
    let mut free = (from..).filter(|&number| !is_taken(number));
    free.next().unwrap_or(u32::MAX)
}

/// Whether a missing instance was destroyed: its card is well and has it no more.
fn is_gone(card: &Card, found: &[Gpu]) -> bool {
    let of = card.mig_of.as_ref();
    let of = of.and_then(|of| found.iter().find(|gpu| gpu.uuid == *of));
    of.is_some_and(|gpu| gpu.fault.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuReadings;

    fn gpu(index: u32, uuid: &str) -> Gpu {
        Gpu {
            index,
            uuid: uuid.to_owned(),
            name: "card".to_owned(),
            mig_of: None,
            fault: None,
            readings: GpuReadings {
                memory_bytes: Some(24 << 30),
                ..GpuReadings::default()
            },
        }
    }

    fn instance(index: u32, uuid: &str, of: &str) -> Gpu {
        let mig_of = Some(of.to_owned());
        Gpu {
            mig_of,
            ..gpu(index, uuid)
        }
    }

    /// Number, uuid and index of each.
    fn shown(list: &CardList) -> Vec<(u32, &str, u32)> {
        let cards = list.cards.iter();
        cards.map(|c| (c.id, c.uuid.as_str(), c.index)).collect()
    }

    const NOBODY: fn(&str) -> bool = |_| false;

    #[test]
    fn a_card_that_is_missing_at_a_reload_keeps_its_place() {
        let list = CardList::of(&[gpu(0, "a"), gpu(1, "b")]);
        let over = list.laid_over(&[gpu(0, "b")]);
        assert_eq!(shown(&over), [(0, "a", 0), (1, "b", 1)]);
        assert_eq!(list.missing(&[gpu(0, "b")]).count(), 1);
        // A new one is appended, though the driver has it first.
        let over = over.laid_over(&[gpu(0, "c"), gpu(1, "b")]);
        assert_eq!(shown(&over), [(0, "a", 0), (1, "b", 1), (2, "c", 2)]);
        // With all of them there, indices are the driver's; numbers stay.
        let over = over.laid_over(&[gpu(0, "c"), gpu(1, "a"), gpu(2, "b")]);
        assert_eq!(shown(&over), [(0, "a", 1), (1, "b", 2), (2, "c", 0)]);
        assert_eq!(shown(&list.laid_over(&[])), [(0, "a", 0), (1, "b", 1)]);
    }

    #[test]
    fn a_card_in_trouble_keeps_what_was_read_of_it() {
        let list = CardList::of(&[gpu(0, "a")]);
        let mut lost = gpu(0, "a");
        lost.fault = Some("GPU is lost".to_owned());
        lost.readings = GpuReadings::default();
        assert_eq!(list.laid_over(&[lost]), list);
    }

    #[test]
    fn a_quarantined_card_that_is_missing_at_a_start_keeps_its_place() {
        let list = CardList::of(&[gpu(0, "a"), gpu(1, "b")]);
        let is_held = |uuid: &str| uuid == "a";
        for is_idle in [true, false] {
            let start = list.at_start(&[gpu(0, "b")], is_held, is_idle);
            assert_eq!(shown(&start), [(0, "a", 0), (1, "b", 1)]);
        }
    }

    #[test]
    fn a_card_that_was_taken_out_is_forgotten_at_a_start() {
        let list = CardList::of(&[gpu(0, "a"), gpu(1, "b")]);
        let start = list.at_start(&[gpu(0, "b")], NOBODY, true);
        assert_eq!(shown(&start), [(0, "b", 0)]);
        // A worker of the run before is still on card 1.
        let start = list.at_start(&[gpu(0, "b")], NOBODY, false);
        assert_eq!(shown(&start), [(1, "b", 0)]);
    }

    #[test]
    fn a_new_card_takes_the_place_of_the_one_it_was_changed_for() {
        let list = CardList::of(&[gpu(0, "a"), gpu(1, "b"), gpu(2, "c")]);
        let is_held = |uuid: &str| uuid != "c";
        let start = list.at_start(&[gpu(0, "new"), gpu(1, "c")], is_held, true);
        assert_eq!(shown(&start), [(0, "new", 0), (1, "b", 1), (2, "c", 2)]);
        let start = list.at_start(&[gpu(0, "x"), gpu(1, "y"), gpu(2, "c")], is_held, true);
        assert_eq!(shown(&start), [(0, "x", 0), (1, "y", 1), (2, "c", 2)]);
    }

    #[test]
    fn an_instance_goes_with_a_new_division_and_stays_with_a_lost_card() {
        let divided = [gpu(0, "a"), instance(0, "m1", "a"), instance(0, "m2", "a")];
        let list = CardList::of(&divided);
        let again = [gpu(0, "a"), instance(0, "m3", "a")];
        let over = list.laid_over(&again);
        assert_eq!(shown(&over), [(0, "a", 0), (3, "m3", 0)]);
        assert_eq!(
            shown(&list.at_start(&again, |_| true, true)),
            [(0, "a", 0), (1, "m3", 0)]
        );
        let mut lost = gpu(0, "a");
        lost.fault = Some("GPU is lost".to_owned());
        assert_eq!(list.laid_over(&[lost]), list);
        assert_eq!(list.laid_over(&[]), list);
        // The whole of a card is changed for another.
        let start = list.at_start(&[gpu(0, "new")], |_| true, true);
        assert_eq!(shown(&start), [(0, "new", 0)]);
    }

    #[test]
    fn it_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(CardList::read(folder.path()).unwrap(), CardList::default());
        let list = CardList::of(&[gpu(0, "a"), instance(0, "m", "a")]);
        list.write(folder.path()).unwrap();
        assert_eq!(CardList::read(folder.path()).unwrap(), list);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let error = CardList::read(folder.path()).unwrap_err();
        assert!(matches!(error, ListError::Damaged { .. }), "{error}");
    }
}

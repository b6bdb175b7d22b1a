//! The table of live jobs: a slab with a hash index, small enough for a million of them.
//!
//! The hash is fixed, and nothing depends on the order of the slab: a queue has its own order.

use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::JobId;
use crate::job::Job;

/// A job's place in the table while it is live; given out again afterwards.
pub type Slot = u32;

/// All live jobs.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    slots: Vec<Option<Job>>,
    free: Vec<Slot>,
    index: HashTable<Slot>,
}

impl Jobs {
    /// How many are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Puts a job in and returns its slot; a job of the same id is replaced in place.
    ///
    /// # Panics
    /// With more than 2^32 live jobs.
    pub fn insert(&mut self, job: Job) -> Slot {
        if let Some(slot) = self.slot(job.id) {
            self.slots[slot as usize] = Some(job);
            return slot;
        }
        let id = job.id;
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(job);
            slot
        } else {
            self.slots.push(Some(job));
            Slot::try_from(self.slots.len() - 1).expect("fewer than 2^32 jobs are live")
        };
        let slots = &self.slots;
        self.index
            .insert_unique(hash(id), slot, |&slot| hash_at(slots, slot));
        slot
    }

    /// Takes a job out.
    pub fn remove(&mut self, id: JobId) -> Option<Job> {
        let slots = &self.slots;
        let entry = self
            .index
            .find_entry(hash(id), |&slot| is_at(slots, slot, id))
            .ok()?;
        let (slot, _) = entry.remove();
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    /// Where a job is.
    #[must_use]
    pub fn slot(&self, id: JobId) -> Option<Slot> {
        self.index
            .find(hash(id), |&slot| is_at(&self.slots, slot, id))
            .copied()
    }

    /// The job of an id.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.at(self.slot(id)?)
    }

    /// The job of an id, to be changed.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let slot = self.slot(id)?;
        self.slots[slot as usize].as_mut()
    }

    /// The job in a slot.
    #[must_use]
    pub fn at(&self, slot: Slot) -> Option<&Job> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.slots.iter().flatten()
    }
}

impl Serialize for Jobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The order of the free slots says which is given out next.
        (&self.slots, &self.free).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Jobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (slots, free) = <(Vec<Option<Job>>, Vec<Slot>)>::deserialize(deserializer)?;
        let mut index = HashTable::with_capacity(slots.len() - free.len().min(slots.len()));
        for (slot, job) in (0..).zip(&slots) {
            if let Some(job) = job {
                index.insert_unique(hash(job.id), slot, |&slot| hash_at(&slots, slot));
            }
        }
        Ok(Self { slots, free, index })
    }
}

fn is_at(slots: &[Option<Job>], slot: Slot, id: JobId) -> bool {
    slots[slot as usize]
        .as_ref()
        .is_some_and(|job| job.id == id)
}

fn hash_at(slots: &[Option<Job>], slot: Slot) -> u64 {
    slots[slot as usize].as_ref().map_or(0, |job| hash(job.id))
}

/// Mixes the random half of a UUID; ids are minted by us, so nobody chooses collisions.
#[expect(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
fn hash(id: JobId) -> u64 {
    let uuid = id.uuid();
    let folded = (uuid as u64) ^ ((uuid >> 64) as u64).rotate_left(17);
    (folded ^ u64::from(id.is_sync()))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(26)
}

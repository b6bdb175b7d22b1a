//! What readings say of one card, in the core's words.
//!
//! Pure, but for the process table that [`Groups`] reads: it decides nothing. Whether a card is used
//! is the core's matter (`quarantine.rs` there).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overspill_core::quarantine::CardReading;

use super::GpuSnapshot;

/// A reading that takes longer hangs: a good one takes milliseconds, one with a driver that wakes
/// its cards up some seconds.
pub const HANGS_AFTER: Duration = Duration::from_secs(20);
/// Parents that are looked at, from a process upwards.
const GENERATIONS_MAX: usize = 32;

/// The last reading, for as long as none comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Since the last reading began, or the monitor did.
    pub lasts: Duration,
    /// The card at which it is.
    pub at: Option<String>,
}

/// What the readings say of the card of this uuid; `None` while that is unknown, and what was told
/// before stands.
#[must_use]
pub fn of_card(uuid: &str, snapshot: &GpuSnapshot, stall: &Stall) -> Option<CardReading> {
    let gpu = snapshot.gpus.iter().find(|gpu| gpu.uuid == uuid);
    if stall.lasts >= HANGS_AFTER {
        let is_here = match &stall.at {
            None => true,
            Some(at) => at == uuid || gpu.is_some_and(|gpu| gpu.mig_of.as_ref() == Some(at)),
        };
        if is_here {
            return Some(CardReading::Hanging);
        }
        // Who leaves another card meanwhile is not seen to: nothing may wait for that there.
        return match of_reading(uuid, snapshot)? {
            CardReading::Answers { memory_errors, .. } => Some(CardReading::Answers {
                memory_errors,
                lists_processes: false,
            }),
            _ => None,
        };
    }
    of_reading(uuid, snapshot)
}

/// What the last reading says of a card.
fn of_reading(uuid: &str, snapshot: &GpuSnapshot) -> Option<CardReading> {
    let gpu = snapshot.gpus.iter().find(|gpu| gpu.uuid == uuid);
    if snapshot.sequence == 0 {
        return None;
    }
    if let Some(fault) = &snapshot.fault {
        let error = fault.to_string();
        return Some(CardReading::Failing { error });
    }
    let Some(gpu) = gpu else {
        return Some(CardReading::Missing);
    };
    // An instance is as well as its card.
    let card = gpu.mig_of.as_ref();
    let card = card.and_then(|card| snapshot.gpus.iter().find(|gpu| gpu.uuid == *card));
    let fault = gpu.fault.as_ref();
    if let Some(error) = fault.or_else(|| card?.fault.as_ref()) {
        let error = error.clone();
        return Some(CardReading::Failing { error });
    }
    let own = gpu.readings.uncorrected_memory_errors;
    Some(CardReading::Answers {
        memory_errors: own.or_else(|| card?.readings.uncorrected_memory_errors),
        lists_processes: gpu.readings.processes.is_some(),
    })
}

/// Which process group each process on a card belongs to, as seen while it lived: a driver may list
/// a dead process for as long as its memory is not free, and the process table no longer knows it.
#[derive(Debug)]
pub struct Groups {
    /// Of each listed process: itself, its group, its session and its parents.
    kin: BTreeMap<u32, BTreeSet<u32>>,
    table: PathBuf,
}

impl Default for Groups {
    fn default() -> Self {
        Self::of_table(Path::new("/proc"))
    }
}

impl Groups {
    /// Reads the processes of this folder, which is laid out as `/proc`.
    #[must_use]
    pub fn of_table(table: &Path) -> Self {
        Self {
            kin: BTreeMap::new(),
            table: table.to_owned(),
        }
    }

    /// Takes in who is on the cards now, and forgets who is not any more.
    pub fn look(&mut self, snapshot: &GpuSnapshot) {
        let lists = snapshot.gpus.iter().map(|gpu| &gpu.readings.processes);
        let listed: BTreeSet<u32> = lists.flatten().flatten().map(|p| p.pid).collect();
        self.kin.retain(|pid, _| listed.contains(pid));
        for pid in listed {
            let seen = self.kin_of(pid);
            self.kin.entry(pid).or_default().extend(seen);
        }
    }

    /// Whether a process of this group still holds memory on the card of this uuid.
    #[must_use]
    pub fn holds(&self, uuid: &str, group: u32, snapshot: &GpuSnapshot) -> bool {
        let card = snapshot.gpus.iter().find(|gpu| gpu.uuid == uuid);
        let processes = card.and_then(|gpu| gpu.readings.processes.as_ref());
        let is_of_group =
            |pid: &u32| *pid == group || self.kin.get(pid).is_some_and(|kin| kin.contains(&group));
        let mut pids = processes.into_iter().flatten().map(|process| process.pid);
        pids.any(|pid| is_of_group(&pid))
    }

    fn kin_of(&self, pid: u32) -> BTreeSet<u32> {
        let mut kin = BTreeSet::from([pid]);
        let mut at = pid;
        for _ in 0..GENERATIONS_MAX {
            let Some([parent, group, session]) = self.stat(at) else {
                break;
            };
            kin.extend([group, session].into_iter().filter(|&id| id > 1));
            if parent <= 1 || !kin.insert(parent) {
                break;
            }
            at = parent;
        }
        kin
    }

    /// Parent, group and session of a process that lives.
    fn stat(&self, pid: u32) -> Option<[u32; 3]> {
        let text = fs::read_to_string(self.table.join(pid.to_string()).join("stat")).ok()?;
        // The program's name stands in parentheses and may have any character in it.
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(1);
        let mut next = || fields.next()?.parse().ok();
        Some([next()?, next()?, next()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, GpuError, GpuProcess, GpuReadings};

    const NOT_STALLED: Stall = Stall {
        lasts: Duration::from_secs(2),
        at: None,
    };

    fn gpu(uuid: &str) -> Gpu {
        Gpu {
            index: 0,
            uuid: uuid.to_owned(),
            name: "card".to_owned(),
            mig_of: None,
            fault: None,
            readings: GpuReadings {
                uncorrected_memory_errors: Some(3),
                ..GpuReadings::default()
            },
        }
    }

    fn seen(gpus: Vec<Gpu>) -> GpuSnapshot {
        GpuSnapshot {
            sequence: 1,
            gpus,
            ..GpuSnapshot::default()
        }
    }

    fn failing(error: &str) -> Option<CardReading> {
        let error = error.to_owned();
        Some(CardReading::Failing { error })
    }

    #[test]
    fn a_reading_says_what_a_card_is_like() {
        let unread = GpuSnapshot::default();
        assert_eq!(of_card("a", &unread, &NOT_STALLED), None);
        let well = CardReading::Answers {
            memory_errors: Some(3),
            lists_processes: false,
        };
        let both = seen(vec![gpu("a"), gpu("b")]);
        assert_eq!(of_card("a", &both, &NOT_STALLED), Some(well));
        let missing = of_card("c", &both, &NOT_STALLED);
        assert_eq!(missing, Some(CardReading::Missing));
        let mut lost = both.clone();
        lost.gpus[1].fault = Some("GPU is lost".to_owned());
        assert_eq!(of_card("b", &lost, &NOT_STALLED), failing("GPU is lost"));
        let mut no_driver = both;
        no_driver.fault = Some(GpuError::Driver("unknown error".to_owned()));
        assert_eq!(
            of_card("a", &no_driver, &NOT_STALLED),
            failing("the NVIDIA driver failed: unknown error")
        );
    }

    #[test]
    fn an_instance_is_as_well_as_its_card() {
        let mut card = gpu("card");
        card.fault = Some("reset required".to_owned());
        let mut instance = gpu("instance");
        instance.mig_of = Some("card".to_owned());
        instance.readings.uncorrected_memory_errors = None;
        let mut both = seen(vec![card, instance]);
        let said = of_card("instance", &both, &NOT_STALLED);
        assert_eq!(said, failing("reset required"));
        both.gpus[0].fault = None;
        let well = CardReading::Answers {
            memory_errors: Some(3),
            lists_processes: false,
        };
        assert_eq!(of_card("instance", &both, &NOT_STALLED), Some(well));
    }

    #[test]
    fn a_reading_that_does_not_come_back_is_the_fault_of_the_card_it_is_at() {
        let mut second = gpu("b");
        second.readings.processes = Some(Vec::new());
        let both = seen(vec![gpu("a"), second]);
        // Nobody sees who leaves the other card until readings go on.
        let answers = |lists_processes| {
            Some(CardReading::Answers {
                memory_errors: Some(3),
                lists_processes,
            })
        };
        let unlisted = answers(false);
        assert_eq!(of_card("b", &both, &NOT_STALLED), answers(true));
        let at = |at: Option<&str>| Stall {
            lasts: HANGS_AFTER,
            at: at.map(str::to_owned),
        };
        let hangs = Some(CardReading::Hanging);
        assert_eq!(of_card("a", &both, &at(Some("a"))), hangs);
        assert_eq!(of_card("b", &both, &at(Some("a"))), unlisted);
        assert_eq!(of_card("c", &both, &at(Some("a"))), None);
        assert_eq!(of_card("b", &both, &at(None)), hangs);
        assert_eq!(of_card("b", &GpuSnapshot::default(), &at(None)), hangs);
    }

    #[test]
    fn a_dead_process_is_still_of_its_group() {
        let table = tempfile::tempdir().unwrap();
        let stat = |pid: u32, line: &str| {
            let folder = table.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("stat"), line).unwrap();
        };
        stat(70, "70 (python) S 1 70 70 0 -1");
        // Its child has a session of its own.
        stat(71, "71 (odd ) name)) S 70 71 71 0 -1");
        stat(90, "90 (other) S 1 90 90 0 -1");
        let process = |pid| GpuProcess {
            pid,
            memory_bytes: None,
        };
        let mut gpu = gpu("a");
        gpu.readings.processes = Some(vec![process(71), process(90)]);
        let full = seen(vec![gpu.clone()]);
        let mut groups = Groups::of_table(table.path());
        groups.look(&full);
        fs::remove_dir_all(table.path().join("70")).unwrap();
        fs::remove_dir_all(table.path().join("71")).unwrap();
        groups.look(&full);
        assert!(groups.holds("a", 70, &full) && groups.holds("a", 90, &full));
        assert!(!groups.holds("b", 70, &full));
        gpu.readings.processes = Some(vec![process(90)]);
        let free = seen(vec![gpu]);
        groups.look(&free);
        assert!(!groups.holds("a", 70, &free) && groups.holds("a", 90, &free));
    }
}

//! More work than a cap pays for: the shipped core against the modelled cloud, with crashes, by seed.
//!
//! A thousand jobs that may each run for 30 s meet a cap of ten cents. Processes of ours are killed
//! at any moment, commits fail, cloud workers die. What the modelled RunPod bills at the end, counted
//! by its own meters, must be within the cap, and most of the cap must have been put to use.

use overspill_core::budget::{CapScope, Caps, KeyCaps};
use overspill_core::id::KeyId;
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};

use crate::faults::Faults;
use crate::scene::{Action, Cloud, Scene};
use crate::storm::Storm;
use crate::workload::Workload;
use crate::world::cloud::CloudWorld;

/// The cap: ten cents.
pub const CAP: NanoUsd = NanoUsd::from_nanos(100_000_000);
/// Less than this would be waste: seven cents.
pub const USED_MIN: NanoUsd = NanoUsd::from_nanos(70_000_000);
/// Keys that submit jobs beside those without one, and the cap of each: three cents.
const KEYS: [&str; 2] = ["key1", "key2"];
/// See [`KEYS`].
pub const KEY_CAP: NanoUsd = NanoUsd::from_nanos(30_000_000);
/// Jobs that must have run in the cloud.
pub const JOBS_MIN: usize = 100;
/// After this long without a worker at RunPod, all is over.
const STILL: DurationMs = DurationMs::from_secs(300);
/// A run is over after this long, come what may: within one day, so that the cap is one.
const LONGEST: DurationMs = DurationMs::from_secs(6 * 3_600);

/// What came of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// Names the run, with the commit.
    pub seed: u64,
    /// What RunPod bills.
    pub billed: NanoUsd,
    /// What the ledger says.
    pub booked: NanoUsd,
    /// What the ledger says that the jobs of each key bear.
    pub keys: Vec<NanoUsd>,
    /// Jobs that ran in the cloud.
    pub jobs: usize,
    /// Crashes of ours.
    pub crashes: u64,
    /// What was not as it must be.
    pub violations: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64) -> Spent {
    let faults = Faults::of_processes(seed);
    let mut scene = Scene::new(seed, faults, 0);
    let keys: Vec<KeyId> = KEYS.into_iter().filter_map(KeyId::of).collect();
    let load = Workload::capped(&mut scene, CAP).with_keys(&keys);
    let cloud = CloudWorld::new(&mut scene, seed, &load);
    let mut storm = Storm::still(scene, load, cloud);
    for &key in &keys {
        let set = KeyCaps {
            caps: Caps {
                per_day: Some(KEY_CAP),
                ..Caps::default()
            },
            by: "the scenario".to_owned(),
            at: Timestamp::ZERO,
        };
        storm.driver.store.live.budget.keys.insert(key, set);
    }
    let violations = last(&mut storm);
    let (billed, jobs) = (
        storm.cloud.bill(&storm.scene),
        storm.cloud.jobs_run(&storm.scene),
    );
    let until = storm.scene.now + DurationMs::from_secs(3_600);
    let book = &storm.driver.store.live.spent;
    let booked_by = |scope| book.between(scope, Timestamp::ZERO, until);
    let booked = booked_by(CapScope::Everything);
    let of_keys = keys.into_iter().map(|key| booked_by(CapScope::Key(key)));
    let keys = of_keys.collect();
    let mut spent = Spent {
        seed,
        billed,
        booked,
        keys,
        jobs,
        crashes: storm.scene.process.saturating_sub(1),
        violations,
    };
    spent.judge();
    spent
}

impl Spent {
    fn judge(&mut self) {
        if self.billed > CAP {
            let text = format!("{} billed, the cap is {CAP}", self.billed);
            self.violations.push(text);
        }
        for borne in self.keys.iter().filter(|&&borne| borne > KEY_CAP) {
            let text = format!("the jobs of a key bear {borne}, its cap is {KEY_CAP}");
            self.violations.push(text);
        }
        if self.billed < USED_MIN {
            let text = format!("only {} of {CAP} put to use", self.billed);
            self.violations.push(text);
        }
        if self.jobs < JOBS_MIN {
            let text = format!("only {} jobs ran in the cloud", self.jobs);
            self.violations.push(text);
        }
    }
}

fn last(storm: &mut Storm) -> Vec<String> {
    let second = DurationMs::from_secs(1);
    storm.scene.agenda.at(Timestamp::ZERO, Action::Boot);
    storm.scene.after(second, Action::Client);
    storm.scene.after(second, Action::Crash);
    let misfortune = Action::Cloud(Cloud::Misfortune);
    storm.scene.after(second, misfortune);
    let mut still_since: Option<Timestamp> = None;
    while let Some((at, action)) = storm.scene.agenda.pop() {
        storm.scene.now = at;
        if matches!(action, Action::Client) {
            if let Some(wait) = storm.load.submit_wave(&mut storm.scene) {
                storm.scene.after(wait, Action::Client);
            }
            storm.driver.plan(&mut storm.scene);
        } else {
            storm.step(action);
        }
        if !storm.driver.violations.is_empty() || !storm.oracle.violations.is_empty() {
            break;
        }
        if at.since(Timestamp::ZERO) > LONGEST {
            break;
        }
        let in_cloud = |attempt: &overspill_core::attempt::Attempt| attempt.is_cloud();
        let is_busy = storm.driver.store.live.attempts.values().any(in_cloud);
        if is_busy || storm.driver.store.ended.is_empty() {
            still_since = None;
            continue;
        }
        let since = *still_since.get_or_insert(at);
        if at.since(since) >= STILL {
            let (alive, _) = storm.cloud.spent(&storm.scene);
            if alive == 0 {
                break;
            }
            still_since = None;
        }
    }
    let mut violations = std::mem::take(&mut storm.oracle.violations);
    violations.append(&mut storm.driver.violations);
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_holds_whatever_crashes_and_is_put_to_use() {
        let runs: Vec<Spent> = (0..10).map(run).collect();
        for spent in &runs {
            assert!(spent.violations.is_empty(), "{spent:?}");
        }
        assert!(runs.iter().any(|spent| spent.crashes > 1));
        let used = |spent: &Spent| spent.keys.iter().all(|&borne| borne > NanoUsd::ZERO);
        assert!(runs.iter().all(used), "keys within their caps run");
        assert_eq!(run(3), runs[3], "a seed says it all");
    }
}

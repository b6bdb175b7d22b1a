//! What RunPod goes on billing when every process of ours is dead: the shipped core, the guard's own rule and
//! the modelled cloud, by seed.
//!
//! Two workers are kept on, jobs are at work, processes crash and come back, limits fail to change. At a random
//! moment all of Overspill is killed for good: in every other seed the guard lives on, in the others it
//! dies too. What the cloud bills from then on, until nothing is on any more, must be within the
//! bound that the core stated at its start, and within the one that held at the moment of death.

use overspill_core::bound::Bound;
use overspill_core::effect::Out;
use overspill_core::event::Event;
use overspill_core::guard::{Watch, every, patience};
use overspill_core::id::RequestId;
use overspill_core::machine::Core;
use overspill_core::money::NanoUsd;
use overspill_core::time::{DurationMs, Timestamp};
use rand::RngExt;

use crate::faults::Faults;
use crate::scene::{Action, Cloud, Scene};
use crate::storm::Storm;
use crate::workload::Workload;
use crate::world::cloud::CloudWorld;

/// Workers that are kept on.
pub const MIN: u32 = 2;
/// Death comes between these.
const EARLIEST: DurationMs = DurationMs::from_secs(30);
const LATEST: DurationMs = DurationMs::from_secs(900);
/// It waits for work in flight and workers that are kept on for no longer than this.
const PATIENCE: DurationMs = DurationMs::from_secs(1_800);
/// What was on its way to RunPod arrives within this.
const ON_ITS_WAY: DurationMs = DurationMs::from_secs(60);
/// So long after everything must be off: RunPod's own rule takes seven days.
const AFTERLIFE: DurationMs = DurationMs::from_secs(9 * 24 * 3_600);

/// What came of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Died {
    /// Names the run, with the commit.
    pub seed: u64,
    /// Whether the guard lived on.
    pub guard_lives: bool,
    /// When it was.
    pub at: Timestamp,
    /// Jobs that RunPod had then.
    pub in_flight: usize,
    /// The bound that was stated at the start, in force whenever.
    pub stated: Bound,
    /// The bound of that moment.
    pub then: Bound,
    /// What was billed after.
    pub billed: NanoUsd,
    /// Workers that are on in the end.
    pub left_on: u32,
    /// Crashes of ours before.
    pub crashes: u64,
    /// What was not as it must be.
    pub violations: Vec<String>,
}

/// A guard in the scene.
struct Guard {
    watch: Watch,
    after: DurationMs,
    next: Timestamp,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64) -> Died {
    let faults = Faults::of_processes(seed);
    let mut scene = Scene::new(seed, faults, 0);
    let after = DurationMs::from_secs(scene.rng.random_range(10..120));
    let load = Workload::kept_on(&mut scene, MIN, after);
    let cloud = CloudWorld::new(&mut scene, seed, &load);
    let at = scene.ms(EARLIEST.as_millis(), LATEST.as_millis());
    let mut storm = Storm::still(scene, load, cloud);
    let mut guard = Guard {
        watch: Watch::new(after),
        after,
        next: Timestamp::ZERO + DurationMs::from_secs(1),
    };
    let stated = live(&mut storm, &mut guard, Timestamp::ZERO + at);
    let mut died = Died {
        seed,
        guard_lives: seed.is_multiple_of(2),
        at: storm.scene.now,
        in_flight: in_flight(&storm),
        stated: stated.unwrap_or_default(),
        then: bound_then(&storm),
        billed: NanoUsd::ZERO,
        left_on: 0,
        crashes: storm.scene.process.saturating_sub(1),
        violations: std::mem::take(&mut storm.oracle.violations),
    };
    died.violations.append(&mut storm.driver.violations);
    if stated.is_none() {
        died.violations.push("no bound was stated".into());
    }
    let before = storm.cloud.bill(&storm.scene);
    die(&mut storm, &mut guard, died.guard_lives);
    let (left_on, _) = storm.cloud.spent(&storm.scene);
    died.left_on = left_on;
    died.billed = storm.cloud.bill(&storm.scene) - before;
    died.judge();
    died
}

impl Died {
    /// The bound that held, with or without a guard.
    #[must_use]
    pub fn bound(&self) -> NanoUsd {
        if self.guard_lives {
            self.stated.guarded()
        } else {
            self.stated.alone()
        }
    }

    fn judge(&mut self) {
        let then = if self.guard_lives {
            self.then.guarded()
        } else {
            self.then.alone()
        };
        for (bound, which) in [(self.bound(), "stated at the start"), (then, "of then")] {
            if self.billed > bound {
                self.violations.push(format!(
                    "{} billed after death, the bound {which} is {bound}",
                    self.billed
                ));
            }
        }
        let kept_on = self.then.workers_kept_on;
        if self.in_flight == 0 || kept_on < MIN {
            self.violations.push(format!(
                "{} jobs in flight and {kept_on} workers kept on at death, with {MIN} wanted",
                self.in_flight
            ));
        }
        if self.left_on > 0 {
            self.violations
                .push(format!("{} workers are on after it all", self.left_on));
        }
    }
}

/// Whether work is in flight, with workers that are kept on.
fn is_fit(storm: &Storm) -> bool {
    in_flight(storm) > 0 && bound_then(storm).workers_kept_on >= MIN
}

fn in_flight(storm: &Storm) -> usize {
    let attempts = storm.driver.store.live.attempts.values();
    attempts.filter(|attempt| attempt.is_cloud()).count()
}

/// The bound of this moment; between a crash and the next start, what that start would state.
fn bound_then(storm: &Storm) -> Bound {
    if storm.scene.is_up {
        return storm.driver.core.bound_now();
    }
    let mut core = Core::restore(storm.driver.store.live.clone(), storm.scene.now);
    let topology = Box::new(storm.driver.topology.clone());
    let configured = Event::Configured { topology };
    core.handle(storm.scene.now, configured, &mut Out::default());
    core.bound_now()
}

/// Everything lives until `until`, and on until work is in flight with workers kept on; the bound that was stated
/// at the start.
fn live(storm: &mut Storm, guard: &mut Guard, until: Timestamp) -> Option<Bound> {
    let second = DurationMs::from_secs(1);
    storm.scene.agenda.at(Timestamp::ZERO, Action::Boot);
    storm.scene.after(second, Action::Client);
    storm.scene.after(second, Action::Crash);
    storm.scene.after(second, Action::Cloud(Cloud::Misfortune));
    let mut stated = None;
    while let Some((at, action)) = next(storm, Some(guard)) {
        storm.scene.now = at;
        if at >= until && (at >= until + PATIENCE || is_fit(storm)) {
            return stated;
        }
        if matches!(action, Action::Client) {
            if let Some(wait) = storm.load.submit_wave(&mut storm.scene) {
                storm.scene.after(wait, Action::Client);
            }
            storm.driver.plan(&mut storm.scene);
        } else {
            storm.step(action);
        }
        if stated.is_none() && storm.scene.is_up && storm.driver.core.pools().next().is_some() {
            stated = Some(storm.driver.core.bound_most());
        }
        if !storm.driver.violations.is_empty() || !storm.oracle.violations.is_empty() {
            break;
        }
    }
    stated
}

/// What happens next. A guard's questions that come before it are asked first: each may bring about something
/// earlier.
fn next(storm: &mut Storm, mut guard: Option<&mut Guard>) -> Option<(Timestamp, Action)> {
    loop {
        let at = storm.scene.agenda.next_at()?;
        match &mut guard {
            Some(guard) if guard.next <= at => {
                storm.scene.now = guard.next;
                ask(storm, guard);
            }
            _ => return storm.scene.agenda.pop(),
        }
    }
}

/// The guard asks. A server that lives hears of it, and the answer comes after its commit.
fn ask(storm: &mut Storm, guard: &mut Guard) {
    let asked_at = guard.next;
    guard.next = asked_at + every(guard.after);
    if storm.scene.is_up && !storm.scene.is_frozen() {
        let request = RequestId(storm.scene.number());
        storm.scene.tell(Event::GuardSeen { request });
        storm.driver.plan(&mut storm.scene);
        guard.watch.on_answer();
    } else if guard.watch.on_silence(asked_at) {
        storm.cloud.lower_all(&storm.scene);
    }
}

/// Every process of ours is gone for good; what was on its way to RunPod still arrives.
fn die(storm: &mut Storm, guard: &mut Guard, guard_lives: bool) {
    let death = storm.scene.now;
    storm.scene.is_up = false;
    storm.scene.inbox.clear();
    while let Some((at, action)) = next(storm, guard_lives.then_some(&mut *guard)) {
        if at > death + ON_ITS_WAY {
            break;
        }
        storm.scene.now = at;
        if let Action::Cloud(what @ (Cloud::Submit { .. } | Cloud::Scale { .. })) = action {
            storm.step(Action::Cloud(what));
        }
    }
    if guard_lives {
        let last = death + guard.after + guard.after + DurationMs::from_secs(120);
        while guard.next <= last {
            storm.scene.now = storm.scene.now.max(guard.next + patience(guard.after));
            ask(storm, guard);
        }
    }
    storm.scene.now = death + AFTERLIFE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f37_the_bill_after_death_is_within_the_bound_with_a_guard_and_without() {
        let runs: Vec<Died> = (0..16).map(run).collect();
        // In seed 24 a question of the guard's once left the server without its next batch, for good.
        for died in runs.iter().chain([&run(24)]) {
            assert!(died.violations.is_empty(), "{died:?}");
        }
        // A death with nothing to lose would show nothing.
        let idle = Died {
            in_flight: 0,
            ..runs[0].clone()
        };
        let unkept = Died {
            then: Bound {
                workers_kept_on: MIN - 1,
                ..runs[0].then
            },
            ..runs[0].clone()
        };
        for mut unfit in [idle, unkept] {
            unfit.judge();
            assert_eq!(unfit.violations.len(), 1, "{unfit:?}");
        }
        // Without a guard they stay on for days: the test would notice a guard that does nothing.
        let alone = runs.iter().filter(|died| !died.guard_lives);
        let guarded = runs.iter().filter(|died| died.guard_lives);
        let most = |runs: &mut dyn Iterator<Item = &Died>| runs.map(|died| died.billed).max();
        let (alone, guarded) = (
            most(&mut alone.into_iter()).unwrap(),
            most(&mut guarded.into_iter()).unwrap(),
        );
        assert!(
            alone > guarded.times(10),
            "{alone} alone, {guarded} guarded"
        );
        assert_eq!(run(3), runs[3], "a seed says it all");
    }
}

//! What each policy for comparison does in the smallest world that shows it.

use overspill_core::placement::projection::{Picture, Projection, Waiting};
use overspill_core::scaler::history::History;
use overspill_core::scaler::{Cloud, CloudWorker, Phase};

use super::*;

/// A queue and a fleet at a moment.
#[derive(Default)]
struct Scene {
    now_s: u64,
    /// How long each waiting job has waited, in seconds.
    waiting: Vec<u64>,
    starting: usize,
    /// Jobs on each ready worker.
    ready: Vec<usize>,
    slots: u32,
    /// Busy slots of one's own.
    local: usize,
}

impl Scene {
    fn ask(&self, policy: &mut dyn Policy) -> u32 {
        let at = |s: u64| Timestamp::ZERO + DurationMs::from_secs(s);
        let now = at(self.now_s);
        let job = |&waited: &u64| Waiting {
            submitted_at: at(self.now_s - waited),
            execution: DurationMs::from_secs(10),
            is_cloudable: true,
            is_low_priority: false,
        };
        let picture = Picture {
            now,
            max_wait: DurationMs::from_secs(90),
            waiting: self.waiting.iter().map(job).collect(),
            waiting_total: self.waiting.len(),
            capped: 0,
            local: vec![now + DurationMs::from_secs(5); self.local],
        };
        let starting = CloudWorker {
            phase: Phase::Starting { since: now },
            busy: Vec::new(),
        };
        let ready = |&busy: &usize| CloudWorker {
            phase: Phase::Ready { since: now },
            busy: vec![now; busy],
        };
        let mut fleet = vec![starting; self.starting];
        fleet.extend(self.ready.iter().map(ready));
        let slots = self.slots.max(1);
        policy
            .decide(&View {
                picture: &picture,
                projection: Projection::default(),
                cloud: Cloud {
                    slots,
                    ..Cloud::default()
                },
                fleet: Some(&fleet),
                submitted: &[],
                history: &History::default(),
                expected: DurationMs::from_secs(30),
                max: 100,
                idle_max: DurationMs::from_millis(u64::MAX),
            })
            .workers
    }
}

#[test]
fn every_name_is_a_policy_whose_constants_can_be_set() {
    for name in NAMES {
        let mut policy = named(name, 6).unwrap();
        assert_eq!(policy.name(), name);
        assert!(!policy.keys().is_empty(), "{name}");
        for key in policy.keys() {
            let known = ["7s", "3"]
                .iter()
                .any(|text| policy.set(key, text) == Ok(true));
            assert!(known, "{name}.{key}");
            assert!(policy.set(key, "-1").is_err(), "{name}.{key}");
        }
        assert_eq!(policy.set("colour", "red"), Ok(false), "{name}");
    }
    assert!(SHIPPED.iter().all(|name| NAMES.contains(name)));
    assert!(named("guesswork", 6).is_none());
}

#[test]
fn the_ladder_never_bursts_with_one_running_and_one_waiting_job() {
    let mut policy = ClassicLadder::default();
    let scene = |local: usize, waiting: usize| Scene {
        waiting: vec![0; waiting],
        local,
        ..Scene::default()
    };
    assert_eq!(scene(1, 1).ask(&mut policy), 0);
    assert_eq!(scene(1, 2).ask(&mut policy), 1);
    assert_eq!(scene(2, 9).ask(&mut policy), 2, "as many as run, no more");
    assert_eq!(
        scene(0, 1).ask(&mut policy),
        1,
        "the first without own cards"
    );
}

#[test]
fn runpods_delay_counts_jobs_over_it_and_starts_on_their_way() {
    let mut policy = RunpodQueueDelay::default();
    let scene = |waiting: Vec<u64>, starting: usize| Scene {
        waiting,
        starting,
        slots: 2,
        ..Scene {
            now_s: 100,
            ..Scene::default()
        }
    };
    assert_eq!(scene(vec![3, 1], 0).ask(&mut policy), 0);
    assert_eq!(scene(vec![9, 5, 4, 3], 0).ask(&mut policy), 2);
    assert_eq!(scene(vec![9, 5, 4, 3], 2).ask(&mut policy), 2);
    assert_eq!(scene(vec![1], 3).ask(&mut policy), 3, "none is taken back");
}

#[test]
fn runpods_count_is_of_waiting_and_running_jobs() {
    let mut policy = RunpodRequestCount::new(4);
    let scene = Scene {
        waiting: vec![0; 6],
        ready: vec![3],
        slots: 4,
        ..Scene::default()
    };
    assert_eq!(scene.ask(&mut policy), 3);
}

#[test]
fn knative_panics_at_a_burst_and_halves_at_most() {
    let mut policy = Knative::default();
    let at = |now_s: u64, waiting: usize, ready: usize| Scene {
        now_s,
        waiting: vec![0; waiting],
        ready: vec![0; ready],
        ..Scene::default()
    };
    assert_eq!(
        at(0, 7, 0).ask(&mut policy),
        10,
        "7 jobs at a target of 0.7"
    );
    assert_eq!(
        at(30, 0, 10).ask(&mut policy),
        10,
        "no shrinking in a panic"
    );
    assert_eq!(at(200, 1, 10).ask(&mut policy), 5, "half, at most");
    assert_eq!(
        at(300, 0, 5).ask(&mut policy),
        0,
        "a whole window without a job"
    );
}

#[test]
fn keda_remembers_the_largest_reading_for_five_minutes() {
    let mut policy = Keda::new(1);
    let at = |now_s: u64, waiting: usize, ready: usize| Scene {
        now_s,
        waiting: vec![0; waiting],
        ready: vec![0; ready],
        ..Scene::default()
    };
    assert_eq!(at(0, 9, 0).ask(&mut policy), 4, "four at once at most");
    assert_eq!(at(15, 9, 4).ask(&mut policy), 8, "twice as many");
    assert_eq!(at(30, 1, 8).ask(&mut policy), 8);
    assert_eq!(at(320, 1, 8).ask(&mut policy), 1);
    assert_eq!(at(600, 0, 1).ask(&mut policy), 1, "cooling down");
    assert_eq!(at(630, 0, 1).ask(&mut policy), 0);
}

#[test]
fn ray_serve_waits_before_it_grows_and_longer_before_it_shrinks() {
    let mut policy = RayServe::default();
    let mut at = |now_s: u64, waiting: usize| {
        let scene = Scene {
            now_s,
            waiting: vec![0; waiting],
            ..Scene::default()
        };
        scene.ask(&mut policy)
    };
    assert_eq!(at(0, 1), 1, "from zero at once");
    assert_eq!(at(31, 8), 1);
    assert_eq!(at(61, 8), 4, "30 s later");
    assert_eq!(at(100, 0), 4);
    assert_eq!(at(699, 0), 4);
    assert_eq!(at(700, 0), 0, "600 s later");
}

#[test]
fn sky_serve_starts_the_first_at_once_and_others_after_five_minutes() {
    let mut policy = SkyServe::default();
    let mut at = |now_s: u64, waiting: usize| {
        let scene = Scene {
            now_s,
            waiting: vec![0; waiting],
            ..Scene::default()
        };
        for _ in 0..waiting {
            policy.arrived(Timestamp::ZERO + DurationMs::from_secs(now_s));
        }
        scene.ask(&mut policy)
    };
    assert_eq!(at(0, 1), 1);
    // 600 arrivals in a minute are ten a second.
    for now_s in (10..310).step_by(60) {
        assert_eq!(at(now_s, 600), 1);
    }
    assert_eq!(at(310, 600), 10);
}

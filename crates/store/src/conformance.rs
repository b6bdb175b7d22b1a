//! What every driver must do: one suite of named cases. A driver is done when it passes.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a case says by a panic that it failed"
)]

use std::collections::BTreeMap;

use overspill_core::alert::{Alerted, BudgetAlert};
use overspill_core::attempt::{CloudPhase, Fence, Place};
use overspill_core::budget::{BudgetRecord, CapScope, Caps, CapsOverride, KeyCaps};
use overspill_core::calendar::Period;
use overspill_core::change::{Change, EndedAttempt, EndedJob, FinalState, Site, Snapshot, Terms};
use overspill_core::endpoint::{EndpointRecord, LimitsOverride, MaxWaitOverride, ScalerOverride};
use overspill_core::event::{Idempotency, PayloadRef};
use overspill_core::id::{EndpointId, PoolId};
use overspill_core::job::{Job, JobExtras};
use overspill_core::ledger::{Cause, Entry, EntryKind};
use overspill_core::meter::Billed;
use overspill_core::money::{NanoUsd, RatePerHour};
use overspill_core::placement::pool_order::Because;
use overspill_core::pool::{KeptOn, LeadsTo, PoolRecord};
use overspill_core::quarantine::{CardFault, Quarantine};
use overspill_core::region::Region;
use overspill_core::scaler::history::Learned;
use overspill_core::scaler::slots::Slots;
use overspill_core::time::DurationMs;
use overspill_core::topology::{Limits, PoolKind, PoolSpec, RunPodSpec, ScalerSpec, Tuning};
use overspill_core::webhook::{Webhook, WebhookOutcome, WebhookState};

use crate::record::{
    Counts, JobFilter, KeyRecord, RowState, SPENT_BUCKET_MS, SpentFilter, WebhookFilter,
};
use crate::testing::build::{
    ENDPOINT, POOL, Work, at, attempt, attempt_ended, attempt_id, attempted, ended, entry, input,
    job, job_id, key, output, worker,
};
use crate::{CommitError, Store, StoreError};

/// A driver under test, over storage of its own.
pub trait Driver {
    /// The store.
    fn store(&mut self) -> &mut dyn Store;
    /// Lets the store go without closing it, as a crash does, and opens it again.
    fn reopen(&mut self);
}

/// A case gets a driver over empty storage.
pub type Case = fn(&mut dyn Driver);

/// All cases by name.
pub const CASES: &[(&str, Case)] = &[
    ("empty_restores_empty", empty_restores_empty),
    ("restored_equals_applied", restored_equals_applied),
    ("batches_fold_like_single_changes", batches_fold),
    ("a_job_through_its_life", a_job_through_its_life),
    ("a_job_within_one_batch", a_job_within_one_batch),
    ("retry_replaces_the_end", retry_replaces_the_end),
    ("an_end_is_written_once", an_end_is_written_once),
    ("regions_and_sites_are_kept", regions_and_sites_are_kept),
    ("an_idempotency_key_is_stored_once", idempotency_once),
    (
        "an_idempotency_key_lasts_a_day_and_as_long_as_its_job",
        idempotency_lasts,
    ),
    ("a_missing_payload_refuses_the_batch", missing_payload),
    ("a_refused_batch_changes_nothing", refused_changes_nothing),
    ("chunks_are_paged", chunks_are_paged),
    ("progress_ends_with_its_attempt", progress_ends),
    ("job_pages_are_stable", job_pages_are_stable),
    ("jobs_are_filtered", jobs_are_filtered),
    ("expiry_takes_all_of_a_job", expiry_takes_all_of_a_job),
    ("expiry_goes_in_slices", expiry_goes_in_slices),
    ("money_is_summed", money_is_summed),
    ("every_kind_of_line_is_kept", every_kind_of_line_is_kept),
    (
        "money_is_told_by_who_bears_it",
        money_is_told_by_who_bears_it,
    ),
    ("audit_is_numbered", audit_is_numbered),
    ("counts_count", counts_count),
    ("keys_are_kept_and_revoked", keys_are_kept),
    ("meta_is_kept", meta_is_kept),
    ("webhooks_are_due_and_listed", webhooks_are_due_and_listed),
    ("a_webhook_keeps_its_job", a_webhook_keeps_its_job),
    (
        "a_retry_leaves_a_webhook_its_output",
        a_retry_leaves_a_webhook,
    ),
    ("an_alert_goes_by_itself", an_alert_goes_by_itself),
    ("a_closed_store_refuses", a_closed_store_refuses),
];

/// Runs all cases, each over what `fresh` makes.
pub fn run(mut fresh: impl FnMut() -> Box<dyn Driver>) {
    for (name, case) in CASES {
        tracing::debug!(case = name);
        let mut driver = fresh();
        let run = std::panic::AssertUnwindSafe(|| case(&mut *driver));
        if let Err(panic) = std::panic::catch_unwind(run) {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            panic!("case {name}: {}", text.unwrap_or("panicked"));
        }
    }
}

fn commit(driver: &mut dyn Driver, fill: impl FnOnce(&mut Work)) {
    let mut work = Work::new();
    fill(&mut work);
    work.commit(driver.store()).unwrap();
}

fn empty_restores_empty(driver: &mut dyn Driver) {
    assert_eq!(driver.store().restore().unwrap(), Snapshot::default());
    driver.reopen();
    assert_eq!(driver.store().restore().unwrap(), Snapshot::default());
    assert_eq!(driver.store().reader().ended(job_id(1)).unwrap(), None);
    assert_eq!(driver.store().reader().row(job_id(1)).unwrap(), None);
    assert_eq!(driver.store().idempotent(ENDPOINT, "k").unwrap(), None);
}

/// Changes of every kind and with every variant of their records.
fn changes_of_all_kinds() -> Vec<Change> {
    let limits = |max| Limits { min: 0, max };
    let cloud = |number, phase| {
        let mut attempt = attempt(2, number);
        attempt.place = Place::Cloud(phase);
        Change::AttemptPut(attempt)
    };
    let cloud_job = || "c0ffee-u1".to_owned();
    let mut fenced = attempt(3, 1);
    fenced.fenced = Some(Fence::Superseded);
    fenced.started_at = None;
    let mut extremes = job(9);
    extremes.seq = u64::MAX;
    extremes.class = u32::MAX;
    extremes.lost = u16::MAX;
    extremes.expires_at = overspill_core::time::Timestamp::NEVER;
    extremes.extras = Some(Box::new(JobExtras {
        webhook: None,
        worker: Some("{\"s3Config\":{\"a\":\"\u{0}\u{1F600}\"}}".to_owned()),
        trace: Some("00-{\"\u{1F600}-01 a=b".to_owned()),
    }));
    let put = |job: Job| Change::JobPut {
        job,
        input: None,
        idempotency: None,
    };
    let mut no_extras = job(10);
    no_extras.extras = Some(Box::default());
    let endpoint = |name: &str| EndpointRecord {
        id: ENDPOINT,
        name: name.to_owned(),
        limits_override: Some(LimitsOverride {
            limits: limits(4),
            file: limits(3),
            by: "key:abc".to_owned(),
            at: at(5),
        }),
        caps_override: None,
        scaler_override: Some(ScalerOverride {
            scaler: ScalerSpec::CostAware(Tuning {
                wait_share_milli: 900,
                ..Tuning::default()
            }),
            file: ScalerSpec::Ladder,
            by: "key:abc".to_owned(),
            at: at(6),
        }),
        max_wait_override: Some(MaxWaitOverride {
            max_wait: DurationMs::from_secs(20),
            file: DurationMs::from_secs(90),
            by: "key:abc".to_owned(),
            at: at(7),
        }),
        learned: Learned {
            all: vec![DurationMs::from_secs(3)],
            by_class: vec![(u32::MAX, vec![DurationMs::from_secs(3)])],
            starts: vec![DurationMs::from_secs(40)],
            begun_milli: 1_500,
            late_milli: 500,
        },
    };
    // Learned as a run learns it, with times by level and class.
    let mut learned = Slots::default();
    for _ in 0..30 {
        learned.finished(7, learned.now, DurationMs::from_secs(3), at(3));
    }
    learned.out_of_memory(2, at(4));
    let pool = |reserved_workers| PoolRecord {
        id: POOL,
        endpoint: ENDPOINT,
        key: "cloud".to_owned(),
        wanted: 1,
        reserved_workers,
        reserved_each: NanoUsd::from_nanos(7),
        kept_on: KeptOn {
            workers: 1,
            endpoint: "abc".into(),
            price: Some(RatePerHour::new(NanoUsd::from_nanos(440_000_000))),
            idle: DurationMs::from_secs(5),
        },
        charged_until: at(3),
        billed: Billed {
            cold: 1,
            run: 2,
            idle: 3,
        },
        since: at(2),
        learned: Some(Box::new(learned.clone())),
        leads_to: Some(LeadsTo {
            endpoint: "abc".into(),
            has_limits: true,
            spec: Some(Box::new(PoolSpec {
                key: "cloud".into(),
                slots: 2,
                kind: PoolKind::RunPod(RunPodSpec {
                    endpoint: "abc".into(),
                    price: Some(RatePerHour::new(NanoUsd::from_nanos(440_000_000))),
                    max: Some(3),
                    manage: true,
                    idle_timeout: DurationMs::from_secs(5),
                    init_timeout: DurationMs::from_secs(420),
                    region: None,
                    gpu: Some("NVIDIA GeForce RTX 4090".into()),
                    gpu_label: None,
                    list: 0,
                }),
            })),
        }),
    };
    vec![
        Change::EndpointPut(endpoint("tts")),
        Change::EndpointPut(endpoint("tts")),
        Change::PoolPut(pool(1)),
        Change::PoolPut(pool(2)),
        Change::WorkerPut(worker(1)),
        Change::WorkerPut(worker(2)),
        Change::WorkerPut(worker(1)),
        Change::WorkerGone {
            worker: worker(2).id,
        },
        Change::WorkerGone {
            worker: worker(77).id,
        },
        put(job(1)),
        put(job(2)),
        put(job(3)),
        put(attempted(2, 5)),
        put(extremes),
        put(no_extras),
        put(job(11)),
        Change::AttemptPut(attempt(1, 1)),
        cloud(1, CloudPhase::Submitting),
        cloud(2, CloudPhase::Unknown { since: at(9) }),
        cloud(
            3,
            CloudPhase::Queued {
                cloud_job: cloud_job(),
            },
        ),
        cloud(
            4,
            CloudPhase::Running {
                cloud_job: cloud_job(),
                worker: None,
            },
        ),
        cloud(
            5,
            CloudPhase::Running {
                cloud_job: cloud_job(),
                worker: Some("w".to_owned()),
            },
        ),
        Change::AttemptPut(fenced),
        Change::AttemptEnded(attempt_ended(1, 1, "taken_back")),
        Change::JobEnded(ended(11)),
        Change::LedgerAdded(entry(11, 4)),
        Change::QuarantinesPut(BTreeMap::from([(
            "GPU-5ce1".to_owned(),
            Quarantine {
                fault: CardFault::MemoryErrors { count: 2, total: 5 },
                since: at(3),
                well_since: Some(at(4)),
            },
        )])),
        Change::BudgetPut(BudgetRecord {
            caps_override: Some(CapsOverride {
                caps: Caps::default(),
                file: Caps::default(),
                by: "ann".to_owned(),
                at: at(2),
            }),
            is_guarded: true,
            keys: key()
                .map(|key| {
                    let caps = Caps {
                        per_day: Some(NanoUsd::from_nanos(5)),
                        ..Caps::default()
                    };
                    let set = KeyCaps {
                        caps,
                        by: "bob".to_owned(),
                        at: at(3),
                    };
                    (key, set)
                })
                .into_iter()
                .collect(),
            alerted: vec![Alerted {
                scope: CapScope::Endpoint(ENDPOINT),
                period: Period::Month,
                until: at(9),
                threshold: 50,
            }],
        }),
        Change::Audited {
            at: at(1),
            what: "limits_set".to_owned(),
            object: "tts".to_owned(),
            detail: "max 3 to 4".to_owned(),
        },
    ]
}

fn restored_equals_applied(driver: &mut dyn Driver) {
    let mut expected = Snapshot::default();
    for change in changes_of_all_kinds() {
        expected.apply(&change);
        commit(driver, |work| {
            work.change(change);
        });
        assert_eq!(driver.store().restore().unwrap(), expected);
    }
    driver.reopen();
    assert_eq!(driver.store().restore().unwrap(), expected);
}

fn batches_fold(driver: &mut dyn Driver) {
    let mut expected = Snapshot::default();
    let changes = changes_of_all_kinds();
    for change in &changes {
        expected.apply(change);
    }
    commit(driver, |work| work.changes = changes);
    assert_eq!(driver.store().restore().unwrap(), expected);
    driver.reopen();
    assert_eq!(driver.store().restore().unwrap(), expected);
    let story = driver.store().reader().story(job_id(1)).unwrap();
    assert_eq!(story, [attempt_ended(1, 1, "taken_back")]);
}

fn a_job_through_its_life(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(3);
    });
    let reader = driver.store().reader();
    assert_eq!(reader.input(job_id(3)).unwrap().unwrap(), input(3));
    let row = reader.row(job_id(3)).unwrap().unwrap();
    assert_eq!((row.state, row.attempts), (RowState::Queued, 0));
    assert_eq!(row.leased_at, None);
    commit(driver, |work| {
        work.lease(3);
    });
    let row = reader.row(job_id(3)).unwrap().unwrap();
    assert_eq!(row.state, RowState::Running);
    assert_eq!(row.pool, Some(POOL));
    assert_eq!(row.worker, Some(worker(1).id.to_string()));
    assert_eq!(row.leased_at, Some(attempt(3, 1).leased_at));
    assert_eq!(reader.ended(job_id(3)).unwrap(), None);
    commit(driver, |work| {
        work.complete(3);
    });
    driver.reopen();
    let restored = driver.store().restore().unwrap();
    let mut expected = Snapshot::default();
    expected.apply(&Change::LedgerAdded(entry(3, 1)));
    assert_eq!(restored, expected, "what was spent stays");
    let reader = driver.store().reader();
    let bytes = output(3).len() as u64;
    let expected = EndedJob {
        output: PayloadRef { handle: 0, bytes },
        ..ended(3)
    };
    assert_eq!(reader.ended(job_id(3)).unwrap(), Some(expected));
    assert_eq!(reader.input(job_id(3)).unwrap().unwrap(), input(3));
    assert_eq!(reader.output(job_id(3), 0).unwrap().unwrap(), output(3));
    assert_eq!(reader.output(job_id(3), 1).unwrap(), None);
    let story = reader.story(job_id(3)).unwrap();
    assert_eq!(story, [attempt_ended(3, 1, "completed")]);
    let row = reader.row(job_id(3)).unwrap().unwrap();
    assert_eq!(row.state, RowState::Ended(FinalState::Completed));
    assert_eq!(row.ended_at, Some(ended(3).ended_at));
}

fn a_job_within_one_batch(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(8).lease(8).complete(8).submit(9).lease(9);
    });
    driver.reopen();
    let snapshot = driver.store().restore().unwrap();
    assert_eq!(
        snapshot.jobs.keys().copied().collect::<Vec<_>>(),
        [job_id(9)]
    );
    assert_eq!(snapshot.attempts.len(), 1);
    let reader = driver.store().reader();
    assert_eq!(reader.input(job_id(8)).unwrap().unwrap(), input(8));
    assert_eq!(reader.output(job_id(8), 0).unwrap().unwrap(), output(8));
    assert_eq!(reader.story(job_id(8)).unwrap().len(), 1);
    assert_eq!(reader.input(job_id(9)).unwrap().unwrap(), input(9));
}

fn retry_replaces_the_end(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(4).lease(4);
    });
    commit(driver, |work| {
        work.complete(4);
    });
    let again = Job {
        generation: 1,
        ..job(4)
    };
    let size = again.input_bytes;
    commit(driver, |work| {
        work.change(Change::JobPut {
            job: again.clone(),
            input: Some(PayloadRef {
                handle: 0,
                bytes: size,
            }),
            idempotency: None,
        });
    });
    let snapshot = driver.store().restore().unwrap();
    assert_eq!(snapshot.jobs.get(&job_id(4)), Some(&again));
    let reader = driver.store().reader();
    assert_eq!(reader.ended(job_id(4)).unwrap(), None);
    assert_eq!(reader.output(job_id(4), 0).unwrap(), None);
    assert_eq!(reader.input(job_id(4)).unwrap().unwrap(), input(4));
    assert_eq!(reader.story(job_id(4)).unwrap().len(), 1);
    let rows = reader.jobs(&JobFilter::default(), None, 10).unwrap();
    assert_eq!(rows.len(), 1);
    // It ends again, and once more within one batch.
    let terms = Terms {
        execution_timeout: DurationMs::from_secs(7),
        ttl: DurationMs::from_secs(60),
        class: 3,
        low_priority: true,
        extras: Some("seal1:\u{1F600}\u{0}".into()),
    };
    commit(driver, |work| {
        let output = work.payload("second");
        work.change(Change::JobEnded(EndedJob {
            generation: 1,
            output,
            webhook: Some("https://app.example/{x}".into()),
            terms: Some(Box::new(terms.clone())),
            ..ended(4)
        }));
    });
    let kept = reader.ended(job_id(4)).unwrap().unwrap();
    assert_eq!(kept.terms.as_deref(), Some(&terms));
    assert_eq!(kept.webhook.as_deref(), Some("https://app.example/{x}"));
    assert_eq!(reader.output(job_id(4), 1).unwrap().unwrap(), "second");
    assert_eq!(reader.input(job_id(4)).unwrap().unwrap(), input(4));
    commit(driver, |work| {
        work.change(Change::JobPut {
            job: Job {
                generation: 2,
                ..job(4)
            },
            input: None,
            idempotency: None,
        });
        work.change(Change::JobEnded(EndedJob {
            generation: 2,
            state: FinalState::Cancelled,
            ..ended(4)
        }));
    });
    driver.reopen();
    let reader = driver.store().reader();
    let last = reader.ended(job_id(4)).unwrap().unwrap();
    assert_eq!((last.generation, last.state), (2, FinalState::Cancelled));
    assert_eq!(reader.output(job_id(4), 1).unwrap(), None);
    assert_eq!(reader.input(job_id(4)).unwrap().unwrap(), input(4));
    let counts = reader.counts(ENDPOINT).unwrap();
    assert_eq!((counts.completed, counts.cancelled), (2, 1));
    assert_eq!(counts.retried, 2);
}

fn conflicts(result: &Result<(), CommitError>) -> bool {
    matches!(
        result,
        Err(CommitError::NotStored(StoreError::Conflict { .. }))
    )
}

fn regions_and_sites_are_kept(driver: &mut dyn Driver) {
    let region = |name: &str| Some(name.parse::<Region>().unwrap());
    let hook = |n: u64| Some(format!("https://app.example/{n}"));
    let live = |n: u64, webhook: Option<String>| Job {
        region: region("eu"),
        extras: webhook.map(|webhook| {
            Box::new(JobExtras {
                webhook: Some(webhook),
                worker: None,
                trace: None,
            })
        }),
        ..job(n)
    };
    let ended_attempt = EndedAttempt {
        site: Some(Box::new(Site {
            gpu: Some("NVIDIA GeForce RTX 4090".into()),
            region: region("us-east_1"),
            because: Some(Because::Nearest),
        })),
        ..attempt_ended(3, 1, "completed")
    };
    commit(driver, |work| {
        for (n, webhook) in [(1, None), (2, hook(2))] {
            let job = live(n, webhook);
            work.change(Change::JobPut {
                job,
                input: None,
                idempotency: None,
            });
        }
        work.submit(3).lease(3);
        let output = work.payload("3");
        work.change(Change::AttemptEnded(ended_attempt.clone()));
        work.change(Change::JobEnded(EndedJob {
            region: region("eu"),
            webhook: hook(3),
            output,
            ..ended(3)
        }));
    });
    driver.reopen();
    let snapshot = driver.store().restore().unwrap();
    assert_eq!(snapshot.jobs.get(&job_id(1)), Some(&live(1, None)));
    assert_eq!(snapshot.jobs.get(&job_id(2)), Some(&live(2, hook(2))));
    let reader = driver.store().reader();
    assert_eq!(reader.row(job_id(1)).unwrap().unwrap().region, region("eu"));
    assert_eq!(reader.row(job_id(3)).unwrap().unwrap().region, region("eu"));
    let end = reader.ended(job_id(3)).unwrap().unwrap();
    assert_eq!((end.region, end.webhook), (region("eu"), hook(3)));
    assert_eq!(reader.story(job_id(3)).unwrap(), [ended_attempt]);
}

fn an_end_is_written_once(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(1).lease(1).complete(1);
    });
    let mut work = Work::new();
    work.change(Change::JobEnded(EndedJob {
        state: FinalState::Failed,
        ..ended(1)
    }));
    assert!(conflicts(&work.commit(driver.store())));
    let reader = driver.store().reader();
    let kept = reader.ended(job_id(1)).unwrap().unwrap();
    assert_eq!(kept.state, FinalState::Completed);
    let counts = reader.counts(ENDPOINT).unwrap();
    assert_eq!((counts.completed, counts.failed), (1, 0));
    let mut work = Work::new();
    work.submit(2)
        .change(Change::JobEnded(ended(2)))
        .change(Change::JobEnded(ended(2)));
    assert!(conflicts(&work.commit(driver.store())));
}

fn idempotency_once(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit_as(1, Some("order-17"));
    });
    let known = driver.store().idempotent(ENDPOINT, "order-17").unwrap();
    let known = known.unwrap();
    assert_eq!(known.job, job_id(1));
    assert_eq!(known.body_sha256, format!("{:064x}", 1));
    let other = driver.store().idempotent(EndpointId(2), "order-17");
    assert_eq!(other.unwrap(), None);
    let mut work = Work::new();
    work.submit_as(2, Some("order-17"));
    assert!(conflicts(&work.commit(driver.store())));
    let mut twice = Work::new();
    twice.submit_as(3, Some("a")).submit_as(4, Some("a"));
    assert!(conflicts(&twice.commit(driver.store())));
    driver.reopen();
    let known = driver.store().idempotent(ENDPOINT, "order-17").unwrap();
    assert_eq!(known.unwrap().job, job_id(1));
    assert_eq!(driver.store().restore().unwrap().jobs.len(), 1);
}

fn idempotency_lasts(driver: &mut dyn Driver) {
    const DAY_MS: i64 = 86_400_000;
    // Submitted at 1,001 and 1,002: one may live for a minute, one for three days.
    for (n, key, expires_at) in [(1, "short", 60_000), (2, "long", 3 * DAY_MS)] {
        let mut job = job(n);
        job.expires_at = at(expires_at);
        commit(driver, |work| {
            let input = work.payload(input(n));
            work.change(Change::JobPut {
                job,
                input: Some(input),
                idempotency: Some(Idempotency {
                    key: key.to_owned(),
                    body_sha256: format!("{n:064x}"),
                }),
            });
        });
    }
    let mut known_at = |now| {
        driver.store().expire(at(now), 10).unwrap();
        ["short", "long"].map(|key| driver.store().idempotent(ENDPOINT, key).unwrap().is_some())
    };
    assert_eq!(known_at(60_001), [true, true]);
    assert_eq!(known_at(DAY_MS + 1_000), [true, true]);
    assert_eq!(known_at(DAY_MS + 1_001), [false, true]);
    assert_eq!(known_at(3 * DAY_MS - 1), [false, true]);
    assert_eq!(known_at(3 * DAY_MS), [false, false]);
}

fn missing_payload(driver: &mut dyn Driver) {
    let mut work = Work::new();
    work.submit(1);
    work.payloads.clear();
    let error = work.commit(driver.store()).unwrap_err();
    assert!(
        matches!(
            error,
            CommitError::NotStored(StoreError::PayloadMissing { handle: 1 })
        ),
        "{error}"
    );
    assert_eq!(driver.store().restore().unwrap(), Snapshot::default());
}

fn refused_changes_nothing(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(1).lease(1).complete(1).submit(2).lease(2);
    });
    let before = driver.store().restore().unwrap();
    let mut work = Work::new();
    work.submit(3)
        .change(Change::AttemptEnded(attempt_ended(2, 1, "worker_lost")))
        .change(Change::LedgerAdded(entry(2, 1)))
        .change(Change::JobEnded(ended(1)));
    assert!(conflicts(&work.commit(driver.store())));
    assert_eq!(driver.store().restore().unwrap(), before);
    let spent = driver.store().reader().spent(&SpentFilter::default());
    assert_eq!(spent.unwrap()[0].entries, 1);
    commit(driver, |work| {
        work.submit(3).complete(2);
    });
    driver.reopen();
    let after = driver.store().restore().unwrap();
    assert_eq!(after.jobs.keys().copied().collect::<Vec<_>>(), [job_id(3)]);
    assert_eq!(after.attempts.len(), 0);
}

fn chunks_are_paged(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(1).lease(1);
    });
    for number in 0..5 {
        commit(driver, |work| {
            let chunk = work.payload(vec![b'0' + number; 100]);
            work.change(Change::ChunkAdded {
                attempt: attempt_id(1, 1),
                chunk,
            });
        });
    }
    let reader = driver.store().reader();
    let numbers = |from, max_bytes| -> Vec<u32> {
        let chunks = reader.chunks(attempt_id(1, 1), from, max_bytes).unwrap();
        chunks.iter().map(|chunk| chunk.number).collect()
    };
    assert_eq!(numbers(0, 1 << 20), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(0, 250), [0, 1]);
    assert_eq!(numbers(3, 1), [3]);
    assert_eq!(numbers(5, 1 << 20), [0_u32; 0]);
    let first = &reader.chunks(attempt_id(1, 1), 2, 1).unwrap()[0];
    assert_eq!(first.bytes, vec![b'2'; 100]);
    assert!(reader.chunks(attempt_id(1, 2), 0, 1).unwrap().is_empty());
    // Numbers go on after a restart, and within a batch.
    driver.reopen();
    commit(driver, |work| {
        for text in ["fifth", "sixth"] {
            let chunk = work.payload(text);
            let attempt = attempt_id(1, 1);
            work.change(Change::ChunkAdded { attempt, chunk });
        }
    });
    let reader = driver.store().reader();
    let last = reader.chunks(attempt_id(1, 1), 5, 100).unwrap();
    assert_eq!((last[0].number, &last[0].bytes[..]), (5, &b"fifth"[..]));
    assert_eq!((last[1].number, &last[1].bytes[..]), (6, &b"sixth"[..]));
}

fn progress_ends(driver: &mut dyn Driver) {
    let attempt = attempt_id(1, 1);
    commit(driver, |work| {
        work.submit(1).lease(1);
    });
    for text in ["10 %", "20 %"] {
        commit(driver, |work| {
            let progress = work.payload(text);
            work.change(Change::ProgressPut { attempt, progress });
        });
    }
    driver.reopen();
    let reader = driver.store().reader();
    assert_eq!(reader.progress(attempt).unwrap().unwrap(), "20 %");
    commit(driver, |work| {
        let progress = work.payload("30 %");
        work.change(Change::ProgressPut { attempt, progress });
        work.complete(1);
    });
    let reader = driver.store().reader();
    assert_eq!(reader.progress(attempt).unwrap(), None);
}

fn job_pages_are_stable(driver: &mut dyn Driver) {
    commit(driver, |work| {
        for n in 1..=20 {
            work.submit(n).lease(n);
        }
        for n in (2..=20).step_by(3) {
            work.complete(n);
        }
    });
    let reader = driver.store().reader();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = reader.jobs(&JobFilter::default(), after, 6).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.iter().map(|row| row.id));
        // Jobs end and others come in between two pages.
        let n = 100 + seen.len() as u64;
        let still_live = [1, 4, 7, 10, 13];
        let end = still_live[seen.len() / 6 % still_live.len()];
        commit(driver, |work| {
            work.submit(n);
            if driver_has(&*reader, end) {
                work.complete(end);
            }
        });
    }
    let expected: Vec<_> = (1..=20).rev().map(job_id).collect();
    assert_eq!(seen, expected);
}

fn driver_has(reader: &dyn crate::Reader, n: u64) -> bool {
    reader.ended(job_id(n)).unwrap().is_none()
}

fn jobs_are_filtered(driver: &mut dyn Driver) {
    let other = EndpointId(8);
    commit(driver, |work| {
        work.submit(1).submit(2).lease(2).submit(3).lease(3);
        work.complete(3).submit(4);
        work.change(Change::JobEnded(EndedJob {
            state: FinalState::Failed,
            error: Some("out of memory".to_owned()),
            error_code: Some("worker_lost".to_owned()),
            ..ended(4)
        }));
        work.change(Change::JobPut {
            job: Job {
                endpoint: other,
                ..job(5)
            },
            input: None,
            idempotency: None,
        });
        work.change(Change::JobEnded(EndedJob {
            endpoint: other,
            state: FinalState::Cancelled,
            ..ended(6)
        }));
    });
    let reader = driver.store().reader();
    let list = |endpoint, states: &[RowState]| -> Vec<_> {
        let filter = JobFilter {
            endpoint,
            states: states.to_vec(),
        };
        let rows = reader.jobs(&filter, None, 100).unwrap();
        rows.iter().map(|row| row.id).collect()
    };
    let ids = |list: &[u64]| -> Vec<_> { list.iter().copied().map(job_id).collect() };
    let failed = RowState::Ended(FinalState::Failed);
    let cancelled = RowState::Ended(FinalState::Cancelled);
    let completed = RowState::Ended(FinalState::Completed);
    assert_eq!(list(None, &[]), ids(&[6, 5, 4, 3, 2, 1]));
    assert_eq!(list(Some(ENDPOINT), &[]), ids(&[4, 3, 2, 1]));
    assert_eq!(list(Some(other), &[]), ids(&[6, 5]));
    assert_eq!(list(None, &[RowState::Queued]), ids(&[5, 1]));
    assert_eq!(list(None, &[RowState::Running, failed]), ids(&[4, 2]));
    assert_eq!(list(None, &[failed, cancelled]), ids(&[6, 4]));
    assert_eq!(list(Some(other), &[failed, cancelled]), ids(&[6]));
    assert_eq!(list(Some(ENDPOINT), &[completed]), ids(&[3]));
    assert_eq!(list(Some(EndpointId(99)), &[]), ids(&[]));
    let row = reader.row(job_id(4)).unwrap().unwrap();
    assert_eq!(row.error.as_deref(), Some("out of memory"));
    assert_eq!(row.error_code.as_deref(), Some("worker_lost"));
}

fn expiry_takes_all_of_a_job(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit_as(1, Some("k")).lease(1);
        let chunk = work.payload("chunk");
        work.change(Change::ChunkAdded {
            attempt: attempt_id(1, 1),
            chunk,
        });
        work.complete(1).submit(2).lease(2).complete(2).submit(3);
    });
    assert_eq!(driver.store().expire(at(1_000_000), 10).unwrap(), 0);
    assert_eq!(driver.store().expire(at(1_000_001), 10).unwrap(), 1);
    let reader = driver.store().reader();
    assert_eq!(reader.row(job_id(1)).unwrap(), None);
    assert_eq!(reader.input(job_id(1)).unwrap(), None);
    assert_eq!(reader.output(job_id(1), 0).unwrap(), None);
    assert!(reader.story(job_id(1)).unwrap().is_empty());
    assert!(reader.chunks(attempt_id(1, 1), 0, 1).unwrap().is_empty());
    assert_eq!(reader.output(job_id(2), 0).unwrap().unwrap(), output(2));
    // A key outlives its job, for a day at least.
    assert!(driver.store().idempotent(ENDPOINT, "k").unwrap().is_some());
    driver.store().expire(at(86_400_000 + 1_001), 10).unwrap();
    assert_eq!(driver.store().idempotent(ENDPOINT, "k").unwrap(), None);
    driver.reopen();
    assert_eq!(driver.store().restore().unwrap().jobs.len(), 1);
    assert_eq!(reader.row(job_id(2)).unwrap(), None);
    // What was spent is not forgotten with the jobs.
    let spent = driver.store().reader().spent(&SpentFilter::default());
    assert_eq!(spent.unwrap()[0].entries, 2);
}

fn expiry_goes_in_slices(driver: &mut dyn Driver) {
    commit(driver, |work| {
        for n in 1..=25 {
            work.submit(n).lease(n).complete(n);
        }
    });
    let late = at(2_000_000);
    assert_eq!(driver.store().expire(late, 10).unwrap(), 10);
    let reader = driver.store().reader();
    assert_eq!(reader.row(job_id(10)).unwrap(), None);
    assert!(reader.row(job_id(11)).unwrap().is_some());
    assert_eq!(driver.store().expire(late, 10).unwrap(), 10);
    assert_eq!(driver.store().expire(late, 10).unwrap(), 5);
    assert_eq!(driver.store().expire(late, 10).unwrap(), 0);
}

fn money_is_summed(driver: &mut dyn Driver) {
    let late = SPENT_BUCKET_MS + 5;
    let saved = |millis| {
        let mut entry = entry(9, millis);
        entry.kind = EntryKind::Saved;
        entry.pool = PoolId(1);
        entry.job = None;
        entry.amount = NanoUsd::from_nanos(-5);
        Change::LedgerAdded(entry)
    };
    commit(driver, |work| {
        work.change(Change::LedgerAdded(entry(1, 10)));
        work.change(Change::LedgerAdded(entry(2, 11)));
        work.change(saved(12));
    });
    commit(driver, |work| {
        work.change(Change::LedgerAdded(entry(3, 13)));
        work.change(Change::LedgerAdded(entry(4, late)));
    });
    driver.reopen();
    let reader = driver.store().reader();
    let all = reader.spent(&SpentFilter::default()).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].pool, all[0].kind), (PoolId(1), EntryKind::Saved));
    assert_eq!(all[0].amount, NanoUsd::from_nanos(-5));
    assert_eq!((all[1].kind, all[1].entries), (EntryKind::Run, 4));
    assert_eq!(all[1].amount, NanoUsd::from_nanos(4 * 122_222));
    assert_eq!(all[1].worker_time, DurationMs::from_secs(4));
    let only = |filter: SpentFilter| -> u64 {
        let sums = reader.spent(&filter).unwrap();
        sums.iter().map(|spent| spent.entries).sum()
    };
    let with = SpentFilter::default;
    assert_eq!(
        only(SpentFilter {
            kind: Some(EntryKind::Saved),
            ..with()
        }),
        1
    );
    assert_eq!(
        only(SpentFilter {
            endpoint: Some(EndpointId(2)),
            ..with()
        }),
        0
    );
    assert_eq!(
        only(SpentFilter {
            since: Some(at(late + 1_000)),
            ..with()
        }),
        1
    );
    assert_eq!(
        only(SpentFilter {
            until: Some(at(late)),
            ..with()
        }),
        4
    );
}

fn every_kind_of_line_is_kept(driver: &mut dyn Driver) {
    let drift = Cause::ALL.into_iter().map(EntryKind::Drift);
    let kinds = [
        EntryKind::ColdStart,
        EntryKind::Run,
        EntryKind::Idle,
        EntryKind::Saved,
        EntryKind::Unsettled,
        EntryKind::Share,
        EntryKind::ColdShare,
        EntryKind::IdleShare,
        EntryKind::Electricity,
    ];
    let mut expected = Snapshot::default();
    let mut lines = Vec::new();
    for (n, kind) in (0_u64..).zip(kinds.into_iter().chain(drift)) {
        let mut entry = entry(n, 40 * 60_000 * n.cast_signed());
        entry.kind = kind;
        entry.amount = NanoUsd::from_nanos(n.cast_signed() - 8);
        lines.push(Change::LedgerAdded(entry));
    }
    commit(driver, |work| {
        for line in &lines {
            expected.apply(line);
            work.change(line.clone());
        }
    });
    driver.reopen();
    let restored = driver.store().restore().unwrap();
    assert_eq!(restored, expected, "sums for caps, and for records");
    let sums = driver.store().reader().spent(&SpentFilter::default());
    let found: Vec<EntryKind> = sums.unwrap().iter().map(|sum| sum.kind).collect();
    assert_eq!(found.len(), lines.len());
    assert!(found.is_sorted());
}

fn money_is_told_by_who_bears_it(driver: &mut dyn Driver) {
    let late = SPENT_BUCKET_MS + 5;
    let line = |n, millis, gpu: Option<&str>, region: Option<&str>, key| {
        Change::LedgerAdded(Entry {
            gpu: gpu.map(Into::into),
            region: region.map(Into::into),
            key,
            ..entry(n, millis)
        })
    };
    commit(driver, |work| {
        work.change(line(1, 10, Some("NVIDIA A40"), Some("eu"), key()));
        work.change(line(2, 11, Some("NVIDIA A40"), Some("eu"), key()));
        work.change(line(2, 12, Some("NVIDIA A40"), Some("us"), key()));
        work.change(line(3, 13, None, None, None));
    });
    commit(driver, |work| {
        work.change(line(3, 14, Some("NVIDIA A40"), Some("eu"), key()));
        work.change(line(2, late, None, None, None));
    });
    driver.reopen();
    let reader = driver.store().reader();
    let rows = |filter: &SpentFilter| {
        let mut rows = Vec::new();
        reader
            .spent_rows(filter, &mut |row| {
                let label = |text: Option<Box<str>>| text.unwrap_or_default().into_string();
                let from = row.from.as_millis();
                rows.push((
                    from,
                    label(row.gpu),
                    label(row.region),
                    row.key,
                    row.sum.entries,
                ));
            })
            .unwrap();
        rows
    };
    let a40 = || "NVIDIA A40".to_owned();
    let expected = [
        (0, String::new(), String::new(), None, 1),
        (0, a40(), "eu".to_owned(), key(), 3),
        (0, a40(), "us".to_owned(), key(), 1),
        (SPENT_BUCKET_MS, String::new(), String::new(), None, 1),
    ];
    assert_eq!(rows(&SpentFilter::default()), expected);
    let first = SpentFilter {
        until: Some(at(late)),
        ..SpentFilter::default()
    };
    assert_eq!(rows(&first), expected[..3]);
    let of = |n| reader.entries_of(job_id(n)).unwrap();
    assert_eq!(of(2).len(), 3);
    assert_eq!((of(2)[0].at, of(2)[0].key), (at(11), key()));
    assert_eq!((of(1).len(), of(9).len()), (1, 0));
    let exact = SpentFilter {
        since: Some(at(12)),
        until: Some(at(14)),
        ..SpentFilter::default()
    };
    let mut jobs = Vec::new();
    reader
        .entries_of_jobs(&exact, &mut |entry| jobs.push(entry.job))
        .unwrap();
    assert_eq!(jobs, [Some(job_id(2)), Some(job_id(3))]);
}

fn audit_is_numbered(driver: &mut dyn Driver) {
    for n in 1..=5 {
        commit(driver, |work| {
            work.change(Change::Audited {
                at: at(n),
                what: format!("what {n}"),
                object: "tts".to_owned(),
                detail: String::new(),
            });
        });
    }
    driver.reopen();
    let reader = driver.store().reader();
    let numbers = |before, limit| -> Vec<u64> {
        let rows = reader.audit(before, limit).unwrap();
        rows.iter().map(|row| row.number).collect()
    };
    assert_eq!(numbers(None, 10), [5, 4, 3, 2, 1]);
    assert_eq!(numbers(Some(4), 2), [3, 2]);
    let last = &reader.audit(None, 1).unwrap()[0];
    assert_eq!((last.at, last.what.as_str()), (at(5), "what 5"));
}

fn counts_count(driver: &mut dyn Driver) {
    let end = |n, state, attempts| {
        Change::JobEnded(EndedJob {
            state,
            attempts,
            ..ended(n)
        })
    };
    commit(driver, |work| {
        work.change(end(1, FinalState::Completed, 1));
        work.change(end(2, FinalState::Completed, 3));
    });
    commit(driver, |work| {
        work.change(end(3, FinalState::Failed, 1));
        work.change(end(4, FinalState::Cancelled, 0));
        work.change(end(5, FinalState::TimedOut, 0));
    });
    driver.reopen();
    let reader = driver.store().reader();
    let expected = Counts {
        completed: 2,
        failed: 1,
        cancelled: 1,
        timed_out: 1,
        retried: 2,
    };
    assert_eq!(reader.counts(ENDPOINT).unwrap(), expected);
    assert_eq!(reader.counts(EndpointId(9)).unwrap(), Counts::default());
}

fn keys_are_kept(driver: &mut dyn Driver) {
    let key = |id: &str, endpoints: Option<Vec<String>>| KeyRecord {
        id: id.to_owned(),
        kind: "user".to_owned(),
        name: "the app".to_owned(),
        scopes: vec!["jobs:submit".to_owned(), "jobs:read".to_owned()],
        endpoints,
        digest: [7; 32],
        created_at: at(1),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    let (a, b) = (key("a", Some(vec!["tts".to_owned()])), key("b", None));
    driver.store().put_key(&b).unwrap();
    driver.store().put_key(&a).unwrap();
    let used = KeyRecord {
        last_used_at: Some(at(9)),
        ..b
    };
    driver.store().put_key(&used).unwrap();
    driver.reopen();
    assert_eq!(driver.store().keys().unwrap(), [a.clone(), used.clone()]);
    assert!(driver.store().revoke_key("a", at(5)).unwrap());
    assert!(driver.store().revoke_key("a", at(6)).unwrap());
    assert!(!driver.store().revoke_key("c", at(6)).unwrap());
    driver.reopen();
    let revoked = KeyRecord {
        revoked_at: Some(at(5)),
        ..a
    };
    assert_eq!(driver.store().keys().unwrap(), [revoked, used]);
}

fn meta_is_kept(driver: &mut dyn Driver) {
    assert_eq!(driver.store().meta("secret").unwrap(), None);
    driver.store().put_meta("secret", b"\x00\xff").unwrap();
    driver.store().put_meta("other", b"").unwrap();
    driver.store().put_meta("secret", b"new").unwrap();
    driver.reopen();
    assert_eq!(driver.store().meta("secret").unwrap().unwrap(), b"new");
    assert_eq!(driver.store().meta("other").unwrap().unwrap(), b"");
}

fn a_closed_store_refuses(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(1);
    });
    driver.store().checkpoint(true).unwrap();
    driver.store().close().unwrap();
    let mut work = Work::new();
    work.submit(2);
    let error = work.commit(driver.store()).unwrap_err();
    assert!(error.is_fatal(), "{error}");
    driver.reopen();
    assert_eq!(driver.store().restore().unwrap().jobs.len(), 1);
    commit(driver, |work| {
        work.submit(2);
    });
}

/// The webhook of job `n`, to one of two receivers.
fn webhook(n: u64) -> Webhook {
    let receiver = if n.is_multiple_of(2) { "even" } else { "odd" };
    let ended = EndedJob {
        webhook: Some(format!("https://{receiver}.example/hook/{n}")),
        ..ended(n)
    };
    Webhook::of(&ended, 3).unwrap()
}

fn put_webhook(work: &mut Work, webhook: Webhook) {
    work.change(Change::WebhookPut(Box::new(webhook)));
}

fn failed() -> WebhookOutcome {
    WebhookOutcome::Failed {
        status: Some(503),
        failure: "503".to_owned(),
    }
}

fn webhooks_are_due_and_listed(driver: &mut dyn Driver) {
    commit(driver, |work| {
        for n in 1..=5 {
            work.submit(n).lease(n).complete(n);
            put_webhook(work, webhook(n));
        }
    });
    let later = webhook(2).after(failed(), at(50_000));
    let taken = webhook(3).after(WebhookOutcome::Accepted { status: 204 }, at(9_000));
    let dead = webhook(5).after(WebhookOutcome::Gone, at(9_000));
    commit(driver, |work| {
        put_webhook(work, webhook(3).after(failed(), at(8_000)));
        for changed in [&later, &taken, &dead] {
            put_webhook(work, changed.clone());
        }
    });
    driver.reopen();
    let reader = driver.store().reader();
    let receivers = reader.webhook_receivers().unwrap();
    let expected = [
        ("even.example".to_owned(), webhook(4).next_at),
        ("odd.example".to_owned(), webhook(1).next_at),
    ];
    assert_eq!(receivers, expected);
    let due = |now, limit| {
        let due = reader.webhooks_due("even.example", at(now), limit);
        due.unwrap().iter().map(|w| w.id).collect::<Vec<_>>()
    };
    assert_eq!(due(3_000, 9), []);
    assert_eq!(due(4_000, 9), [webhook(4).id]);
    assert_eq!(due(i64::MAX, 9), [webhook(4).id, later.id]);
    assert_eq!(due(i64::MAX, 1), [webhook(4).id]);
    assert_eq!(reader.webhook(later.id).unwrap(), Some(later));
    let list = |filter: WebhookFilter, after, limit| {
        let found = reader.webhooks(&filter, after, limit).unwrap();
        found.iter().map(|w| w.id.job).collect::<Vec<_>>()
    };
    let all = WebhookFilter::default();
    assert_eq!(list(all.clone(), None, 2), [job_id(5), job_id(4)]);
    assert_eq!(
        list(all.clone(), Some(webhook(4).id), 9),
        [job_id(3), job_id(2), job_id(1)]
    );
    let in_state = |state| WebhookFilter {
        state: Some(state),
        ..all.clone()
    };
    assert_eq!(list(in_state(WebhookState::Dead), None, 9), [job_id(5)]);
    assert_eq!(
        list(in_state(WebhookState::Delivered), None, 9),
        [job_id(3)]
    );
    let due = list(in_state(WebhookState::Due), None, 9);
    assert_eq!(due, [job_id(4), job_id(2), job_id(1)]);
    let of_job = WebhookFilter {
        job: Some(job_id(2)),
        ..all
    };
    assert_eq!(list(of_job, None, 9), [job_id(2)]);
}

fn a_webhook_keeps_its_job(driver: &mut dyn Driver) {
    commit(driver, |work| {
        for n in 1..=2 {
            work.submit(n).lease(n).complete(n);
            put_webhook(work, webhook(n));
        }
        put_webhook(
            work,
            webhook(2).after(WebhookOutcome::Accepted { status: 200 }, at(9_000)),
        );
    });
    let late = at(2_000_000);
    driver.store().expire(late, 10).unwrap();
    driver.reopen();
    let reader = driver.store().reader();
    assert_eq!(reader.row(job_id(2)).unwrap(), None);
    assert_eq!(reader.webhook(webhook(2).id).unwrap(), None);
    assert_eq!(
        reader.webhook_output(webhook(1).id).unwrap().unwrap(),
        output(1)
    );
    assert_eq!(reader.input(job_id(1)).unwrap().unwrap(), input(1));
    // It is looked at again only later, so that many such jobs do not stand in the way.
    assert_eq!(driver.store().expire(late, 10).unwrap(), 0);
    commit(driver, |work| {
        let taken = webhook(1).after(WebhookOutcome::Accepted { status: 200 }, late);
        put_webhook(work, taken);
    });
    let later = late + DurationMs::from_secs(3_600);
    assert_eq!(driver.store().expire(later, 10).unwrap(), 1);
    assert_eq!(driver.store().reader().row(job_id(1)).unwrap(), None);
    assert_eq!(
        driver.store().reader().webhook(webhook(1).id).unwrap(),
        None
    );
}

fn an_alert_goes_by_itself(driver: &mut dyn Driver) {
    let alert = BudgetAlert {
        at: at(5),
        endpoint: None,
        endpoint_name: None,
        key: key(),
        period: Period::Day,
        threshold: 80,
        cap: NanoUsd::from_nanos(10),
        spent: NanoUsd::from_nanos(8),
        reserved: NanoUsd::ZERO,
        ends_at: at(90),
    };
    let webhook = Webhook::of_alert(&alert, "https://app.example/alerts");
    commit(driver, |work| put_webhook(work, webhook.clone()));
    driver.reopen();
    let reader = driver.store().reader();
    let due = reader.webhooks_due("app.example", at(5), 10).unwrap();
    assert_eq!(due, std::slice::from_ref(&webhook));
    let long = at(1_000_000_000_000);
    driver.store().expire(long, 10).unwrap();
    assert!(reader.webhook(webhook.id).unwrap().is_some(), "it is due");
    let delivered = webhook.after(WebhookOutcome::Accepted { status: 200 }, at(6));
    let id = delivered.id;
    commit(driver, |work| put_webhook(work, delivered));
    driver.store().expire(at(7), 10).unwrap();
    assert!(reader.webhook(id).unwrap().is_some(), "it can be looked at");
    driver.store().expire(long, 10).unwrap();
    assert_eq!(reader.webhook(id).unwrap(), None);
}

fn a_retry_leaves_a_webhook(driver: &mut dyn Driver) {
    commit(driver, |work| {
        work.submit(1).lease(1).complete(1);
        put_webhook(work, webhook(1));
    });
    commit(driver, |work| {
        let mut again = job(1);
        again.generation = 1;
        work.change(Change::JobPut {
            job: again,
            input: None,
            idempotency: None,
        });
    });
    driver.reopen();
    let reader = driver.store().reader();
    let first = webhook(1);
    assert_eq!(reader.output(job_id(1), 0).unwrap(), None);
    assert_eq!(reader.webhook_output(first.id).unwrap().unwrap(), output(1));
    commit(driver, |work| {
        put_webhook(work, first.clone().after(failed(), at(9_000)));
    });
    assert_eq!(reader.webhook_output(first.id).unwrap().unwrap(), output(1));
    // Given up, it may still be replayed.
    commit(driver, |work| {
        put_webhook(work, first.clone().after(WebhookOutcome::Gone, at(9_500)));
    });
    assert_eq!(reader.webhook_output(first.id).unwrap().unwrap(), output(1));
    commit(driver, |work| {
        let taken = WebhookOutcome::Accepted { status: 200 };
        put_webhook(work, first.clone().after(taken, at(9_000)));
    });
    assert_eq!(reader.webhook_output(first.id).unwrap(), None);
    driver.reopen();
    assert_eq!(driver.store().restore().unwrap().jobs.len(), 1);
}

//! A history of commits whose every state is known: step `k` submits job `k`, hands out job `k - 1` and
//! completes job `k - 2`.

use std::path::Path;

use overspill_core::change::{Change, EndedJob, Snapshot};
use overspill_core::endpoint::EndpointRecord;
use overspill_core::event::PayloadRef;
use overspill_core::meter::Billed;
use overspill_core::money::NanoUsd;
use overspill_core::pool::{KeptOn, PoolRecord};
use overspill_core::scaler::history::Learned;
use overspill_core::time::Timestamp;

use super::build::{
    ENDPOINT, POOL, Work, at, attempt_ended, attempt_id, ended, input, job_id, output, worker,
};
use super::report::Verdict;
use crate::record::{JobFilter, SpentFilter};
use crate::sqlite::{Options, SqliteStore};
use crate::{Store, StoreError};

/// How stores are opened here: fully checked, without a reserve.
pub const OPTIONS: Options = Options {
    reserve_bytes: 0,
    check_bytes_max: u64::MAX,
};

/// What step `k` commits, from 1.
#[must_use]
pub fn step(k: u64) -> Work {
    let mut work = Work::new();
    if k == 1 {
        work.change(Change::EndpointPut(EndpointRecord {
            id: ENDPOINT,
            name: "tts".to_owned(),
            limits_override: None,
            caps_override: None,
            scaler_override: None,
            max_wait_override: None,
            learned: Learned::default(),
        }));
        work.change(Change::WorkerPut(worker(1)));
    }
    work.submit_as(k, Some(&format!("order-{k}")));
    if k > 1 {
        work.lease(k - 1);
        let chunk = work.payload(format!("chunk of {}", k - 1));
        let attempt = attempt_id(k - 1, 1);
        work.change(Change::ChunkAdded { attempt, chunk });
        let progress = work.payload(format!("progress of {}", k - 1));
        work.change(Change::ProgressPut { attempt, progress });
    }
    if k > 2 {
        work.complete(k - 2);
    }
    if k.is_multiple_of(4) {
        work.change(Change::Audited {
            at: at(k.cast_signed()),
            what: "limits_set".to_owned(),
            object: "tts".to_owned(),
            detail: format!("step {k}"),
        });
        work.change(Change::PoolPut(PoolRecord {
            id: POOL,
            endpoint: ENDPOINT,
            key: "cloud".to_owned(),
            wanted: 1,
            reserved_workers: (k % 7) as u32,
            reserved_each: NanoUsd::from_nanos(5),
            kept_on: KeptOn::default(),
            charged_until: Timestamp::ZERO,
            billed: Billed::default(),
            since: Timestamp::ZERO,
            learned: None,
            leads_to: None,
        }));
    }
    as_in_the_first_version(&mut work);
    work
}

/// Databases of the first version hold this history too, and it knew neither keys nor types of GPU.
fn as_in_the_first_version(work: &mut Work) {
    for change in &mut work.changes {
        match change {
            Change::JobPut { job, .. } => job.key = None,
            Change::AttemptPut(attempt) => attempt.key = None,
            Change::LedgerAdded(entry) => (entry.key, entry.gpu) = (None, None),
            _ => {}
        }
    }
}

/// What a core is restored from after the steps up to `k`.
#[must_use]
pub fn state(k: u64) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for change in (1..=k).flat_map(|k| step(k).changes) {
        snapshot.apply(&change);
    }
    snapshot
}

/// Opens the store in `dir` and compares everything in it with the history.
#[must_use]
pub fn verify(dir: &Path) -> Verdict {
    let mut store = match SqliteStore::open_with(dir, OPTIONS) {
        Ok(store) => store,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    let snapshot = match store.restore() {
        Ok(snapshot) => snapshot,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    let last = snapshot.jobs.keys().next_back().copied();
    let last = last.map_or(0, |id| (id.uuid() >> 64) as u64);
    if last > 1_000_000 || state(last) != snapshot {
        return Verdict::Wrong(format!("the restored state is none of step {last}"));
    }
    match compare(&mut store, last) {
        Ok(None) => Verdict::Identical { step: last },
        Ok(Some(what)) => Verdict::Wrong(format!("after step {last}: {what}")),
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

/// What differs from the history after the steps up to `last`.
fn compare(store: &mut SqliteStore, last: u64) -> Result<Option<String>, StoreError> {
    let reader = store.reader();
    for n in 1..=last {
        let wrong = |what: &str| Ok(Some(format!("{what} of job {n}")));
        if reader
            .input(job_id(n))?
            .is_none_or(|bytes| bytes != input(n))
        {
            return wrong("input");
        }
        let known = store.idempotent(ENDPOINT, &format!("order-{n}"))?;
        if known.is_none_or(|known| known.job != job_id(n)) {
            return wrong("idempotency key");
        }
        if n + 2 > last {
            continue;
        }
        let bytes = output(n).len() as u64;
        let expected = EndedJob {
            output: PayloadRef { handle: 0, bytes },
            ..ended(n)
        };
        if reader.ended(job_id(n))? != Some(expected) {
            return wrong("end");
        }
        let stored = reader.output(job_id(n), 0)?;
        if stored.is_none_or(|bytes| bytes != output(n)) {
            return wrong("output");
        }
        if reader.story(job_id(n))? != [attempt_ended(n, 1, "completed")] {
            return wrong("story");
        }
        let chunks = reader.chunks(attempt_id(n, 1), 0, u64::MAX)?;
        if chunks.len() != 1 || chunks[0].bytes != format!("chunk of {n}") {
            return wrong("chunk");
        }
    }
    let rows = reader.jobs(&JobFilter::default(), None, usize::MAX)?;
    let listed: Vec<_> = rows.iter().map(|row| row.id).collect();
    if listed != (1..=last).rev().map(job_id).collect::<Vec<_>>() {
        return Ok(Some("job list".to_owned()));
    }
    let completed = last.saturating_sub(2);
    if reader.counts(ENDPOINT)?.completed != completed {
        return Ok(Some("counts".to_owned()));
    }
    let spent = reader.spent(&SpentFilter::default())?;
    if spent.iter().map(|spent| spent.entries).sum::<u64>() != completed {
        return Ok(Some("spending".to_owned()));
    }
    let audited = reader.audit(None, usize::MAX)?;
    if audited.len() as u64 != last / 4 {
        return Ok(Some("audit trail".to_owned()));
    }
    Ok(None)
}

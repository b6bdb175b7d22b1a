//! Local workers idle, or are not there, while jobs wait.

use overspill_core::quarantine::CardFault;
use overspill_core::why::{SeatFacts, SeatState};
use serde_json::json;

use super::{EndpointFacts, Finding};

/// A worker that ended badly so often in a row is not counted on.
const FAILURES_MIN: u32 = 3;
/// From this version of RunPod's worker package on…
const JOB_FILE_FROM: (u32, u32, u32) = (1, 7, 11);
/// … to this one, workers of one folder share a job list in a file there.
const JOB_FILE_TO: (u32, u32, u32) = (1, 10, 0);

pub(super) fn examine(facts: &EndpointFacts, found: &mut Vec<Finding>) {
    let now = facts.situation.picture.now;
    for seat in &facts.situation.seats {
        match seat.state {
            SeatState::Crashing(failures, next) if failures >= FAILURES_MIN => {
                found.push(Finding::new(
                    "local_crash_loop",
                    facts,
                    Some(&seat.pool),
                    format!(
                        "a worker of {} ended {failures} times in a row on card {}; the next start \
                         is in {}",
                        seat.pool,
                        seat.device,
                        next.since(now)
                    ),
                    json!({ "failures": failures, "device": seat.device }),
                    "run its `command` by hand: what it prints before it ends also stands in the \
                     workers' log under the data folder",
                    Some("overspill check".to_owned()),
                ));
            }
            SeatState::Quarantined => found.extend(quarantined(facts, seat)),
            _ => {}
        }
    }
    if facts.situation.picture.waiting_total == 0 || sdk(facts, found) {
        return;
    }
    for seat in &facts.situation.seats {
        match seat.state {
            SeatState::Silent(since) => {
                let silent = now.since(since);
                found.push(Finding::new(
                    "worker_silent",
                    facts,
                    Some(&seat.pool),
                    format!(
                        "jobs wait, and a worker of {} has neither a job nor asked for one for {silent}",
                        seat.pool
                    ),
                    json!({ "silent": silent, "device": seat.device }),
                    "its process hangs: it is ended after three minutes of silence; look for a \
                     handler that blocks the event loop",
                    None,
                ));
            }
            SeatState::Ready if seat.is_taken && facts.is_late() => {
                found.push(Finding::new(
                    "card_taken",
                    facts,
                    Some(&seat.pool),
                    format!(
                        "jobs wait, and another endpoint's worker has card {}",
                        seat.device
                    ),
                    json!({ "device": seat.device }),
                    "say how much memory each needs (`vram` of both [[endpoint.local]]), so that \
                     both run where they fit; or give each a card of its own (`devices`)",
                    None,
                ));
            }
            _ => {}
        }
    }
}

/// The card of a pool must not be used.
fn quarantined(facts: &EndpointFacts, seat: &SeatFacts) -> Option<Finding> {
    let now = facts.situation.picture.now;
    let (quarantine, returns_at) = seat.quarantine.as_ref()?;
    let (device, since) = (seat.device, now.since(quarantine.since));
    let returns_in = returns_at.map(|at| at.since(now));
    let fix = match &quarantine.fault {
        CardFault::Missing | CardFault::Failing { .. } => {
            "look for NVRM and Xid in the kernel's log (`dmesg`), and at power, heat and seat of the \
             card; it takes jobs again by itself once its readings were good for a while"
        }
        CardFault::Hanging => {
            "the driver hangs at it (`nvidia-smi` will too): restart the machine when it can be \
             spared; it takes jobs again by itself once it answers"
        }
        CardFault::MemoryErrors { .. } => {
            "reset it (`nvidia-smi --gpu-reset`) or restart the machine, and it returns by itself; \
             a card that makes such errors again belongs replaced"
        }
        CardFault::MemoryHeld { .. } => {
            "a process of that group hangs in the driver: look for it with `nvidia-smi`; the card \
             takes jobs again by itself once its memory is free"
        }
    };
    Some(Finding::new(
        "card_quarantined",
        facts,
        Some(&seat.pool),
        format!(
            "card {device} has been quarantined for {since}: {}",
            quarantine.fault
        ),
        json!({
            "device": device,
            "fault": quarantine.fault.name(),
            "since": since,
            "returns_in": returns_in,
        }),
        fix,
        Some(format!("overspill gpus --return {device}")),
    ))
}

/// Several workers with a version that keeps its job list in a file of its folder. Whether it is so.
fn sdk(facts: &EndpointFacts, found: &mut Vec<Finding>) -> bool {
    let is_bad = |text: &&String| {
        version(text).is_some_and(|version| (JOB_FILE_FROM..=JOB_FILE_TO).contains(&version))
    };
    let versions: Vec<&String> = facts.sdk.values().filter(is_bad).collect();
    let is_idle = facts.situation.seats.iter().any(|seat| match seat.state {
        SeatState::Silent(_) => true,
        SeatState::Ready => seat.busy < seat.slots,
        SeatState::Starting
        | SeatState::Crashing(..)
        | SeatState::Quarantined
        | SeatState::Held(_) => false,
    });
    let Some(version) = versions.first().filter(|_| versions.len() > 1 && is_idle) else {
        return false;
    };
    found.push(Finding::new(
        "sdk_job_file",
        facts,
        None,
        format!(
            "{} workers run runpod {version}, which keeps its jobs in a file of the working folder \
             that all of them share; some idle while jobs wait",
            versions.len()
        ),
        json!({ "version": version, "workers": versions.len() }),
        "update the package to 1.10.1 or newer",
        Some("pip install 'runpod>=1.10.1'".to_owned()),
    ));
    true
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    Some((
        parts.next()??,
        parts.next()??,
        parts.next().flatten().unwrap_or(0),
    ))
}

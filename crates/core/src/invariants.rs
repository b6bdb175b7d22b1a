//! Named checks over the whole state, used by tests, storms and `overspill doctor` alike.

use crate::attempt::Place;
use crate::job::JobState;
use crate::machine::Core;
use crate::scaler::slots::SLOTS_MAX;

/// A check that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The check's name.
    pub name: &'static str,
    /// On what, in words.
    pub detail: String,
}

/// Runs all checks.
#[must_use]
pub fn check(core: &Core) -> Vec<Violation> {
    let mut found = Vec::new();
    queues_hold_exactly_the_queued(core, &mut found);
    attempted_jobs_have_their_attempt(core, &mut found);
    leases_are_held_by_live_workers(core, &mut found);
    slots_are_not_overfilled(core, &mut found);
    suspects_run_alone(core, &mut found);
    cards_are_not_shared_beyond_memory(core, &mut found);
    quarantined_cards_take_nothing(core, &mut found);
    money_is_reserved_before_it_is_spent(core, &mut found);
    limits_hold(core, &mut found);
    bearers_are_there(core, &mut found);
    found
}

fn queues_hold_exactly_the_queued(core: &Core, found: &mut Vec<Violation>) {
    let name = "queues_hold_exactly_the_queued";
    let mut queued = 0;
    for endpoint in core.endpoints.values() {
        for (&key, &slot) in &endpoint.queue {
            queued += 1;
            let job = core.jobs.at(slot);
            let fits = job.is_some_and(|job| {
                job.queue_key() == key
                    && job.state == JobState::Queued
                    && job.endpoint == endpoint.record.id
            });
            if !fits {
                found.push(Violation {
                    name,
                    detail: format!("queue entry {key}: {job:?}"),
                });
            }
        }
    }
    let waiting = core
        .jobs
        .iter()
        .filter(|job| job.state == JobState::Queued)
        .count();
    if waiting != queued {
        found.push(Violation {
            name,
            detail: format!("{waiting} jobs wait, {queued} queued"),
        });
    }
}

fn attempted_jobs_have_their_attempt(core: &Core, found: &mut Vec<Violation>) {
    let name = "attempted_jobs_have_their_attempt";
    for job in core.jobs.iter() {
        let JobState::Attempted { number } = job.state else {
            continue;
        };
        let id = crate::id::AttemptId {
            job: job.id,
            generation: job.generation,
            number,
        };
        let is_open = core
            .attempts
            .get(&id)
            .is_some_and(|attempt| attempt.fenced.is_none());
        if !is_open {
            found.push(Violation {
                name,
                detail: format!("{id} is not open"),
            });
        }
    }
    for (id, attempt) in &core.attempts {
        let is_current = core.jobs.get(id.job).is_some_and(|job| {
            job.generation == id.generation
                && job.state == JobState::Attempted { number: id.number }
        });
        if attempt.fenced.is_none() && !is_current {
            found.push(Violation {
                name,
                detail: format!("{id} is open, its job is elsewhere"),
            });
        }
    }
}

fn leases_are_held_by_live_workers(core: &Core, found: &mut Vec<Violation>) {
    let name = "leases_are_held_by_live_workers";
    for (id, attempt) in &core.attempts {
        let is_held = match attempt.place {
            Place::Local { worker } => core
                .workers
                .get(&worker)
                .is_some_and(|worker| worker.held.contains_key(id)),
            Place::Cloud(_) => core
                .pools
                .get(&attempt.pool)
                .is_some_and(|pool| pool.outstanding.contains(id)),
        };
        if !is_held {
            found.push(Violation {
                name,
                detail: format!("{id}: {:?}", attempt.place),
            });
        }
    }
    let held: usize = core.workers.values().map(|worker| worker.held.len()).sum();
    let outstanding: usize = core.pools.values().map(|pool| pool.outstanding.len()).sum();
    if held + outstanding != core.attempts.len() {
        let detail = format!(
            "{held} + {outstanding} held, {} attempts",
            core.attempts.len()
        );
        found.push(Violation { name, detail });
    }
}

fn slots_are_not_overfilled(core: &Core, found: &mut Vec<Violation>) {
    for (id, worker) in &core.workers {
        let slots = core.pools.get(&worker.record.pool).map_or(1, |pool| {
            if pool.learns_slots() {
                SLOTS_MAX
            } else {
                pool.slots()
            }
        });
        if worker.held.len() > slots as usize {
            let detail = format!("{id} holds {} with {slots} slots", worker.held.len());
            found.push(Violation {
                name: "slots_are_not_overfilled",
                detail,
            });
        }
    }
}

fn suspects_run_alone(core: &Core, found: &mut Vec<Violation>) {
    for (id, worker) in &core.workers {
        if worker.held.len() > 1 && core.holds_suspect(worker) {
            let detail = format!(
                "{id} holds {} jobs, one of them a suspect",
                worker.held.len()
            );
            found.push(Violation {
                name: "suspects_run_alone",
                detail,
            });
        }
    }
}

fn cards_are_not_shared_beyond_memory(core: &Core, found: &mut Vec<Violation>) {
    let name = "cards_are_not_shared_beyond_memory";
    for (id, device) in &core.devices {
        let needed: Option<u64> = device.users.values().map(|usage| usage.vram_bytes).sum();
        let fits = needed.is_some_and(|bytes| bytes <= device.spec.memory_bytes);
        if device.users.len() > 1 && !fits {
            found.push(Violation {
                name,
                detail: format!("card {id}: {:?}", device.users),
            });
        }
    }
}

/// No worker there may be handed jobs, and nothing that ran there counts any more.
fn quarantined_cards_take_nothing(core: &Core, found: &mut Vec<Violation>) {
    let name = "quarantined_cards_take_nothing";
    for (id, worker) in &core.workers {
        let device = worker.record.device;
        if !core.is_quarantined(device) {
            continue;
        }
        if worker.record.takes_jobs() {
            let detail = format!("worker {id} takes jobs on card {device}");
            found.push(Violation { name, detail });
        }
        for attempt in worker.held.keys().filter(|&&held| core.counts(held)) {
            let detail = format!("{attempt} counts on card {device}");
            found.push(Violation { name, detail });
        }
    }
    let mut quarantined = core.devices.values().filter_map(|device| {
        let quarantine = device.quarantine.as_ref()?;
        Some((device.spec.key(), quarantine))
    });
    if let Some((key, _)) = quarantined.find(|(key, is)| core.quarantines.get(key) != Some(is)) {
        let detail = format!("card {key}'s quarantine is not as it is durable");
        found.push(Violation { name, detail });
    }
}

fn money_is_reserved_before_it_is_spent(core: &Core, found: &mut Vec<Violation>) {
    let name = "money_is_reserved_before_it_is_spent";
    for (id, pool) in &core.pools {
        let caused = pool.workers_caused().max(pool.record.wanted);
        if pool.spec.is_some() && pool.record.reserved_workers < caused {
            let reserved = pool.record.reserved_workers;
            let detail = format!("pool {id}: {caused} workers caused, {reserved} reserved");
            found.push(Violation { name, detail });
        }
    }
}

fn limits_hold(core: &Core, found: &mut Vec<Violation>) {
    for (id, endpoint) in &core.endpoints {
        let was_scaled = endpoint.scaled_at == core.now;
        let wanted: u32 = core
            .cloud_pools(*id)
            .iter()
            .map(|pool| core.pools[pool].record.wanted)
            .sum();
        let max = endpoint.limits().max;
        if was_scaled && wanted > max {
            let detail = format!("endpoint {id}: {wanted} cloud workers wanted, max {max}");
            found.push(Violation {
                name: "limits_hold",
                detail,
            });
        }
    }
}

/// Nothing is borne by an attempt that is neither at RunPod nor over a moment ago.
fn bearers_are_there(core: &Core, found: &mut Vec<Violation>) {
    for (id, pool) in &core.pools {
        let bearing = &pool.cloud.bearing;
        let is_gone = |attempt: &crate::id::AttemptId| {
            !pool.outstanding.contains(attempt) && !bearing.tails.contains_key(attempt)
        };
        for attempt in bearing.borne.keys().filter(|attempt| is_gone(attempt)) {
            found.push(Violation {
                name: "bearers_are_there",
                detail: format!("pool {id}: {attempt} is gone"),
            });
        }
    }
}

//! What drivers say of cards: faults, leftover memory, and that all is well again.

use std::collections::BTreeSet;

use crate::attempt::Fence;
use crate::change::Change;
use crate::effect::{Answer, Effect, Out};
use crate::explain::Reason;
use crate::id::{AttemptId, DeviceId, EndpointId, PoolId, RequestId, WorkerId};
use crate::machine::Core;
use crate::quarantine::{
    CardFault, CardReading, FAULT_PATIENCE, LOSS_MEMORY, MEMORY_PATIENCE, Quarantine,
};
use crate::timers::Timer;

impl Core {
    pub(crate) fn on_card_read(&mut self, id: DeviceId, reading: CardReading, out: &mut Out) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        let took_work = device.takes_work();
        device.reading = Some(reading.clone());
        match reading {
            CardReading::Answers {
                memory_errors,
                lists_processes,
            } => {
                device.doubted_since = None;
                device.lists_processes = lists_processes;
                if !lists_processes {
                    // Nobody can say any more when that memory is free.
                    device.leaving.clear();
                    self.end_if_freed(id, out);
                }
                if let Some(errors) = memory_errors {
                    self.count_memory_errors(id, errors, out);
                }
                self.card_is_well(id, out);
            }
            bad => {
                let doubted = *device.doubted_since.get_or_insert(now);
                let is_sure = device.quarantine.is_some();
                if let Some(fault) = bad.fault().filter(|_| is_sure) {
                    self.quarantine(id, fault, out);
                } else {
                    self.timers.set(doubted + FAULT_PATIENCE, Timer::Card(id));
                }
            }
        }
        self.after_card(id, took_work, out);
    }

    /// Errors beyond those that were there before quarantine a card; fewer than before mean that it
    /// was reset.
    fn count_memory_errors(&mut self, id: DeviceId, errors: u64, out: &mut Out) {
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        let known = *device.memory_errors.get_or_insert(errors);
        device.memory_errors = Some(errors);
        if errors > known {
            let mut count = errors - known;
            if let Some(CardFault::MemoryErrors { count: before, .. }) =
                device.quarantine.as_ref().map(|is| &is.fault)
            {
                count += before;
            }
            let total = errors;
            return self.quarantine(id, CardFault::MemoryErrors { count, total }, out);
        }
        let is_reset = device.quarantine.as_ref().is_some_and(
            |is| matches!(is.fault, CardFault::MemoryErrors { total, .. } if errors < total),
        );
        if is_reset {
            self.note_well(id, out);
        }
    }

    /// The card answers: where that is what was wrong, it gets its work back after a while.
    fn card_is_well(&mut self, id: DeviceId, out: &mut Out) {
        let is_passing = self
            .devices
            .get(&id)
            .and_then(|device| device.quarantine.as_ref())
            .is_some_and(|is| is.fault.passes());
        if is_passing {
            self.note_well(id, out);
        }
    }

    fn note_well(&mut self, id: DeviceId, out: &mut Out) {
        let now = self.now;
        let Some(device) = self.devices.get(&id) else {
            return;
        };
        let Some(mut quarantine) = device.quarantine.clone() else {
            return;
        };
        let since = quarantine.well_since.unwrap_or(now);
        self.timers
            .set(since + self.card_returns_after, Timer::Card(id));
        if quarantine.well_since.is_none() {
            quarantine.well_since = Some(now);
            self.put_quarantine(id, Some(quarantine), out);
        }
    }

    pub(crate) fn on_card_freed(&mut self, id: DeviceId, pid: u32, out: &mut Out) {
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        let took_work = device.takes_work();
        device.leaving.remove(&pid);
        self.end_if_freed(id, out);
        self.after_card(id, took_work, out);
    }

    /// A card whose memory was held is used again once nobody is known to hold it.
    fn end_if_freed(&mut self, id: DeviceId, out: &mut Out) {
        let is_freed = self.devices.get(&id).is_some_and(|device| {
            let fault = device.quarantine.as_ref().map(|is| &is.fault);
            matches!(fault, Some(CardFault::MemoryHeld { .. })) && device.leaving.is_empty()
        });
        if is_freed {
            self.end_quarantine(id, "its memory is free", out);
        }
    }

    pub(crate) fn on_card_return_asked(
        &mut self,
        request: RequestId,
        id: DeviceId,
        by: &str,
        out: &mut Out,
    ) {
        let Some(device) = self.devices.get_mut(&id) else {
            return out.answer(request, Answer::NotFound);
        };
        if device.quarantine.is_none() {
            return out.answer(request, Answer::CardNotQuarantined { device: id });
        }
        // Who returns it vouches for its memory.
        device.leaving.clear();
        self.end_quarantine(id, &format!("returned by {by}"), out);
        out.answer(request, Answer::CardReturned { device: id });
        self.after_card(id, false, out);
    }

    pub(crate) fn on_card_due(&mut self, id: DeviceId, out: &mut Out) {
        let now = self.now;
        let Some(device) = self.devices.get(&id) else {
            return;
        };
        let took_work = device.takes_work();
        let Some(quarantine) = &device.quarantine else {
            let doubted = device
                .doubted_since
                .filter(|&at| now >= at + FAULT_PATIENCE);
            let held = device
                .leaving
                .iter()
                .find(|(_, since)| now >= **since + MEMORY_PATIENCE);
            let fault = match (doubted.and(device.reading.as_ref()), held) {
                (Some(reading), _) => reading.fault(),
                (None, Some((&pid, _))) => Some(CardFault::MemoryHeld { pid }),
                (None, None) => None,
            };
            if let Some(fault) = fault {
                self.quarantine(id, fault, out);
            }
            return;
        };
        let answers = matches!(device.reading, Some(CardReading::Answers { .. }));
        let well_until = quarantine
            .well_since
            .map(|since| since + self.card_returns_after);
        let Some(well_until) = well_until.filter(|_| answers) else {
            return;
        };
        if now < well_until {
            // A reload made the wait longer after the timer was set.
            return self.timers.set(well_until, Timer::Card(id));
        }
        self.end_quarantine(id, "it is well again", out);
        self.after_card(id, took_work, out);
    }

    /// A card must not be used from now on; or for another reason than before.
    fn quarantine(&mut self, id: DeviceId, fault: CardFault, out: &mut Out) {
        let now = self.now;
        let Some(device) = self.devices.get(&id) else {
            return;
        };
        let before = device.quarantine.as_ref();
        // What good readings do not end stands, whatever else is wrong for a while.
        let stands = before.is_some_and(|is| !is.fault.passes());
        let is_stronger = matches!(fault, CardFault::MemoryErrors { .. });
        let quarantine = Quarantine {
            fault: match before {
                Some(before) if stands && !is_stronger => before.fault.clone(),
                _ => fault.clone(),
            },
            since: before.map_or(now, |before| before.since),
            well_since: None,
        };
        let is_new = before.is_none();
        // The driver's words decide nothing: a journal leaves them out.
        let is_known = before.is_some_and(|before| {
            let is_same = before.fault.name() == quarantine.fault.name();
            is_same && !is_stronger && before.well_since.is_none()
        });
        if is_known {
            return;
        }
        self.put_quarantine(id, Some(quarantine), out);
        if !is_new {
            return;
        }
        if fault.ends_workers() {
            self.excuse_losses(id, out);
        }
        for pool in self.pools.values_mut() {
            if let Some(seat) = pool.seats.get_mut(&id) {
                seat.failures = 0;
            }
        }
        let jobs = self.empty_card(id, out);
        out.change(Change::Audited {
            at: now,
            what: "card_quarantined".into(),
            object: format!("card {id}"),
            detail: format!("{fault}; {jobs} jobs that ran there go elsewhere"),
        });
        let reason = Reason::CardQuarantined {
            device: id,
            fault,
            jobs,
        };
        self.decided_on_card(id, &reason, out);
        self.touch_device(id);
    }

    /// Ends every worker on a card; says how many jobs ran there.
    fn empty_card(&mut self, id: DeviceId, out: &mut Out) -> u32 {
        let workers = self.workers.iter().filter(|(_, w)| w.record.device == id);
        let workers: Vec<WorkerId> = workers.map(|(&worker, _)| worker).collect();
        let jobs = workers.into_iter().map(|worker| self.take_off(worker, out));
        jobs.sum()
    }

    /// A card's worker is killed. What it runs counts no more, and is queued again at once: a process
    /// may not die while its driver hangs.
    fn take_off(&mut self, id: WorkerId, out: &mut Out) -> u32 {
        let held: Vec<AttemptId> = self
            .workers
            .get(&id)
            .map(|worker| worker.held.keys().copied().collect())
            .unwrap_or_default();
        let mut jobs = 0;
        for attempt in held {
            if self.counts(attempt) {
                self.fence(attempt, Fence::Lost, out);
                self.requeue(attempt, out);
                jobs += 1;
            }
        }
        self.kill_worker(id, out);
        jobs
    }

    /// Workers that died on the card just before its fault was seen died of it: that is not held
    /// against their jobs.
    fn excuse_losses(&mut self, id: DeviceId, out: &mut Out) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        for (job, generation, at) in std::mem::take(&mut device.losses) {
            if now.since(at) > LOSS_MEMORY {
                continue;
            }
            let Some(job) = self.jobs.get_mut(job) else {
                continue;
            };
            if job.generation == generation && job.lost > 0 {
                job.lost -= 1;
                out.change(Change::JobPut {
                    job: job.clone(),
                    input: None,
                    idempotency: None,
                });
            }
        }
    }

    fn end_quarantine(&mut self, id: DeviceId, why: &str, out: &mut Out) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        let Some(quarantine) = device.quarantine.clone() else {
            return;
        };
        // The patience with what is left of its last workers begins anew.
        for since in device.leaving.values_mut() {
            *since = now;
            self.timers.set(now + MEMORY_PATIENCE, Timer::Card(id));
        }
        // A driver that still says that something is wrong is heard again.
        if device.doubted_since.is_some() {
            device.doubted_since = Some(now);
            self.timers.set(now + FAULT_PATIENCE, Timer::Card(id));
        }
        let after = now.since(quarantine.since);
        self.put_quarantine(id, None, out);
        out.change(Change::Audited {
            at: now,
            what: "card_returned".into(),
            object: format!("card {id}"),
            detail: format!("{why}, {after} after: {}", quarantine.fault),
        });
        let reason = Reason::CardReturned { device: id, after };
        self.decided_on_card(id, &reason, out);
    }

    /// The one place where a quarantine changes, so that what is durable says the same.
    fn put_quarantine(&mut self, id: DeviceId, quarantine: Option<Quarantine>, out: &mut Out) {
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        device.quarantine.clone_from(&quarantine);
        let key = device.spec.key();
        match quarantine {
            Some(quarantine) => self.quarantines.insert(key, quarantine),
            None => self.quarantines.remove(&key),
        };
        out.change(Change::QuarantinesPut(self.quarantines.clone()));
    }

    /// A card that the configuration names is the one that was quarantined before a restart.
    pub(crate) fn recall_quarantine(&mut self, id: DeviceId, out: &mut Out) {
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        let known = self.quarantines.get(&device.spec.key()).cloned();
        let is_new = known.is_some() && device.quarantine.is_none();
        if let Some(CardFault::MemoryHeld { pid }) = known.as_ref().map(|is| &is.fault) {
            // Who holds it is not forgotten: the first reading says whether it still does.
            device.leaving.entry(*pid).or_insert(self.now);
        }
        device.quarantine = known;
        if is_new {
            self.empty_card(id, out);
        }
    }

    /// A worker's process group is gone: nothing starts on its card before its memory is free there,
    /// where the driver can say so.
    pub(crate) fn await_memory(&mut self, id: DeviceId, pid: Option<u32>) {
        let now = self.now;
        let Some(device) = self.devices.get_mut(&id) else {
            return;
        };
        let Some(pid) = pid.filter(|_| device.lists_processes) else {
            return;
        };
        device.leaving.insert(pid, now);
        self.timers.set(now + MEMORY_PATIENCE, Timer::Card(id));
    }

    /// A worker died there with this attempt.
    pub(crate) fn note_loss(&mut self, id: DeviceId, attempt: AttemptId) {
        let (now, counts) = (self.now, self.counts(attempt));
        if let Some(device) = self.devices.get_mut(&id).filter(|_| counts) {
            device.note_loss(attempt.job, attempt.generation, now);
        }
    }

    /// Whether a card must not be used.
    #[must_use]
    pub(crate) fn is_quarantined(&self, id: DeviceId) -> bool {
        let device = self.devices.get(&id);
        device.is_some_and(|device| device.quarantine.is_some())
    }

    /// Whether a card's driver says that something is wrong, which is not believed yet.
    pub(crate) fn is_doubted(&self, id: DeviceId) -> bool {
        let device = self.devices.get(&id);
        device.is_some_and(|device| device.doubted_since.is_some())
    }

    /// Whether an attempt counts no more because its card is quarantined.
    pub(crate) fn is_fenced_by_card(&self, id: AttemptId) -> bool {
        let attempt = self.attempts.get(&id);
        attempt.is_some_and(|attempt| attempt.fenced == Some(Fence::Lost))
    }

    /// What a card's change lets happen: workers start there, and jobs are placed again.
    fn after_card(&mut self, id: DeviceId, took_work: bool, out: &mut Out) {
        let takes_work = self.devices.get(&id).is_some_and(|d| d.takes_work());
        if took_work || !takes_work {
            return;
        }
        self.touch_device(id);
        let pools = self.pools.iter().filter(|(_, p)| p.seats.contains_key(&id));
        let pools: Vec<PoolId> = pools.map(|(&pool, _)| pool).collect();
        for pool in pools {
            self.seat_workers(pool, out);
        }
    }

    /// A decision about a card is one of every endpoint with workers there.
    fn decided_on_card(&self, id: DeviceId, reason: &Reason, out: &mut Out) {
        let pools = self.pools.values().filter(|p| p.seats.contains_key(&id));
        let endpoints: BTreeSet<EndpointId> = pools.map(|pool| pool.record.endpoint).collect();
        for endpoint in endpoints {
            let reason = reason.clone();
            out.effect(Effect::Decided { endpoint, reason });
        }
    }
}

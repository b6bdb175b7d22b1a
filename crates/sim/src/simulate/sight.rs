//! What a policy is shown at a moment of the simulation, and what its wish does.

use overspill_core::placement::projection::{Picture, Projection, WAITING_MAX, Waiting, project};
use overspill_core::scaler::{Cloud, CloudWorker, Phase, View};
use overspill_core::time::{DurationMs, Timestamp};

use super::engine::Engine;
use super::policies::Policy;

/// Jobs of the future that a clairvoyant policy is shown, at most.
const FORESEEN_MAX: usize = 300;

impl Engine<'_> {
    /// Shows `policy` the picture and does what it wants.
    pub(super) fn decide(&mut self, policy: &mut dyn Policy) {
        self.decisions += 1;
        self.decided_at = self.now;
        let picture = self.picture(policy.foresight());
        let fleet: Vec<CloudWorker> = self
            .alive
            .iter()
            .filter_map(|&worker| self.workers[worker].as_ref())
            .map(|worker| CloudWorker {
                phase: match worker.ready_at {
                    None => Phase::Starting {
                        since: worker.ordered_at,
                    },
                    Some(_) => Phase::Ready {
                        since: worker.idle_since,
                    },
                },
                busy: worker
                    .running
                    .iter()
                    .map(|&attempt| self.free_at(attempt, policy.foresight().is_some()))
                    .collect(),
            })
            .collect();
        let running: usize = fleet.iter().map(|worker| worker.busy.len()).sum();
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let alive = u32::try_from(fleet.len()).unwrap_or(u32::MAX);
        let submitted: Vec<Waiting> = self
            .handed
            .iter()
            .map(|&job| Waiting {
                submitted_at: self.trace.jobs[job].arrival,
                execution: self.guess(self.trace.jobs[job].class, DurationMs::ZERO),
                is_cloudable: true,
                is_low_priority: false,
            })
            .collect();
        let handed = u32::try_from(submitted.len()).unwrap_or(u32::MAX);
        let view = View {
            picture: &picture,
            projection: if policy.reads_projection() {
                project(&picture)
            } else {
                Projection::default()
            },
            cloud: Cloud {
                slots: self.slots,
                outstanding: running.saturating_add(handed),
                running,
                alive,
                wanted: alive,
            },
            fleet: Some(&fleet),
            submitted: &submitted,
            history: &self.history,
            expected: self.settings.expected_execution,
            max: self.settings.max,
            idle_max: DurationMs::from_millis(u64::MAX),
        };
        let wish = policy.decide(&view);
        self.spill = if self.settings.local_slots_total() == 0 {
            u32::MAX
        } else {
            wish.spill
        };
        if !self.hands_over {
            self.hand_out();
        }
        let wanted = wish.workers.clamp(self.settings.min, self.settings.max);
        self.scale(wanted, policy.takes_starts_back());
        if self.hands_over {
            self.hand_out();
        }
    }

    /// When the slot of an attempt is thought to be free; when it will be, where that is foreseen.
    fn free_at(&self, attempt: usize, is_foreseen: bool) -> Timestamp {
        let record = &self.attempts[attempt];
        if is_foreseen {
            return record.ended_at;
        }
        let class = self.trace.jobs[record.job].class;
        self.now + self.guess(class, self.now.since(record.started_at))
    }

    fn guess(&self, class: u32, elapsed: DurationMs) -> DurationMs {
        self.history
            .remaining(class, elapsed, self.settings.expected_execution)
    }

    fn picture(&self, foresight: Option<DurationMs>) -> Picture {
        let mut fresh: Vec<(u32, DurationMs)> = Vec::new();
        let mut waiting = Vec::with_capacity(self.queue.len().min(WAITING_MAX));
        let mut put = |submitted_at, execution, is_low_priority| {
            waiting.push(Waiting {
                submitted_at,
                execution,
                is_cloudable: true,
                is_low_priority,
            });
        };
        for &job in self.queue.iter().chain(&self.low).take(WAITING_MAX) {
            let spec = self.trace.jobs[job];
            if foresight.is_some() {
                put(spec.arrival, spec.duration, spec.is_low_priority);
                continue;
            }
            let known = fresh.iter().find(|(class, _)| *class == spec.class);
            let execution = known.map_or_else(|| self.guess(spec.class, DurationMs::ZERO), |k| k.1);
            if known.is_none() {
                fresh.push((spec.class, execution));
            }
            put(spec.arrival, execution, spec.is_low_priority);
        }
        if let Some(ahead) = foresight {
            let coming = self.trace.jobs[self.arrived..].iter();
            let until = self.now + ahead;
            for spec in coming
                .take_while(|spec| spec.arrival <= until)
                .take(FORESEEN_MAX)
            {
                put(spec.arrival, spec.duration, spec.is_low_priority);
            }
        }
        let is_foreseen = foresight.is_some();
        let mut local: Vec<Timestamp> = self
            .local
            .iter()
            .map(|&attempt| self.free_at(attempt, is_foreseen))
            .collect();
        local.resize(self.settings.local_slots_total(), self.now);
        Picture {
            now: self.now,
            max_wait: self.settings.max_wait,
            waiting,
            waiting_total: self.queue.len() + self.low.len(),
            capped: 0,
            local,
        }
    }
}

//! Learned slots: what jobs that end say of how many their worker carries.

use crate::attempt::{Attempt, CloudPhase, Place};
use crate::change::Change;
use crate::effect::{Effect, Out};
use crate::event::Outcome;
use crate::explain::Reason;
use crate::id::{AttemptId, PoolId};
use crate::machine::Core;
use crate::scaler::slots::{Step, is_out_of_memory};
use crate::time::DurationMs;

impl Core {
    /// A job ran to its end on a worker.
    pub(crate) fn learn_slots(
        &mut self,
        attempt: &Attempt,
        class: u32,
        execution: DurationMs,
        out: &mut Out,
    ) {
        let beside = self.beside(attempt);
        let now = self.now;
        let Some(pool) = self.learning(attempt.pool) else {
            return;
        };
        let before = pool.slots();
        let step = pool.learned.finished(class, beside, execution, now);
        self.stepped(attempt.pool, before, step, out);
    }

    /// A job failed because its GPU's memory was full beside others: that says nothing against the job, so it
    /// is tried again, with fewer beside it. Whether it was so.
    pub(crate) fn out_of_memory(
        &mut self,
        id: AttemptId,
        outcome: &Outcome,
        out: &mut Out,
    ) -> bool {
        let Outcome::Failed { error, .. } = outcome else {
            return false;
        };
        let Some(attempt) = self.attempts.get(&id).cloned() else {
            return false;
        };
        let beside = self.beside(&attempt);
        let now = self.now;
        if beside < 2 || !is_out_of_memory(error) {
            return false;
        }
        let Some(pool) = self.learning(attempt.pool) else {
            return false;
        };
        let before = pool.slots();
        let step = pool.learned.out_of_memory(beside, now);
        self.stepped(attempt.pool, before, step, out);
        self.lose(id, "out_of_memory", out);
        true
    }

    fn learning(&mut self, id: PoolId) -> Option<&mut crate::pool::Pool> {
        self.pools.get_mut(&id).filter(|pool| pool.learns_slots())
    }

    fn stepped(&mut self, id: PoolId, before: u32, step: Option<Step>, out: &mut Out) {
        let (Some(step), Some(pool)) = (step, self.pools.get_mut(&id)) else {
            return;
        };
        pool.slots_high = before.max(step.to);
        pool.record.learned = Some(Box::new(pool.learned.clone()));
        out.change(Change::PoolPut(pool.record.clone()));
        let endpoint = pool.record.endpoint;
        let (pool, Step { from, to, why }) = (id, step);
        out.effect(Effect::Decided {
            endpoint,
            reason: Reason::SlotsLearned {
                pool,
                from,
                to,
                why,
            },
        });
        self.dirty.insert(endpoint);
    }

    /// Jobs that the worker of an attempt has, that one included. Where RunPod does not say which worker, those
    /// that run there are thought to be spread evenly.
    fn beside(&self, attempt: &Attempt) -> u32 {
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match &attempt.place {
            Place::Local { worker } => self.workers.get(worker).map_or(1, |w| small(w.held.len())),
            Place::Cloud(phase) => {
                let Some(pool) = self.pools.get(&attempt.pool) else {
                    return 1;
                };
                let running = pool.outstanding.iter().filter_map(|id| {
                    match self.attempts.get(id).map(|attempt| &attempt.place) {
                        Some(Place::Cloud(CloudPhase::Running { worker, .. })) => Some(worker),
                        _ => None,
                    }
                });
                let own = match phase {
                    CloudPhase::Running { worker, .. } => worker.as_ref(),
                    _ => None,
                };
                let beside = match own {
                    Some(own) => small(
                        running
                            .filter(|worker| worker.as_ref() == Some(own))
                            .count(),
                    ),
                    None => {
                        let workers = pool.cloud.workers.map_or(1, |workers| workers.running);
                        small(running.count()).div_ceil(workers.max(1))
                    }
                };
                beside.max(1)
            }
        }
    }
}

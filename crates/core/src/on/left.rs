//! Pools that are no longer configured: what is left of them at RunPod is seen to, until nothing is there.
//!
//! Nothing new starts there, what only waits comes back, what runs ends, and its workers are counted until they have
//! ended, unless a configured pool leads to the same endpoint: that one has its limits, its counts and its bill then.

use std::collections::{BTreeMap, BTreeSet};

use crate::bill::HOURS_COMPARED;
use crate::booked::hour_of;
use crate::change::Change;
use crate::effect::{Effect, Out};
use crate::event::CloudWorkerCounts;
use crate::id::{EndpointId, PoolId};
use crate::machine::Core;
use crate::pool::{LeadsTo, LeftPool, Pool};
use crate::topology::PoolKind;

impl Core {
    /// Pools that the configuration no longer names get no further workers; what runs, finishes. Limits
    /// that RunPod has of us are lowered, whether the pool left while the server ran or while it was stopped.
    pub(super) fn leave_pools(&mut self, out: &mut Out) {
        let mut stop = Vec::new();
        let mut retired = Vec::new();
        let mut audited = Vec::new();
        let mut handed_on = Vec::new();
        // Who sets the limits of an endpoint at RunPod from now on: a pool, or the user by hand.
        let mut set_by = BTreeMap::new();
        for pool in self.pools.values().filter(|pool| self.names(pool)) {
            if let Some(spec) = pool.runpod() {
                let heir = set_by.entry(spec.endpoint.clone()).or_insert(None);
                *heir = heir.or(spec.manage.then_some(pool.record.id));
            }
        }
        let named: BTreeSet<PoolId> = self
            .pools
            .values()
            .filter(|pool| self.names(pool))
            .map(|pool| pool.record.id)
            .collect();
        for (id, pool) in &mut self.pools {
            if !named.contains(id) {
                retired.push(*id);
                let before = pool.record.clone();
                let kept_on = &pool.record.kept_on;
                if pool.record.leads_to.is_none() && kept_on.workers > 0 {
                    // An earlier version wrote down no more than that.
                    pool.record.leads_to = Some(LeadsTo {
                        endpoint: kept_on.endpoint.clone(),
                        has_limits: true,
                        spec: None,
                    });
                }
                if let Some(leads_to) = &mut pool.record.leads_to
                    && leads_to.has_limits
                    && let Some(heir) = set_by.get(&leads_to.endpoint)
                {
                    leads_to.has_limits = false;
                    let kept_on = std::mem::take(&mut pool.record.kept_on);
                    handed_on.extend(heir.map(|heir| (heir, kept_on)));
                    pool.cloud.is_closing = false;
                }
                if pool.has_limits() && !pool.cloud.is_closing {
                    pool.cloud.is_closing = true;
                    pool.cloud.asked = None;
                    audited.push(*id);
                }
                pool.record.wanted = 0;
                if pool.record != before {
                    out.change(Change::PoolPut(pool.record.clone()));
                }
                pool.spec = None;
            } else if pool.cloud.is_closing {
                // It is back before RunPod confirmed: what holds there is unknown.
                pool.cloud.is_closing = false;
                pool.cloud.asked = None;
            }
            let devices = match pool.spec.as_ref().map(|spec| &spec.kind) {
                Some(PoolKind::Command { devices, .. }) => devices.as_slice(),
                _ => &[],
            };
            let unseated = pool
                .seats
                .iter()
                .filter(|(device, _)| !devices.contains(device));
            stop.extend(unseated.filter_map(|(_, seat)| seat.worker));
        }
        for (to, kept_on) in handed_on {
            let Some(pool) = self.pools.get_mut(&to) else {
                continue;
            };
            if let Some(leads_to) = &mut pool.record.leads_to {
                leads_to.has_limits = true;
            }
            if kept_on.workers > pool.record.kept_on.workers {
                pool.record.kept_on = kept_on;
            }
            pool.cloud.asked = None;
            out.change(Change::PoolPut(pool.record.clone()));
        }
        for id in audited {
            self.audit_limits(
                id,
                "pool_retired",
                "no worker is to start there any more",
                out,
            );
        }
        for id in retired {
            if self.pools.get(&id).is_some_and(|pool| self.is_led_to(pool)) {
                self.stop_meter(id, out);
            }
            self.release(id, out);
        }
        for worker in stop {
            self.drain_worker(worker, out);
        }
    }

    /// Whether the configuration names a pool.
    fn names(&self, pool: &Pool) -> bool {
        let endpoint = self.endpoints.get(&pool.record.endpoint);
        endpoint.is_some_and(|endpoint| {
            endpoint.spec.is_some() && endpoint.pools.contains(&pool.record.id)
        })
    }

    /// A pool that the configuration no longer names, and for which RunPod may have limits of ours,
    /// must not start workers any more: that is asked for until it is confirmed. What only waits there comes
    /// back, for nobody may ever begin it; where its endpoint is no longer configured either, it could go nowhere.
    pub(crate) fn close_left(&mut self, endpoint: EndpointId, out: &mut Out) {
        let now = self.now;
        let closing = self.pools.values_mut().filter(|pool| {
            pool.record.endpoint == endpoint
                && pool.cloud.is_closing
                && pool.cloud.asked.is_none()
                && pool.cloud.not_before <= now
        });
        for pool in closing {
            pool.cloud.asked = Some((0, 0));
            pool.cloud.confirmed_max = None;
            out.effect(Effect::CloudScale {
                pool: pool.record.id,
                min: 0,
                max: 0,
            });
        }
        let its = self.endpoints.get(&endpoint);
        if its.is_none_or(|its| its.spec.is_none()) {
            return;
        }
        let left = self.pools.values().filter(|pool| {
            let its = pool.record.endpoint == endpoint && pool.spec.is_none();
            its && !pool.outstanding.is_empty()
        });
        let left: Vec<PoolId> = left.map(|pool| pool.record.id).collect();
        for pool in left {
            self.give_back(pool, 0, out);
        }
    }

    /// No limits of ours are left where a pool led that is no longer configured.
    pub(super) fn closed(&mut self, id: PoolId, why: &'static str, out: &mut Out) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        pool.cloud.is_closing = false;
        pool.record.kept_on.workers = 0;
        if let Some(leads_to) = &mut pool.record.leads_to {
            leads_to.has_limits = false;
        }
        out.change(Change::PoolPut(pool.record.clone()));
        self.audit_limits(id, "pool_lowered", why, out);
        self.release(id, out);
    }

    /// What became of limits of ours at RunPod whose pool is no longer configured.
    fn audit_limits(&self, id: PoolId, what: &'static str, why: &'static str, out: &mut Out) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let endpoint = self.endpoints.get(&pool.record.endpoint);
        let leads_to = pool.record.leads_to.as_ref();
        out.change(Change::Audited {
            at: self.now,
            what: what.into(),
            object: endpoint.map_or_else(String::new, |endpoint| endpoint.record.name.clone()),
            detail: format!(
                "pool {} is no longer configured; RunPod endpoint {}: {why}",
                pool.record.key,
                leads_to.map_or("unknown", |leads_to| leads_to.endpoint.as_str()),
            ),
        });
    }

    /// A change of limits that a pool had sent before another one took over its endpoint at RunPod came through:
    /// whichever came last holds there, so that the other one asks again.
    pub(super) fn doubt_heir(&mut self, id: PoolId) {
        let Some(left) = self.pools.get(&id).filter(|pool| pool.spec.is_none()) else {
            return;
        };
        let Some(leads_to) = left.record.leads().map(str::to_owned) else {
            return;
        };
        for pool in self.pools.values_mut() {
            if pool
                .runpod()
                .is_some_and(|spec| spec.manage && spec.endpoint == leads_to)
            {
                pool.cloud.asked = None;
                pool.cloud.confirmed_max = None;
                self.dirty.insert(pool.record.endpoint);
            }
        }
    }

    /// Whether a configured pool leads to the same endpoint at RunPod.
    pub(crate) fn is_led_to(&self, left: &Pool) -> bool {
        let mut configured = self.pools.values().filter_map(Pool::runpod);
        configured.any(|spec| left.record.leads() == Some(&spec.endpoint))
    }

    /// Takes in a count of a pool that is no longer configured.
    pub(super) fn count_left(&mut self, id: PoolId, workers: CloudWorkerCounts, out: &mut Out) {
        self.meter_count(id, workers, out);
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        pool.cloud.workers = Some(workers);
        let billed = pool.cloud.meter.billed();
        if billed.total() == 0 && pool.record.billed != billed {
            // They have ended, and no start goes on from them.
            pool.record.billed = billed;
            out.change(Change::PoolPut(pool.record.clone()));
        }
        self.release(id, out);
    }

    /// Gives back what is set aside for a pool that is out of the configuration and at zero.
    pub(crate) fn release(&mut self, id: PoolId, out: &mut Out) {
        let Some(pool) = self.pools.get(&id) else {
            return;
        };
        let billed = if self.is_metered(pool) {
            pool.workers_billed()
        } else {
            0
        };
        let needed = pool.workers_caused().max(billed);
        let is_done = pool.spec.is_none() && !pool.cloud.is_closing;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        if is_done && needed < pool.record.reserved_workers {
            pool.record.reserved_workers = needed;
            out.change(Change::PoolPut(pool.record.clone()));
        }
    }

    /// Pools that are no longer configured and where jobs, limits or workers of ours may be, or whose hours may
    /// be settled by RunPod's records yet.
    pub fn left_pools(&self) -> impl Iterator<Item = LeftPool> {
        let oldest = hour_of(self.now) - HOURS_COMPARED + 1;
        let left = self.pools.values().filter(|pool| pool.spec.is_none());
        left.filter_map(move |pool| {
            let (id, leads_to) = (pool.record.id, pool.record.leads_to.as_ref()?);
            let is_counted = self.is_metered(pool);
            let is_billed = || self.booked.since(oldest, id).next().is_some();
            (pool.is_used() || is_counted || is_billed()).then(|| LeftPool {
                id,
                endpoint: leads_to.endpoint.clone(),
                has_limits: leads_to.has_limits,
                is_counted,
            })
        })
    }
}

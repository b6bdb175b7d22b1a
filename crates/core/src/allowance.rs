//! What the caps of a key leave for its jobs in the cloud.
//!
//! Jobs of several keys share workers, so a key's money is set aside by job: a whole worker's
//! reservation for each of its jobs that RunPod has or may have, and an idle worker for each that is
//! over. A job bears no more than that ([`crate::attribution`]), so what a key spends never exceeds its
//! caps, whatever other keys do. A job that its key's caps leave no money for waits for local cards;
//! jobs behind it, of other keys, go past it. There is one door: no submission without an allowance,
//! whether it is a first try, a retry, in another pool, or of low priority.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attempt::Attempt;
use crate::budget::{CapHit, CapScope, CapState};
use crate::id::{EndpointId, KeyId};
use crate::machine::Core;
use crate::money::NanoUsd;
use crate::pool::Pool;
use crate::topology::worker_reservation;

/// What a key may have in the cloud of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Further jobs that there is money for.
    pub jobs: u32,
    /// The tightest of its caps.
    pub hit: CapHit,
}

/// By key; a key without caps is not in it.
pub type Allowances = BTreeMap<KeyId, Allowance>;

/// Whether there is money for a job of a key.
pub(crate) fn pays(left: &Allowances, key: Option<KeyId>) -> bool {
    let allowance = key.and_then(|key| left.get(&key));
    allowance.is_none_or(|allowance| allowance.jobs > 0)
}

/// The same; counts it.
pub(crate) fn admits(left: &mut Allowances, key: Option<KeyId>) -> bool {
    let allowance = key.and_then(|key| left.get_mut(&key));
    allowance.is_none_or(|allowance| {
        let is_left = allowance.jobs > 0;
        allowance.jobs = allowance.jobs.saturating_sub(1);
        is_left
    })
}

impl Core {
    /// Works out what the caps of keys leave for jobs of an endpoint, at the dearest of its pools.
    pub(crate) fn allow_keys(&mut self, id: EndpointId) {
        if self.budget.keys.is_empty() {
            if let Some(endpoint) = self.endpoints.get_mut(&id) {
                endpoint.allowances.clear();
            }
            return;
        }
        let pools = self.cloud_pools(id).into_iter();
        let pools = pools.filter_map(|pool| self.pools.get(&pool));
        // Without any price nothing may go.
        let each = pools.filter_map(|pool| self.worker_costs(pool)).max();
        let capped = |key| self.budget.keys.contains_key(&key);
        let mut reserved: BTreeMap<KeyId, NanoUsd> = BTreeMap::new();
        for pool in self.pools.values() {
            for (key, amount) in self.set_aside_in(pool, capped) {
                *reserved.entry(key).or_default() += amount;
            }
        }
        let keys: Vec<KeyId> = self.budget.keys.keys().copied().collect();
        let mut allowances = Allowances::new();
        for key in keys {
            let reserved = reserved.get(&key).copied().unwrap_or_default();
            let states = self.key_states(key, reserved);
            let jobs = |state: &CapState| each.map_or(0, |each| state.pays_for(each));
            if let Some(state) = states.into_iter().min_by_key(jobs) {
                let allowance = Allowance {
                    jobs: jobs(&state),
                    hit: CapHit {
                        state,
                        each: each.unwrap_or_default(),
                    },
                };
                allowances.insert(key, allowance);
            }
        }
        if let Some(endpoint) = self.endpoints.get_mut(&id) {
            endpoint.allowances = allowances;
        }
    }

    /// What a key may still have in the cloud of an endpoint, as last worked out; `None` without caps.
    #[must_use]
    pub fn allowance(&self, endpoint: EndpointId, key: KeyId) -> Option<Allowance> {
        self.endpoints.get(&endpoint)?.allowances.get(&key).copied()
    }

    /// The most that one worker of a pool can cost, where its price is known.
    fn worker_costs(&self, pool: &Pool) -> Option<NanoUsd> {
        let spec = self.endpoints.get(&pool.record.endpoint)?.spec.as_ref()?;
        worker_reservation(pool.metered()?, spec.execution_timeout)
    }

    /// What is set aside for the jobs of some keys that a pool has, or had a moment ago.
    pub(crate) fn set_aside_in(
        &self,
        pool: &Pool,
        of: impl Fn(KeyId) -> bool,
    ) -> BTreeMap<KeyId, NanoUsd> {
        let mut sums: BTreeMap<KeyId, NanoUsd> = BTreeMap::new();
        let Some(spec) = pool.metered() else {
            return sums;
        };
        let each = self.worker_costs(pool).unwrap_or(pool.record.reserved_each);
        let attempts = pool.outstanding.iter();
        let keys = attempts.filter_map(|id| self.attempts.get(id).and_then(key_of));
        for key in keys.filter(|key| of(*key)) {
            *sums.entry(key).or_default() += each;
        }
        let idle = spec.price.map(|price| price.over(spec.idle_timeout));
        // Of a pool that is no longer configured nobody may count for how long they bear an idle worker.
        let is_configured = pool.spec.is_some();
        let tails = pool.cloud.bearing.tails.values().filter(|_| is_configured);
        for key in tails.filter_map(|tail| tail.key).filter(|key| of(*key)) {
            *sums.entry(key).or_default() += idle.unwrap_or_default();
        }
        sums
    }

    /// The caps of a key with what stands against them.
    fn key_states(&mut self, key: KeyId, reserved: NanoUsd) -> Vec<CapState> {
        let scope = CapScope::Key(key);
        let caps = self.caps(scope);
        let pending = self.pools.values().map(|pool| pool.owed_by(key)).sum();
        self.states(scope, caps, pending, reserved)
    }
}

const fn key_of(attempt: &Attempt) -> Option<KeyId> {
    attempt.key
}

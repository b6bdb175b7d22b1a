//! Money is reserved before it is spent.
//!
//! A pool may cause as many workers as it wants and as its submissions need; for each of them a
//! whole worker's reservation is set aside first, in the same transaction. An unknown price is
//! refused.

use crate::change::Change;
use crate::effect::{Effect, Out};
use crate::explain::Reason;
use crate::id::PoolId;
use crate::machine::Core;
use crate::topology::worker_reservation;

impl Core {
    /// Sets money aside for `workers` of a pool, and for no fewer than its submissions can cause.
    /// Whether that many may be wanted.
    pub(crate) fn reserve(&mut self, id: PoolId, workers: u32, out: &mut Out) -> bool {
        let Some(pool) = self.pools.get_mut(&id) else {
            return false;
        };
        let endpoint = pool.record.endpoint;
        let execution_timeout = self
            .endpoints
            .get(&endpoint)
            .and_then(|endpoint| endpoint.spec.as_ref())
            .map(|spec| spec.execution_timeout)
            .unwrap_or_default();
        let each = pool
            .runpod()
            .and_then(|spec| worker_reservation(spec, execution_timeout));
        let needed = workers
            .max(pool.workers_caused())
            .max(pool.workers_allowed());
        let Some(each) = each else {
            if workers > 0 && pool.cloud.failures == 0 {
                pool.cloud.failures = 1;
                let reason = Reason::PriceUnknown { pool: id };
                out.effect(Effect::Decided { endpoint, reason });
            }
            return workers == 0;
        };
        let is_dearer = needed > 0 && pool.record.reserved_each != each;
        if pool.record.reserved_workers != needed || is_dearer {
            let grows = needed > pool.record.reserved_workers;
            pool.record.reserved_workers = needed;
            pool.record.reserved_each = each;
            out.change(Change::PoolPut(pool.record.clone()));
            if grows {
                let reason = Reason::Reserved {
                    pool: id,
                    workers: needed,
                    each,
                };
                out.effect(Effect::Decided { endpoint, reason });
            }
        }
        true
    }
}

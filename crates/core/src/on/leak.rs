//! What RunPod does without being asked, and what goes wrong there at our expense: crash loops, standby
//! workers, limits that it changed.

use crate::effect::{Effect, Out};
use crate::event::CloudWorkerCounts;
use crate::explain::Reason;
use crate::id::PoolId;
use crate::machine::Core;
use crate::money::NanoUsd;
use crate::pool::LimitsChanged;
use crate::time::DurationMs;
use crate::timers::Timer;

/// What a standby worker costs is told by the day.
const DAY: DurationMs = DurationMs::from_secs(86_400);

impl Core {
    /// Crashes in a row stop scaling for a while: what waits there comes back, and goes elsewhere.
    pub(crate) fn note_crashes(&mut self, id: PoolId, workers: CloudWorkerCounts, out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let had_limit = pool.cloud.crash_loop.pause().is_some();
        let begins = pool.cloud.crash_loop.on_counts(now, workers);
        let endpoint = pool.record.endpoint;
        if let Some((crashes, retry_in)) = begins {
            let reason = Reason::CrashLoop {
                pool: id,
                crashes,
                retry_in,
            };
            self.timers.set(now + retry_in, Timer::Endpoint(endpoint));
            out.effect(Effect::Decided { endpoint, reason });
            self.dirty.insert(endpoint);
        } else if had_limit && pool.cloud.crash_loop.pause().is_none() {
            // One is at work: others may come.
            self.dirty.insert(endpoint);
        }
    }

    /// The driver sets them again; here it is told, and shown.
    pub(crate) fn on_cloud_limits_changed(
        &mut self,
        id: PoolId,
        asked: (u32, u32),
        seen: (u32, u32),
        out: &mut Out,
    ) {
        let at = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        pool.cloud.changed = Some(LimitsChanged { asked, seen, at });
        let endpoint = pool.record.endpoint;
        let reason = Reason::LimitsChanged {
            pool: id,
            asked: asked.1,
            seen: seen.1,
        };
        out.effect(Effect::Decided { endpoint, reason });
        self.dirty.insert(endpoint);
    }

    /// Workers are on that nothing asks for: they are counted, and so paid for, from now on.
    pub(crate) fn on_cloud_standby(&mut self, id: PoolId, workers: u32, out: &mut Out) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let before = pool.cloud.standby.take();
        let endpoint = pool.record.endpoint;
        self.dirty.insert(endpoint);
        if workers == 0 {
            return;
        }
        let since = before.map_or(now, |(_, since)| since);
        pool.cloud.standby = Some((workers, since));
        if before.is_some_and(|(count, _)| count == workers) {
            return;
        }
        let price = pool.runpod().and_then(|spec| spec.price);
        let per_day = price.map_or(NanoUsd::ZERO, |price| price.over(DAY).times(workers));
        let reason = Reason::StandbySeen {
            pool: id,
            workers,
            per_day,
        };
        out.effect(Effect::Decided { endpoint, reason });
    }
}

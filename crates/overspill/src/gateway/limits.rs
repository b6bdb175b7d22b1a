//! Limits on how often something may be asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use overspill_core::id::EndpointId;
use overspill_core::time::{DurationMs, Timestamp};

/// Purges of an endpoint's queue in [`PURGE_WINDOW`].
const PURGES_MAX: usize = 2;
/// See [`PURGES_MAX`]; as RunPod has it (`runpod-protocol.md` A2).
const PURGE_WINDOW: DurationMs = DurationMs::from_secs(10);

/// When each endpoint's queue was purged last.
#[derive(Default)]
pub struct Purges {
    times: Mutex<HashMap<EndpointId, VecDeque<Timestamp>>>,
}

impl Purges {
    /// Lets a purge through, or says in how many seconds the next one may be asked for.
    ///
    /// # Errors
    /// The seconds to wait, at least 1.
    pub fn admit(&self, endpoint: EndpointId, now: Timestamp) -> Result<(), u64> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(endpoint).or_default();
        while times
            .front()
            .is_some_and(|&first| now.since(first) >= PURGE_WINDOW)
        {
            times.pop_front();
        }
        if times.len() >= PURGES_MAX {
            let oldest = times[0];
            let wait = PURGE_WINDOW.saturating_sub(now.since(oldest));
            return Err(wait.as_millis().div_ceil(1_000).max(1));
        }
        times.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_purge_in_ten_seconds_waits() {
        let purges = Purges::default();
        let at = |millis| Timestamp::from_millis(millis);
        let endpoint = EndpointId(1);
        assert_eq!(purges.admit(endpoint, at(0)), Ok(()));
        assert_eq!(purges.admit(endpoint, at(4_000)), Ok(()));
        assert_eq!(purges.admit(endpoint, at(4_500)), Err(6));
        assert_eq!(purges.admit(EndpointId(2), at(4_500)), Ok(()));
        assert_eq!(purges.admit(endpoint, at(10_000)), Ok(()));
    }
}

//! How a modelled cloud behaves: everything that is the same for all its endpoints.

use overspill_core::money::NanoUsd;

use super::dice::MsRange;

/// Settings of a cloud; [`CloudOptions::default`] is RunPod as far as it is known.
#[derive(Debug, Clone)]
pub struct CloudOptions {
    /// Names the run: the same seed and the same calls give the same bill.
    pub seed: u64,
    /// Start-up of a worker, billed.
    pub cold_start: MsRange,
    /// Start-up of a worker that FlashBoot resumes, billed.
    pub flash_start: MsRange,
    /// How long a stopped worker of a FlashBoot endpoint can be resumed.
    pub flash_keep_ms: i64,
    /// Workers are real processes: the model asks for them by effects and waits for their calls.
    pub real_workers: bool,
    /// What the account holds; sets the quota of workers.
    pub balance: NanoUsd,
    /// Most workers over all endpoints; `None` follows the balance.
    pub quota: Option<u32>,
    /// Active workers (the minimum) have their own, lower prices, as until early 2026.
    pub has_active_prices: bool,
    /// Whether calls are limited in rate.
    pub has_rate_limits: bool,
    /// Calls per ten seconds and running worker, where that exceeds the base figure. RunPod does not publish it.
    pub calls_per_worker: u64,
    /// Silence after which an attempt is given to another worker.
    pub redispatch_after_ms: i64,
    /// How late an execution time-out is enforced.
    pub timeout_lateness: MsRange,
    /// How long a real worker may take to ask for its first job.
    pub init_timeout_ms: i64,
    /// How long results of `/run` are kept.
    pub keep_run_ms: i64,
    /// How long results of `/runsync` are kept.
    pub keep_runsync_ms: i64,
    /// Largest result of a `/run` job in bytes; larger ones are lost.
    pub max_run_bytes: usize,
    /// Largest result of a `/runsync` job in bytes; larger ones are lost.
    pub max_runsync_bytes: usize,
    /// Crashed starts in a row after which the platform halves an endpoint's maximum.
    pub crash_loop_after: u32,
}

impl Default for CloudOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            cold_start: MsRange::new(30_000, 60_000),
            flash_start: MsRange::new(500, 3_000),
            flash_keep_ms: 600_000,
            real_workers: false,
            balance: NanoUsd::from_nanos(1_000_000_000_000),
            quota: None,
            has_active_prices: false,
            has_rate_limits: true,
            calls_per_worker: 100,
            redispatch_after_ms: 40_000,
            timeout_lateness: MsRange::new(2_800, 9_400),
            init_timeout_ms: 420_000,
            keep_run_ms: 1_800_000,
            keep_runsync_ms: 60_000,
            max_run_bytes: 10_000_000,
            max_runsync_bytes: 20_000_000,
            crash_loop_after: 5,
        }
    }
}

impl CloudOptions {
    /// Most workers over all endpoints: the set quota, or RunPod's table by balance.
    #[must_use]
    pub fn worker_quota(&self) -> u32 {
        const BY_BALANCE: [(i64, u32); 6] = [
            (900, 60),
            (700, 50),
            (500, 40),
            (300, 30),
            (200, 20),
            (100, 10),
        ];
        self.quota.unwrap_or_else(|| {
            let dollars = self.balance.as_nanos() / 1_000_000_000;
            BY_BALANCE
                .iter()
                .find(|(least, _)| dollars >= *least)
                .map_or(5, |(_, workers)| *workers)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_follows_the_balance() {
        for (dollars, workers) in [(0, 5), (99, 5), (100, 10), (350, 30), (900, 60)] {
            let options = CloudOptions {
                balance: NanoUsd::from_nanos(dollars * 1_000_000_000),
                ..CloudOptions::default()
            };
            assert_eq!(options.worker_quota(), workers, "${dollars}");
        }
    }
}

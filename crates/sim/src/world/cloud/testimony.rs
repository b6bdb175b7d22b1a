//! What the modelled cloud tells the oracle: workers on, money billed, jobs run.

use std::collections::{BTreeMap, BTreeSet};

use overspill_core::money::NanoUsd;
use overspill_core::time::Timestamp;

use super::CloudWorld;
use crate::cloud::EndpointSettings;
use crate::oracle::Oracle;
use crate::scene::Scene;

impl CloudWorld {
    /// Workers that live now, and worker time billed so far, in milliseconds.
    pub(crate) fn spent(&mut self, scene: &Scene) -> (u32, u64) {
        let now = scene.now.as_millis();
        let mut alive = 0;
        for endpoint in self.endpoints.clone() {
            if let Ok(health) = self.model.health(now, &endpoint) {
                let workers = health.workers;
                alive += workers.initializing + workers.idle + workers.running + workers.unhealthy;
            }
        }
        let billed = self
            .model
            .bill(now)
            .values()
            .map(|bill| bill.worker_ms)
            .sum();
        (alive, billed)
    }

    /// A guard's work: no worker of any endpoint is kept on, and none starts.
    pub(crate) fn lower_all(&mut self, scene: &Scene) {
        let now = scene.now.as_millis();
        for endpoint in self.endpoints.clone() {
            let Ok((settings, _)) = self.model.endpoint_settings(now, &endpoint) else {
                continue;
            };
            let lowered = EndpointSettings {
                workers_min: 0,
                workers_max: 0,
                ..settings
            };
            // A lower limit is never refused.
            let _ = self.model.update_endpoint(now, &endpoint, lowered);
        }
    }

    /// What RunPod would bill so far, for everything.
    pub(crate) fn bill(&mut self, scene: &Scene) -> NanoUsd {
        let bill = self.model.bill(scene.now.as_millis());
        bill.values().map(|bill| bill.usd).sum()
    }

    /// When each worker's billed life began and ended, by its id; RunPod numbers them as they start.
    pub(crate) fn lives(&mut self, scene: &Scene) -> BTreeMap<String, (Timestamp, Timestamp)> {
        let lines = self.model.bill_lines(scene.now.as_millis());
        let mut lives: BTreeMap<String, (Timestamp, Timestamp)> = BTreeMap::new();
        for line in lines {
            let (from, to) = (
                Timestamp::from_millis(line.from_ms),
                Timestamp::from_millis(line.to_ms),
            );
            let life = lives.entry(line.worker.as_str().to_owned());
            let life = life.or_insert((from, to));
            *life = (life.0.min(from), life.1.max(to));
        }
        lives
    }

    /// Jobs that a worker at RunPod began to run.
    pub(crate) fn jobs_run(&mut self, scene: &Scene) -> usize {
        let runs = self.model.executions(scene.now.as_millis());
        let jobs: BTreeSet<&str> = runs.iter().map(|run| run.job.as_str()).collect();
        jobs.len()
    }

    /// Tells the witnesses which runs came to an end at RunPod.
    pub(crate) fn testify(&mut self, scene: &Scene, oracle: &mut Oracle) {
        let over = self.model.executions(scene.now.as_millis());
        let completed: BTreeSet<&str> = over
            .iter()
            .filter(|run| run.ended_ms.is_some())
            .map(|run| run.job.as_str())
            .collect();
        let attempts = self
            .jobs
            .iter()
            .filter(|(_, (_, job))| completed.contains(job.as_str()));
        for (&attempt, _) in attempts {
            oracle.ran(attempt);
        }
    }
}

//! The management calls: endpoints made, changed and removed; workers and releases listed.

use serde_json::{Value, json};

use super::CloudModel;
use super::agenda::Timer;
use super::call::{Effect, Refusal, WorkerView};
use super::endpoint::{Counters, Endpoint, Release};
use super::gpu;
use super::id::EndpointId;
use super::placement::StopReason;
use super::settings::{EndpointSettings, Hardware, Knobs};
use super::worker::WorkerState;

/// When an unused endpoint is looked at for the first time.
const UNUSED_MS: i64 = 3 * 86_400_000;

impl CloudModel {
    /// Makes an endpoint; its minimum of workers starts at once.
    ///
    /// # Errors
    /// Over the account's quota of workers, or a pool that does not exist.
    pub fn create_endpoint(
        &mut self,
        now_ms: i64,
        settings: EndpointSettings,
    ) -> Result<EndpointId, Refusal> {
        let id = EndpointId::from(self.dice.short_id());
        self.create_endpoint_as(now_ms, &id, settings)?;
        Ok(id)
    }

    /// Makes an endpoint with an id of the caller's choice.
    ///
    /// # Errors
    /// As [`Self::create_endpoint`], or the id is taken.
    pub fn create_endpoint_as(
        &mut self,
        now_ms: i64,
        id: &EndpointId,
        settings: EndpointSettings,
    ) -> Result<(), Refusal> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        if self.endpoints.contains_key(id) {
            return Err(Refusal::Invalid(format!("endpoint id {id} is taken")));
        }
        self.check(None, &settings)?;
        let number = self.number();
        self.agenda
            .set(now_ms + UNUSED_MS, Timer::Unused(id.clone()));
        self.endpoints.insert(
            id.clone(),
            Endpoint {
                id: id.clone(),
                number,
                settings,
                knobs: Knobs::default(),
                created_ms: now_ms,
                releases: vec![Release {
                    version: 1,
                    created_ms: now_ms,
                    diff: Vec::new(),
                }],
                jobs: std::collections::BTreeMap::new(),
                queue: std::collections::BTreeMap::new(),
                workers: std::collections::BTreeMap::new(),
                worker_numbers: std::collections::BTreeMap::new(),
                parked: std::collections::VecDeque::new(),
                counters: Counters::default(),
                standby: 0,
                standby_beyond_max: false,
                crashes: 0,
                price_override: None,
                last_request_ms: now_ms,
                scale_timer: None,
                in_progress: 0,
            },
        );
        self.rescale(id);
        Ok(())
    }

    /// Changes an endpoint. Limits, scaling and time-outs act at once; anything else is a rolling release: idle old
    /// workers end at once, busy ones after their jobs.
    ///
    /// # Errors
    /// No such endpoint, over the quota, or a pool that does not exist.
    pub fn update_endpoint(
        &mut self,
        now_ms: i64,
        id: &EndpointId,
        settings: EndpointSettings,
    ) -> Result<(), Refusal> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        self.check(Some(id), &settings)?;
        let endpoint = self.endpoint_mut(id)?;
        let diff = differences(&endpoint.settings, &settings);
        let is_release = endpoint.settings.needs_release(&settings);
        if endpoint.settings.workers_max == 0 && settings.workers_max > 0 {
            // Raising the maximum again is a sign of use: the idle rule starts over.
            endpoint.last_request_ms = now_ms;
        }
        endpoint.standby = 0;
        endpoint.standby_beyond_max = false;
        endpoint.settings = settings;
        let mut old = Vec::new();
        if is_release {
            let version = endpoint.version() + 1;
            endpoint.releases.push(Release {
                version,
                created_ms: now_ms,
                diff,
            });
            for worker in endpoint.workers.values_mut() {
                if !worker.jobs.is_empty() {
                    worker.is_draining = true;
                }
                old.push((worker.id.clone(), worker.jobs.is_empty()));
            }
        }
        for (worker, is_free) in old {
            if is_free {
                self.stop_worker(id, &worker, StopReason::Ordered);
            } else {
                self.effects.push(Effect::WorkerChanged(worker));
            }
        }
        let idle: Vec<_> = self
            .endpoint(id)?
            .workers
            .values()
            .filter(|worker| worker.is_idle())
            .map(|worker| worker.id.clone())
            .collect();
        for worker in idle {
            // The idle timeout may be another one now.
            self.mark_idle(id, &worker);
        }
        self.rescale(id);
        Ok(())
    }

    /// Removes an endpoint: its workers end, its jobs are gone, what it cost stays on the bill.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn delete_endpoint(&mut self, now_ms: i64, id: &EndpointId) -> Result<(), Refusal> {
        self.advance(now_ms);
        let workers: Vec<_> = self
            .endpoint(id)?
            .workers
            .values()
            .map(|w| w.id.clone())
            .collect();
        for worker in workers {
            self.stop_worker(id, &worker, StopReason::Ordered);
        }
        if let Some(endpoint) = self.endpoints.remove(id) {
            for (job_id, job) in endpoint.jobs {
                for timer in [job.expire, job.timeout, job.lease, job.forget] {
                    self.agenda.cancel(timer);
                }
                self.effects.push(Effect::JobChanged(job_id));
            }
            self.agenda.cancel(endpoint.scale_timer);
        }
        Ok(())
    }

    /// Ids of all endpoints, oldest first.
    pub fn endpoint_ids(&mut self, now_ms: i64) -> Vec<EndpointId> {
        self.advance(now_ms);
        let mut endpoints: Vec<&Endpoint> = self.endpoints.values().collect();
        endpoints.sort_by_key(|endpoint| endpoint.number);
        endpoints
            .into_iter()
            .map(|endpoint| endpoint.id.clone())
            .collect()
    }

    /// Settings of an endpoint as they are now (the platform may have lowered its maximum), and its creation.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn endpoint_settings(
        &mut self,
        now_ms: i64,
        id: &EndpointId,
    ) -> Result<(EndpointSettings, i64), Refusal> {
        self.advance(now_ms);
        let endpoint = self.endpoint(id)?;
        Ok((endpoint.settings.clone(), endpoint.created_ms))
    }

    /// The workers of an endpoint, oldest first, and its version.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn workers(
        &mut self,
        now_ms: i64,
        id: &EndpointId,
    ) -> Result<(Vec<WorkerView>, u64), Refusal> {
        self.advance(now_ms);
        let endpoint = self.endpoint(id)?;
        let version = endpoint.version();
        let views = endpoint
            .workers
            .values()
            .map(|worker| WorkerView {
                id: worker.id.clone(),
                status: match worker.state {
                    WorkerState::Throttled => "THROTTLED",
                    WorkerState::Initializing => "INITIALIZING",
                    WorkerState::Unhealthy => "UNHEALTHY",
                    WorkerState::Ready if worker.jobs.is_empty() => "IDLE",
                    WorkerState::Ready => "RUNNING",
                },
                is_stale: worker.version != version,
                version: worker.version,
                gpu: worker.gpu,
                data_center: worker.data_center,
                started_ms: worker.started_ms,
                jobs: worker.jobs.len(),
            })
            .collect();
        Ok((views, version))
    }

    /// The releases of an endpoint, latest first, each with the number of its workers.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn releases(
        &mut self,
        now_ms: i64,
        id: &EndpointId,
    ) -> Result<Vec<(Release, u32)>, Refusal> {
        self.advance(now_ms);
        let endpoint = self.endpoint(id)?;
        let count = |version: u64| {
            let workers = endpoint
                .workers
                .values()
                .filter(|w| w.version == version)
                .count();
            u32::try_from(workers).unwrap_or(u32::MAX)
        };
        Ok(endpoint
            .releases
            .iter()
            .rev()
            .map(|release| (release.clone(), count(release.version)))
            .collect())
    }

    fn check(&self, id: Option<&EndpointId>, settings: &EndpointSettings) -> Result<(), Refusal> {
        if let Some(id) = id {
            self.endpoint(id)?;
        }
        if let Hardware::Gpu { pools, .. } = &settings.hardware
            && let Some(unknown) = pools.iter().find(|id| gpu::pool_of(id).is_none())
        {
            let known: Vec<&str> = gpu::POOLS.iter().map(|pool| pool.id).collect();
            return Err(Refusal::Invalid(format!(
                "GPU pool {unknown:?} does not exist; pools are {}",
                known.join(", ")
            )));
        }
        if settings.workers_min > settings.workers_max {
            return Err(Refusal::Invalid(format!(
                "workers.min {} is above workers.max {}",
                settings.workers_min, settings.workers_max
            )));
        }
        let others: u32 = self
            .endpoints
            .values()
            .filter(|endpoint| Some(&endpoint.id) != id)
            .map(|endpoint| endpoint.settings.workers_max)
            .fold(0, u32::saturating_add);
        let before = id
            .and_then(|id| self.endpoints.get(id))
            .map_or(0, |endpoint| endpoint.settings.workers_max);
        let wanted = others.saturating_add(settings.workers_max);
        let quota = self.options.worker_quota();
        if wanted > quota && settings.workers_max > before {
            return Err(Refusal::OverQuota { quota, wanted });
        }
        Ok(())
    }
}

/// What a release says of itself, in the platform's names of the fields.
fn differences(
    old: &EndpointSettings,
    new: &EndpointSettings,
) -> Vec<(&'static str, Value, Value)> {
    let fields: [(&'static str, Value, Value); 9] = [
        ("template.imageName", json!(old.image), json!(new.image)),
        ("template.dockerArgs", json!(old.args), json!(new.args)),
        ("template.env", json!(old.env), json!(new.env)),
        (
            "template.containerDiskInGb",
            json!(old.disk_gb),
            json!(new.disk_gb),
        ),
        ("template.ports", json!(old.ports), json!(new.ports)),
        ("templateId", json!(old.template), json!(new.template)),
        ("gpuIds", hardware(&old.hardware), hardware(&new.hardware)),
        (
            "locations",
            json!(old.data_centers),
            json!(new.data_centers),
        ),
        ("networkVolumeIds", json!(old.volumes), json!(new.volumes)),
    ];
    fields
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .collect()
}

fn hardware(hardware: &Hardware) -> Value {
    match hardware {
        Hardware::Gpu {
            pools,
            excluded,
            count,
            ..
        } => json!({"pools": pools, "excludedTypes": excluded, "count": count}),
        Hardware::Cpu(choices) => json!(choices),
    }
}

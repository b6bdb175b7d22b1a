//! The configuration, and live changes of limits.

use std::collections::BTreeSet;

use crate::change::Change;
use crate::device::Device;
use crate::effect::{Answer, Out};
use crate::endpoint::{Endpoint, EndpointRecord, LimitsOverride, MaxWaitOverride, ScalerOverride};
use crate::id::{EndpointId, PoolId, RequestId};
use crate::machine::Core;
use crate::meter::Billed;
use crate::money::NanoUsd;
use crate::pool::{KeptOn, LeadsTo, Pool, PoolRecord};
use crate::scaler::history::Learned;
use crate::time::DurationMs;
use crate::topology::{
    EndpointSpec, Limits, PoolKind, PoolSpec, ScalerSpec, Topology, check_max_wait,
};

impl Core {
    pub(crate) fn on_configured(&mut self, topology: Topology, out: &mut Out) {
        self.is_configured = true;
        self.cancel_grace = topology.cancel_grace;
        self.account_workers_max = topology.account_workers_max;
        self.configure_caps(topology.caps, topology.calendar, out);
        self.electricity = topology.electricity;
        self.card_returns_after = topology.card_returns_after;
        self.alert_url = topology.alert;
        for spec in topology.devices {
            let id = spec.id;
            let before = self.devices.remove(&id);
            let before = before.filter(|device| device.spec.key() == spec.key());
            let device = match before {
                Some(before) => Device { spec, ..before },
                None => Device::new(spec),
            };
            self.devices.insert(id, device);
            self.recall_quarantine(id, out);
        }
        let named: BTreeSet<String> = topology.endpoints.iter().map(|e| e.name.clone()).collect();
        for endpoint in self.endpoints.values_mut() {
            if !named.contains(&endpoint.record.name) {
                endpoint.spec = None;
            }
        }
        for spec in topology.endpoints {
            self.configure_endpoint(spec, out);
        }
        self.leave_pools(out);
        self.configure_guard(topology.guard);
        self.seat_on_devices();
        self.dirty.extend(self.endpoints.keys().copied());
        let pools: Vec<PoolId> = self.pools.keys().copied().collect();
        for pool in pools {
            self.seat_workers(pool, out);
        }
    }

    /// Works out anew who uses which card: devices are known only after a restart's configuration.
    fn seat_on_devices(&mut self) {
        for device in self.devices.values_mut() {
            device.users.clear();
        }
        for worker in self.workers.values() {
            let pool = self
                .pools
                .get(&worker.record.pool)
                .and_then(|pool| pool.spec.as_ref());
            let vram = match pool.map(|spec| &spec.kind) {
                Some(PoolKind::Command { vram_bytes, .. }) => *vram_bytes,
                _ => None,
            };
            let Some(device) = self.devices.get_mut(&worker.record.device) else {
                continue;
            };
            for _ in &worker.held {
                device.enter(worker.record.id, vram);
            }
        }
    }

    /// The endpoint of a name.
    #[must_use]
    pub fn endpoint_named(&self, name: &str) -> Option<EndpointId> {
        self.endpoints
            .iter()
            .find(|(_, e)| e.record.name == name)
            .map(|(&id, _)| id)
    }

    fn configure_endpoint(&mut self, mut spec: EndpointSpec, out: &mut Out) {
        let id = self.endpoint_named(&spec.name).unwrap_or_else(|| {
            let id = EndpointId(self.endpoints.keys().last().map_or(0, |last| last.0 + 1));
            let record = EndpointRecord {
                id,
                name: spec.name.clone(),
                limits_override: None,
                caps_override: None,
                scaler_override: None,
                max_wait_override: None,
                learned: Learned::default(),
            };
            out.change(Change::EndpointPut(record.clone()));
            self.endpoints.insert(id, Endpoint::new(record));
            id
        });
        let pools = spec
            .pools
            .iter()
            .map(|pool| self.configure_pool(id, pool, &spec.pools, out))
            .collect();
        let endpoint = self
            .endpoints
            .get_mut(&id)
            .expect("it was there, or put there above");
        let (file, file_caps) = (spec.limits, spec.caps);
        let set = endpoint.record.caps_override.as_ref();
        if set.is_some_and(|set| set.file != file_caps) {
            endpoint.record.caps_override = None;
            out.change(Change::EndpointPut(endpoint.record.clone()));
        }
        if endpoint
            .record
            .limits_override
            .as_ref()
            .is_some_and(|set| set.file != file)
        {
            endpoint.record.limits_override = None;
            out.change(Change::EndpointPut(endpoint.record.clone()));
        }
        let set = endpoint.record.scaler_override.as_ref();
        if set.is_some_and(|set| set.file != spec.scaler) {
            endpoint.record.scaler_override = None;
            out.change(Change::EndpointPut(endpoint.record.clone()));
        }
        match &endpoint.record.max_wait_override {
            Some(set) if set.file == spec.max_wait => spec.max_wait = set.max_wait,
            Some(_) => {
                endpoint.record.max_wait_override = None;
                out.change(Change::EndpointPut(endpoint.record.clone()));
            }
            None => {}
        }
        endpoint.pools = pools;
        if endpoint.spec.as_ref() != Some(&spec) {
            // New limits act at once.
            endpoint.scaled_at = crate::time::Timestamp::from_millis(i64::MIN);
        }
        endpoint.history.expect_start(spec.expected_start);
        endpoint.spec = Some(spec);
    }

    fn configure_pool(
        &mut self,
        endpoint: EndpointId,
        spec: &PoolSpec,
        all: &[PoolSpec],
        out: &mut Out,
    ) -> PoolId {
        let known = self.known_pool(endpoint, spec, all, out);
        let id = known.unwrap_or_else(|| {
            let id = PoolId(self.pools.keys().last().map_or(0, |last| last.0 + 1));
            let record = PoolRecord {
                id,
                endpoint,
                key: spec.key.clone(),
                wanted: 0,
                reserved_workers: 0,
                reserved_each: NanoUsd::ZERO,
                kept_on: KeptOn::default(),
                charged_until: self.now,
                billed: Billed::default(),
                since: self.now,
                learned: None,
                leads_to: None,
            };
            out.change(Change::PoolPut(record.clone()));
            self.pools.insert(id, Pool::new(record));
            id
        });
        let pool = self
            .pools
            .get_mut(&id)
            .expect("it was there, or put there above");
        pool.spec = Some(spec.clone());
        let leads_to = pool.runpod().map(|runpod| LeadsTo {
            endpoint: runpod.endpoint.clone(),
            has_limits: runpod.manage && (pool.has_limits() || pool.was_scaled()),
            spec: Some(Box::new(spec.clone())),
        });
        if leads_to != pool.record.leads_to || pool.record.key != spec.key {
            pool.record.leads_to = leads_to;
            pool.record.key.clone_from(&spec.key);
            out.change(Change::PoolPut(pool.record.clone()));
        }
        if let PoolKind::Command { devices, .. } = &spec.kind {
            for device in devices {
                pool.seats.entry(*device).or_default();
            }
        }
        id
    }

    /// The pool that is meant: of that name, or where it has another one now, the one that leads to the same
    /// endpoint at RunPod. One of that name that led elsewhere until now is another one: it goes on as a pool that
    /// is no longer configured.
    fn known_pool(
        &mut self,
        endpoint: EndpointId,
        spec: &PoolSpec,
        all: &[PoolSpec],
        out: &mut Out,
    ) -> Option<PoolId> {
        let to = leads_to(spec);
        let of_its = |is_meant: &dyn Fn(&Pool) -> bool| {
            let mut its = self.pools.values();
            let found = its.find(|pool| pool.record.endpoint == endpoint && is_meant(pool));
            found.map(|pool| pool.record.id)
        };
        let of_name = of_its(&|pool| pool.record.key == spec.key);
        let before = of_name.and_then(|id| self.pools.get(&id));
        let led = before.and_then(|pool| pool.record.leads().map(String::from));
        if before.is_some() && (led.is_none() || led.as_deref() == to) {
            return of_name;
        }
        let is_named = |pool: &Pool| {
            let mut all = all.iter();
            all.any(|spec| spec.key == pool.record.key && leads_to(spec) == pool.record.leads())
        };
        let of_another_name =
            to.and_then(|to| of_its(&|pool| pool.record.leads() == Some(to) && !is_named(pool)));
        let Some(before) = of_name.and_then(|id| self.pools.get_mut(&id)) else {
            return of_another_name;
        };
        // No two of an endpoint have one name.
        before.record.key = format!("{} ({})", spec.key, led.unwrap_or_default());
        out.change(Change::PoolPut(before.record.clone()));
        of_another_name
    }

    pub(crate) fn on_limits_set(
        &mut self,
        request: RequestId,
        id: EndpointId,
        limits: Limits,
        by: String,
        out: &mut Out,
    ) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return out.answer(request, Answer::NotFound);
        };
        let Some(spec) = &endpoint.spec else {
            return out.answer(request, Answer::NotFound);
        };
        if limits.min > limits.max {
            let reason = format!("min {} is over max {}", limits.min, limits.max);
            return out.answer(request, Answer::LimitsRefused { limits, reason });
        }
        if let Some(most) = self.account_workers_max
            && limits.max > most
        {
            let reason = format!(
                "max {} is over the account's {most} workers (`[runpod] max_workers`)",
                limits.max
            );
            return out.answer(request, Answer::LimitsRefused { limits, reason });
        }
        let before = endpoint.limits();
        let detail = format!(
            "workers {}..{} → {}..{} by {by}",
            before.min, before.max, limits.min, limits.max
        );
        endpoint.record.limits_override = Some(LimitsOverride {
            limits,
            file: spec.limits,
            by,
            at: now,
        });
        self.set_live(id, "limits_set", detail, out);
        out.answer(request, Answer::LimitsSet { limits });
    }

    /// A live change of a promise; it acts with the next decision, which is now.
    pub(crate) fn on_max_wait_set(
        &mut self,
        request: RequestId,
        id: EndpointId,
        max_wait: Option<DurationMs>,
        by: String,
        out: &mut Out,
    ) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return out.answer(request, Answer::NotFound);
        };
        let Some(spec) = &mut endpoint.spec else {
            return out.answer(request, Answer::NotFound);
        };
        if let Some(max_wait) = max_wait
            && let Err(reason) = check_max_wait(max_wait)
        {
            return out.answer(request, Answer::MaxWaitRefused { max_wait, reason });
        }
        let before = spec.max_wait;
        let set = endpoint.record.max_wait_override.as_ref();
        let file = set.map_or(before, |set| set.file);
        let after = max_wait.unwrap_or(file);
        spec.max_wait = after;
        let detail = format!("max_wait {before} → {after} by {by}");
        endpoint.record.max_wait_override = max_wait.map(|max_wait| MaxWaitOverride {
            max_wait,
            file,
            by,
            at: now,
        });
        self.set_live(id, "max_wait_set", detail, out);
        out.answer(request, Answer::MaxWaitSet { max_wait: after });
    }

    /// A live change of a scaling rule; it acts with the next decision, which is now.
    pub(crate) fn on_scaler_set(
        &mut self,
        request: RequestId,
        id: EndpointId,
        scaler: Option<ScalerSpec>,
        by: String,
        out: &mut Out,
    ) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return out.answer(request, Answer::NotFound);
        };
        let Some(spec) = &endpoint.spec else {
            return out.answer(request, Answer::NotFound);
        };
        if let Some(scaler) = &scaler
            && let Err(reason) = scaler.check()
        {
            let scaler = scaler.clone();
            return out.answer(request, Answer::ScalerRefused { scaler, reason });
        }
        let before = endpoint.scaler().unwrap_or(&spec.scaler).clone();
        let file = spec.scaler.clone();
        let after = scaler.clone().unwrap_or_else(|| file.clone());
        let detail = format!("{before} → {after} by {by}");
        endpoint.record.scaler_override = scaler.map(|scaler| ScalerOverride {
            scaler,
            file,
            by,
            at: now,
        });
        self.set_live(id, "scaler_set", detail, out);
        out.answer(request, Answer::ScalerSet { scaler: after });
    }

    /// What a person changed of an endpoint: stored and audited as `what`, and decided by at once.
    fn set_live(&mut self, id: EndpointId, what: &'static str, detail: String, out: &mut Out) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        endpoint.scaled_at = crate::time::Timestamp::from_millis(i64::MIN);
        out.change(Change::EndpointPut(endpoint.record.clone()));
        out.change(Change::Audited {
            at: self.now,
            what: what.into(),
            object: endpoint.record.name.clone(),
            detail,
        });
        self.dirty.insert(id);
    }
}

/// RunPod's id of the endpoint that a pool leads to.
fn leads_to(spec: &PoolSpec) -> Option<&str> {
    match &spec.kind {
        PoolKind::RunPod(runpod) => Some(&runpod.endpoint),
        PoolKind::Command { .. } => None,
    }
}

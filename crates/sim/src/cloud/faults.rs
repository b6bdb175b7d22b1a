//! What goes wrong on order: each fault of the list, for one endpoint or all, for a number of times or a while.

use overspill_core::money::RatePerHour;
use serde::{Deserialize, Serialize};

use super::CloudModel;
use super::call::Refusal;
use super::dice::Dice;
use super::id::{EndpointId, WorkerId};
use super::job::span_ms;
use super::placement::StopReason;

/// A kind of fault, with what it needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// Calls are answered 429 with `Retry-After`.
    #[serde(rename = "http_429")]
    Http429 {
        /// Seconds in `Retry-After`.
        #[serde(default = "one")]
        retry_after_s: u64,
        /// Only this operation (`run`, `status`, …, `management`).
        #[serde(default)]
        operation: Option<String>,
    },
    /// Calls are answered with this status, 400 to 599.
    #[serde(rename = "http_5xx", alias = "http_status")]
    Http5xx {
        /// Status.
        #[serde(default = "five_hundred")]
        status: u16,
        /// Only this operation.
        #[serde(default)]
        operation: Option<String>,
    },
    /// A submission is accepted and then never answered.
    AcceptThenHang,
    /// A worker is gone and nobody is told; without a name the longest-running busy one.
    LostWorker {
        /// Which.
        #[serde(default)]
        worker: Option<WorkerId>,
    },
    /// An input `{}` is dropped on the way to the worker.
    EmptyInputDropped,
    /// The result is lost as one over the size limit: COMPLETED without output.
    ResultLost,
    /// Results are kept for so long only.
    EarlyExpiry {
        /// Milliseconds.
        #[serde(default)]
        after_ms: u64,
    },
    /// A new job's id answers 404 for so long.
    LateId {
        /// Milliseconds.
        #[serde(default = "two_seconds")]
        delay_ms: u64,
    },
    /// Hosts have no room for new workers.
    Throttled,
    /// Workers become unhealthy (`count` of them, default all of the endpoint).
    Unhealthy,
    /// Every start crashes.
    CrashLoop,
    /// The platform lowers the maximum.
    MaxLowered {
        /// New maximum.
        #[serde(default)]
        max: u32,
    },
    /// The platform keeps workers warm that nobody asked for.
    StandbyWorker {
        /// How many.
        #[serde(default = "one_worker")]
        workers: u32,
        /// Beyond the maximum too, until the limits are written again.
        #[serde(default)]
        beyond_max: bool,
    },
    /// A worker that gets a job never ends it, and no time-out of the platform ends it either; a cancel does.
    HungWorker,
    /// Workers cost something else from now on.
    PriceChange {
        /// USD per hour and worker, as text.
        price_usd_per_h: String,
    },
    /// Each stopped worker is billed for so much longer than it was seen.
    HiddenIdle {
        /// Milliseconds; 10 s when neither this nor `percent` is given.
        #[serde(default)]
        extra_ms: Option<u64>,
        /// In percent of what it is billed for anyway.
        #[serde(default)]
        percent: Option<u32>,
    },
    /// Each stopped worker is billed at so many percent of its price.
    WrongPrice {
        /// Percent of the price.
        #[serde(default = "half_more")]
        percent: u32,
    },
    /// Each stopped worker is billed twice.
    BilledTwice,
    /// An hour's billing record can be read only so long after its end.
    LateRecords {
        /// Milliseconds.
        #[serde(default = "two_hours")]
        delay_ms: u64,
    },
    /// No billing record can be read.
    MissingRecords,
    /// A data centre is gone, with all its workers.
    RegionOutage {
        /// Its id.
        data_center: String,
    },
    /// Webhooks are not sent.
    WebhookLost,
    /// Webhooks are sent twice.
    WebhookDoubled,
}

fn one() -> u64 {
    1
}
fn one_worker() -> u32 {
    1
}
fn five_hundred() -> u16 {
    500
}
fn two_seconds() -> u64 {
    2_000
}
fn half_more() -> u32 {
    150
}
fn two_hours() -> u64 {
    7_200_000
}

/// A fault that is ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Where; everywhere if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// How many times; without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How likely each time, 0 to 1; certain if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// For how long; without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// A fault in force.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// Names it.
    pub id: u64,
    /// What was ordered; `count` is what remains of it.
    #[serde(flatten)]
    pub spec: FaultSpec,
    /// Its end.
    pub until_ms: Option<i64>,
}

/// What a fault does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFault {
    /// 429 with so many seconds in `Retry-After`.
    TooMany(u64),
    /// This status.
    Status(u16),
}

/// The faults in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    list: Vec<Fault>,
    made: u64,
}

impl Faults {
    fn is_in_force(fault: &Fault, endpoint: Option<&EndpointId>, now_ms: i64) -> bool {
        fault.until_ms.is_none_or(|until| now_ms < until)
            && fault.spec.count != Some(0)
            && (fault.spec.endpoint.is_none() || fault.spec.endpoint.as_ref() == endpoint)
    }

    /// The first fault in force that `pick` accepts; one of its times is used up.
    fn hit<T>(
        &mut self,
        endpoint: Option<&EndpointId>,
        now_ms: i64,
        mut dice: Option<&mut Dice>,
        pick: impl Fn(&FaultKind) -> Option<T>,
    ) -> Option<T> {
        for fault in &mut self.list {
            if !Self::is_in_force(fault, endpoint, now_ms) {
                continue;
            }
            let Some(found) = pick(&fault.spec.kind) else {
                continue;
            };
            if let (Some(dice), Some(probability)) = (dice.as_deref_mut(), fault.spec.probability)
                && !dice.happens(probability)
            {
                continue;
            }
            if let Some(count) = &mut fault.spec.count {
                *count -= 1;
            }
            return Some(found);
        }
        None
    }

    /// Whether a fault is in force, without using it up.
    fn holds(
        &self,
        endpoint: Option<&EndpointId>,
        now_ms: i64,
        is_meant: impl Fn(&FaultKind) -> bool,
    ) -> bool {
        self.list
            .iter()
            .any(|fault| Self::is_in_force(fault, endpoint, now_ms) && is_meant(&fault.spec.kind))
    }

    pub(crate) fn drops_empty_input(&mut self, endpoint: &EndpointId, now_ms: i64) -> bool {
        let pick = |kind: &FaultKind| (*kind == FaultKind::EmptyInputDropped).then_some(());
        self.hit(Some(endpoint), now_ms, None, pick).is_some()
    }

    pub(crate) fn loses_result(&mut self, endpoint: &EndpointId, now_ms: i64) -> bool {
        let pick = |kind: &FaultKind| (*kind == FaultKind::ResultLost).then_some(());
        self.hit(Some(endpoint), now_ms, None, pick).is_some()
    }

    pub(crate) fn early_expiry_ms(&mut self, endpoint: &EndpointId, now_ms: i64) -> Option<i64> {
        self.hit(Some(endpoint), now_ms, None, |kind| match kind {
            FaultKind::EarlyExpiry { after_ms } => i64::try_from(*after_ms).ok(),
            _ => None,
        })
    }

    pub(crate) fn late_id_ms(&mut self, endpoint: &EndpointId, now_ms: i64) -> i64 {
        self.hit(Some(endpoint), now_ms, None, |kind| match kind {
            FaultKind::LateId { delay_ms } => i64::try_from(*delay_ms).ok(),
            _ => None,
        })
        .unwrap_or(0)
    }

    pub(crate) fn is_throttled(&self, endpoint: &EndpointId, now_ms: i64) -> bool {
        self.holds(Some(endpoint), now_ms, |kind| *kind == FaultKind::Throttled)
    }

    pub(crate) fn has_outage(&self, center: &str, now_ms: i64) -> bool {
        self.list.iter().any(|fault| {
            fault.until_ms.is_none_or(|until| now_ms < until)
                && matches!(&fault.spec.kind, FaultKind::RegionOutage { data_center } if data_center == center)
        })
    }

    pub(crate) fn crashes_start(&mut self, endpoint: &EndpointId, now_ms: i64) -> bool {
        let pick = |kind: &FaultKind| (*kind == FaultKind::CrashLoop).then_some(());
        self.hit(Some(endpoint), now_ms, None, pick).is_some()
    }

    /// How much longer a worker is billed for that was seen for `seen_ms`.
    pub(crate) fn hidden_idle_ms(
        &mut self,
        endpoint: &EndpointId,
        now_ms: i64,
        seen_ms: u64,
    ) -> Option<u64> {
        self.hit(Some(endpoint), now_ms, None, |kind| match *kind {
            FaultKind::HiddenIdle {
                percent: Some(percent),
                extra_ms,
            } => Some(seen_ms * u64::from(percent) / 100 + extra_ms.unwrap_or(0)),
            FaultKind::HiddenIdle {
                percent: None,
                extra_ms,
            } => Some(extra_ms.unwrap_or(10_000)),
            _ => None,
        })
    }

    /// At how many percent of its price a stopped worker is billed.
    pub(crate) fn price_percent(&mut self, endpoint: &EndpointId, now_ms: i64) -> Option<u32> {
        self.hit(Some(endpoint), now_ms, None, |kind| match *kind {
            FaultKind::WrongPrice { percent } => Some(percent),
            _ => None,
        })
    }

    /// Whether a worker hangs with the job that it gets now.
    pub(crate) fn hangs(&mut self, endpoint: &EndpointId, now_ms: i64) -> bool {
        let pick = |kind: &FaultKind| (*kind == FaultKind::HungWorker).then_some(());
        self.hit(Some(endpoint), now_ms, None, pick).is_some()
    }

    pub(crate) fn bills_twice(&mut self, endpoint: &EndpointId, now_ms: i64) -> bool {
        let pick = |kind: &FaultKind| (*kind == FaultKind::BilledTwice).then_some(());
        self.hit(Some(endpoint), now_ms, None, pick).is_some()
    }

    /// Whether the record of an hour that ended so long ago cannot be read.
    pub(crate) fn withholds_record(
        &self,
        endpoint: &EndpointId,
        now_ms: i64,
        over_ms: i64,
    ) -> bool {
        self.holds(Some(endpoint), now_ms, |kind| match kind {
            FaultKind::MissingRecords => true,
            FaultKind::LateRecords { delay_ms } => {
                over_ms < i64::try_from(*delay_ms).unwrap_or(i64::MAX)
            }
            _ => false,
        })
    }

    /// How many times a webhook is sent.
    pub(crate) fn webhook_copies(&mut self, endpoint: &EndpointId, now_ms: i64) -> u32 {
        self.hit(Some(endpoint), now_ms, None, |kind| match kind {
            FaultKind::WebhookLost => Some(0),
            FaultKind::WebhookDoubled => Some(2),
            _ => None,
        })
        .unwrap_or(1)
    }
}

impl CloudModel {
    /// What a fault does to this call, if one does: `operation` is the data plane's word (`run`, `status`, …) or
    /// `management`.
    pub fn http_fault(
        &mut self,
        now_ms: i64,
        endpoint: Option<&EndpointId>,
        operation: &str,
    ) -> Option<HttpFault> {
        self.advance(now_ms);
        let is_meant = |only: &Option<String>| only.as_deref().is_none_or(|o| o == operation);
        self.faults.hit(
            endpoint,
            self.now_ms,
            Some(&mut self.dice),
            |kind| match kind {
                FaultKind::Http429 {
                    retry_after_s,
                    operation,
                } if is_meant(operation) => Some(HttpFault::TooMany(*retry_after_s)),
                FaultKind::Http5xx { status, operation } if is_meant(operation) => {
                    Some(HttpFault::Status(*status))
                }
                _ => None,
            },
        )
    }

    /// Whether a data centre is in an ordered outage.
    pub fn has_outage(&mut self, now_ms: i64, data_center: &str) -> bool {
        self.advance(now_ms);
        self.faults.has_outage(data_center, self.now_ms)
    }

    /// Whether the answer to an accepted submission is to be withheld.
    pub fn hangs_after_accept(&mut self, now_ms: i64, endpoint: &EndpointId) -> bool {
        self.advance(now_ms);
        let pick = |kind: &FaultKind| (*kind == FaultKind::AcceptThenHang).then_some(());
        self.faults
            .hit(Some(endpoint), self.now_ms, Some(&mut self.dice), pick)
            .is_some()
    }

    /// The faults in force.
    pub fn faults(&mut self, now_ms: i64) -> Vec<Fault> {
        self.advance(now_ms);
        let now_ms = self.now_ms;
        self.faults.list.retain(|fault| {
            fault.until_ms.is_none_or(|until| now_ms < until) && fault.spec.count != Some(0)
        });
        self.faults.list.clone()
    }

    /// Ends one fault, or all; says how many.
    pub fn clear_faults(&mut self, now_ms: i64, id: Option<u64>) -> usize {
        self.advance(now_ms);
        let before = self.faults.list.len();
        self.faults
            .list
            .retain(|fault| id.is_some_and(|id| fault.id != id));
        before - self.faults.list.len()
    }

    /// Orders a fault; its number, by which it can be ended. What happens once happens now.
    ///
    /// # Errors
    /// No such endpoint, or a value that is not accepted.
    pub fn inject(&mut self, now_ms: i64, spec: FaultSpec) -> Result<u64, Refusal> {
        self.advance(now_ms);
        if let Some(endpoint) = &spec.endpoint {
            self.endpoint(endpoint)?;
        }
        if spec.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err(Refusal::Invalid(
                "probability must be between 0 and 1".into(),
            ));
        }
        self.faults.made += 1;
        let id = self.faults.made;
        let targets: Vec<EndpointId> = match &spec.endpoint {
            Some(endpoint) => vec![endpoint.clone()],
            None => self.endpoints.keys().cloned().collect(),
        };
        let is_lasting = match &spec.kind {
            FaultKind::Http5xx { status, .. } if !(400..600).contains(status) => {
                return Err(Refusal::Invalid(format!(
                    "status {status} is not between 400 and 599"
                )));
            }
            FaultKind::LostWorker { worker } => {
                self.lose_worker(&targets, worker.as_ref())?;
                false
            }
            FaultKind::Unhealthy => {
                self.make_unhealthy(&targets, spec.count.unwrap_or(u64::MAX));
                false
            }
            FaultKind::MaxLowered { max } => {
                for target in &targets {
                    if let Some(endpoint) = self.endpoints.get_mut(target) {
                        let settings = &mut endpoint.settings;
                        settings.workers_max = settings.workers_max.min(*max);
                        settings.workers_min = settings.workers_min.min(*max);
                    }
                    self.rescale(target);
                }
                false
            }
            FaultKind::StandbyWorker {
                workers,
                beyond_max,
            } => {
                for target in &targets {
                    if let Some(endpoint) = self.endpoints.get_mut(target) {
                        endpoint.standby = *workers;
                        endpoint.standby_beyond_max = *beyond_max;
                    }
                    self.rescale(target);
                }
                false
            }
            FaultKind::PriceChange { price_usd_per_h } => {
                let price = overspill_core::money::NanoUsd::parse_usd(price_usd_per_h).ok_or_else(
                    || {
                        Refusal::Invalid(format!(
                            "price_usd_per_h {price_usd_per_h:?} is not a price such as \"1.32\""
                        ))
                    },
                )?;
                for target in &targets {
                    self.change_price(target, RatePerHour::new(price));
                }
                false
            }
            FaultKind::RegionOutage { data_center } => {
                let workers: Vec<(EndpointId, WorkerId)> = self
                    .endpoints
                    .values()
                    .flat_map(|endpoint| {
                        endpoint
                            .workers
                            .values()
                            .filter(|worker| worker.data_center == Some(data_center))
                            .map(|worker| (endpoint.id.clone(), worker.id.clone()))
                    })
                    .collect();
                for (endpoint, worker) in &workers {
                    self.stop_worker(endpoint, worker, StopReason::Lost);
                }
                true
            }
            _ => true,
        };
        if is_lasting {
            let until_ms = spec
                .for_ms
                .map(|length| self.now_ms.saturating_add_unsigned(length));
            self.faults.list.push(Fault { id, spec, until_ms });
        }
        for target in &targets {
            self.rescale(target);
        }
        Ok(id)
    }

    fn lose_worker(
        &mut self,
        targets: &[EndpointId],
        named: Option<&WorkerId>,
    ) -> Result<(), Refusal> {
        let now_ms = self.now_ms;
        let found = targets
            .iter()
            .filter_map(|id| self.endpoints.get(id))
            .flat_map(|endpoint| {
                endpoint
                    .workers
                    .values()
                    .map(move |worker| (endpoint, worker))
            })
            .filter(|(_, worker)| named.is_none_or(|name| worker.id == *name))
            // A busy one first, then the one that has been on for longest.
            .max_by_key(|(_, worker)| {
                let on_ms = worker
                    .started_ms
                    .map_or(0, |started| span_ms(started, now_ms));
                (
                    !worker.jobs.is_empty(),
                    on_ms,
                    std::cmp::Reverse(worker.number),
                )
            })
            .map(|(endpoint, worker)| (endpoint.id.clone(), worker.id.clone()));
        match (found, named) {
            (Some((endpoint, worker)), _) => {
                self.stop_worker(&endpoint, &worker, StopReason::Lost);
                Ok(())
            }
            (None, Some(name)) => Err(Refusal::NoWorker(name.clone())),
            (None, None) => Err(Refusal::Invalid("there is no worker to lose".into())),
        }
    }

    fn make_unhealthy(&mut self, targets: &[EndpointId], count: u64) {
        let workers: Vec<(EndpointId, WorkerId)> = targets
            .iter()
            .filter_map(|id| self.endpoints.get(id))
            .flat_map(|endpoint| {
                endpoint
                    .workers
                    .values()
                    .map(|worker| (endpoint.id.clone(), worker.id.clone()))
            })
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .collect();
        for (endpoint, worker) in workers {
            self.crash_worker(&endpoint, &worker);
        }
    }

    /// A new price for the endpoint's workers, also for those that run.
    pub(super) fn change_price(&mut self, endpoint_id: &EndpointId, price: RatePerHour) {
        let now_ms = self.now_ms;
        let Some(endpoint) = self.endpoints.get_mut(endpoint_id) else {
            return;
        };
        endpoint.price_override = Some(price);
        let mut turned = Vec::new();
        for worker in endpoint.workers.values_mut() {
            let stretch = worker.meter.turn(now_ms, worker.rate);
            turned.push((worker.clone(), stretch));
            worker.rate = price;
        }
        for (worker, stretch) in turned {
            self.write_line(endpoint_id, &worker, stretch);
        }
    }
}

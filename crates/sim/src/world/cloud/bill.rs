//! RunPod's billing records, as the client reads them; and how they lie.

use std::collections::BTreeMap;

use overspill_core::booked::start_of;
use overspill_core::drift::HourRecord;
use overspill_core::event::{BillRead, Event};
use overspill_core::money::NanoUsd;
use overspill_core::time::DurationMs;

use super::{CloudWorld, endpoint_of};
use crate::cloud::{FaultKind, FaultSpec};
use crate::faults::Fault;
use crate::scene::{Action, Cloud, Scene};
use crate::store::Store;

/// Time between two readings of the billing records.
const BILLS: DurationMs = DurationMs::from_secs(3_600);

impl CloudWorld {
    /// Reads the billing records of the last days, as the client does once an hour.
    pub(super) fn read_bills(&mut self, scene: &mut Scene, process: u64, store: &Store) {
        let is_lost = scene.strikes(Fault::HealthLost);
        let wait = if is_lost {
            DurationMs::from_secs(60)
        } else {
            BILLS
        };
        scene.after(wait, Action::Cloud(Cloud::Bill { process }));
        if is_lost {
            return;
        }
        let records = self.model.billing(scene.now.as_millis());
        for &pool in store.live.pools.keys() {
            let Some(endpoint) = endpoint_of(store, pool) else {
                continue;
            };
            let its = records.iter().filter(|((of, _), _)| *of == endpoint);
            let bill = BillRead {
                records: its
                    .map(|((_, hour), amounts)| HourRecord {
                        start: start_of(*hour),
                        compute: amounts.gpu + amounts.cpu,
                        other: NanoUsd::ZERO,
                    })
                    .collect(),
                list_price: None,
            };
            let wait = scene.ms(20, 200);
            scene.after(
                wait,
                Action::Inner(process, Event::CloudBilled { pool, bill }),
            );
        }
    }

    /// RunPod's billing records from now on, by its endpoint's id and the hour.
    pub(crate) fn records(&mut self, scene: &Scene) -> BTreeMap<(String, i64), NanoUsd> {
        let records = self.model.billing(scene.now.as_millis()).into_iter();
        let sums = records.map(|((endpoint, hour), amounts)| {
            (
                (endpoint.as_str().to_owned(), hour),
                amounts.gpu + amounts.cpu,
            )
        });
        sums.collect()
    }

    /// The bill lies from now on.
    pub(crate) fn lie(&mut self, scene: &Scene, kind: FaultKind) {
        self.lie = Some(kind.clone());
        let spec = FaultSpec {
            kind,
            endpoint: None,
            count: None,
            probability: None,
            for_ms: None,
        };
        let ordered = self.model.inject(scene.now.as_millis(), spec);
        ordered.expect("nothing that could be missing is named");
    }
}

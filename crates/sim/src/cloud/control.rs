//! What only a model can show or set: knobs of an endpoint, the bill, the log of executions.

use std::collections::BTreeMap;

use super::CloudModel;
use super::billing::{BillLine, EndpointBill};
use super::call::{Execution, Refusal};
use super::id::EndpointId;
use super::settings::Knobs;

impl CloudModel {
    /// Sets what is given of `knobs` and leaves the rest. A new price counts for workers that run too.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn set_knobs(
        &mut self,
        now_ms: i64,
        id: &EndpointId,
        knobs: Knobs,
    ) -> Result<Knobs, Refusal> {
        self.advance(now_ms);
        let endpoint = self.endpoint_mut(id)?;
        endpoint.knobs.slots = knobs.slots.or(endpoint.knobs.slots);
        endpoint.knobs.cold_start = knobs.cold_start.or(endpoint.knobs.cold_start);
        endpoint.knobs.price = knobs.price.or(endpoint.knobs.price);
        let now = endpoint.knobs;
        if let Some(price) = knobs.price {
            self.change_price(id, price);
        }
        self.dispatch(id);
        self.rescale(id);
        Ok(now)
    }

    /// The lines of the bill so far, and what running workers would add if they stopped now.
    pub fn bill_lines(&mut self, now_ms: i64) -> Vec<BillLine> {
        self.advance(now_ms);
        let mut lines = self.lines.clone();
        for endpoint in self.endpoints.values() {
            for worker in endpoint.workers.values() {
                let reading = worker.meter.reading(self.now_ms, worker.rate);
                if let Some((from_ms, to_ms, billed_ms, usd)) = reading {
                    lines.push(BillLine {
                        endpoint: endpoint.id.clone(),
                        worker: worker.id.clone(),
                        from_ms,
                        to_ms,
                        billed_ms,
                        usd,
                        is_gpu: worker.gpu.is_some(),
                    });
                }
            }
        }
        lines
    }

    /// The bill by endpoint; endpoints that cost nothing and deleted ones that did are in it too.
    pub fn bill(&mut self, now_ms: i64) -> BTreeMap<EndpointId, EndpointBill> {
        let mut bill: BTreeMap<EndpointId, EndpointBill> = BTreeMap::new();
        for line in self.bill_lines(now_ms) {
            let entry = bill.entry(line.endpoint).or_default();
            entry.usd += line.usd;
            entry.worker_ms += line.billed_ms;
        }
        for id in self.endpoints.keys() {
            bill.entry(id.clone()).or_default();
        }
        bill
    }

    /// Every attempt so far, in order of start.
    pub fn executions(&mut self, now_ms: i64) -> &[Execution] {
        self.advance(now_ms);
        &self.executions
    }

    /// Worker starts of an endpoint so far.
    ///
    /// # Errors
    /// No such endpoint.
    pub fn cold_starts(&mut self, now_ms: i64, id: &EndpointId) -> Result<u64, Refusal> {
        self.advance(now_ms);
        Ok(self.endpoint(id)?.counters.cold_starts)
    }
}

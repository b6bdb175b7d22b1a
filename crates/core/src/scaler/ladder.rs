//! The classic that people write by hand: workers = the most `n` with running ≥ n and pending > n.
//!
//! Kept as the reference. It never bursts with one running and one waiting job, and stops growing
//! when few long jobs run. Running counts what the cloud runs and what the local slots run; pending
//! counts what waits here and at RunPod. A first waiting job without local cards gets one worker.

use super::{View, Wish, count, workers_for};

pub(super) fn wish(view: &View<'_>) -> Wish {
    let busy = view
        .picture
        .local
        .iter()
        .filter(|&&at| at > view.picture.now)
        .count();
    let running = count(busy).saturating_add(view.cloud.running);
    let queued_there = view.cloud.outstanding.saturating_sub(view.cloud.running);
    let pending = count(view.picture.waiting_total).saturating_add(queued_there);
    let steps = running.min(pending.saturating_sub(1));
    let first = u32::from(view.picture.local.is_empty() && pending > 0);
    let kept = workers_for(view.cloud.outstanding, view.cloud.slots);
    let workers = steps.max(first).max(kept);
    let room = workers.saturating_mul(view.cloud.slots.max(1));
    let spill = count(view.projection.spill).min(room.saturating_sub(view.cloud.outstanding));
    Wish {
        workers,
        spill,
        keep: view.idle_max,
    }
}

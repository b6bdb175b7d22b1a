//! RunPod's default rule: a job that waits longer than `delay` adds a worker; idle workers end by
//! their idle time-out.
//!
//! Here it looks only at jobs that the local cards would start too late. Workers wanted = jobs that
//! the cloud has, and those over the delay, by slots; never fewer than still live there, since
//! RunPod itself ends them when they idle.

use super::{View, Wish, count, workers_for};
use crate::time::DurationMs;

pub(super) fn wish(delay: DurationMs, view: &View<'_>) -> Wish {
    let picture = view.picture;
    let spill = view.projection.spill;
    let waited = |job: &&crate::placement::projection::Waiting| {
        job.is_cloudable && !job.is_low_priority && picture.now.since(job.submitted_at) >= delay
    };
    let beyond = picture.waiting_total.saturating_sub(picture.waiting.len());
    let over = count(picture.waiting.iter().filter(waited).count() + beyond).min(count(spill));
    let cloud = view.cloud;
    let needed = workers_for(cloud.outstanding.saturating_add(over), cloud.slots);
    Wish {
        workers: needed.max(cloud.alive.min(cloud.wanted)),
        spill: count(spill),
        keep: view.idle_max,
    }
}

//! RunPod's other rule: workers = (waiting + running) jobs over `per_worker`, rounded up.
//!
//! Here it counts only jobs that the cloud has, and waiting ones that the local cards would start
//! too late. Scale-down follows the count.

use super::{View, Wish, count, workers_for};

pub(super) fn wish(per_worker: u32, view: &View<'_>) -> Wish {
    let spill = count(view.projection.spill);
    let jobs = view.cloud.outstanding.saturating_add(spill);
    Wish {
        workers: workers_for(jobs, per_worker),
        spill,
        keep: view.idle_max,
    }
}

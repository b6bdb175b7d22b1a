//! The worlds around the core: this host's processes and workers, and RunPod's cloud.

mod cards;
pub(crate) mod cloud;
pub(crate) mod local;

//! A list of GPUs that never changes: nominal devices where there is no driver.

use super::{Gpu, GpuError, GpuProvider, GpuReadings};

/// Always the same GPUs.
#[derive(Debug, Clone, Default)]
pub struct FixedGpus(Vec<Gpu>);

impl FixedGpus {
    /// These GPUs.
    #[must_use]
    pub const fn new(gpus: Vec<Gpu>) -> Self {
        Self(gpus)
    }

    /// `count` nominal devices, of which nothing is known.
    #[must_use]
    pub fn nominal(count: u32) -> Self {
        let gpu = |index| Gpu {
            index,
            uuid: format!("nominal-{index}"),
            name: "nominal device".to_owned(),
            mig_of: None,
            fault: None,
            readings: GpuReadings::default(),
        };
        Self((0..count).map(gpu).collect())
    }
}

impl GpuProvider for FixedGpus {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn read(&mut self) -> Result<Vec<Gpu>, GpuError> {
        Ok(self.0.clone())
    }
}

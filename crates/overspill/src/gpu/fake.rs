//! GPUs that a test holds in its hand: it changes them, makes them fail, and sees them read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Gpu, GpuError, GpuProvider};

/// A provider whose answers a test sets; clones share them.
#[derive(Debug, Clone, Default)]
pub struct FakeGpus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    gpus: Vec<Gpu>,
    fault: Option<String>,
}

impl FakeGpus {
    /// Answers with these GPUs.
    #[must_use]
    pub fn new(gpus: Vec<Gpu>) -> Self {
        let fake = Self::default();
        fake.set(gpus);
        fake
    }

    /// Answers with these GPUs from now on.
    pub fn set(&self, gpus: Vec<Gpu>) {
        *self.state() = State { gpus, fault: None };
    }

    /// Fails from now on.
    pub fn fail(&self, message: &str) {
        self.state().fault = Some(message.to_owned());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere leaves a whole state behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GpuProvider for FakeGpus {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn read(&mut self) -> Result<Vec<Gpu>, GpuError> {
        let state = self.state();
        match &state.fault {
            Some(message) => Err(GpuError::Driver(message.clone())),
            None => Ok(state.gpus.clone()),
        }
    }
}

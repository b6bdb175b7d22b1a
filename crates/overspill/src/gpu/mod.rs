//! The GPUs of this machine: what is there, and how full and warm it is.
//!
//! A [`GpuProvider`] reads them: NVML (loaded at run time, so the same binary runs on hosts without
//! a driver), a fixed list, or a fake for tests. Every reading may be missing, as drivers leave out
//! what a card does not support. NVML calls may block for seconds when a card is in trouble, so a
//! [`GpuMonitor`] reads on a thread of its own and publishes what it saw.
//!
//! It knows the configuration's [`Devices`](crate::config::Devices) and nothing of jobs, workers
//! or placement: the engine turns what is seen here into facts for the core.

mod fake;
mod fixed;
pub mod health;
mod list;
mod monitor;
mod nvml;
mod place;
mod select;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

pub use fake::FakeGpus;
pub use fixed::FixedGpus;
pub use list::{Card, CardList, FILE as CARDS_FILE};
pub use monitor::{GpuMonitor, GpuSnapshot};
pub use nvml::NvmlGpus;
pub use place::Place;
pub use select::{Selected, SelectedDevice, select};

use crate::config::MemorySize;

/// A driver that has not listed its cards by then hangs: one that wakes eight of them up takes some
/// seconds.
pub const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// One physical GPU, or one MIG instance of one, as it was at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Place in the driver's order, from 0; a MIG instance has that of its card.
    pub index: u32,
    /// The driver's lasting id, such as `GPU-5ce1…` or `MIG-…`; matched by, as indices move.
    pub uuid: String,
    /// Marketing name, such as `NVIDIA GeForce RTX 3090`.
    pub name: String,
    /// The card that this is an instance of, by its uuid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig_of: Option<String>,
    /// Why its driver fails at it, where it does; then nothing else was read of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What was read of it.
    pub readings: GpuReadings,
}

/// Readings of a GPU; each is missing where the driver or the card does not support it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GpuReadings {
    /// Installed memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory in use by anybody, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Share of the last sample period in which a kernel ran, in percent.
    pub busy_percent: Option<u32>,
    /// Temperature of the die in degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Power drawn in milliwatts.
    pub power_mw: Option<u32>,
    /// Memory errors that could not be corrected since the driver was loaded.
    pub uncorrected_memory_errors: Option<u64>,
    /// Processes that hold memory on it.
    pub processes: Option<Vec<GpuProcess>>,
}

/// A process that holds memory on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuProcess {
    /// Its id, as the driver sees it: in a container it may be another.
    pub pid: u32,
    /// Memory that it holds, in bytes.
    pub memory_bytes: Option<u64>,
}

impl Gpu {
    /// Installed memory.
    #[must_use]
    pub fn memory(&self) -> Option<MemorySize> {
        self.readings.memory_bytes.map(MemorySize::from_bytes)
    }
}

/// Something that can read the GPUs of this machine.
pub trait GpuProvider: Send {
    /// What it is, for messages: `nvml`, `fixed`, `fake`.
    fn name(&self) -> &'static str;

    /// Reads every GPU, in the driver's order; may block.
    ///
    /// # Errors
    /// When the driver cannot list them. A single card in trouble is no error: it is listed with
    /// its fault, or left out when not even its uuid could be read.
    fn read(&mut self) -> Result<Vec<Gpu>, GpuError>;

    /// Where it is while it reads, for whoever waits for it.
    fn place(&self) -> Place {
        Place::default()
    }
}

/// Why GPUs could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No driver library on this machine, or no driver behind it.
    #[error("no NVIDIA driver on this machine: {0}")]
    NoDriver(String),
    /// The driver is there but does not answer as it should.
    #[error("the NVIDIA driver failed: {0}")]
    Driver(String),
    /// The driver does not come back.
    #[error("the NVIDIA driver hangs: it did not list its cards within {} s", .0.as_secs())]
    Hangs(Duration),
}

/// The GPUs of this machine by its driver, once; an empty list where there is no driver.
///
/// # Errors
/// When there is a driver and it fails, or does not come back within [`LISTED_WITHIN`].
pub fn detect() -> Result<Vec<Gpu>, GpuError> {
    match read_within(NvmlGpus::default(), LISTED_WITHIN) {
        Err(GpuError::NoDriver(_)) => Ok(Vec::new()),
        read => read,
    }
}

/// One reading, on a thread of its own: it is left behind where it hangs.
fn read_within(
    mut provider: impl GpuProvider + 'static,
    length: Duration,
) -> Result<Vec<Gpu>, GpuError> {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::Builder::new().name("gpu-detect".to_owned());
    let started = thread.spawn(move || {
        // Nobody listens any more where it took too long.
        let _ = tell.send(provider.read());
    });
    started.map_err(|error| GpuError::Driver(format!("no thread for it: {error}")))?;
    match told.recv_timeout(length) {
        Ok(read) => read,
        Err(RecvTimeoutError::Timeout) => Err(GpuError::Hangs(length)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(GpuError::Driver("its reading broke off".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_hangs_is_waited_for_no_longer_than_that() {
        struct Hanging(mpsc::Receiver<()>);
        impl GpuProvider for Hanging {
            fn name(&self) -> &'static str {
                "hanging"
            }
            fn read(&mut self) -> Result<Vec<Gpu>, GpuError> {
                let _ = self.0.recv();
                Ok(Vec::new())
            }
        }
        let (release, held) = mpsc::channel();
        let length = Duration::from_millis(50);
        let error = read_within(Hanging(held), length).unwrap_err();
        assert_eq!(error, GpuError::Hangs(length));
        drop(release);
        let fake = FakeGpus::default();
        fake.fail("unknown error");
        let error = read_within(fake, LISTED_WITHIN).unwrap_err();
        assert_eq!(error.to_string(), "the NVIDIA driver failed: unknown error");
        let one = FixedGpus::nominal(1);
        assert_eq!(read_within(one, LISTED_WITHIN).unwrap().len(), 1);
    }
}

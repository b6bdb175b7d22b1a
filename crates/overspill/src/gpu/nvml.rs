//! NVIDIA's management library, loaded at run time.

use std::path::Path;

use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::{Gpu, GpuError, GpuProcess, GpuProvider, GpuReadings};

/// Where the library is: by the loader's rules, and where WSL2 keeps it.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"];

/// Reads GPUs through NVML.
#[derive(Debug)]
pub struct NvmlGpus {
    nvml: Nvml,
}

impl NvmlGpus {
    /// Loads the library and connects to the driver.
    ///
    /// # Errors
    /// [`GpuError::NoDriver`] when there is no library or no driver behind it.
    pub fn open() -> Result<Self, GpuError> {
        let mut first = None;
        for library in LIBRARIES {
            match Self::open_library(Path::new(library)) {
                Ok(driver) => return Ok(driver),
                // The first failure is the telling one: the second path exists on WSL2 only.
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        Err(first.unwrap_or_else(|| GpuError::NoDriver("no library was tried".to_owned())))
    }

    /// Loads the library at `path`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_library(path: &Path) -> Result<Self, GpuError> {
        match Nvml::builder().lib_path(path.as_os_str()).init() {
            Ok(nvml) => Ok(Self { nvml }),
            Err(
                error @ (NvmlError::LibloadingError(_)
                | NvmlError::DriverNotLoaded
                | NvmlError::LibraryNotFound),
            ) => Err(GpuError::NoDriver(error.to_string())),
            Err(error) => Err(GpuError::Driver(error.to_string())),
        }
    }

    /// The driver's version.
    #[must_use]
    pub fn driver_version(&self) -> Option<String> {
        self.nvml.sys_driver_version().ok()
    }
}

impl GpuProvider for NvmlGpus {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn read(&mut self) -> Result<Vec<Gpu>, GpuError> {
        let count = self
            .nvml
            .device_count()
            .map_err(|error| GpuError::Driver(error.to_string()))?;
        let mut gpus = Vec::new();
        for index in 0..count {
            // A card that fell off the bus has no handle; the others are still of use.
            let Ok(device) = self.nvml.device_by_index(index) else {
                continue;
            };
            let Some(card) = read_gpu(&device, index, None) else {
                continue;
            };
            let instances = mig_instances(&device, index, &card.uuid);
            gpus.push(card);
            gpus.extend(instances);
        }
        Ok(gpus)
    }
}

/// The MIG instances of a card; most cards have none, and older drivers do not know the word.
fn mig_instances(device: &Device<'_>, index: u32, card: &str) -> Vec<Gpu> {
    let is_on = device.mig_mode().is_ok_and(|mode| mode.current != 0);
    if !is_on {
        return Vec::new();
    }
    let count = device.mig_device_count().unwrap_or(0);
    (0..count)
        .filter_map(|instance| device.mig_device_by_index(instance).ok())
        .filter_map(|instance| read_gpu(&instance, index, Some(card.to_owned())))
        .collect()
}

fn read_gpu(device: &Device<'_>, index: u32, mig_of: Option<String>) -> Option<Gpu> {
    let uuid = device.uuid().ok()?;
    let name = device.name().unwrap_or_else(|_| "unknown GPU".to_owned());
    let memory = device.memory_info().ok();
    let readings = GpuReadings {
        memory_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        busy_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
        power_mw: device.power_usage().ok(),
        uncorrected_memory_errors: device
            .total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)
            .ok(),
        processes: processes(device),
    };
    Some(Gpu {
        index,
        uuid,
        name,
        mig_of,
        readings,
    })
}

/// Compute and graphics processes together; one that is both counts once.
fn processes(device: &Device<'_>) -> Option<Vec<GpuProcess>> {
    let lists = [
        device.running_compute_processes(),
        device.running_graphics_processes(),
    ];
    if lists.iter().all(Result::is_err) {
        return None;
    }
    let mut found: Vec<GpuProcess> = Vec::new();
    for process in lists.into_iter().flatten().flatten() {
        if found.iter().all(|known| known.pid != process.pid) {
            let memory_bytes = match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(bytes),
                UsedGpuMemory::Unavailable => None,
            };
            found.push(GpuProcess {
                pid: process.pid,
                memory_bytes,
            });
        }
    }
    found.sort_by_key(|process| process.pid);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_library_has_no_driver() {
        let error =
            NvmlGpus::open_library(Path::new("/nonexistent/libnvidia-ml.so.1")).unwrap_err();
        assert!(matches!(error, GpuError::NoDriver(_)), "{error}");
    }

    #[test]
    fn what_a_card_does_not_support_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gpu/testdata/nvml.c");
        let mut compiler = std::process::Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source);
        // SQLite's C code needs the same compiler, so it is there wherever this was built.
        assert!(compiler.status().unwrap().success());
        let gpus = NvmlGpus::open_library(&library).unwrap().read().unwrap();
        let readings = GpuReadings {
            memory_bytes: Some(24 << 30),
            memory_used_bytes: Some(1 << 30),
            ..GpuReadings::default()
        };
        assert_eq!(
            gpus,
            [Gpu {
                index: 1,
                uuid: "GPU-00000000-1111-2222-3333-444444444444".to_owned(),
                name: "NVIDIA GeForce RTX 3090".to_owned(),
                mig_of: None,
                readings,
            }]
        );
    }

    #[test]
    fn what_the_driver_lists_is_sound() {
        // Skips itself, visibly, where there is no GPU.
        let Ok(mut driver) = NvmlGpus::open() else {
            eprintln!("skipped: no NVIDIA driver on this machine");
            return;
        };
        let gpus = driver.read().unwrap();
        for gpu in &gpus {
            assert!(!gpu.uuid.is_empty());
            assert!(gpu.readings.memory_used_bytes <= gpu.readings.memory_bytes);
        }
    }
}

//! NVIDIA's management library, loaded at run time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::{Gpu, GpuError, GpuProcess, GpuProvider, GpuReadings, Place};

/// Where the library is: by the loader's rules, and where WSL2 keeps it.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"];

/// Readings with a card lost until the driver is connected to anew: once it was reset, or the driver
/// loaded again, an old session may not see it.
const OPENED_ANEW_AFTER: u32 = 15;
/// While it stays lost the next attempts come ever later, up to so many readings.
const OPENED_ANEW_AFTER_MAX: u32 = 300;

/// Reads GPUs through NVML. The library is loaded and the driver connected to at the first reading,
/// and anew once the session is dead, as it is after the driver was loaded again.
#[derive(Debug, Default)]
pub struct NvmlGpus {
    /// Where the library is; `None`: at one of the usual places.
    library: Option<PathBuf>,
    session: Option<Nvml>,
    /// Uuid and name of each card that was read, by its index: one that falls off is known by them.
    known: BTreeMap<u32, (String, String)>,
    /// Every whole card that was ever read, by its uuid.
    seen: BTreeSet<String>,
    /// Readings since the driver was connected to, or since a card is lost.
    lost_for: u32,
    /// So many of them until it is connected to anew.
    patience: u32,
    place: Place,
}

impl NvmlGpus {
    /// Reads through the library at `path`.
    #[must_use]
    pub fn of_library(path: &Path) -> Self {
        Self {
            library: Some(path.to_owned()),
            ..Self::default()
        }
    }

    fn open(&self) -> Result<Nvml, GpuError> {
        if let Some(path) = &self.library {
            return open(path);
        }
        let mut first = None;
        for library in LIBRARIES {
            match open(Path::new(library)) {
                Ok(session) => return Ok(session),
                // The first failure is the telling one: the second path exists on WSL2 only.
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        Err(first.unwrap_or_else(|| GpuError::NoDriver("no library was tried".to_owned())))
    }

    fn read_session(&mut self) -> Result<Vec<Gpu>, GpuError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        let session = self.session.insert(session);
        let count = session
            .device_count()
            .map_err(|error| GpuError::Driver(error.to_string()))?;
        let mut gpus = Vec::new();
        for index in 0..count {
            let known = self.known.get(&index);
            self.place.is_at(known.map(|(uuid, _)| uuid.as_str()));
            let device = match session.device_by_index(index) {
                Ok(device) => device,
                Err(error) => {
                    // A card that fell off the bus has no handle; the others are still of use.
                    gpus.extend(known.map(|known| lost(index, known, &error)));
                    continue;
                }
            };
            let card = match read_gpu(&device, index, None) {
                Ok(card) => card,
                Err(error) => {
                    gpus.extend(known.map(|known| lost(index, known, &error)));
                    continue;
                }
            };
            let names = (card.uuid.clone(), card.name.clone());
            let instances = mig_instances(&device, index, &card.uuid);
            // One that moved is known by its old place no more.
            self.known.retain(|_, known| known.0 != names.0);
            self.seen.insert(names.0.clone());
            self.known.insert(index, names);
            gpus.push(card);
            gpus.extend(instances);
        }
        Ok(gpus)
    }

    /// Connects to the driver anew once a card has been lost for a while. The other cards answer as
    /// before; where it hangs, that is the lost one's fault.
    fn look_after_lost(&mut self, gpus: &[Gpu]) {
        let is_well = |uuid: &str| {
            let mut well = gpus.iter().filter(|gpu| gpu.fault.is_none());
            well.any(|gpu| gpu.uuid == uuid)
        };
        let Some(lost) = self.seen.iter().find(|uuid| !is_well(uuid)) else {
            self.lost_for = 0;
            self.patience = OPENED_ANEW_AFTER;
            return;
        };
        self.lost_for += 1;
        if self.lost_for < self.patience.max(OPENED_ANEW_AFTER) {
            return;
        }
        self.lost_for = 0;
        self.patience = (self.patience * 2).clamp(OPENED_ANEW_AFTER, OPENED_ANEW_AFTER_MAX);
        self.place.is_at(Some(lost));
        // One end after the other: NVML counts its users, and begins anew only after the last.
        self.session = None;
        self.session = self.open().ok();
    }
}

fn open(path: &Path) -> Result<Nvml, GpuError> {
    let opened = Nvml::builder().lib_path(path.as_os_str()).init();
    opened.map_err(|error| match error {
        NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded | NvmlError::LibraryNotFound => {
            GpuError::NoDriver(error.to_string())
        }
        error => GpuError::Driver(error.to_string()),
    })
}

impl GpuProvider for NvmlGpus {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn read(&mut self) -> Result<Vec<Gpu>, GpuError> {
        self.place.is_at(None);
        let was_open = self.session.is_some();
        let mut read = self.read_session();
        if read.is_err() && was_open {
            // What is left of a session may be the fault: a new one tells.
            self.session = None;
            read = self.read_session();
        }
        match &read {
            Ok(gpus) => self.look_after_lost(gpus),
            Err(_) => self.session = None,
        }
        self.place.is_at(None);
        read
    }

    fn place(&self) -> Place {
        self.place.clone()
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
        .filter_map(|instance| read_gpu(&instance, index, Some(card.to_owned())).ok())
        .collect()
}

/// A card that was there, and at which the driver fails.
fn lost(index: u32, (uuid, name): &(String, String), error: &NvmlError) -> Gpu {
    Gpu {
        index,
        uuid: uuid.clone(),
        name: name.clone(),
        mig_of: None,
        fault: Some(match error {
            NvmlError::GpuLost => {
                "GPU is lost: it fell off the bus, or cannot be reached".to_owned()
            }
            other => other.to_string(),
        }),
        readings: GpuReadings::default(),
    }
}

/// Whether a call fails for the card's sake, not because it is not supported or not allowed.
const fn is_fatal(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::IrqIssue
            | NvmlError::Timeout
            | NvmlError::Unknown
    )
}

fn read_gpu(device: &Device<'_>, index: u32, mig_of: Option<String>) -> Result<Gpu, NvmlError> {
    let uuid = device.uuid()?;
    let name = device.name().unwrap_or_else(|_| "unknown GPU".to_owned());
    let memory = match device.memory_info() {
        Ok(memory) => Some(memory),
        // Uuid and name come from the driver's own memory: they say nothing of the card.
        Err(error) if is_fatal(&error) => {
            let card = lost(index, &(uuid, name), &error);
            return Ok(Gpu { mig_of, ..card });
        }
        Err(_) => None,
    };
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
    Ok(Gpu {
        index,
        uuid,
        name,
        mig_of,
        fault: None,
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
        let path = Path::new("/nonexistent/libnvidia-ml.so.1");
        let error = NvmlGpus::of_library(path).read().unwrap_err();
        assert!(matches!(error, GpuError::NoDriver(_)), "{error}");
    }

    /// The tests' library, with the fault of this name compiled in.
    fn library(folder: &tempfile::TempDir, fault: &str) -> PathBuf {
        let library = folder.path().join("libnvidia-ml.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gpu/testdata/nvml.c");
        let mut compiler = std::process::Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", &format!("-D{fault}"), "-o"])
            .arg(&library)
            .arg(source);
        // SQLite's C code needs the same compiler, so it is there wherever this was built.
        assert!(compiler.status().unwrap().success());
        library
    }

    #[test]
    fn a_session_that_is_dead_is_begun_anew_within_the_reading() {
        let folder = tempfile::tempdir().unwrap();
        let mut driver = NvmlGpus::of_library(&library(&folder, "DEAD_AFTER_ONE_READING"));
        for reading in 0..3 {
            assert_eq!(driver.read().unwrap().len(), 1, "reading {reading}");
        }
    }

    #[test]
    fn a_lost_card_is_looked_for_in_a_new_session_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let mut driver = NvmlGpus::of_library(&library(&folder, "LOST_AFTER_ONE_READING"));
        let place = driver.place();
        assert!(driver.read().unwrap().iter().all(|gpu| gpu.fault.is_none()));
        for reading in 0..OPENED_ANEW_AFTER {
            let gpus = driver.read().unwrap();
            let faults: Vec<bool> = gpus.iter().map(|gpu| gpu.fault.is_some()).collect();
            assert_eq!(faults, [true, false], "reading {reading}");
            assert_eq!(place.now(), None);
        }
        let gpus = driver.read().unwrap();
        assert!(gpus.len() == 2 && gpus.iter().all(|gpu| gpu.fault.is_none()));
    }

    #[test]
    fn what_a_card_does_not_support_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let library = library(&folder, "FIRST_IS_LOST");
        let gpus = NvmlGpus::of_library(&library).read().unwrap();
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
                fault: None,
                readings,
            }]
        );
    }

    #[test]
    fn what_the_driver_lists_is_sound() {
        // Skips itself, visibly, where there is no GPU.
        let gpus = match NvmlGpus::default().read() {
            Err(GpuError::NoDriver(_)) => {
                eprintln!("skipped: no NVIDIA driver on this machine");
                return;
            }
            gpus => gpus.unwrap(),
        };
        for gpu in &gpus {
            assert!(!gpu.uuid.is_empty());
            assert!(gpu.readings.memory_used_bytes <= gpu.readings.memory_bytes);
        }
    }
}

//! Which devices a local pool gets: the configuration's `devices` against what is there.

use crate::config::Devices;

use super::Gpu;

/// The devices of a pool, and what was not as the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// The devices, in the driver's order or that of the configuration's list.
    pub devices: Vec<SelectedDevice>,
    /// A sentence for the log and for `check`, when fewer devices were found than asked for.
    pub warning: Option<String>,
}

/// One device of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedDevice {
    /// Place in the driver's list, where the instances of a split card have places of their own;
    /// of a nominal device, its number. No two devices of a machine share one.
    pub index: u32,
    /// The driver's id; a nominal device has none.
    pub uuid: Option<String>,
    /// Name for views.
    pub name: String,
    /// Memory in bytes, where it is known.
    pub memory_bytes: Option<u64>,
}

impl SelectedDevice {
    /// What `CUDA_VISIBLE_DEVICES` must say for a process to see this device only; nothing for a
    /// nominal one. The uuid, as CUDA counts in another order than the driver.
    #[must_use]
    pub fn visible(&self) -> Option<&str> {
        self.uuid.as_deref()
    }

    fn of(gpu: &Gpu, gpus: &[Gpu]) -> Self {
        // Without split and lost cards this is the driver's index.
        let place = gpus.iter().position(|other| other.uuid == gpu.uuid);
        Self {
            index: place
                .and_then(|place| u32::try_from(place).ok())
                .unwrap_or(gpu.index),
            uuid: Some(gpu.uuid.clone()),
            name: gpu.name.clone(),
            memory_bytes: gpu.readings.memory_bytes,
        }
    }

    fn nominal(index: u32) -> Self {
        Self {
            index,
            uuid: None,
            name: format!("nominal {index}"),
            memory_bytes: None,
        }
    }
}

/// Chooses the devices that `wanted` means among `gpus`.
///
/// Without a driver (`gpus` is empty) a number and a list give nominal devices, so that a
/// configuration can be tried anywhere, and `"all"` gives none. A card that is split into MIG
/// instances is never used as a whole: its instances stand for it.
#[must_use]
pub fn select(wanted: &Devices, gpus: &[Gpu]) -> Selected {
    let usable: Vec<&Gpu> = gpus
        .iter()
        .filter(|gpu| {
            !gpus
                .iter()
                .any(|other| other.mig_of.as_deref() == Some(&gpu.uuid))
        })
        .collect();
    let real = |chosen: &[&Gpu]| {
        chosen
            .iter()
            .map(|gpu| SelectedDevice::of(gpu, gpus))
            .collect::<Vec<_>>()
    };
    match wanted {
        Devices::All if usable.is_empty() => Selected {
            devices: Vec::new(),
            warning: Some(
                "devices = \"all\" finds no GPU driver here; devices = 1 makes one nominal device"
                    .to_owned(),
            ),
        },
        Devices::All => Selected {
            devices: real(&usable),
            warning: None,
        },
        Devices::Count(count) if usable.is_empty() => Selected {
            devices: (0..*count).map(SelectedDevice::nominal).collect(),
            warning: None,
        },
        Devices::Count(count) => {
            let most = usable.len().min(*count as usize);
            let warning = (most < *count as usize)
                .then(|| format!("devices = {count}, but the driver lists {most}"));
            Selected {
                devices: real(&usable[..most]),
                warning,
            }
        }
        Devices::Indices(indices) if usable.is_empty() => Selected {
            devices: indices
                .iter()
                .copied()
                .map(SelectedDevice::nominal)
                .collect(),
            warning: None,
        },
        Devices::Indices(indices) => {
            let has = |index: u32| usable.iter().any(|gpu| gpu.index == index);
            let missing: Vec<String> = indices
                .iter()
                .filter(|index| !has(**index))
                .map(ToString::to_string)
                .collect();
            let devices = indices
                .iter()
                .flat_map(|index| usable.iter().filter(|gpu| gpu.index == *index))
                .map(|gpu| SelectedDevice::of(gpu, gpus))
                .collect();
            let warning = (!missing.is_empty()).then(|| {
                let known: Vec<String> = usable.iter().map(|gpu| gpu.index.to_string()).collect();
                format!(
                    "the driver lists no device {}; it lists {}",
                    missing.join(", "),
                    known.join(", ")
                )
            });
            Selected { devices, warning }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuReadings;

    fn gpu(index: u32, uuid: &str, mig_of: Option<&str>) -> Gpu {
        Gpu {
            index,
            uuid: uuid.to_owned(),
            name: "NVIDIA GeForce RTX 3090".to_owned(),
            mig_of: mig_of.map(str::to_owned),
            fault: None,
            readings: GpuReadings {
                memory_bytes: Some(24 << 30),
                ..GpuReadings::default()
            },
        }
    }

    fn uuids(selected: &Selected) -> Vec<&str> {
        selected
            .devices
            .iter()
            .map(|device| device.visible().unwrap_or("-"))
            .collect()
    }

    #[test]
    fn without_a_driver_numbers_are_nominal_and_all_is_none() {
        assert_eq!(uuids(&select(&Devices::Count(2), &[])), ["-", "-"]);
        assert_eq!(select(&Devices::Indices(vec![3]), &[]).devices[0].index, 3);
        let all = select(&Devices::All, &[]);
        assert!(all.devices.is_empty() && all.warning.unwrap().contains("no GPU driver"));
    }

    #[test]
    fn with_a_driver_devices_are_real() {
        let gpus = [gpu(0, "a", None), gpu(1, "b", None)];
        assert_eq!(uuids(&select(&Devices::All, &gpus)), ["a", "b"]);
        assert_eq!(uuids(&select(&Devices::Count(1), &gpus)), ["a"]);
        let three = select(&Devices::Count(3), &gpus);
        assert_eq!(
            (uuids(&three).len(), three.warning.as_deref()),
            (2, Some("devices = 3, but the driver lists 2"))
        );
        let listed = select(&Devices::Indices(vec![1, 4]), &gpus);
        assert_eq!(uuids(&listed), ["b"]);
        assert_eq!(
            listed.warning.unwrap(),
            "the driver lists no device 4; it lists 0, 1"
        );
    }

    #[test]
    fn instances_stand_for_a_split_card() {
        let gpus = [
            gpu(0, "a", None),
            gpu(0, "m1", Some("a")),
            gpu(0, "m2", Some("a")),
        ];
        let all = select(&Devices::All, &gpus);
        assert_eq!(uuids(&all), ["m1", "m2"]);
        assert_eq!((all.devices[0].index, all.devices[1].index), (1, 2));
        assert_eq!(
            uuids(&select(&Devices::Indices(vec![0]), &gpus)),
            ["m1", "m2"]
        );
    }
}

//! Which devices a local pool gets: the configuration's `devices` against what is there.

use crate::config::Devices;

use super::Card;

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
    /// Its number in the list of cards in force; of a nominal device, the configuration's. No two
    /// devices of a machine share one.
    pub id: u32,
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

    fn of(card: &Card) -> Self {
        Self {
            id: card.id,
            uuid: Some(card.uuid.clone()),
            name: card.name.clone(),
            memory_bytes: card.memory_bytes,
        }
    }

    fn nominal(id: u32) -> Self {
        Self {
            id,
            uuid: None,
            name: format!("nominal {id}"),
            memory_bytes: None,
        }
    }
}

/// Chooses the devices that `wanted` means among `cards`, in their order.
///
/// Without cards a number and a list give nominal devices, so that a configuration can be tried
/// anywhere, and `"all"` gives none. A card that is split into MIG instances is never used as a
/// whole: its instances stand for it.
#[must_use]
pub fn select(wanted: &Devices, cards: &[Card]) -> Selected {
    let is_split = |card: &Card| {
        let mut instances = cards.iter().filter_map(|other| other.mig_of.as_ref());
        instances.any(|of| *of == card.uuid)
    };
    let usable: Vec<&Card> = cards.iter().filter(|card| !is_split(card)).collect();
    let real = |chosen: &[&Card]| chosen.iter().map(|card| SelectedDevice::of(card)).collect();
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
            let has = |index: u32| usable.iter().any(|card| card.index == index);
            let missing: Vec<String> = indices
                .iter()
                .filter(|index| !has(**index))
                .map(ToString::to_string)
                .collect();
            let devices = indices
                .iter()
                .flat_map(|index| usable.iter().filter(|card| card.index == *index))
                .map(|card| SelectedDevice::of(card))
                .collect();
            let warning = (!missing.is_empty()).then(|| {
                let known: Vec<String> = usable.iter().map(|card| card.index.to_string()).collect();
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

    fn card(id: u32, index: u32, uuid: &str, mig_of: Option<&str>) -> Card {
        Card {
            id,
            index,
            uuid: uuid.to_owned(),
            name: "NVIDIA GeForce RTX 3090".to_owned(),
            memory_bytes: Some(24 << 30),
            mig_of: mig_of.map(str::to_owned),
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
        assert_eq!(select(&Devices::Indices(vec![3]), &[]).devices[0].id, 3);
        let all = select(&Devices::All, &[]);
        assert!(all.devices.is_empty() && all.warning.unwrap().contains("no GPU driver"));
    }

    #[test]
    fn with_a_driver_devices_are_real() {
        let cards = [card(0, 0, "a", None), card(1, 1, "b", None)];
        assert_eq!(uuids(&select(&Devices::All, &cards)), ["a", "b"]);
        assert_eq!(uuids(&select(&Devices::Count(1), &cards)), ["a"]);
        let three = select(&Devices::Count(3), &cards);
        assert_eq!(
            (uuids(&three).len(), three.warning.as_deref()),
            (2, Some("devices = 3, but the driver lists 2"))
        );
        let listed = select(&Devices::Indices(vec![1, 4]), &cards);
        assert_eq!(uuids(&listed), ["b"]);
        assert_eq!(
            listed.warning.unwrap(),
            "the driver lists no device 4; it lists 0, 1"
        );
    }

    #[test]
    fn indices_are_the_configurations_words_and_numbers_the_lists() {
        let cards = [card(3, 0, "a", None), card(4, 1, "b", None)];
        let second = select(&Devices::Indices(vec![1]), &cards);
        assert_eq!((second.devices[0].id, uuids(&second)), (4, vec!["b"]));
    }

    #[test]
    fn instances_stand_for_a_split_card() {
        let cards = [
            card(0, 0, "a", None),
            card(1, 0, "m1", Some("a")),
            card(2, 0, "m2", Some("a")),
        ];
        let all = select(&Devices::All, &cards);
        assert_eq!(uuids(&all), ["m1", "m2"]);
        assert_eq!((all.devices[0].id, all.devices[1].id), (1, 2));
        assert_eq!(
            uuids(&select(&Devices::Indices(vec![0]), &cards)),
            ["m1", "m2"]
        );
    }
}

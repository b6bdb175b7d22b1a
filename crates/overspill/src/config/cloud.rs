//! `[[endpoint.cloud]]`: rented GPUs, as an endpoint that exists at RunPod or one that Overspill
//! makes and keeps.

use std::collections::BTreeMap;

use overspill_core::money::RatePerHour;
use serde_json::Value as Json;

use super::decode::{Check, Decoder, FromNode, choice, section};
use super::known;
use super::node::{Node, Value};
use super::problem::{Place, quoted};
use super::units::MemorySize;
use crate::kept::name::slug;

/// The container's disk where none is given.
const DISK: MemorySize = MemorySize::from_bytes(20_000_000_000);

section! {
    /// A source of workers in a cloud: by `id`, or made from `image` and `gpu`.
    pub struct CloudPool in "[[endpoint.cloud]]" {
        /// Name in views and reasons. Left out: `cloud-1`, `cloud-2` … by place.
        pub name: String = String::new(),
        /// Whose cloud, and how jobs reach it.
        pub provider: Provider,
        /// Id of an endpoint that exists at the provider.
        pub id: Option<String> = None,
        /// Container image of an endpoint that Overspill makes and keeps.
        pub image: Option<String> = None,
        /// Types of GPU. With `image`: one RunPod endpoint each, filled in this order. With `id`:
        /// what its price is looked up by.
        pub gpu: GpuTypes = GpuTypes(Vec::new()),
        /// Data centers that workers may start in, for `image`. Left out: any.
        pub data_centers: Vec<String> = Vec::new(),
        /// For `image`: variables of the container. RunPod shows them to who may see the endpoint.
        pub env: BTreeMap<String, String> = BTreeMap::new(),
        /// For `image`: command line of the container. Left out: the image's own.
        pub args: Option<String> = None,
        /// For `image`: disk of the container, whole GB. Default 20GB.
        pub disk: Option<MemorySize> = None,
        /// For `image`: id of the container registry credentials at RunPod, for private images.
        pub registry: Option<String> = None,
        /// For `image`: ids of network volumes, one in each data center at most.
        pub network_volumes: Vec<String> = Vec::new(),
        /// For `image`: GPUs of one worker, 1 to 8; `price` is that of all of them. Default 1.
        pub gpu_count: Option<u32> = None,
        /// For `image`: whether RunPod may resume stopped workers instead of starting new ones.
        /// Default `"on"`.
        pub flashboot: Option<Flashboot> = None,
        /// Region that this pool is near to, one of `[regions] map`.
        pub region: Option<String> = None,
        /// Jobs at once per worker, or `"learn"`: from 1 on as many as pay, found from how long jobs take
        /// beside each other, and fewer at once when a job says that its GPU's memory was full. The worker
        /// must take as many as are handed to it (`concurrency_modifier`).
        pub slots: Slots = Slots::Fixed(1),
        /// Price of a worker. Left out: the provider's own price list.
        pub price: Option<RatePerHour> = None,
        /// Most workers of this pool. Left out: the endpoint's `workers.max`.
        pub max: Option<u32> = None,
        /// Whether Overspill may change the endpoint at the provider. Left out: min and max yes,
        /// the rest no, for `id`; everything for `image`.
        pub manage: Option<bool> = None,
    }
}

choice! {
    /// Whose cloud, and how jobs reach it.
    pub enum Provider {
        /// A RunPod queue endpoint.
        Runpod = "runpod",
        /// A RunPod load-balancing endpoint: direct HTTP to workers.
        RunpodLb = "runpod-lb",
    }
}

choice! {
    /// RunPod's acceleration of cold starts.
    pub enum Flashboot {
        /// None.
        Off = "off",
        /// Stopped workers may be resumed.
        On = "on",
        /// The same with priority.
        Priority = "priority",
    }
}

/// Jobs at once per worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slots {
    /// So many.
    Fixed(u32),
    /// As many as measured service times bear.
    Learn,
}

/// What Overspill may change of an endpoint at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manage {
    /// Nothing; submissions alone steer.
    Nothing,
    /// The least and the most workers, and the idle timeout that goes with them.
    Limits,
    /// Everything; the endpoint is made, changed and removed.
    Everything,
}

/// Types of GPU, written as one string or a list, in order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuTypes(pub Vec<String>);

impl CloudPool {
    /// The container's disk, the default filled in.
    #[must_use]
    pub fn disk(&self) -> MemorySize {
        self.disk.unwrap_or(DISK)
    }

    /// GPUs of one worker, the default filled in.
    #[must_use]
    pub fn gpu_count(&self) -> u32 {
        self.gpu_count.unwrap_or(1)
    }

    /// What may be changed, the default filled in.
    #[must_use]
    pub fn manage(&self) -> Manage {
        match (self.manage, self.id.is_some()) {
            (Some(false), _) => Manage::Nothing,
            (Some(true), _) | (None, false) => Manage::Everything,
            (None, true) => Manage::Limits,
        }
    }
}

impl Slots {
    /// The fixed number; 0 where it is learned, as the topology has it.
    #[must_use]
    pub const fn initial(self) -> u32 {
        match self {
            Self::Fixed(count) => count,
            Self::Learn => 0,
        }
    }
}

impl Check for CloudPool {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        let of = |key| node.place_of(key);
        match (&self.id, &self.image) {
            (Some(_), Some(_)) => cx.error(
                of("image"),
                "`id` together with `image`; an endpoint that exists has its own image: \
                 remove one of them",
            ),
            (None, None) => cx.error(
                &node.place,
                "this pool has neither `id` nor `image`; expected the id of an endpoint at \
                 RunPod, or an image to make one from",
            ),
            _ => {}
        }
        if let Some(id) = &self.id
            && (id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        {
            let message = format!(
                "{} is no endpoint id; expected letters and digits such as \"abc123def456\"",
                quoted(id)
            );
            cx.error(of("id"), message);
        }
        if self.image.is_some() {
            if self.gpu.0.is_empty() && self.provider == Provider::Runpod {
                cx.error(
                    of("image"),
                    "`image` without `gpu`; expected the types to start it on, such as \
                     gpu = [\"RTX 4090\", \"A40\"]",
                );
            }
            if self.manage == Some(false) {
                cx.error(
                    of("manage"),
                    "manage = false with `image`: an endpoint made by Overspill is kept by it; \
                     remove `manage`, or give the `id` of one that exists",
                );
            }
            self.check_image(node, cx);
        } else if self.id.is_some() {
            let given = [
                ("data_centers", !self.data_centers.is_empty()),
                ("env", !self.env.is_empty()),
                ("args", self.args.is_some()),
                ("disk", self.disk.is_some()),
                ("registry", self.registry.is_some()),
                ("network_volumes", !self.network_volumes.is_empty()),
                ("gpu_count", self.gpu_count.is_some()),
                ("flashboot", self.flashboot.is_some()),
            ];
            for (key, _) in given.iter().filter(|(_, is_given)| *is_given) {
                let message = format!(
                    "`{key}` is for endpoints made from `image`; one with an `id` has its own"
                );
                cx.error(of(key), message);
            }
        }
        if self.max == Some(0) {
            cx.error(
                of("max"),
                "max = 0 would start nothing; remove the pool instead",
            );
        }
        self.check_known(node, cx);
        match self.provider {
            Provider::RunpodLb => {
                cx.problems
                    .not_active(of("provider"), "cloud pools of provider `runpod-lb`");
            }
            Provider::Runpod => {}
        }
    }
}

impl CloudPool {
    /// Rules for what an endpoint is made from.
    fn check_image(&self, node: &Node, cx: &mut Decoder<'_, '_>) {
        let of = |key| node.place_of(key);
        if let Some(image) = &self.image
            && (image.is_empty() || image.contains(char::is_whitespace))
        {
            let message = format!(
                "{} is no container image; expected one such as \"registry.example/worker:3\"",
                quoted(image)
            );
            cx.error(of("image"), message);
        }
        let bytes = self.disk().as_bytes();
        let gigabytes = bytes / 1_000_000_000;
        if gigabytes == 0 || gigabytes > 4_000 || !bytes.is_multiple_of(1_000_000_000) {
            let message = format!(
                "a disk of {}; expected whole gigabytes, 1GB to 4000GB",
                super::units::format_size(self.disk())
            );
            cx.error(of("disk"), message);
        }
        if !(1..=8).contains(&self.gpu_count()) {
            let message = format!(
                "gpu_count = {} is no number of GPUs; expected 1 to 8",
                self.gpu_count()
            );
            cx.error(of("gpu_count"), message);
        }
        let id = |name: &String| slug(known::gpu(name).map_or(name.as_str(), |gpu| gpu.id));
        let mut types: Vec<String> = self.gpu.0.iter().map(id).collect();
        types.sort();
        if types.windows(2).any(|pair| pair[0] == pair[1]) {
            cx.error(
                of("gpu"),
                "a type of GPU stands twice in `gpu`; each has one endpoint at RunPod: remove one",
            );
        }
    }

    /// Checks names against the built-in lists. Both may grow at RunPod's any day, so a name in
    /// the right form is only warned of, unless the price depends on it.
    fn check_known(&self, node: &Node, cx: &mut Decoder<'_, '_>) {
        let gpu_place = |index: usize| -> &Place {
            let item = node.get("gpu").and_then(|gpu| gpu.items().get(index));
            item.map_or_else(|| node.place_of("gpu"), |item| &item.place)
        };
        for (index, name) in self.gpu.0.iter().enumerate() {
            if known::gpu(name).is_some() {
                continue;
            }
            let message = format!(
                "unknown GPU type {}; known, nearest first: {}",
                quoted(name),
                known::gpus_near(name)
            );
            if self.price.is_some() {
                cx.problems.warning(gpu_place(index), message);
            } else {
                let message = format!("{message}; or give its `price`");
                cx.error(gpu_place(index), message);
            }
        }
        for (index, name) in self.data_centers.iter().enumerate() {
            let item = node
                .get("data_centers")
                .and_then(|list| list.items().get(index));
            let place = item.map_or(&node.place, |item| &item.place);
            if !known::is_data_center_form(name) {
                let message = format!(
                    "{} is no data center id; expected one such as \"EU-RO-1\"",
                    quoted(name)
                );
                cx.error(place, message);
            } else if !known::DATA_CENTERS.contains(&name.as_str()) {
                let message = format!(
                    "unknown data center {}; known, nearest first: {}",
                    quoted(name),
                    known::data_centers_near(name)
                );
                cx.problems.warning(place, message);
            }
        }
    }
}

impl FromNode for Slots {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        let expected = "a number of jobs at once per worker, 1 to 1000, or \"learn\"";
        match &node.value {
            Value::String(text) if text == "learn" => Some(Self::Learn),
            Value::Integer(count) if (1..=1_000).contains(count) => {
                u32::try_from(*count).ok().map(Self::Fixed)
            }
            _ => {
                cx.mismatch(node, expected);
                None
            }
        }
    }

    fn show(&self) -> Json {
        match self {
            Self::Fixed(count) => Json::from(*count),
            Self::Learn => Json::from("learn"),
        }
    }

    fn kind() -> String {
        "whole number or `\"learn\"`".to_owned()
    }
}

impl FromNode for GpuTypes {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        let names = match &node.value {
            Value::Array(_) => Vec::<String>::from_node(node, cx)?,
            Value::String(name) => vec![name.clone()],
            _ => {
                cx.mismatch(node, "a GPU type such as \"RTX 4090\", or a list of them");
                return None;
            }
        };
        Some(Self(names))
    }

    fn show(&self) -> Json {
        match self.0.as_slice() {
            [] => Json::Null,
            [one] => Json::from(one.as_str()),
            several => several.to_vec().show(),
        }
    }

    fn kind() -> String {
        "a GPU type such as `\"RTX 4090\"`, or a list of them".to_owned()
    }
}

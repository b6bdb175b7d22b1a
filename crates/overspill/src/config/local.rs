//! `[[endpoint.local]]`: own GPUs, as processes that Overspill starts, an HTTP service, or workers
//! on other machines that connect.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::decode::{Check, Decoder, FromNode, section};
use super::http_pool::HttpPool;
use super::node::{Node, Value};
use super::problem::{Place, quoted};
use super::units::MemorySize;

section! {
    /// A source of workers on own GPUs: exactly one of `command`, `http` and `remote`.
    pub struct LocalPool in "[[endpoint.local]]" {
        /// Name in views and reasons. Left out: `local-1`, `local-2` … by place.
        pub name: String = String::new(),
        /// Program and arguments of a RunPod worker; one process is started per device.
        pub command: Option<Vec<String>> = None,
        /// A service that takes jobs over HTTP.
        pub http: Option<HttpPool> = None,
        /// Whether RunPod workers on other machines connect to this pool with a worker key.
        pub remote: bool = false,
        /// Folder that the command runs in. Left out: the configuration file's folder.
        pub dir: Option<PathBuf> = None,
        /// Variables for the command, beside the user's own and the worker protocol's.
        pub env: BTreeMap<String, String> = BTreeMap::new(),
        /// Which devices: `"all"`, a list of indices, or a number of nominal devices on a machine
        /// without a GPU driver. Left out: all of them for `command`, none for the others. A card that the driver
        /// lacks keeps its place.
        pub devices: Option<Devices> = None,
        /// Jobs at once per worker.
        pub slots: u32 = 1,
        /// Device memory that one worker needs. Left out: one job at a time per device over all
        /// endpoints.
        pub vram: Option<MemorySize> = None,
        /// Watts that one device takes while it runs jobs. Left out: as the GPU driver measures them.
        pub watts: Option<u32> = None,
    }
}

/// The devices of a local pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// Every device that the GPU driver lists.
    All,
    /// So many nominal devices, where there is no driver; the first so many, where there is one.
    Count(u32),
    /// The devices with these indices.
    Indices(Vec<u32>),
}

impl LocalPool {
    /// The devices, the default of the pool's kind filled in; `None` takes part by slots only.
    #[must_use]
    pub fn devices(&self) -> Option<Devices> {
        match (&self.devices, self.command.is_some()) {
            (Some(devices), _) => Some(devices.clone()),
            (None, true) => Some(Devices::All),
            (None, false) => None,
        }
    }
}

impl Check for LocalPool {
    fn check(&mut self, node: &Node, cx: &mut Decoder<'_, '_>) {
        let kinds = ["command", "http", "remote"];
        let given: Vec<&str> = kinds
            .into_iter()
            .filter(|key| match *key {
                "remote" => self.remote,
                "command" => self.command.is_some(),
                _ => self.http.is_some(),
            })
            .collect();
        match given.as_slice() {
            [_] => {}
            [] => cx.error(
                &node.place,
                "this pool says not where its workers come from; expected command = [\"python3\", \
                 \"-u\", \"handler.py\"], an [endpoint.local.http] table, or remote = true",
            ),
            several => {
                let message = format!("{} together; expected one of them", several.join(" and "));
                cx.error(node.place_of(several[1]), message);
            }
        }
        if self
            .command
            .as_ref()
            .is_some_and(|command| command.first().is_none_or(String::is_empty))
        {
            cx.error(
                node.place_of("command"),
                "an empty command; expected a program and its arguments",
            );
        }
        for (key, is_given) in [("dir", self.dir.is_some()), ("env", !self.env.is_empty())] {
            if is_given && self.command.is_none() {
                let message = format!("`{key}` is for a pool with `command` only");
                cx.error(node.place_of(key), message);
            }
        }
        if self.slots == 0 {
            cx.error(
                node.place_of("slots"),
                "slots = 0 would take no job; expected 1 or more",
            );
        }
        self.check_env(node, cx);
        if self.remote {
            cx.problems
                .not_active(node.place_of("remote"), "local pools of kind `remote`");
        }
        if self.http.is_some() {
            let place = node.get("http").map_or(&node.place, |http| &http.place);
            cx.problems.not_active(place, "local pools of kind `http`");
        }
    }
}

impl LocalPool {
    fn check_env(&self, node: &Node, cx: &mut Decoder<'_, '_>) {
        let table = node.get("env").and_then(Node::as_table);
        for entry in table.map_or(&[][..], |table| &table.entries) {
            let name = entry.key.as_str();
            if name.is_empty() || name.contains(['=', '\0']) {
                cx.error(
                    &entry.key_place,
                    format!("{} is no variable name", quoted(name)),
                );
            }
            // Overspill sets these itself; a second value would cut the worker off.
            if name.starts_with("RUNPOD_WEBHOOK_")
                || matches!(name, "RUNPOD_AI_API_KEY" | "RUNPOD_POD_ID")
            {
                let message =
                    format!("{name} is set by Overspill for each worker; remove it from env");
                cx.error(&entry.key_place, message);
            }
        }
    }
}

impl FromNode for Devices {
    fn from_node(node: &Node, cx: &mut Decoder<'_, '_>) -> Option<Self> {
        let expected = "\"all\", a number, or a list of indices such as [0, 1]";
        match &node.value {
            Value::String(text) if text == "all" => Some(Self::All),
            Value::Integer(0) => {
                cx.error(&node.place, format!("no devices; expected {expected}"));
                None
            }
            Value::Integer(count) if (1..=1_024).contains(count) => {
                u32::try_from(*count).ok().map(Self::Count)
            }
            Value::Array(items) if !items.is_empty() => {
                let indices = Vec::<u32>::from_node(node, cx)?;
                for (at, index) in indices.iter().enumerate() {
                    if indices[..at].contains(index) {
                        let place: &Place = &items[at].place;
                        cx.error(place, format!("device {index} is listed twice"));
                    }
                }
                Some(Self::Indices(indices))
            }
            _ => {
                cx.mismatch(node, expected);
                None
            }
        }
    }

    fn show(&self) -> Json {
        match self {
            Self::All => Json::from("all"),
            Self::Count(count) => Json::from(*count),
            Self::Indices(indices) => indices.show(),
        }
    }

    fn kind() -> String {
        "`\"all\"`, a number, or a list of indices".to_owned()
    }
}

//! The configuration: one tree of typed values from one TOML file, variables and flags.
//!
//! How data passes: text → [`node`] (a tree of placed values, all syntax errors collected) →
//! [`overlay`] (`OVERSPILL__…` variables, flags) → [`interpolate`] (`${VAR}`) → [`decode`] (types,
//! all value errors collected) → [`check`] (rules between tables). Every fault is reported at
//! once, as `file:line:col: what; expected; did you mean`.
//!
//! It reads one file and a snapshot of the environment, and knows nothing of the server, the
//! store or the network. What it accepts is complete: no consumer checks a value again. Live
//! changes (`scale`, budgets) are not made here; they are stored and laid over by the engine.

mod check;
mod cloud;
mod decode;
mod endpoint;
pub mod env;
mod http_pool;
mod interpolate;
pub mod known;
mod local;
mod locate;
mod node;
mod overlay;
mod plain;
mod problem;
mod regions;
mod restart;
mod schedule;
mod settings;
mod show;
pub mod units;

use std::path::{Path, PathBuf};

pub use cloud::{CloudPool, Flashboot, GpuTypes, Manage, Provider, Slots};
pub use decode::KeyDoc;
pub(crate) use endpoint::milli;
pub use endpoint::{Endpoint, EndpointBudget, Policy, Scaler, Workers};
pub use env::Environment;
pub use http_pool::{
    FetchAs, HttpCancel, HttpFetch, HttpPoll, HttpPool, HttpRequest, HttpSubmit, HttpTest,
    OneOrMore, Pointer, Template,
};
pub use interpolate::Strictness;
pub use local::{Devices, LocalPool};
pub use locate::{LocateError, locate};
pub use problem::{Problem, Severity};
pub use regions::{RegionNames, Regions};
pub use restart::AT_START;
pub use schedule::{DayRange, Schedule, TimeOfDay};
pub use settings::{
    Auth, Budget, Config, Journal, RateLimits, Runpod, RunpodAccess, TimeZone, Url, Webhooks,
};
pub use show::key_docs;
pub use units::MemorySize;

use decode::{Decoder, FromNode};
use node::{Node, Table, Value};
use problem::Problems;

/// A configuration that was accepted.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values, defaults filled in.
    pub config: Config,
    /// Warnings and keys that are not active yet, in the order of the file.
    pub findings: Vec<Problem>,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
}

impl Loaded {
    /// The findings that are warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Warning)
    }

    /// The keys that are understood but do nothing yet.
    pub fn not_active(&self) -> impl Iterator<Item = &Problem> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::NotActiveYet)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file can be read but holds faults; the list also has the warnings.
    #[error("{}", listed(.0))]
    Refused(Vec<Problem>),
}

/// What flags say instead of the file.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--data-dir`, from the current folder.
    pub data_dir: Option<String>,
    /// `--journal`, from the current folder.
    pub journal: Option<String>,
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// When it cannot be read, or holds a fault; all faults come together.
pub fn load(
    path: &Path,
    environment: &Environment,
    flags: &Flags,
    strictness: Strictness,
) -> Result<Loaded, ConfigError> {
    let unreadable = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let message = format!("not valid UTF-8 on line {line}; save the file as UTF-8");
        unreadable(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            message,
        ))
    })?;
    // A file given by its bare name has the empty path as its parent.
    let parent = path.parent().unwrap_or_else(|| Path::new(""));
    let folder = std::path::absolute(if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    })
    .map_err(unreadable)?;
    let name = path.display().to_string();
    parse(&text, &name, &folder, environment, flags, strictness)
}

/// Checks `text`, called `name` in messages, with relative paths starting from `folder`.
///
/// # Errors
/// When the text holds a fault; all faults come together.
pub fn parse(
    text: &str,
    name: &str,
    folder: &Path,
    environment: &Environment,
    flags: &Flags,
    strictness: Strictness,
) -> Result<Loaded, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Problems::new(name, text);
    let mut root: Node = node::parse(text, &mut problems);
    // What a broken file means is guesswork; its keys are judged once it can be read.
    if problems.errors() > 0 {
        return Err(ConfigError::Refused(problems.finish()));
    }
    overlay::apply_variables(&mut root, environment, &mut problems);
    let flag_values = [
        ("--listen", "listen", &flags.listen),
        ("--data-dir", "data_dir", &flags.data_dir),
        ("--journal", "journal.file", &flags.journal),
    ];
    for (flag, key, value) in flag_values {
        if let Some(value) = value {
            overlay::apply_flag(&mut root, flag, key, value, &mut problems);
        }
    }
    interpolate::interpolate(&mut root, environment, strictness, &mut problems);
    let mut cx = Decoder {
        problems: &mut problems,
        folder: folder.to_owned(),
    };
    check::names(&root, &mut cx);
    let config = Config::from_node(&root, &mut cx);
    match config {
        Some(config) if problems.errors() == 0 => Ok(Loaded {
            config,
            findings: problems.finish(),
            folder: folder.to_owned(),
        }),
        Some(_) => Err(ConfigError::Refused(problems.finish())),
        None => {
            // The rules between tables still hold for those that could be read.
            let rest = without_faults(&root, folder);
            let mut cx = Decoder {
                problems: &mut problems,
                folder: folder.to_owned(),
            };
            Config::from_node(&rest, &mut cx);
            Err(ConfigError::Refused(problems.finish()))
        }
    }
}

/// The tree with every top-level value that cannot be decoded left unset.
fn without_faults(root: &Node, folder: &Path) -> Node {
    let mut rest = root.clone();
    if let Value::Table(table) = &mut rest.value {
        for entry in &mut table.entries {
            let only = Table {
                entries: vec![entry.clone()],
            };
            let only = Node {
                value: Value::Table(only),
                place: root.place.clone(),
            };
            let mut ignored = Problems::new("", "");
            let mut cx = Decoder {
                problems: &mut ignored,
                folder: folder.to_owned(),
            };
            if Config::from_node(&only, &mut cx).is_none() {
                entry.node.value = Value::Unset;
            }
        }
    }
    rest
}

fn listed(problems: &[Problem]) -> String {
    problems
        .iter()
        .filter(|problem| problem.severity != Severity::NotActiveYet)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests;

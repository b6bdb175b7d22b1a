//! Every environment variable that Overspill reads, documented, and a snapshot of the environment
//! so that nothing else reads the process's own.
//!
//! The reference page `docs/reference/environment.md` is made from [`DOCUMENTED`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use secrecy::SecretString;

/// The first API key of an installation, and the key that the command line client sends.
pub const OVERSPILL_API_KEY: &str = "OVERSPILL_API_KEY";
/// Path of the configuration file.
pub const OVERSPILL_CONFIG: &str = "OVERSPILL_CONFIG";
/// Key that `overspill guard` sends to the server.
pub const OVERSPILL_GUARD_KEY: &str = "OVERSPILL_GUARD_KEY";
/// Address of the server that the command line client talks to.
pub const OVERSPILL_URL: &str = "OVERSPILL_URL";
/// What the server logs, in `tracing` filter syntax.
pub const OVERSPILL_LOG: &str = "OVERSPILL_LOG";
/// How log lines are written.
pub const OVERSPILL_LOG_FORMAT: &str = "OVERSPILL_LOG_FORMAT";
/// Key under which the secrets of jobs are sealed in the store.
pub const OVERSPILL_SEAL_KEY: &str = "OVERSPILL_SEAL_KEY";
/// Address of an OpenTelemetry collector.
pub const OTEL_EXPORTER_OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Key of the RunPod account.
pub const RUNPOD_API_KEY: &str = "RUNPOD_API_KEY";
/// Base address of RunPod's job API.
pub const RUNPOD_ENDPOINT_BASE_URL: &str = "RUNPOD_ENDPOINT_BASE_URL";
/// Base address of RunPod's management API.
pub const RUNPOD_REST_V2_API_URL: &str = "RUNPOD_REST_V2_API_URL";
/// Turns colours off.
pub const NO_COLOR: &str = "NO_COLOR";
/// Prefix of the variables that override configuration keys.
pub const OVERRIDE_PREFIX: &str = "OVERSPILL__";

/// One documented variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does, as one paragraph.
    pub doc: &'static str,
}

/// All variables, in the order of the reference page.
pub const DOCUMENTED: &[Variable] = &[
    Variable {
        name: OVERSPILL_API_KEY,
        doc: "For `serve`: the first key of a new installation, any string of 16 or more printable \
              characters; without it one is made and printed once. For every other command: the \
              key that is sent to the server. `OVERSPILL_API_KEY_FILE` names a file that holds it.",
    },
    Variable {
        name: OVERSPILL_CONFIG,
        doc: "Path of the configuration file, for where `--config` is not given.",
    },
    Variable {
        name: OVERSPILL_GUARD_KEY,
        doc: "For `guard`: the key that it sends to the server, one of kind `guard`. Left out: the one \
              that `serve` wrote into its data folder. `OVERSPILL_GUARD_KEY_FILE` names a file that \
              holds it.",
    },
    Variable {
        name: OVERSPILL_URL,
        doc: "Address of the server that the client commands talk to, for where `--server` is not \
              given.",
    },
    Variable {
        name: OVERSPILL_LOG,
        doc: "What is logged, such as `info` or `warn,overspill::engine=debug`.",
    },
    Variable {
        name: OVERSPILL_LOG_FORMAT,
        doc: "`text` (the default) or `json`: one object a line, with `timestamp`, `level`, `message` and \
              the fields of what happened, such as `job_id` and `trace_id`. What becomes of each job is \
              logged with `OVERSPILL_LOG=info,overspill::jobs=debug`.",
    },
    Variable {
        name: OTEL_EXPORTER_OTLP_ENDPOINT,
        doc: "Address of an OpenTelemetry collector that takes OTLP over HTTP, such as \
              `http://127.0.0.1:4318`; `/v1/traces` is added. Without it no spans are made. The other \
              standard variables are read too: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `_HEADERS`, \
              `_TIMEOUT` and `_PROTOCOL` (`http/protobuf` only), `OTEL_SERVICE_NAME`, \
              `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and `_ARG`, `OTEL_TRACES_EXPORTER`, \
              `OTEL_BSP_*`, `OTEL_SDK_DISABLED` (see the guide to monitoring).",
    },
    Variable {
        name: OVERSPILL_SEAL_KEY,
        doc: "For `serve`: the key under which secrets that jobs carry (`s3Config`) are sealed in the \
              database, as the base64 of 32 random bytes. Without it one is made and kept in \
              `seal.key` of the data folder. `OVERSPILL_SEAL_KEY_FILE` names a file that holds it.",
    },
    Variable {
        name: RUNPOD_API_KEY,
        doc: "Key of the RunPod account, for where `[runpod] api_key` is not given. \
              `RUNPOD_API_KEY_FILE` names a file that holds it. It is never passed on to workers.",
    },
    Variable {
        name: RUNPOD_ENDPOINT_BASE_URL,
        doc: "Base address of RunPod's job API, for where `[runpod] base_url` is not given. The \
              official clients read the same variable: pointed at Overspill for an app, it must \
              not reach Overspill itself, and `serve` then refuses to start.",
    },
    Variable {
        name: RUNPOD_REST_V2_API_URL,
        doc: "Base address of RunPod's management API, for where `[runpod] management_url` is not \
              given.",
    },
    Variable {
        name: NO_COLOR,
        doc: "Turns colours off when set to anything.",
    },
    Variable {
        name: "OVERSPILL__SECTION__KEY",
        doc: "Overrides a configuration key: `OVERSPILL__LISTEN`, `OVERSPILL__BUDGET__PER_DAY`, \
              `OVERSPILL__ENDPOINT__TTS__MAX_WAIT` (an endpoint by its name, with `_` for other \
              signs), `OVERSPILL__ENDPOINT__TTS__LOCAL__0__SLOTS` (a pool by its place). The value \
              is TOML where it can be read as TOML, else text.",
    },
];

/// A snapshot of environment variables.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process, now.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
        }
    }

    /// Just these variables.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self { variables }
    }

    /// The text of `name`, if it is set.
    ///
    /// # Errors
    /// When the value is not UTF-8; the message names the variable.
    pub fn get(&self, name: &str) -> Result<Option<&str>, String> {
        match self.variables.get(std::ffi::OsStr::new(name)) {
            None => Ok(None),
            Some(value) => match value.to_str() {
                Some(text) => Ok(Some(text)),
                None => Err(format!("variable {name} is not valid UTF-8")),
            },
        }
    }

    /// The text of `name`; nothing when it is unset, empty or not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .ok()
            .flatten()
            .filter(|text| !text.is_empty())
    }

    /// The secret in `name`, or in the file that `name` + `_FILE` points at.
    ///
    /// # Errors
    /// When the file cannot be read, or a value is not UTF-8.
    pub fn secret(&self, name: &str) -> Result<Option<SecretString>, String> {
        if let Some(text) = self.get(name)?.filter(|text| !text.is_empty()) {
            return Ok(Some(SecretString::from(text)));
        }
        let file_name = format!("{name}_FILE");
        let Some(path) = self.get(&file_name)?.filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(Path::new(path))
            .map_err(|error| format!("{file_name}: cannot read \"{path}\": {error}"))?;
        Ok(Some(SecretString::from(text.trim())))
    }

    /// The variables that override configuration keys, by name; values that are not UTF-8 come
    /// as errors.
    pub(crate) fn overrides(&self) -> impl Iterator<Item = (String, Result<&str, String>)> {
        self.variables.iter().filter_map(|(name, value)| {
            let name = name.to_str()?;
            name.strip_prefix(OVERRIDE_PREFIX)?;
            let value = value
                .to_str()
                .ok_or_else(|| format!("variable {name} is not valid UTF-8"));
            Some((name.to_owned(), value))
        })
    }
}

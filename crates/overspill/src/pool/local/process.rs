//! The environment of a local worker process: an unmodified RunPod worker finds its server, its
//! name and its device in it.
//!
//! A pure function of what is handed in: it must not read this process's own environment, start
//! anything or make up ids. Values and their traps are those of the RunPod Python SDK 1.12.0
//! (`serverless/modules/worker_state.py`, `rp_http.py`, `rp_ping.py`, `rp_fitness.py`).

use std::collections::BTreeMap;
use std::fmt::Write;

/// Shortest ping interval in milliseconds: the SDK divides by 1000, and pings without a pause
/// and with no time-out at 0.
pub const PING_INTERVAL_MS_MIN: u64 = 1000;
/// The SDK's own ping interval in milliseconds.
pub const PING_INTERVAL_MS: u64 = 10_000;

/// Who a worker process is and where it finds its server.
#[derive(Debug, Clone, Copy)]
pub struct WorkerIdentity<'a> {
    /// Base URL of the server as the worker reaches it, such as `http://127.0.0.1:8080`.
    pub server: &'a str,
    /// Name of the endpoint.
    pub endpoint: &'a str,
    /// The worker's id: one per process incarnation and unguessable. It stands in the URLs,
    /// because a key in `~/.runpod/config.toml` overrides the one given here.
    pub worker: &'a str,
    /// The worker's key, which dies with it. Must not be empty: without one the SDK sends no
    /// pings.
    pub key: &'a str,
    /// Name of the GPU for people, such as `NVIDIA L4`.
    pub gpu: &'a str,
    /// The device as `CUDA_VISIBLE_DEVICES` wants it: an index in PCI bus order (as `nvidia-smi`
    /// counts) or a `GPU-…` UUID. `None` for a nominal device, which hides nothing.
    pub cuda_device: Option<&'a str>,
    /// Name of this machine, quoted in the worker's error reports.
    pub host: &'a str,
    /// Milliseconds between two pings, at least [`PING_INTERVAL_MS_MIN`].
    pub ping_interval_ms: u64,
}

/// A variable that cannot be given to a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Overspill sets it itself.
    #[error("`env` sets {name}, which Overspill sets itself for each worker; remove it from `env`")]
    Reserved {
        /// The variable.
        name: String,
    },
    /// The name cannot be a variable's.
    #[error("`env` has the name {name:?}; a name is not empty and has no `=` and no NUL byte")]
    BadName {
        /// The name.
        name: String,
    },
    /// The value cannot be a variable's. It is not shown, since it may be a secret.
    #[error("the value of {name} in `env` has a NUL byte, which no variable can hold; remove it")]
    BadValue {
        /// The variable.
        name: String,
    },
    /// The SDK would ping without a pause.
    #[error(
        "the ping interval is {milliseconds} ms; RunPod's SDK counts whole seconds and would \
         ping without a pause: use at least {PING_INTERVAL_MS_MIN} ms"
    )]
    PingInterval {
        /// The interval that was asked for.
        milliseconds: u64,
    },
}

/// Builds the whole environment of a worker process.
///
/// - `inherited` is the user's environment; `HOME`, `PATH`, caches and everything else is kept,
///   except `RUNPOD_*` (the cloud key, and the identity of a pod that this may run on),
///   `OVERSPILL*`, and the variables named in `secrets` (those that the configuration takes its
///   own secrets from). Variables that are not UTF-8 are the caller's to leave out.
/// - `added` is the `env` of the pool. It wins over `inherited` and over the defaults set here,
///   and may not touch the worker's identity.
///
/// # Errors
/// [`EnvironmentError`] for a variable of `added` that cannot be set, or too short an interval.
pub fn worker_environment(
    identity: &WorkerIdentity<'_>,
    inherited: impl IntoIterator<Item = (String, String)>,
    secrets: &[&str],
    added: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let milliseconds = identity.ping_interval_ms;
    if milliseconds < PING_INTERVAL_MS_MIN {
        return Err(EnvironmentError::PingInterval { milliseconds });
    }
    let mut environment: BTreeMap<String, String> = inherited
        .into_iter()
        .filter(|(name, _)| !is_withheld(name, secrets))
        .collect();
    let default = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    environment.extend([
        // The start-up checks need internet access, free memory and a tenth of the disk free,
        // touch every visible GPU, and end the worker if they fail.
        default("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true"),
        default("RUNPOD_SKIP_GPU_CHECK", "true"),
        // The SDK's default is DEBUG, which prints the jobs' outputs.
        default("RUNPOD_LOG_LEVEL", "INFO"),
        // Object storage and file servers of one's own have private addresses.
        default("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "true"),
        default("RUNPOD_GPU_COUNT", "1"),
        // Output goes to a file, where Python would hold it back for kilobytes.
        default("PYTHONUNBUFFERED", "1"),
    ]);
    let fixed = identity_variables(identity);
    for (name, value) in added {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(EnvironmentError::BadName { name: name.clone() });
        }
        if value.contains('\0') {
            return Err(EnvironmentError::BadValue { name: name.clone() });
        }
        if fixed.contains_key(name.as_str()) || name == "RUNPOD_REALTIME_PORT" {
            return Err(EnvironmentError::Reserved { name: name.clone() });
        }
        environment.insert(name.clone(), value.clone());
    }
    environment.extend(
        fixed
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    Ok(environment)
}

/// What makes the process this worker and no other.
fn identity_variables(identity: &WorkerIdentity<'_>) -> BTreeMap<&'static str, String> {
    let base = identity.server.trim_end_matches('/');
    let endpoint = percent_encoded(identity.endpoint);
    let worker = percent_encoded(identity.worker);
    let gpu = query_value(identity.gpu);
    // `$ID` is the SDK's placeholder for the job. The take URL needs `/job-take/`, from which the
    // SDK derives others, and each needs its `?`, since parameters are appended with `&`.
    let url =
        |verb: &str, rest: &str| format!("{base}/v2/{endpoint}/{verb}/{worker}{rest}?gpu={gpu}");
    let mut variables = BTreeMap::from([
        ("RUNPOD_WEBHOOK_GET_JOB", url("job-take", "")),
        ("RUNPOD_WEBHOOK_POST_OUTPUT", url("job-done", "/$ID")),
        ("RUNPOD_WEBHOOK_POST_STREAM", url("job-stream", "/$ID")),
        ("RUNPOD_WEBHOOK_PING", url("ping", "")),
        (
            "RUNPOD_PING_INTERVAL",
            identity.ping_interval_ms.to_string(),
        ),
        ("RUNPOD_AI_API_KEY", identity.key.to_owned()),
        ("RUNPOD_POD_ID", identity.worker.to_owned()),
        ("RUNPOD_ENDPOINT_ID", identity.endpoint.to_owned()),
        ("RUNPOD_POD_HOSTNAME", identity.host.to_owned()),
    ]);
    if let Some(device) = identity.cuda_device {
        variables.insert("CUDA_VISIBLE_DEVICES", device.to_owned());
        // CUDA's own order is by speed; an index means something else there.
        variables.insert("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned());
    }
    variables
}

/// True for variables that a worker must not see.
fn is_withheld(name: &str, secrets: &[&str]) -> bool {
    name.starts_with("RUNPOD_") || name.starts_with("OVERSPILL") || secrets.contains(&name)
}

fn query_value(text: &str) -> String {
    percent_encoded(text).replace("%20", "+")
}

/// Everything but RFC 3986's unreserved characters is encoded; `$` too, so that no name can look
/// like the SDK's placeholders.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: WorkerIdentity<'static> = WorkerIdentity {
        server: "http://127.0.0.1:8080/",
        endpoint: "tts",
        worker: "w-1",
        key: "key",
        gpu: "NVIDIA L4",
        cuda_device: None,
        host: "box",
        ping_interval_ms: PING_INTERVAL_MS,
    };

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn urls_have_the_form_that_was_measured_to_work() {
        let environment = worker_environment(&IDENTITY, [], &[], &map(&[])).unwrap();
        let of = |name: &str| environment[name].as_str();
        let base = "http://127.0.0.1:8080/v2/tts";
        assert_eq!(
            of("RUNPOD_WEBHOOK_GET_JOB"),
            format!("{base}/job-take/w-1?gpu=NVIDIA+L4")
        );
        assert_eq!(
            of("RUNPOD_WEBHOOK_POST_OUTPUT"),
            format!("{base}/job-done/w-1/$ID?gpu=NVIDIA+L4")
        );
        assert_eq!(
            of("RUNPOD_WEBHOOK_POST_STREAM"),
            format!("{base}/job-stream/w-1/$ID?gpu=NVIDIA+L4")
        );
        assert_eq!(
            of("RUNPOD_WEBHOOK_PING"),
            format!("{base}/ping/w-1?gpu=NVIDIA+L4")
        );
        assert_eq!(of("RUNPOD_AI_API_KEY"), "key");
        assert_eq!(of("RUNPOD_POD_ID"), "w-1");
        assert_eq!(of("RUNPOD_ENDPOINT_ID"), "tts");
        assert_eq!(of("RUNPOD_PING_INTERVAL"), "10000");
        assert_eq!(of("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"), "true");
        assert_eq!(of("RUNPOD_LOG_LEVEL"), "INFO");
        assert!(!environment.contains_key("CUDA_VISIBLE_DEVICES"));
    }

    #[test]
    fn the_users_things_are_kept_and_keys_are_not() {
        let inherited = map(&[
            ("HOME", "/home/u"),
            ("PATH", "/bin"),
            ("HF_HOME", "/cache"),
            ("RUNPOD_API_KEY", "secret"),
            ("RUNPOD_REALTIME_PORT", "80"),
            ("OVERSPILL_API_KEY", "secret"),
            ("OVERSPILL__AUTH__REQUIRED", "false"),
            ("OVERSPILL_CONTROL_FD", "5"),
            ("MY_CLOUD_KEY", "secret"),
        ]);
        let environment =
            worker_environment(&IDENTITY, inherited, &["MY_CLOUD_KEY"], &map(&[])).unwrap();
        for name in ["HOME", "PATH", "HF_HOME"] {
            assert!(environment.contains_key(name), "{name}");
        }
        assert!(!environment.contains_key("RUNPOD_REALTIME_PORT"));
        assert!(
            environment.values().all(|value| value != "secret"),
            "{environment:?}"
        );
        assert!(
            environment
                .keys()
                .all(|name| !name.starts_with("OVERSPILL")),
            "{environment:?}"
        );
    }

    #[test]
    fn added_variables_win_over_defaults_but_not_over_the_identity() {
        let added = map(&[("RUNPOD_LOG_LEVEL", "ERROR"), ("HF_TOKEN", "t")]);
        let inherited = map(&[("HF_TOKEN", "old")]);
        let environment = worker_environment(&IDENTITY, inherited, &[], &added).unwrap();
        assert_eq!(environment["RUNPOD_LOG_LEVEL"], "ERROR");
        assert_eq!(environment["HF_TOKEN"], "t");

        let added = map(&[("RUNPOD_POD_ID", "mine")]);
        let error = worker_environment(&IDENTITY, [], &[], &added).unwrap_err();
        assert_eq!(
            error,
            EnvironmentError::Reserved {
                name: "RUNPOD_POD_ID".into()
            }
        );
    }

    #[test]
    fn a_real_device_is_the_only_one_seen() {
        let identity = WorkerIdentity {
            cuda_device: Some("1"),
            ..IDENTITY
        };
        let inherited = map(&[("CUDA_VISIBLE_DEVICES", "0,1")]);
        let environment = worker_environment(&identity, inherited, &[], &map(&[])).unwrap();
        assert_eq!(environment["CUDA_VISIBLE_DEVICES"], "1");
        assert_eq!(environment["CUDA_DEVICE_ORDER"], "PCI_BUS_ID");
        let added = map(&[("CUDA_VISIBLE_DEVICES", "0")]);
        assert!(worker_environment(&identity, [], &[], &added).is_err());
        assert!(worker_environment(&IDENTITY, [], &[], &added).is_ok());
    }

    #[test]
    fn what_no_process_can_hold_is_refused() {
        for name in ["", "A=B", "A\0"] {
            let error = worker_environment(&IDENTITY, [], &[], &map(&[(name, "v")])).unwrap_err();
            assert!(matches!(error, EnvironmentError::BadName { .. }), "{error}");
        }
        let error = worker_environment(&IDENTITY, [], &[], &map(&[("A", "s\0")])).unwrap_err();
        assert_eq!(error, EnvironmentError::BadValue { name: "A".into() });
        let identity = WorkerIdentity {
            ping_interval_ms: 999,
            ..IDENTITY
        };
        let error = worker_environment(&identity, [], &[], &map(&[])).unwrap_err();
        assert_eq!(error, EnvironmentError::PingInterval { milliseconds: 999 });
    }

    #[test]
    fn names_cannot_break_out_of_the_url() {
        let identity = WorkerIdentity {
            endpoint: "a/b?$ID",
            gpu: "A&B=1",
            ..IDENTITY
        };
        let environment = worker_environment(&identity, [], &[], &map(&[])).unwrap();
        let url = &environment["RUNPOD_WEBHOOK_PING"];
        assert_eq!(
            url,
            "http://127.0.0.1:8080/v2/a%2Fb%3F%24ID/ping/w-1?gpu=A%26B%3D1"
        );
    }
}

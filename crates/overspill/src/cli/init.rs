//! `overspill init`: write a first configuration.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use overspill_core::time::DurationMs;
use serde_json::json;

use crate::config::units::{format_duration, parse_duration};
use crate::config::{Flags, Strictness, parse};
use crate::gpu::{Gpu, detect};

use super::Context;
use super::error::{CommandError, ErrorKind};
use super::output::note;

/// Write a first overspill.toml
#[derive(Debug, Args)]
pub struct InitArgs {
    /// How much is expected: sets the limits of cloud workers and the promised wait
    #[arg(long, value_enum, default_value_t = Profile::Testing)]
    profile: Profile,
    /// Cloud workers always on [default: the profile's]
    #[arg(long, value_name = "N")]
    min: Option<u32>,
    /// Cloud workers at most [default: the profile's]
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// The promise: from submit to start [default: the profile's]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_wait: Option<DurationMs>,
    /// Longest time that a worker above min idles before it is stopped [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_timeout: Option<DurationMs>,
    /// Name of the endpoint
    #[arg(long, default_value = "default")]
    name: String,
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "overspill.toml")]
    output: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
}

/// Sizes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// Trying it out: 0 to 3 workers, start within 90 s
    Testing,
    /// Up to 1,000 users: 0 to 10 workers, start within 90 s
    Small,
    /// 1,000 to 10,000 users: 1 to 30 workers, start within 30 s
    Medium,
    /// More than 10,000 users: 3 to 50 workers, start within 15 s
    Large,
    /// 10 to 100 workers, start within 5 s
    Enterprise,
}

impl Profile {
    /// Least and most cloud workers, and the promised wait.
    const fn limits(self) -> (u32, u32, &'static str) {
        match self {
            Self::Testing => (0, 3, "90s"),
            Self::Small => (0, 10, "90s"),
            Self::Medium => (1, 30, "30s"),
            Self::Large => (3, 50, "15s"),
            Self::Enterprise => (10, 100, "5s"),
        }
    }
}

/// What is written of the cloud workers.
struct Limits {
    min: u32,
    max: u32,
    max_wait: String,
    idle_timeout: Option<DurationMs>,
}

impl Limits {
    fn new(args: &InitArgs) -> Result<Self, CommandError> {
        let (min, max, max_wait) = args.profile.limits();
        let (min, max) = (args.min.unwrap_or(min), args.max.unwrap_or(max));
        if min > max {
            let message = format!("min {min} is over max {max}");
            return Err(CommandError::new(ErrorKind::Usage, message)
                .hint("lower --min or raise --max; what is left out is the profile's"));
        }
        Ok(Self {
            min,
            max,
            max_wait: args
                .max_wait
                .map_or_else(|| max_wait.to_owned(), format_duration),
            idle_timeout: args.idle_timeout,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// When the file exists, cannot be written, or the name makes no endpoint.
pub fn run(args: &InitArgs, context: &Context) -> Result<(), CommandError> {
    let gpus = detect().unwrap_or_else(|error| {
        note(&format!("warning: {error}"));
        Vec::new()
    });
    let limits = Limits::new(args)?;
    let text = written(&limits, &args.name, &gpus);
    // What is written must load: the name is the only thing here that could still be wrong.
    parse(
        &text,
        "--name",
        Path::new("/"),
        &context.environment,
        &Flags::default(),
        Strictness::Check,
    )
    .map_err(|error| {
        CommandError::new(
            ErrorKind::Usage,
            format!("\"{}\" makes no endpoint", args.name),
        )
        .because(error)
    })?;
    let path = &args.output;
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let result = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    result.map_err(|error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let message = format!("cannot write \"{}\"", path.display());
        let error = CommandError::new(ErrorKind::Io, message).because(error);
        if exists {
            error.hint("give --force to replace it, or --output for another")
        } else {
            error
        }
    })?;
    if context.output.is_json() {
        return context
            .output
            .json(&json!({ "file": path.display().to_string() }));
    }
    context.output.text(&path.display().to_string())?;
    let found = match gpus.as_slice() {
        [] => "no GPU driver found: one nominal device is configured".to_owned(),
        gpus => gpus
            .iter()
            .map(|gpu| gpu.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    };
    note(&format!("local GPUs: {found}"));
    note("next: put your worker's command into it, then `overspill check` and `overspill serve`");
    Ok(())
}

/// The text of a configuration with these limits and one endpoint called `name` on `gpus`.
fn written(limits: &Limits, name: &str, gpus: &[Gpu]) -> String {
    let Limits {
        min, max, max_wait, ..
    } = limits;
    let idle = limits.idle_timeout.map_or_else(String::new, |length| {
        format!(", idle_timeout = \"{}\"", format_duration(length))
    });
    let guard = if *min == 0 {
        ""
    } else {
        "; min is kept only while `overspill guard` runs too"
    };
    let name = serde_json::Value::from(name);
    let (devices, found) = if gpus.is_empty() {
        (
            "1    ",
            "no GPU driver here: one nominal device; \"all\" takes every card".to_owned(),
        )
    } else {
        ("\"all\"", listed(gpus))
    };
    format!(
        r#"# Overspill's configuration. Every key is described in docs/reference/configuration.md.

listen   = "127.0.0.1:8080"
data_dir = "overspill-data"

# The cloud: take the marks away to use RunPod beside your own GPUs.
# [runpod]
# api_key = "${{RUNPOD_API_KEY}}"

# Caps on cloud spending for everything together.
[budget]
per_day = "$20"

[[endpoint]]
name     = {name}
max_wait = "{max_wait}"                # start within this time; the cloud is used where own cards would be later
workers  = {{ min = {min}, max = {max}{idle} }}  # cloud workers{guard}

  # Your RunPod handler, one process per card, unmodified.
  [[endpoint.local]]
  command = ["python3", "-u", "handler.py"]
  devices = {devices}                      # {found}

  # [[endpoint.cloud]]
  # provider = "runpod"
  # id       = "abc123def456"          # an endpoint that you made at RunPod
  # gpu      = "RTX 4090"
"#
    )
}

/// Names and memory of GPUs, as a comment may hold them: on one line.
fn listed(gpus: &[Gpu]) -> String {
    let one = |gpu: &Gpu| {
        let name: String = gpu
            .name
            .chars()
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        match gpu.readings.memory_bytes {
            Some(bytes) => format!("{name}, {} GiB", bytes.div_ceil(1 << 30)),
            None => name,
        }
    };
    gpus.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::gpu::{FixedGpus, GpuProvider as _};

    #[test]
    fn every_profile_loads() {
        let card = FixedGpus::nominal(2).read().unwrap();
        let with_and_without = [&card[..], &[]];
        let variants = Profile::value_variants();
        for (profile, gpus) in variants.iter().zip(with_and_without.into_iter().cycle()) {
            let (min, max, max_wait) = profile.limits();
            let idle_timeout = gpus.first().map(|_| DurationMs::from_secs(900));
            let limits = Limits {
                min,
                max,
                max_wait: max_wait.to_owned(),
                idle_timeout,
            };
            let text = written(&limits, "tts", gpus);
            assert_eq!(
                text.contains("nominal device; nominal device"),
                !gpus.is_empty()
            );
            let loaded = parse(
                &text,
                "f",
                Path::new("/"),
                &Environment::default(),
                &Flags::default(),
                Strictness::Serve,
            )
            .unwrap();
            let workers = &loaded.config.endpoint[0].workers;
            assert_eq!((workers.min, workers.max), (min, max));
            let idle = idle_timeout.unwrap_or(DurationMs::from_secs(10));
            assert_eq!(workers.idle_timeout, idle);
            assert_eq!(loaded.warnings().count(), 0);
        }
    }
}

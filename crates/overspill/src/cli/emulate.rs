//! `overspill emulate`: the emulated RunPod cloud of the crate `overspill-emulator`, on its own.

use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;
use overspill_core::time::DurationMs;
use overspill_emulator::{Emulator, Options};
use overspill_sim::cloud::{CloudOptions, MsRange};
use serde_json::json;

use super::{CommandError, Context, ErrorKind};
use crate::config::units::{format_duration, parse_duration};

/// Run the emulated RunPod cloud on its own, for tests
#[derive(Debug, Clone, Args)]
pub struct EmulateArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Seed of everything random; the same seed and calls give the same bill
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Time from start to ready of a cold worker, as one duration or a range
    #[arg(long, value_name = "RANGE", default_value = "30s..60s")]
    pub cold_start: DurationRange,
    /// Time that a worker idles before it stops, for endpoints that set none
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub idle_timeout: DurationMs,
    /// How much faster than real time the cloud's clock runs
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_time_scale)]
    pub time_scale: f64,
    /// Command that is started for each worker, an unmodified RunPod worker; left out: workers are
    /// modelled, and a job says by `input.seconds` how long it runs
    #[arg(long, value_name = "COMMAND")]
    pub worker_cmd: Option<String>,
    /// Answer however often it is asked: no 429 of its own, on either API
    #[arg(long)]
    pub no_rate_limits: bool,
}

impl EmulateArgs {
    fn options(&self) -> Options {
        Options {
            cloud: CloudOptions {
                seed: self.seed,
                cold_start: MsRange::new(
                    self.cold_start.least.as_millis(),
                    self.cold_start.most.as_millis(),
                ),
                real_workers: self.worker_cmd.is_some(),
                has_rate_limits: !self.no_rate_limits,
                ..CloudOptions::default()
            },
            idle_timeout_s: u32::try_from(self.idle_timeout.as_millis() / 1_000).ok(),
            time_scale: self.time_scale,
            worker_cmd: self.worker_cmd.clone(),
            ..Options::default()
        }
    }
}

/// Serves the emulated cloud until it is interrupted.
///
/// # Errors
/// When the address cannot be listened on, or the listener fails.
pub async fn run(args: &EmulateArgs, context: &Context) -> Result<(), CommandError> {
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(|error| {
            let message = format!("cannot listen on {}", args.listen);
            CommandError::new(ErrorKind::Unavailable, message)
                .because(error)
                .hint("another program may hold the port; port 0 takes a free one")
        })?;
    let io =
        |error| CommandError::new(ErrorKind::Io, "the emulated cloud cannot go on").because(error);
    let url = format!("http://{}", listener.local_addr().map_err(io)?);
    if context.global.json {
        context.output.json(&json!({
            "base_url": format!("{url}/v2"),
            "management_url": format!("{url}/v2"),
        }))?;
    }
    super::output::note(&format!("listening on {url}"));
    super::output::note(&format!(
        "point Overspill at it: [runpod] base_url = \"{url}/v2\", management_url = \"{url}/v2\""
    ));
    let emulator = Emulator::new(args.options());
    emulator.serve(listener, interrupted()).await.map_err(io)
}

/// Ends when someone asks this process to stop.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// A shortest and a longest duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationRange {
    /// The shortest.
    pub least: DurationMs,
    /// The longest; not below `least`.
    pub most: DurationMs,
}

impl FromStr for DurationRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (parse_duration(least)?, parse_duration(most)?);
        if least > most {
            return Err(format!(
                "{} is above {}; expected the shorter first",
                format_duration(least),
                format_duration(most)
            ));
        }
        Ok(Self { least, most })
    }
}

fn parse_time_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if (0.01..=100_000.0).contains(&scale) => Ok(scale),
        _ => Err("expected a factor from 0.01 to 100000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_parse() {
        let range: DurationRange = "3s..6s".parse().unwrap();
        assert_eq!(
            (range.least.as_millis(), range.most.as_millis()),
            (3_000, 6_000)
        );
        let range: DurationRange = "5s".parse().unwrap();
        assert_eq!(range.least, range.most);
        assert!(
            "6s..3s"
                .parse::<DurationRange>()
                .unwrap_err()
                .contains("shorter first")
        );
        assert!(
            "3..6s"
                .parse::<DurationRange>()
                .unwrap_err()
                .contains("3 what?")
        );
    }
}

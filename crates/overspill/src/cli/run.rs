//! `overspill run`: submit one job and follow it to its end.
//!
//! It uses the same interface as any client: `/run`, then `/status` or `/stream` until a final
//! state. A line on stderr says what is going on; the job's output goes to stdout.

use std::io::Read as _;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use overspill_core::time::DurationMs;
use serde_json::{Value as Json, json};

use crate::config::units::{format_duration, parse_duration};

use super::client::segment;
use super::error::{CommandError, ErrorKind};
use super::output::{human_ms, inert, note};
use super::{Context, Output, ServerClient};

/// Shortest and longest time between two questions for the job's state.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Longest input that is read, in bytes: the limit of `/run`.
const INPUT_BYTES_MAX: u64 = 10 << 20;

/// Submit one job and follow it to its end
///
/// The job's output is printed on stdout. Exit code 0 when it completed, 1 when it failed, was
/// cancelled or timed out.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Name of the endpoint
    endpoint: String,
    /// Input as JSON, `@FILE` for a file, `-` for stdin
    #[arg(long, value_name = "JSON")]
    input: String,
    /// Print each part of the output as it comes
    #[arg(long)]
    stream: bool,
    /// Give up following after this time, with exit code 124; the job goes on
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<DurationMs>,
    /// Submit only, and print the job's id
    #[arg(long, conflicts_with_all = ["stream", "wait"])]
    detach: bool,
}

/// Runs the command.
///
/// # Errors
/// When the input is no JSON, the server is out of reach or refuses, the job does not complete,
/// or the wait runs out.
pub async fn run(args: &RunArgs, context: &Context) -> Result<(), CommandError> {
    let input = read_input(&args.input)?;
    let client = context.client()?;
    let endpoint = segment(&args.endpoint);
    let submitted = client
        .post(&format!("/v2/{endpoint}/run"), &json!({ "input": input }))
        .await?;
    let id = submitted.get("id").and_then(Json::as_str).ok_or_else(|| {
        CommandError::new(
            ErrorKind::Unavailable,
            "the server's answer to the submission lacks `id`",
        )
    })?;
    if args.detach {
        return if context.output.is_json() {
            context.output.json(&submitted)
        } else {
            context.output.text(&inert(id))
        };
    }
    let mut follower = Follower {
        client: &client,
        endpoint: &endpoint,
        id,
        line: ProgressLine::new(context.output, &args.endpoint, id),
        output: context.output,
        parts: args.stream.then(Vec::new),
        started: now(),
    };
    let wait = args
        .wait
        .map(|wait| Duration::from_millis(wait.as_millis()));
    let ended = tokio::select! {
        ended = follower.follow() => ended,
        () = elapse(wait) => {
            let waited = args.wait.map_or_else(String::new, format_duration);
            Err(CommandError::new(
                ErrorKind::WaitTimedOut,
                format!("job {id} has not ended within {waited}"),
            )
            .hint(format!("it goes on; see `overspill status {id}`, end it with `overspill cancel {id}`")))
        }
        _ = tokio::signal::ctrl_c() => {
            Err(CommandError::new(ErrorKind::Interrupted, format!("no longer following job {id}"))
                .hint(format!("it goes on; end it with `overspill cancel {id}`")))
        }
    };
    follower.line.clear();
    let ended = ended?;
    finish(id, ended, follower.parts, context.output)
}

/// Prints what a job came to; anything but completion is an error.
fn finish(
    id: &str,
    mut ended: Json,
    parts: Option<Vec<Json>>,
    output: Output,
) -> Result<(), CommandError> {
    let status = status_of(&ended).to_owned();
    let is_streamed = parts.is_some();
    if output.is_json() {
        if let (Some(parts), Some(map)) = (parts, ended.as_object_mut()) {
            map.insert("stream".to_owned(), Json::Array(parts));
        }
        output.json(&ended)?;
    }
    if status == "COMPLETED" {
        if !output.is_json() {
            note(&summary(&ended));
            match ended.get("output") {
                _ if is_streamed => {}
                None | Some(Json::Null) => {}
                Some(Json::String(text)) => output.text(text)?,
                Some(value) => output.json(value)?,
            }
        }
        return Ok(());
    }
    let mut error = CommandError::new(ErrorKind::Failed, format!("job {id} ended as {status}"));
    match ended.get("error") {
        None | Some(Json::Null) => {}
        Some(Json::String(text)) => error = error.because(inert(text)),
        Some(other) => error = error.because(inert(&other.to_string())),
    }
    Err(error.hint(format!("`overspill status {id}` shows its attempts")))
}

/// One line on where and how long a completed job ran.
fn summary(ended: &Json) -> String {
    let length = |key: &str| ended.get(key).and_then(Json::as_u64).map(human_ms);
    let mut text = "completed".to_owned();
    if let Some(delay) = length("delayTime") {
        text.push_str(&format!(", waited {delay}"));
    }
    if let Some(execution) = length("executionTime") {
        text.push_str(&format!(", ran {execution}"));
    }
    if let Some(worker) = ended.get("workerId").and_then(Json::as_str) {
        text.push_str(&format!(" on {}", inert(worker)));
    }
    text
}

/// A job that is being watched.
struct Follower<'a> {
    client: &'a ServerClient,
    endpoint: &'a str,
    id: &'a str,
    line: ProgressLine,
    output: Output,
    /// The parts of the output so far, when they are asked for.
    parts: Option<Vec<Json>>,
    started: Instant,
}

impl Follower<'_> {
    /// Asks until the job has ended, and returns its last state.
    async fn follow(&mut self) -> Result<Json, CommandError> {
        let id = segment(self.id);
        let status_path = format!("/v2/{}/status/{id}", self.endpoint);
        let stream_path = format!("/v2/{}/stream/{id}", self.endpoint);
        let mut pause = POLL.0;
        loop {
            let path = if self.parts.is_some() {
                &stream_path
            } else {
                &status_path
            };
            let answer = self.client.get(path).await?;
            let parts = self.take_parts(&answer)?;
            let is_final = is_final(status_of(&answer));
            if is_final && parts == 0 {
                // The stream's last answer has no output and no times.
                return if self.parts.is_some() {
                    self.client.get(&status_path).await
                } else {
                    Ok(answer)
                };
            }
            self.line.show(&answer, self.started.elapsed());
            if parts > 0 {
                pause = POLL.0;
                continue;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(POLL.1);
        }
    }

    /// Prints and keeps the parts of a stream's answer; returns how many there were.
    fn take_parts(&mut self, answer: &Json) -> Result<usize, CommandError> {
        let Some(kept) = &mut self.parts else {
            return Ok(0);
        };
        let parts = answer
            .get("stream")
            .and_then(Json::as_array)
            .map_or(&[][..], Vec::as_slice);
        for part in parts {
            let part = part.get("output").unwrap_or(part);
            if !self.output.is_json() {
                let text = match part {
                    Json::String(text) => text.clone(),
                    other => other.to_string(),
                };
                self.line.around(|| self.output.text(&text))?;
            }
            kept.push(part.clone());
        }
        Ok(parts.len())
    }
}

/// The live line on stderr; where nobody watches, one line per change of state.
struct ProgressLine {
    bar: Option<ProgressBar>,
    label: String,
    last_status: String,
}

impl ProgressLine {
    fn new(output: Output, endpoint: &str, id: &str) -> Self {
        let bar = output.is_live().then(|| {
            let bar = ProgressBar::new_spinner();
            let template = if output.has_color() {
                "{spinner:.cyan} {msg}"
            } else {
                "{spinner} {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            label: inert(&format!("{endpoint} {id}")),
            last_status: String::new(),
        }
    }

    fn show(&mut self, answer: &Json, elapsed: Duration) {
        let status = inert(status_of(answer));
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if let Some(bar) = &self.bar {
            let progress = match answer.get("output") {
                None | Some(Json::Null) => String::new(),
                Some(Json::String(text)) => format!(" · {}", inert(text)),
                Some(other) => format!(" · {}", inert(&other.to_string())),
            };
            // One line only: a longer one would not be redrawn cleanly.
            let progress: String = progress.replace('\n', " ").chars().take(60).collect();
            bar.set_message(format!(
                "{}: {status} {}{progress}",
                self.label,
                human_ms(millis)
            ));
        } else if status != self.last_status {
            note(&format!("{}: {status}", self.label));
        }
        self.last_status = status;
    }

    /// Prints something else while the line stands aside.
    fn around<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn status_of(answer: &Json) -> &str {
    answer
        .get("status")
        .and_then(Json::as_str)
        .unwrap_or("UNKNOWN")
}

fn is_final(status: &str) -> bool {
    matches!(status, "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT")
}

/// Reads `--input`: JSON, `@FILE`, or `-` for stdin.
fn read_input(argument: &str) -> Result<Json, CommandError> {
    let unreadable = |what: &str, error: std::io::Error| {
        CommandError::new(ErrorKind::Io, format!("cannot read the input from {what}"))
            .because(error)
    };
    let mut text = String::new();
    let (text, what) = if argument == "-" {
        std::io::stdin()
            .take(INPUT_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(|error| unreadable("stdin", error))?;
        (text.as_str(), "stdin".to_owned())
    } else if let Some(path) = argument.strip_prefix('@') {
        let what = format!("\"{path}\"");
        std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(|error| unreadable(&what, error))?;
        (text.as_str(), what)
    } else {
        (argument, "--input".to_owned())
    };
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(
            CommandError::new(ErrorKind::Usage, format!("{what} is longer than 10 MB"))
                .hint("put large data where the worker can fetch it, and send its address"),
        );
    }
    serde_json::from_str(text).map_err(|error| {
        CommandError::new(ErrorKind::Usage, format!("{what} is not JSON"))
            .because(error)
            .hint("an example: --input '{\"text\": \"hello\"}'")
    })
}

async fn elapse(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    Instant::now()
}

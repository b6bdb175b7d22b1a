//! One step of the gate: a name, a way to run it, and the line that its runner closes with.
//!
//! A child's output is passed through as it comes and watched, so that the report at the end can
//! repeat the runner's own words ("Summary … 212 tests run", "31 passed in 44 s") and nobody has
//! to scroll for them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How many of a child's last lines are kept for the choice of the closing line.
const LINES_KEPT: usize = 40;

/// What a step left behind.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    /// The runner's closing line, or the error that stopped the step.
    pub(crate) closing: String,
    pub(crate) is_passed: bool,
}

/// Runs `body` as the step `name`: announces it, takes its time, and never stops the gate.
pub(crate) fn run(name: &'static str, body: impl FnOnce() -> Result<String>) -> Outcome {
    println!("\n==> {name}");
    let start = Instant::now();
    let result = body();
    let took = start.elapsed();
    let (closing, is_passed) = match result {
        Ok(closing) => (closing, true),
        Err(error) => (format!("{error:#}"), false),
    };
    println!(
        "<== {name}: {} in {:.1} s",
        word(is_passed),
        took.as_secs_f64()
    );
    Outcome {
        name,
        took,
        closing,
        is_passed,
    }
}

/// "ok" or "FAILED", as the report prints it.
pub(crate) fn word(is_passed: bool) -> &'static str {
    if is_passed { "ok" } else { "FAILED" }
}

/// Runs a child to its end with its output passed through; returns its closing line.
///
/// The closing line is the last line that holds one of `needles`, else the last line that is not
/// blank. Errors: the child could not start, or ended with another status than 0 (the closing
/// line is then part of the error).
pub(crate) fn watch(mut command: Command, needles: &[&str]) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    let stdout = child.stdout.take().expect("standard output is piped above");
    let stderr = child.stderr.take().expect("standard error is piped above");
    let readers = [pass_through(stdout, &lines), pass_through(stderr, &lines)];
    let status = child
        .wait()
        .with_context(|| format!("waiting for {program}"))?;
    for reader in readers {
        reader.join().expect("a reader of a pipe does not panic");
    }
    let lines = lines.lock().expect("no reader panicked");
    let closing = lines
        .iter()
        .rev()
        .find(|line| needles.iter().any(|needle| line.contains(needle)))
        .or_else(|| lines.back())
        .cloned()
        .unwrap_or_default();
    ensure!(status.success(), "{program} ended with {status}: {closing}");
    Ok(closing)
}

fn pass_through(
    pipe: impl Read + Send + 'static,
    lines: &Arc<Mutex<VecDeque<String>>>,
) -> std::thread::JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut raw = Vec::new();
        while pipe
            .read_until(b'\n', &mut raw)
            .is_ok_and(|count| count > 0)
        {
            // A closed standard output must not end the tests that are running.
            let _ = std::io::stdout().lock().write_all(&raw);
            let line = String::from_utf8_lossy(&raw).trim().to_owned();
            raw.clear();
            if !line.is_empty() {
                let mut lines = lines.lock().expect("no reader panicked");
                if lines.len() == LINES_KEPT {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_closing_line_is_the_last_that_holds_a_needle() {
        let script = "echo '3 passed'; echo '5 passed'; echo bye";
        assert_eq!(watch(shell(script), &["passed"]).unwrap(), "5 passed");
    }

    #[test]
    fn without_a_needle_the_last_line_closes() {
        assert_eq!(
            watch(shell("echo one; echo two; echo"), &["passed"]).unwrap(),
            "two"
        );
    }

    #[test]
    fn a_failing_child_is_an_error_that_carries_its_closing_line() {
        let error = watch(shell("echo 'lost 1'; exit 3"), &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("lost 1") && error.contains('3'), "{error}");
    }
}

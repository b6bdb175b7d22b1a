//! Logs: to standard error, filtered by `OVERSPILL_LOG` (default `info` for this program).
//!
//! `OVERSPILL_LOG_FORMAT=json` makes each line an object (`timestamp`, `level`, `message`, and the fields of what
//! happened, `trace_id` among them). Payloads and keys are never logged. Nobody waits for a log (F42): lines go into a queue of a bounded
//! length, which a thread of its own writes (the keeper has no threads, and writes what fits in at once). Where standard error is closed, full or not read, lines are
//! lost and counted, and nothing else happens.

use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock;

/// The variable that filters logs, in the words of `tracing_subscriber::EnvFilter`.
pub const LOG_VARIABLE: &str = "OVERSPILL_LOG";

/// The variable that says how lines are written: `text` or `json`.
pub const LOG_FORMAT_VARIABLE: &str = "OVERSPILL_LOG_FORMAT";

/// Lines that wait to be written at most; more are lost.
const LINES_MAX: usize = 4_096;
/// How long an ending process waits for its last lines.
const FLUSH: Duration = Duration::from_millis(500);

static QUEUE: OnceLock<SyncSender<Item>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

enum Item {
    Line(Vec<u8>),
    /// Answered once all before it is written.
    Flush(SyncSender<()>),
}

/// Starts logging; a second call changes nothing.
pub fn start(default: &str) {
    open();
    subscribe(default);
}

/// The same without a thread, for the keeper: a line is written only where it fits in at once.
pub fn start_without_thread(default: &str) {
    subscribe(default);
}

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// As the variable has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The format that the environment asks for; for people, where it asks for none that there is.
fn format() -> LogFormat {
    static FORMAT: OnceLock<LogFormat> = OnceLock::new();
    *FORMAT.get_or_init(|| match std::env::var(LOG_FORMAT_VARIABLE) {
        Ok(word) if word.eq_ignore_ascii_case("json") => LogFormat::Json,
        _ => LogFormat::Text,
    })
}

fn subscribe(default: &str) {
    let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(default));
    let is_terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Queue)
        // It would print its own failures to standard error, and panic where that fails too.
        .log_internal_errors(false)
        .with_target(false);
    let _ = match format() {
        LogFormat::Text => lines
            .with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none())
            .try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    };
}

/// A line for people on standard error, in its turn among the log's.
pub fn say(line: &str) {
    let text = match format() {
        LogFormat::Text => format!("{line}\n"),
        LogFormat::Json => {
            let now = jiff::Timestamp::from_millisecond(clock::wall().as_millis());
            let now = now.unwrap_or_default().to_string();
            let line = serde_json::json!({"timestamp": now, "level": "INFO", "message": line});
            format!("{line}\n")
        }
    };
    put(text.into_bytes());
}

/// Waits until everything so far is written, but not for long; before a process ends by itself.
pub fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, is_done) = sync_channel(1);
    if queue.try_send(Item::Flush(done)).is_ok() {
        // Nobody reads it: then nobody misses it.
        let _ = is_done.recv_timeout(FLUSH);
    }
}

/// Starts the thread that writes. It takes no signal: those are for the threads that wait for them.
fn open() {
    QUEUE.get_or_init(|| {
        let (queue, lines) = sync_channel(LINES_MAX);
        let mask = SigSet::thread_get_mask();
        let is_blocked = SigSet::all().thread_block().is_ok();
        let thread = std::thread::Builder::new().name("log".into());
        // Without the thread the queue is closed, and every line is lost.
        let _ = thread.spawn(move || write(&lines));
        if let (true, Ok(mask)) = (is_blocked, mask) {
            let _ = mask.thread_set_mask();
        }
        queue
    });
}

fn write(lines: &Receiver<Item>) {
    for item in lines {
        match item {
            Item::Line(line) => {
                let lost = LOST.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(io::stderr(), "overspill: {lost} lines of the log were lost");
                }
                if io::stderr().write_all(&line).is_err() {
                    LOST.fetch_add(lost + 1, Ordering::Relaxed);
                }
            }
            Item::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

fn put(line: Vec<u8>) {
    let is_lost = match QUEUE.get() {
        Some(queue) => queue.try_send(Item::Line(line)).is_err(),
        None => !has_room() || io::stderr().write_all(&line).is_err(),
    };
    if is_lost {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether standard error takes a line without waiting: a pipe says so while a page of it is free.
fn has_room() -> bool {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let answered = poll(&mut asked, PollTimeout::ZERO);
    let can_write = |fd: &PollFd<'_>| fd.revents().is_some_and(|r| r.contains(PollFlags::POLLOUT));
    answered.is_ok() && asked.iter().all(can_write)
}

/// Makes writers whose bytes become one line of the queue each.
struct Queue;

struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            put(std::mem::take(&mut self.0));
        }
    }
}

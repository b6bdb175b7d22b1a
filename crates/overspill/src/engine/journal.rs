//! The journal's file: a thread of its own writes what the engine handed over, and keeps the file within
//! its bound.
//!
//! The engine never waits for it: what the thread cannot take in is a gap that it writes down. Files are
//! turned as logs are: `journal`, `journal.1` (the one before) and so on; each begins with the core's own
//! state, which the engine is asked for, so that the oldest can go. It decides nothing, and what is in
//! the lines is [`overspill_sim::journal`]'s.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use overspill_core::change::{Change, Snapshot};
use overspill_core::effect::Effect;
use overspill_core::machine::Core;
use overspill_core::time::Timestamp;
use overspill_sim::journal::{Batch, Cause, Gap, Reader, State, Step, Writer};
use tracing::{info, warn};

/// Facts that wait for the thread at most; what comes beyond is a gap.
const WAITING_MAX: usize = 65_536;
/// What is there is written out at least this often: a killed process loses no more of its journal.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// After a failed write, the file is tried again after this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// So many files share the bound: the current one and those before it.
pub const FILES: u64 = 4;

/// Where a journal is written, and how large it may get.
#[derive(Debug, Clone)]
pub struct Options {
    /// The current file.
    pub path: PathBuf,
    /// Of all its files together, in bytes.
    pub bytes_max: u64,
    /// The installation's id.
    pub installation: String,
}

/// The engine's end.
#[derive(Debug)]
pub struct Journal {
    entries: Sender<Entry>,
    shared: Arc<Shared>,
    /// What could not be handed over since the last time that something could.
    missed: Option<Gap>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Facts that wait for the thread.
    waiting: AtomicUsize,
    /// The thread needs the core's state: the file is full, or something is missing.
    wants_state: AtomicBool,
}

enum Entry {
    Begin {
        at: Timestamp,
        cause: Cause,
        state: Box<State>,
    },
    Batch(Batch),
    Gap(Gap),
    /// All before is to be on the disk.
    Sync(Sender<()>),
}

/// What the engine collects of a batch while the core handles it.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

impl Steps {
    /// The core has handled one more fact; none stands for a resume.
    pub(super) fn note(
        &mut self,
        event: Option<overspill_core::event::Event>,
        changes: &[Change],
        effects: &[Effect],
    ) {
        self.0.push(Step {
            event,
            changes: changes.len(),
            effects: effects.len(),
        });
    }
}

impl Journal {
    /// Opens the file, behind what is in it, and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened, or is something else than a journal.
    pub fn start(options: Options) -> io::Result<Self> {
        let mut out = Output::new(options);
        out.open()?;
        let (entries, received) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || out.run(&received, &theirs))?;
        Ok(Self {
            entries,
            shared,
            missed: None,
            thread: Some(thread),
        })
    }

    /// The core was restored from this.
    pub(super) fn restored(&mut self, at: Timestamp, is_start: bool, snapshot: Snapshot) {
        // Whatever was missed before is of the core that was thrown away.
        if let Some(gap) = self.missed.take() {
            self.send(Entry::Gap(gap));
        }
        let cause = if is_start {
            Cause::Start
        } else {
            Cause::Restore
        };
        let state = Box::new(State::Stored(snapshot));
        self.send(Entry::Begin { at, cause, state });
    }

    /// Hands over the core's state, if the thread asked for it; called between two batches.
    pub(super) fn offer(&mut self, core: &Core) {
        if !self.shared.wants_state.load(Ordering::Relaxed) && self.missed.is_none() {
            return;
        }
        if self.shared.waiting.load(Ordering::Relaxed) > WAITING_MAX / 2 {
            return;
        }
        self.shared.wants_state.store(false, Ordering::Relaxed);
        let cause = match self.missed.take() {
            Some(gap) => {
                self.send(Entry::Gap(gap));
                Cause::Gap
            }
            None => Cause::Rotation,
        };
        let state = Box::new(State::Running(Box::new(core.clone())));
        let at = core.now();
        self.send(Entry::Begin { at, cause, state });
    }

    /// Hands over what was handled and committed.
    pub(super) fn note(
        &mut self,
        at: Timestamp,
        steps: Steps,
        changes: Vec<Change>,
        effects: Vec<Effect>,
    ) {
        let facts = steps.0.len();
        if facts == 0 {
            return;
        }
        let is_full = self.shared.waiting.load(Ordering::Relaxed) + facts > WAITING_MAX;
        if is_full || self.missed.is_some() {
            return add(&mut self.missed, facts, at);
        }
        self.shared.waiting.fetch_add(facts, Ordering::Relaxed);
        self.send(Entry::Batch(Batch {
            at,
            steps: steps.0,
            changes,
            effects,
        }));
    }

    /// Waits until all that was handed over is written.
    pub fn sync(&self) {
        let (done, is_done) = mpsc::channel();
        self.send(Entry::Sync(done));
        let _ = is_done.recv();
    }

    fn send(&self, entry: Entry) {
        // The thread ends after this end is dropped, not before.
        let _ = self.entries.send(entry);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(gap) = self.missed.take() {
            self.send(Entry::Gap(gap));
        }
        let (closed, _) = mpsc::channel();
        self.entries = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's end.
struct Output {
    options: Options,
    writer: Writer,
    /// None after a failed write, until it is tried again.
    file: Option<File>,
    bytes: u64,
    /// Of them, the first frame, which has the state that the file begins with.
    state_bytes: u64,
    flushed_at: Instant,
    retry_at: Instant,
    /// Facts that are in no file yet.
    unwritten: Option<Gap>,
    /// What is missing from the file since a write failed, until a state comes.
    lost: Option<Gap>,
    /// The file is full: the next state begins another one.
    is_full: bool,
}

impl Output {
    fn new(options: Options) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let now = Instant::now();
        Self {
            writer: Writer::new(version, options.installation.clone()),
            options,
            file: None,
            bytes: 0,
            state_bytes: 0,
            flushed_at: now,
            retry_at: now,
            unwritten: None,
            lost: None,
            is_full: false,
        }
    }

    fn run(mut self, entries: &Receiver<Entry>, shared: &Shared) {
        loop {
            let wait = FLUSH_EVERY.saturating_sub(self.flushed_at.elapsed());
            match entries.recv_timeout(wait) {
                Ok(Entry::Sync(done)) => {
                    self.flush(shared);
                    let _ = done.send(());
                }
                Ok(entry) => self.take(entry, shared),
                Err(RecvTimeoutError::Timeout) => self.flush(shared),
                Err(RecvTimeoutError::Disconnected) => {
                    self.flush(shared);
                    if let Some(file) = &self.file {
                        let _ = file.sync_all();
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, entry: Entry, shared: &Shared) {
        match entry {
            Entry::Begin { at, cause, state } => {
                let cause = self.turn(cause, shared);
                if self.file.is_some() {
                    self.writer.begin(at, cause, *state);
                }
            }
            Entry::Batch(batch) => {
                let facts = batch.steps.len();
                if self.lost.is_some() {
                    add(&mut self.lost, facts, batch.at);
                    self.retry(shared);
                } else {
                    add(&mut self.unwritten, facts, batch.at);
                    self.writer.batch(&batch);
                }
                shared.waiting.fetch_sub(facts, Ordering::Relaxed);
            }
            Entry::Gap(gap) => self.writer.gap(gap),
            Entry::Sync(_) => {}
        }
        if self.writer.is_due() || self.flushed_at.elapsed() >= FLUSH_EVERY {
            self.flush(shared);
        }
    }

    /// A segment is about to begin: in the next file where this one is full.
    fn turn(&mut self, cause: Cause, shared: &Shared) -> Cause {
        if let Some(gap) = self.lost {
            if self.file.is_none() {
                return cause;
            }
            // The state that was asked for after the failure.
            self.lost = None;
            self.writer.gap(gap);
            return if cause == Cause::Rotation {
                Cause::Gap
            } else {
                cause
            };
        }
        if std::mem::take(&mut self.is_full) {
            self.flush(shared);
            if let Err(error) = self.rotate() {
                self.failed(&error);
            }
        }
        cause
    }

    /// Writes out what is there.
    fn flush(&mut self, shared: &Shared) {
        self.flushed_at = Instant::now();
        self.retry(shared);
        let Some(frame) = self.writer.take() else {
            return;
        };
        let Some(file) = &mut self.file else {
            return;
        };
        if let Err(error) = file.write_all(&frame) {
            // A part of the frame may be there; a reader finds its way past it.
            self.failed(&error);
            return;
        }
        self.unwritten = None;
        if self.bytes == 0 {
            self.state_bytes = frame.len() as u64;
        }
        self.bytes += frame.len() as u64;
        if self.bytes >= self.file_bytes_max() && !self.is_full {
            self.is_full = true;
            shared.wants_state.store(true, Ordering::Relaxed);
        }
    }

    fn file_bytes_max(&self) -> u64 {
        // The state of a large core must not turn the files again and again.
        (self.options.bytes_max / FILES).max(2 * self.state_bytes)
    }

    fn failed(&mut self, error: &io::Error) {
        let path = self.options.path.display();
        warn!(%error, "the journal \"{path}\" cannot be written: what is missing is marked in it as a gap");
        self.file = None;
        self.retry_at = Instant::now() + RETRY_AFTER;
        let none = Gap {
            facts: 0,
            from: Timestamp::ZERO,
            to: Timestamp::ZERO,
        };
        let unwritten = self.unwritten.take().unwrap_or(none);
        self.lost.get_or_insert(unwritten);
    }

    /// After a failed write: opens the file again, and asks for a state to go on from.
    fn retry(&mut self, shared: &Shared) {
        if self.file.is_some() || Instant::now() < self.retry_at {
            return;
        }
        match self.open() {
            Ok(()) => {
                info!("the journal is written again");
                shared.wants_state.store(true, Ordering::Relaxed);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn open(&mut self) -> io::Result<()> {
        let path = &self.options.path;
        let is_new = !path.exists();
        if !is_new {
            let reader = Reader::new(first_bytes(path)?);
            if !reader.is_journal() && !reader.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "the file is there and is no journal; name another one",
                ));
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        self.bytes = file.metadata()?.len();
        self.is_full = self.bytes >= self.file_bytes_max();
        self.file = Some(file);
        Ok(())
    }

    /// The current file becomes the one before, and the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..FILES).rev() {
            let from = numbered(&self.options.path, number - 1);
            match std::fs::rename(from, numbered(&self.options.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.open()
    }
}

/// So many facts more, the last of them at `at`.
fn add(gap: &mut Option<Gap>, facts: usize, at: Timestamp) {
    let gap = gap.get_or_insert(Gap {
        facts: 0,
        from: at,
        to: at,
    });
    if gap.facts == 0 {
        gap.from = at;
    }
    gap.facts += facts as u64;
    gap.to = at;
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file that is so many turns old: `journal.ovj`, `journal.ovj.1`, …
#[must_use]
pub fn numbered(path: &Path, number: u64) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The files of a journal that are there, oldest first.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    (0..FILES)
        .rev()
        .map(|number| numbered(path, number))
        .filter(|path| path.exists())
        .collect()
}

#[cfg(test)]
mod tests;

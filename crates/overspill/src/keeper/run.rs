//! The keeper's loop: one thread, one `poll(2)`, no waiting anywhere else.
//!
//! It wakes for signals (through a descriptor), for orders, and at a few deadlines, and in each
//! turn does all that is due. It holds: the socket, the serving process, the workers, and the
//! exits that no serving process has heard of. It must not know what a worker is for.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::inherited::{CONTROL_FD, LISTEN_FD, set_inheritable};
use super::link::{Link, LinkError};
use super::listener::{self, BindError};
use super::lock::{DataDirLock, LockError};
use super::log_file::BYTES_MAX;
use super::options::KeeperOptions;
use super::protocol::{AliveWorker, Notice, Order, SpawnOrder, WorkerSignal};
use super::restart::{Ending, RestartRule, Verdict};
use super::spawn::{self, Started};
use super::sweep::{self, SweepError};
use super::{exec, group};

/// Exits kept for the next serving process; the oldest go first. What is dropped is not lost:
/// the dead are missing from [`Notice::Alive`].
const KEPT_EXITS_MAX: usize = 1000;
/// How long killed processes may take before they count as stuck in the kernel.
const GROUP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a serving process may live after it closed its control socket.
const CUT_PATIENCE: Duration = Duration::from_secs(10);
/// How long the keeper waits for its processes to disappear when it ends.
const FINISH_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at dying groups; their ends are mostly told by SIGCHLD before.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two looks at the size of the logs.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// Why a keeper cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// An earlier run left processes that do not end.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The kernel refused something that it should not.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl KeeperError {
    /// The process exit code for this error.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Lock(LockError::Held { .. }) | Self::Bind(_) | Self::Sweep(_) => 69,
            Self::Lock(_) | Self::System { .. } => 74,
        }
    }
}

/// Runs a keeper until it is asked to stop; returns its exit code. To be called on the main
/// thread of a process with no other thread: it blocks signals and waits for all children.
///
/// # Errors
/// [`KeeperError`], before any process has been started.
pub fn run(options: KeeperOptions) -> Result<i32, KeeperError> {
    let system = |action| {
        move |errno: Errno| KeeperError::System {
            action,
            source: errno.into(),
        }
    };
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR2,
    ] {
        set.add(signal);
    }
    set.thread_block().map_err(system("block signals"))?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(system("open a descriptor for signals"))?;
    // What a worker's process leaves behind becomes a child of the keeper, so that its end is
    // told and it is not left as a zombie in a container without an init.
    prctl::set_child_subreaper(true).map_err(system("become the reaper of orphans"))?;
    let lock = DataDirLock::take(&options.data_dir)?;
    let leftovers = sweep::kill_leftovers(&options.installation)?;
    if leftovers > 0 {
        tracing::warn!(leftovers, "killed processes that an earlier run left");
    }
    let listener = listener::bind(options.listen)?;
    let mut keeper = Keeper::new(options, lock, listener, signals);
    loop {
        keeper.wait().map_err(system("wait for events"))?;
        if let Some(code) = keeper.turn() {
            return Ok(code);
        }
    }
}

struct Keeper {
    options: KeeperOptions,
    _lock: DataDirLock,
    listener: TcpListener,
    signals: SignalFd,
    serving: Option<Serving>,
    /// When to start the next serving process.
    start_at: Option<Instant>,
    rule: RestartRule,
    workers: BTreeMap<String, Started>,
    closing: Vec<Closing>,
    kept: VecDeque<Notice>,
    asked_to_stop: bool,
    finishing: Option<Finish>,
    trim_at: Instant,
}

struct Serving {
    pid: Pid,
    link: Option<Link>,
    ready_since: Option<Instant>,
    announced_stop: bool,
    /// When it is killed for living on without a control socket.
    kill_at: Option<Instant>,
}

/// A worker whose main process ended and whose group is being waited for.
struct Closing {
    worker: String,
    pid: Pid,
    ending: Ending,
    strays: Vec<Pid>,
    give_up_at: Instant,
}

struct Finish {
    code: i32,
    give_up_at: Instant,
}

impl Keeper {
    fn new(
        options: KeeperOptions,
        lock: DataDirLock,
        listener: TcpListener,
        signals: SignalFd,
    ) -> Self {
        let now = Instant::now();
        Self {
            options,
            _lock: lock,
            listener,
            signals,
            serving: None,
            start_at: Some(now),
            rule: RestartRule::default(),
            workers: BTreeMap::new(),
            closing: Vec::new(),
            kept: VecDeque::new(),
            asked_to_stop: false,
            finishing: None,
            trim_at: now + TRIM_EVERY,
        }
    }

    /// Waits until something happened or is due.
    fn wait(&self) -> nix::Result<()> {
        let now = Instant::now();
        let due = [
            self.start_at,
            self.serving.as_ref().and_then(|serving| serving.kill_at),
            self.finishing.as_ref().map(|finish| finish.give_up_at),
            (!self.workers.is_empty()).then_some(self.trim_at),
            (!self.closing.is_empty()).then_some(now + LOOK_EVERY),
        ];
        let timeout = due
            .into_iter()
            .flatten()
            .min()
            .map_or(PollTimeout::NONE, |due| {
                // One millisecond more, since the kernel's timeout is cut to whole ones.
                let left = due.saturating_duration_since(now) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
        let mut descriptors = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(link) = self
            .serving
            .as_ref()
            .and_then(|serving| serving.link.as_ref())
        {
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, link.wants_to_write());
            descriptors.push(PollFd::new(link.as_fd(), wanted));
        }
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Does all that is due; the exit code once everything is over.
    fn turn(&mut self) -> Option<i32> {
        self.read_orders();
        self.read_signals();
        self.reap();
        self.settle();
        let now = Instant::now();
        if let Some(finish) = &self.finishing {
            let all_gone =
                self.serving.is_none() && self.workers.is_empty() && self.closing.is_empty();
            if all_gone || now >= finish.give_up_at {
                return Some(finish.code);
            }
            return None;
        }
        if self.start_at.is_some_and(|at| now >= at) {
            self.start_serving();
        }
        if let Some(serving) = &mut self.serving
            && serving.kill_at.is_some_and(|at| now >= at)
        {
            serving.kill_at = None;
            group::kill_group(serving.pid);
        }
        if now >= self.trim_at {
            self.trim_at = now + TRIM_EVERY;
            for (worker, started) in &mut self.workers {
                if let Err(error) = started.log.trim(BYTES_MAX) {
                    tracing::warn!(worker = worker_label(worker), %error, "cannot trim the log");
                }
            }
        }
        None
    }

    fn read_signals(&mut self) {
        // An error here can only be a lack of kernel memory; poll will report the signal again.
        while let Ok(Some(info)) = self.signals.read_signal() {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(signal @ (Signal::SIGTERM | Signal::SIGINT)) => self.on_stop(signal),
                Ok(Signal::SIGHUP) => self.tell(&Notice::Reload),
                Ok(Signal::SIGUSR2) => self.tell(&Notice::Restart),
                // SIGCHLD only wakes: signals are merged, so the children are asked each turn.
                _ => {}
            }
        }
    }

    fn on_stop(&mut self, signal: Signal) {
        if self.finishing.is_some() {
            return;
        }
        match &self.serving {
            None => self.finish(0),
            Some(_) if self.asked_to_stop => self.finish(128 + signal as i32),
            Some(_) => self.tell(&Notice::Stop),
        }
        self.asked_to_stop = true;
    }

    /// Kills all that is left and ends once it is gone.
    fn finish(&mut self, code: i32) {
        self.start_at = None;
        if let Some(serving) = &self.serving {
            group::kill_group(serving.pid);
        }
        for started in self.workers.values() {
            group::kill_group(started.pid);
        }
        self.finishing = Some(Finish {
            code,
            give_up_at: Instant::now() + FINISH_PATIENCE,
        });
    }

    fn read_orders(&mut self) {
        let Some(serving) = &mut self.serving else {
            return;
        };
        let Some(link) = &mut serving.link else {
            return;
        };
        let mut orders = Vec::new();
        let received = link.receive(&mut orders).and_then(|()| link.flush());
        for order in orders {
            self.carry_out(order);
        }
        if let Err(error) = received {
            self.cut(&error);
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Spawn(order) => self.spawn(&order),
            Order::Signal { worker, signal } => {
                let Some(started) = self.workers.get(&worker) else {
                    return;
                };
                match signal {
                    WorkerSignal::Term => group::terminate(started.pid),
                    WorkerSignal::Kill => group::kill_group(started.pid),
                }
            }
            Order::List => {
                let alive = self.alive();
                self.tell(&alive);
            }
            Order::Ready => {
                self.kept.clear();
                if let Some(serving) = &mut self.serving {
                    serving.ready_since.get_or_insert_with(Instant::now);
                }
            }
            Order::Stopping => {
                if let Some(serving) = &mut self.serving {
                    serving.announced_stop = true;
                }
            }
            Order::Unknown => tracing::warn!("skipped an order of a newer version"),
        }
    }

    fn spawn(&mut self, order: &SpawnOrder) {
        let known = self.workers.contains_key(&order.worker)
            || self
                .closing
                .iter()
                .any(|closing| closing.worker == order.worker);
        let worker = order.worker.clone();
        let notice = if known {
            let reason = "a process of this name is there already".to_owned();
            Notice::SpawnFailed { worker, reason }
        } else if self.finishing.is_some() {
            Notice::SpawnFailed {
                worker,
                reason: "the keeper is stopping".to_owned(),
            }
        } else {
            match spawn::start(
                order,
                &self.options.installation,
                Some(&self.options.program),
            ) {
                Ok(started) => {
                    let pid = started.pid.as_raw();
                    self.workers.insert(worker.clone(), started);
                    Notice::Spawned { worker, pid }
                }
                Err(error) => Notice::SpawnFailed {
                    worker,
                    reason: error.to_string(),
                },
            }
        };
        self.tell(&notice);
    }

    fn alive(&self) -> Notice {
        let workers = self.workers.iter().map(|(worker, started)| AliveWorker {
            worker: worker.clone(),
            pid: started.pid.as_raw(),
        });
        Notice::Alive {
            workers: workers.collect(),
        }
    }

    fn tell(&mut self, notice: &Notice) {
        let Some(serving) = &mut self.serving else {
            return;
        };
        let Some(link) = &mut serving.link else {
            return;
        };
        if let Err(error) = link.send(notice) {
            self.cut(&error);
        }
    }

    /// Gives up a control socket. A serving process without one is no use: it gets a moment to
    /// end by itself, so that its own exit code is seen, if it was the one to close it.
    fn cut(&mut self, error: &LinkError) {
        let Some(serving) = &mut self.serving else {
            return;
        };
        serving.link = None;
        let closed = matches!(error, LinkError::Closed | LinkError::Io(_));
        let patience = if closed { CUT_PATIENCE } else { Duration::ZERO };
        serving.kill_at = Some(Instant::now() + patience);
        if !closed {
            tracing::error!(%error, "the control socket is broken; killing the serving process");
        }
    }

    fn start_serving(&mut self) {
        self.start_at = None;
        match self.try_start_serving() {
            Ok(serving) => {
                tracing::debug!(pid = serving.pid.as_raw(), "started the serving process");
                self.serving = Some(serving);
                let alive = self.alive();
                self.tell(&alive);
                for notice in self.kept.clone() {
                    self.tell(&notice);
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot start the serving process");
                self.on_serving_end(Ending::Unknown, None, false);
            }
        }
    }

    fn try_start_serving(&self) -> io::Result<Serving> {
        let (ours, theirs) = UnixStream::pair()?;
        let link = Link::new(ours)?;
        let mut command = exec::command(&self.options.program, None);
        command
            .args(&self.options.serving)
            .env(LISTEN_FD, self.listener.as_raw_fd().to_string())
            .env(CONTROL_FD, theirs.as_raw_fd().to_string())
            .env(sweep::INSTALLATION, &self.options.installation)
            .stdin(Stdio::null())
            .process_group(0);
        set_inheritable(&theirs, true)?;
        set_inheritable(&self.listener, true)?;
        let child = command.spawn();
        // The keeper has one thread, so no other program was started in between.
        set_inheritable(&self.listener, false)?;
        Ok(Serving {
            pid: Pid::from_raw(child?.id().cast_signed()),
            link: Some(link),
            ready_since: None,
            announced_stop: false,
            kill_at: None,
        })
    }

    /// Takes note of every child that ended.
    fn reap(&mut self) {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            let (pid, ending) = match waitid(Id::All, peek) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ending::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ending::Signal(signal as i32)),
                Err(Errno::EINTR) => continue,
                Err(Errno::EINVAL) => {
                    self.reap_unnamed();
                    continue;
                }
                // No child has ended, or there is none.
                Ok(_) | Err(_) => return,
            };
            // Killed before it is reaped: until then its number cannot go to another group.
            let is_ours = self
                .serving
                .as_ref()
                .is_some_and(|serving| serving.pid == pid)
                || self.workers.values().any(|started| started.pid == pid);
            if is_ours {
                group::kill_group(pid);
            }
            let _ = waitpid(pid, None);
            self.on_end(pid, ending);
        }
    }

    /// A child was ended by a real-time signal, which the wait functions cannot name, nor the
    /// child with it: reap it blindly, then see who is missing.
    fn reap_unnamed(&mut self) {
        let _ = waitpid(None, Some(WaitPidFlag::WNOHANG));
        let pids = self.workers.values().map(|started| started.pid);
        let pids: Vec<_> = pids
            .chain(self.serving.as_ref().map(|serving| serving.pid))
            .collect();
        for pid in pids {
            if kill(pid, None) == Err(Errno::ESRCH) {
                group::kill_group(pid);
                self.on_end(pid, Ending::Unknown);
            }
        }
    }

    /// One of our processes ended and has been reaped.
    fn on_end(&mut self, pid: Pid, ending: Ending) {
        if self
            .serving
            .as_ref()
            .is_some_and(|serving| serving.pid == pid)
        {
            // Its last words may still be in the socket.
            self.read_orders();
            let Some(serving) = self.serving.take() else {
                return;
            };
            let ready_for = serving.ready_since.map(|since| since.elapsed());
            self.on_serving_end(ending, ready_for, serving.announced_stop);
            return;
        }
        let worker = self.workers.iter().find(|(_, started)| started.pid == pid);
        let Some(worker) = worker.map(|(worker, _)| worker.clone()) else {
            return;
        };
        self.workers.remove(&worker);
        let strays = sweep::kill_strays(&self.options.installation, &worker);
        let give_up_at = Instant::now() + GROUP_PATIENCE;
        self.closing.push(Closing {
            worker,
            pid,
            ending,
            strays,
            give_up_at,
        });
    }

    fn on_serving_end(&mut self, ending: Ending, ready_for: Option<Duration>, announced: bool) {
        if self.finishing.is_some() {
            return;
        }
        match self
            .rule
            .judge(ending, ready_for, announced || self.asked_to_stop)
        {
            Verdict::Finish(code) => self.finish(code),
            Verdict::StartIn(pause) => {
                tracing::warn!(
                    ?ending,
                    ?pause,
                    "the serving process ended; starting another"
                );
                self.start_at = Some(Instant::now() + pause);
            }
        }
    }

    /// Reports the workers whose group is gone.
    fn settle(&mut self) {
        let now = Instant::now();
        for closing in std::mem::take(&mut self.closing) {
            let strays = closing
                .strays
                .iter()
                .filter(|pid| kill(**pid, None).is_ok());
            let mut stuck: Vec<i32> = strays.map(|pid| pid.as_raw()).collect();
            if !group::is_gone(closing.pid) {
                stuck.push(closing.pid.as_raw());
            }
            if !stuck.is_empty() && now < closing.give_up_at {
                self.closing.push(closing);
                continue;
            }
            let (code, signal) = match closing.ending {
                Ending::Code(code) => (Some(code), None),
                Ending::Signal(signal) => (None, Some(signal)),
                Ending::Unknown => (None, None),
            };
            let pid = closing.pid.as_raw();
            let notice = Notice::Exited {
                worker: closing.worker,
                pid,
                code,
                signal,
                stuck,
            };
            if self
                .serving
                .as_ref()
                .is_none_or(|serving| serving.ready_since.is_none())
            {
                self.kept.push_back(notice.clone());
                if self.kept.len() > KEPT_EXITS_MAX {
                    self.kept.pop_front();
                }
            }
            self.tell(&notice);
        }
    }
}

/// The first characters of a worker's name: the whole is a secret, it opens the worker's URLs.
fn worker_label(worker: &str) -> &str {
    worker.get(..8).unwrap_or(worker)
}

//! Worker processes without a keeper: for tests and for `overspill demo`, where one process does
//! all.
//!
//! The same promises hold as far as they can: own process groups, the whole group killed and
//! gone before an exit is told. One thread per worker starts it and waits for it; with a shim
//! the process then dies with that thread, and so with this process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use super::protocol::{AliveWorker, Notice, SpawnOrder, WorkerSignal};
use super::{group, spawn, sweep};

/// Notices that wait for the serving process before worker threads wait for it.
const NOTICES_MAX: usize = 1024;
/// How long killed processes may take before they count as stuck in the kernel.
const GROUP_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a dying group whose members are not our children.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A worker's thread only waits.
const STACK_BYTES: usize = 128 << 10;

/// Starts and ends worker processes itself. All of them are killed when it is dropped.
#[derive(Debug)]
pub struct DirectHost {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    installation: String,
    shim: Option<PathBuf>,
    /// `None` while a process is being started.
    workers: Mutex<BTreeMap<String, Option<Pid>>>,
    /// Set when the host is dropped: whatever is started after that is killed at once.
    closed: AtomicBool,
    notices: mpsc::Sender<Notice>,
}

impl DirectHost {
    /// A host for processes marked with `installation`. `shim` is the path of an Overspill
    /// binary, without which workers outlive this process when it is killed.
    #[must_use]
    pub fn new(installation: &str, shim: Option<PathBuf>) -> (Self, mpsc::Receiver<Notice>) {
        let (notices, receiver) = mpsc::channel(NOTICES_MAX);
        let shared = Shared {
            installation: installation.to_owned(),
            shim,
            workers: Mutex::default(),
            closed: AtomicBool::new(false),
            notices,
        };
        (
            Self {
                shared: Arc::new(shared),
            },
            receiver,
        )
    }

    /// Starts a worker process; [`Notice::Spawned`] or [`Notice::SpawnFailed`] follows.
    pub fn spawn(&self, order: SpawnOrder) {
        let shared = Arc::clone(&self.shared);
        let worker = order.worker.clone();
        let thread = std::thread::Builder::new()
            .name("worker".into())
            .stack_size(STACK_BYTES);
        let spawned = thread.spawn(move || shared.run(&order));
        if let Err(error) = spawned {
            let reason = format!("no thread can be started for the process: {error}");
            // A full channel means that nobody has listened for long; then nobody misses this.
            let _ = self
                .shared
                .notices
                .try_send(Notice::SpawnFailed { worker, reason });
        }
    }

    /// Signals a worker; unknown and ended workers are ignored.
    pub fn signal(&self, worker: &str, signal: WorkerSignal) {
        let workers = self.shared.workers();
        let Some(Some(pid)) = workers.get(worker) else {
            return;
        };
        match signal {
            WorkerSignal::Term => group::terminate(*pid),
            WorkerSignal::Kill => group::kill_group(*pid),
        }
    }

    /// The workers whose main process lives, in the order of their names.
    #[must_use]
    pub fn alive(&self) -> Vec<AliveWorker> {
        let workers = self.shared.workers();
        let named = workers.iter().filter_map(|(worker, pid)| {
            Some(AliveWorker {
                worker: worker.clone(),
                pid: (*pid)?.as_raw(),
            })
        });
        named.collect()
    }
}

impl Drop for DirectHost {
    fn drop(&mut self) {
        let workers = self.shared.workers();
        self.shared.closed.store(true, Ordering::Release);
        for pid in workers.values().flatten() {
            group::kill_group(*pid);
        }
    }
}

impl Shared {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Option<Pid>>> {
        self.workers
            .lock()
            .expect("nothing panics while it is held")
    }

    /// The whole life of one process; runs on its own thread.
    fn run(&self, order: &SpawnOrder) {
        let worker = order.worker.clone();
        {
            let mut workers = self.workers();
            if workers.contains_key(&worker) {
                drop(workers);
                let reason = "a process of this name is there already".to_owned();
                self.tell(Notice::SpawnFailed { worker, reason });
                return;
            }
            workers.insert(worker.clone(), None);
        }
        let started = match spawn::start(order, &self.installation, self.shim.as_deref()) {
            Ok(started) => started,
            Err(error) => {
                self.workers().remove(&worker);
                self.tell(Notice::SpawnFailed {
                    worker,
                    reason: error.to_string(),
                });
                return;
            }
        };
        let pid = started.pid;
        {
            let mut workers = self.workers();
            workers.insert(worker.clone(), Some(pid));
            if self.closed.load(Ordering::Acquire) {
                group::kill_group(pid);
            }
        }
        self.tell(Notice::Spawned {
            worker: worker.clone(),
            pid: pid.as_raw(),
        });
        let (code, signal) = wait_for_end(pid);
        // Killed before it is reaped: until then its number cannot go to another group. The map
        // is locked so that a signal sent meanwhile cannot meet another group either.
        {
            let mut workers = self.workers();
            group::kill_group(pid);
            let _ = waitpid(pid, None);
            workers.remove(&worker);
        }
        sweep::kill_strays(&self.installation, &worker);
        let give_up_at = Instant::now() + GROUP_PATIENCE;
        while !group::is_gone(pid) && Instant::now() < give_up_at {
            #[expect(
                clippy::disallowed_methods,
                reason = "these processes are not our children: no signal tells their end"
            )]
            std::thread::sleep(LOOK_EVERY);
        }
        let stuck = if group::is_gone(pid) {
            Vec::new()
        } else {
            vec![pid.as_raw()]
        };
        self.tell(Notice::Exited {
            worker,
            pid: pid.as_raw(),
            code,
            signal,
            stuck,
        });
    }

    fn tell(&self, notice: Notice) {
        // Nobody listens any more once the server is going down.
        let _ = self.notices.blocking_send(notice);
    }
}

/// Waits until the child ends, and leaves it unreaped.
fn wait_for_end(pid: Pid) -> (Option<i32>, Option<i32>) {
    loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::Exited(_, code)) => return (Some(code), None),
            Ok(WaitStatus::Signaled(_, signal, _)) => return (None, Some(signal as i32)),
            Err(Errno::EINTR) => {}
            // A real-time signal has no name here; otherwise somebody else reaped it.
            Ok(_) | Err(_) => return (None, None),
        }
    }
}

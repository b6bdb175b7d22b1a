//! The serving process's handle on its keeper.
//!
//! One task owns the control socket; handles send it orders, and what the keeper says comes out
//! of one receiver, in order. When the socket closes the keeper is dead: the task kills the
//! worker groups that it knows of and says [`Notice::KeeperDied`], whereupon the serving process
//! must exit.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;

use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};

use super::group;
use super::inherited::{self, CONTROL_FD, InheritError};
use super::protocol::{AliveWorker, Notice, Order, SpawnOrder, WorkerSignal};

/// Notices that wait for the serving process before the socket is left unread.
const NOTICES_MAX: usize = 1024;

/// A cheap handle on the keeper.
#[derive(Debug, Clone)]
pub struct KeeperClient {
    requests: mpsc::UnboundedSender<Request>,
}

/// The keeper is dead; [`Notice::KeeperDied`] says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keeper process is gone")]
pub struct KeeperGone;

#[derive(Debug)]
enum Request {
    Order(Order),
    Alive(oneshot::Sender<Vec<AliveWorker>>),
}

impl KeeperClient {
    /// Takes over the control socket that the environment names, within a Tokio runtime; `None`
    /// when no keeper started this process. The first notice is [`Notice::Alive`].
    ///
    /// # Errors
    /// [`InheritError`] when the variable is set but does not lead to a socket.
    pub fn from_env() -> Result<Option<(Self, mpsc::Receiver<Notice>)>, InheritError> {
        let Some(socket) = inherited::take_socket(CONTROL_FD)? else {
            return Ok(None);
        };
        let stream = UnixStream::from(socket);
        stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UnixStream::from_std(stream))
            .map(|stream| Some(Self::over(stream)))
            .map_err(|source| InheritError::Io {
                variable: CONTROL_FD,
                source,
            })
    }

    /// Speaks the keeper's protocol over any connection.
    pub fn over(
        connection: impl AsyncRead + AsyncWrite + Send + 'static,
    ) -> (Self, mpsc::Receiver<Notice>) {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (notices, receiver) = mpsc::channel(NOTICES_MAX);
        tokio::spawn(run(connection, inbox, notices));
        (Self { requests }, receiver)
    }

    /// Asks for a worker process; [`Notice::Spawned`] or [`Notice::SpawnFailed`] follows.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn spawn(&self, order: SpawnOrder) -> Result<(), KeeperGone> {
        self.send(Request::Order(Order::Spawn(order)))
    }

    /// Signals a worker; unknown and ended workers are ignored.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn signal(&self, worker: &str, signal: WorkerSignal) -> Result<(), KeeperGone> {
        self.send(Request::Order(Order::Signal {
            worker: worker.to_owned(),
            signal,
        }))
    }

    /// The workers whose main process lives, in the order of their names.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub async fn alive(&self) -> Result<Vec<AliveWorker>, KeeperGone> {
        let (sender, receiver) = oneshot::channel();
        self.send(Request::Alive(sender))?;
        receiver.await.map_err(|_| KeeperGone)
    }

    /// Says that this process answers requests now.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn ready(&self) -> Result<(), KeeperGone> {
        self.send(Request::Order(Order::Ready))
    }

    /// Says that this process is ending on purpose.
    ///
    /// # Errors
    /// [`KeeperGone`].
    pub fn stopping(&self) -> Result<(), KeeperGone> {
        self.send(Request::Order(Order::Stopping))
    }

    fn send(&self, request: Request) -> Result<(), KeeperGone> {
        self.requests.send(request).map_err(|_| KeeperGone)
    }
}

/// The task: ends when the keeper is gone, or when nobody holds a handle any more.
async fn run(
    connection: impl AsyncRead + AsyncWrite,
    mut inbox: mpsc::UnboundedReceiver<Request>,
    notices: mpsc::Sender<Notice>,
) {
    let (reader, mut writer) = tokio::io::split(connection);
    let mut lines = BufReader::new(reader).lines();
    let mut known = BTreeMap::new();
    // The first `Alive` is the greeting; each later one answers the oldest question.
    let mut greeted = false;
    let mut questions: VecDeque<oneshot::Sender<Vec<AliveWorker>>> = VecDeque::new();
    loop {
        tokio::select! {
            request = inbox.recv() => {
                let order = match request {
                    Some(Request::Order(order)) => order,
                    Some(Request::Alive(question)) => {
                        questions.push_back(question);
                        Order::List
                    }
                    None => return,
                };
                let mut line = serde_json::to_vec(&order).expect("an order has string keys only");
                line.push(b'\n');
                if writer.write_all(&line).await.is_err() {
                    break;
                }
            }
            line = lines.next_line() => {
                let Ok(Some(line)) = line else { break };
                let notice = match serde_json::from_str(&line) {
                    Ok(notice) => notice,
                    Err(error) => {
                        tracing::error!(%error, "skipped a notice of the keeper");
                        continue;
                    }
                };
                remember(&mut known, &notice);
                let notice = match notice {
                    Notice::Unknown => continue,
                    Notice::Alive { workers } if greeted => {
                        if let Some(question) = questions.pop_front() {
                            // Whoever asked may have gone.
                            let _ = question.send(workers);
                        }
                        continue;
                    }
                    Notice::Alive { .. } => {
                        greeted = true;
                        notice
                    }
                    notice => notice,
                };
                if notices.send(notice).await.is_err() {
                    return;
                }
            }
        }
    }
    for pid in known.into_values() {
        group::kill_group(pid);
    }
    let _ = notices.send(Notice::KeeperDied).await;
}

fn remember(known: &mut BTreeMap<String, Pid>, notice: &Notice) {
    match notice {
        Notice::Alive { workers } => {
            for alive in workers {
                known.insert(alive.worker.clone(), Pid::from_raw(alive.pid));
            }
        }
        Notice::Spawned { worker, pid } => {
            known.insert(worker.clone(), Pid::from_raw(*pid));
        }
        Notice::Exited { worker, .. } => {
            known.remove(worker);
        }
        _ => {}
    }
}

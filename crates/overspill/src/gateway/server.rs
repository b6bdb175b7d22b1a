//! Connections: taken, timed, and drained.
//!
//! HTTP/1.1 only. A held request is released before its connection is asked to end, so that no
//! worker's poll is cut off: an SDK that is stopped waits for its open polls.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Gateway;
use super::delivery::Owed;
use super::options::Holds;

/// Room for a request's headers: one of a megabyte still gets an answer in our words.
const HEADER_BYTES_MAX: usize = 1_200_000;
/// Headers of a request at most.
const HEADERS_MAX: usize = 128;

/// To a connection that there is no room for.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 80\r\n\r\n\
    {\"error\":\"too many connections are open\",\"code\":\"connections_full\",\"status\":503}";

/// Says something at most every five seconds: what floods the server must not flood its log.
#[derive(Default)]
struct Seldom {
    said_at: Option<Instant>,
}

impl Seldom {
    fn error(&mut self, say: impl FnOnce()) {
        let is_due = self
            .said_at
            .is_none_or(|at| at.elapsed() >= Duration::from_secs(5));
        if is_due {
            self.said_at = Some(Instant::now());
            say();
        }
    }
}

/// One connection, as its requests see it.
#[derive(Clone)]
pub struct Peer {
    /// Our end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Jobs handed to the connection whose writing is not certain yet.
    pub owed: Arc<Owed>,
}

/// Serves until `stop` is cancelled; then releases what is held, lets open requests end, and
/// returns. The listener is dropped on return: who else holds the socket keeps its backlog.
///
/// # Errors
/// When the listener itself fails in a way that waiting does not cure.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    let connections = Arc::new(Connections::default());
    let tracker = TaskTracker::new();
    let mut said = Seldom::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Out of file descriptors or memory: some connection will end, then it goes on.
                said.error(|| tracing::error!(%error, "cannot accept a connection"));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = connections.admit(remote.ip(), &gateway) else {
            said.error(|| tracing::warn!(%remote, "too many connections: 503"));
            // As much as fits into an empty send buffer; a client that went on writing may not see it.
            let _ = stream.try_write(FULL);
            continue;
        };
        let gateway = Arc::clone(&gateway);
        tracker.spawn(async move {
            let _place = place;
            serve_connection(gateway, stream, remote).await;
        });
    }
    // Held polls first, then the connections.
    gateway.drain.cancel();
    tracker.close();
    let limit = gateway.options.holds.drain;
    if tokio::time::timeout(limit, tracker.wait()).await.is_err() {
        tracing::warn!(open = tracker.len(), "some requests did not end in time");
    }
    Ok(())
}

async fn serve_connection(gateway: Arc<Gateway>, stream: TcpStream, remote: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Without it, small answers wait 40 ms for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let peer = Peer {
        local,
        remote,
        owed: Arc::new(Owed::default()),
    };
    serve_stream(gateway, stream, peer).await;
}

/// Answers what comes over a stream of bytes, until it ends or the server drains.
pub(crate) async fn serve_stream(
    gateway: Arc<Gateway>,
    stream: impl AsyncRead + AsyncWrite + Abort + Send + Unpin + 'static,
    peer: Peer,
) {
    let remote = peer.remote;
    let phase = Arc::new(AtomicU8::new(IDLE));
    let io = TokioIo::new(TimedStream::new(
        stream,
        Arc::clone(&phase),
        &gateway.options.holds,
    ));
    let service = service_fn({
        let gateway = Arc::clone(&gateway);
        let peer = peer.clone();
        move |request: hyper::Request<Incoming>| {
            let gateway = Arc::clone(&gateway);
            let peer = peer.clone();
            let phase = Arc::clone(&phase);
            async move {
                let busy = Busy::new(phase);
                let reply = gateway.answer(request, peer).await;
                Ok::<_, std::convert::Infallible>(reply.map(|body| body.lasting(busy)))
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It would also run while a kept connection rests; the stream below knows better.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = gateway.drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%remote, %error, "a connection broke");
        peer.owed.failed(gateway.engine.as_ref());
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// How many connections there are, in all and by address.
#[derive(Default)]
struct Connections {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place among them; given back when dropped.
struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    fn admit(self: &Arc<Self>, address: IpAddr, gateway: &Gateway) -> Option<Place> {
        let options = &gateway.options;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        let is_crowded =
            !address.is_loopback() && of_address >= options.connections_per_address_max;
        if counts.all >= options.connections_max || is_crowded {
            return None;
        }
        counts.all += 1;
        *counts.by_address.entry(address).or_insert(0) += 1;
        Some(Place {
            connections: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .connections
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// No request has begun.
const IDLE: u8 = 0;
/// Some bytes of a request's headers came.
const HEADERS: u8 = 1;
/// A request is being answered.
const BUSY: u8 = 2;

/// A request that is being answered, until its answer is written.
struct Busy(Arc<AtomicU8>);

impl Busy {
    fn new(phase: Arc<AtomicU8>) -> Self {
        phase.store(BUSY, Ordering::Relaxed);
        Self(phase)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

/// A stream that can be broken off.
pub(crate) trait Abort {
    /// From now on its end throws away what the other side has not read.
    fn abort(&self);
}

impl Abort for TcpStream {
    fn abort(&self) {
        // Otherwise the kernel keeps what was written, and the connection, for as long as nobody reads it.
        let _ = self.set_zero_linger();
    }
}

/// A stream that breaks when the other side is too slow: with its headers, with reading its
/// answer, or with asking anything at all.
struct TimedStream<S> {
    stream: S,
    phase: Arc<AtomicU8>,
    /// Runs while nothing of a request, or not all of its headers, is there.
    reading: Timeout,
    /// The phase that `reading` runs for.
    reading_in: u8,
    /// Runs while the other side takes nothing.
    writing: Timeout,
    headers: Duration,
    idle: Duration,
    write: Duration,
}

/// A time-out that is set and cleared without making a timer each time.
struct Timeout {
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Timeout {
    const fn new() -> Self {
        Self {
            sleep: None,
            is_running: false,
        }
    }

    /// Starts it, unless it runs; true when it has run out.
    fn has_run_out(&mut self, length: Duration, context: &mut Context<'_>) -> bool {
        if !self.is_running {
            self.is_running = true;
            let end = Instant::now() + length;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(end),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(end))),
            }
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(context).is_ready(),
            None => false,
        }
    }

    const fn clear(&mut self) {
        self.is_running = false;
    }
}

impl<S> TimedStream<S> {
    const fn new(stream: S, phase: Arc<AtomicU8>, holds: &Holds) -> Self {
        Self {
            stream,
            phase,
            reading: Timeout::new(),
            reading_in: IDLE,
            writing: Timeout::new(),
            headers: holds.headers,
            idle: holds.idle,
            write: holds.write,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        let phase = this.phase.load(Ordering::Relaxed);
        if result.is_ready() {
            if phase == IDLE && buffer.filled().len() > before {
                // From the first byte on, the headers have their own time; later bytes of them
                // do not give them more.
                this.phase.store(HEADERS, Ordering::Relaxed);
                this.reading.clear();
                this.reading_in = HEADERS;
                let _ = this.reading.has_run_out(this.headers, context);
            }
            return result;
        }
        let length = match phase {
            IDLE => this.idle,
            HEADERS => this.headers,
            _ => {
                this.reading.clear();
                return Poll::Pending;
            }
        };
        if this.reading_in != phase {
            this.reading_in = phase;
            this.reading.clear();
        }
        if this.reading.has_run_out(length, context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: Abort> TimedStream<S> {
    fn timed<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing.clear();
            return result;
        }
        if self.writing.has_run_out(self.write, context) {
            self.stream.abort();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Abort + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.timed(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

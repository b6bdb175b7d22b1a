//! The bounded queue of spans, and the task that posts them to the collector.
//!
//! Whoever has a span gives it away and goes on: a full queue loses it. A collector that is down costs the
//! memory of the queue and one batch, and a line in the log when it begins and when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use overspill_core::id::JobId;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::context::TraceContext;
use super::otlp;
use super::settings::{Sampler, Settings};
use super::span::{self, Span};

/// The first pause after a post that may succeed later; doubled each time.
const PAUSE: Duration = Duration::from_millis(500);
/// An ending server waits so long for its last spans.
const FLUSH: Duration = Duration::from_secs(2);

/// Takes spans; cheap to clone. The default takes none.
#[derive(Debug, Clone, Default)]
pub struct Tracer {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<Span>,
    sampler: Sampler,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
}

/// What became of spans since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// The collector took them.
    pub sent: u64,
    /// The queue was full.
    pub lost: u64,
    /// The collector did not take them in time, or not at all.
    pub refused: u64,
}

/// Where a job that comes in stands in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// What is stored with the job: whatever becomes of it is a child of that.
    pub context: TraceContext,
    /// The caller's span; `None` where the trace begins here.
    pub caller: Option<[u8; 8]>,
    /// Spans are made of the job.
    pub is_recorded: bool,
}

impl Tracer {
    /// Starts the task that posts; must be called within a runtime.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn start(settings: Settings) -> Result<(Self, Exporter), reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.timeout)
            .user_agent(concat!("overspill/", env!("CARGO_PKG_VERSION")))
            .default_headers(settings.headers.clone())
            .build()?;
        let (queue, spans) = mpsc::channel(settings.queue_max);
        let shared = Arc::new(Shared {
            queue,
            sampler: settings.sampler,
            counts: Counts::default(),
        });
        let stop = CancellationToken::new();
        let work = Work {
            client,
            settings,
            shared: Arc::clone(&shared),
            is_down: false,
        };
        let task = tokio::spawn(work.run(spans, stop.clone()));
        let tracer = Self {
            shared: Some(shared),
        };
        Ok((tracer, Exporter { task, stop }))
    }

    /// Whether spans go anywhere.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Gives a span away.
    pub fn send(&self, span: Span) {
        if let Some(shared) = &self.shared
            && shared.queue.try_send(span).is_err()
        {
            shared.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where a job that comes in stands: in its caller's trace, else in one of its own. Without a collector, and
    /// where the trace is not recorded, the caller's own place passes as it is.
    #[must_use]
    pub fn enter(
        &self,
        caller: Option<TraceContext>,
        job: JobId,
        generation: u32,
    ) -> Option<Entered> {
        let trace_id = caller
            .as_ref()
            .map_or_else(|| span::trace_of(job), |c| c.trace_id);
        let is_recorded = self.shared.as_ref().is_some_and(|shared| {
            let sampled = caller.as_ref().map(|caller| caller.is_sampled);
            shared.sampler.records(sampled, trace_id)
        });
        if !is_recorded {
            return caller.map(|context| Entered {
                caller: Some(context.span_id),
                context,
                is_recorded,
            });
        }
        Some(Entered {
            caller: caller.as_ref().map(|caller| caller.span_id),
            context: TraceContext {
                trace_id,
                span_id: span::of_submission(job, generation),
                is_sampled: true,
                state: caller.and_then(|caller| caller.state),
            },
            is_recorded,
        })
    }

    /// A stored context whose spans are wanted.
    #[must_use]
    pub fn wanted(&self, stored: Option<&str>) -> Option<TraceContext> {
        if !self.is_on() {
            return None;
        }
        TraceContext::stored(stored?).filter(|context| context.is_sampled)
    }

    /// What is passed on from a job's stored place in its trace, by this server's own step of it.
    #[must_use]
    pub fn passed_on(&self, stored: Option<&str>, step: [u8; 8]) -> Option<TraceContext> {
        let context = TraceContext::stored(stored?)?;
        Some(if self.is_on() && context.is_sampled {
            context.under(step)
        } else {
            context
        })
    }

    /// What became of spans since the start; `None` where none are made.
    #[must_use]
    pub fn counts(&self) -> Option<SpanCounts> {
        let counts = &self.shared.as_ref()?.counts;
        Some(SpanCounts {
            sent: counts.sent.load(Ordering::Relaxed),
            lost: counts.lost.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
        })
    }
}

/// The task that posts.
#[derive(Debug)]
pub struct Exporter {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Exporter {
    /// Posts what there is, but does not wait long.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = timeout(FLUSH, self.task).await;
    }
}

struct Work {
    client: reqwest::Client,
    settings: Settings,
    shared: Arc<Shared>,
    is_down: bool,
}

/// Why a post failed.
struct Refusal {
    reason: String,
    /// It may succeed later, after so long.
    again: Option<Duration>,
}

impl Work {
    async fn run(mut self, mut spans: mpsc::Receiver<Span>, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                count = spans.recv_many(&mut batch, self.settings.batch_max) => {
                    if count == 0 {
                        return;
                    }
                }
                () = stop.cancelled() => {
                    // What is in the queue is still taken; then nothing comes any more.
                    spans.close();
                    if spans.is_empty() {
                        return;
                    }
                    continue;
                }
            }
            let full = Instant::now() + self.settings.delay;
            while batch.len() < self.settings.batch_max && !stop.is_cancelled() {
                let room = self.settings.batch_max - batch.len();
                tokio::select! {
                    count = spans.recv_many(&mut batch, room) => if count == 0 { break },
                    () = sleep_until(full) => break,
                    () = stop.cancelled() => {}
                }
            }
            self.post(&batch, &stop).await;
            batch.clear();
        }
    }

    /// Posts a batch, again and again while there is time.
    async fn post(&mut self, batch: &[Span], stop: &CancellationToken) {
        let body = bytes::Bytes::from(otlp::request(&self.settings.resource, batch));
        let end = Instant::now() + self.settings.timeout;
        let count = batch.len() as u64;
        let mut pause = PAUSE;
        let refusal = loop {
            let posted = timeout_at(end, self.once(body.clone())).await;
            let refusal = posted.unwrap_or_else(|_| {
                Err(Refusal {
                    reason: "it did not answer in time".to_owned(),
                    again: None,
                })
            });
            let refusal = match refusal {
                Ok(()) => {
                    self.shared.counts.sent.fetch_add(count, Ordering::Relaxed);
                    if std::mem::take(&mut self.is_down) {
                        info!("the collector of traces takes spans again");
                    }
                    return;
                }
                Err(refusal) => refusal,
            };
            let Some(told) = refusal.again else {
                break refusal;
            };
            let wait = told.max(pause);
            if Instant::now() + wait >= end || stop.is_cancelled() {
                break refusal;
            }
            pause *= 2;
            tokio::select! {
                () = sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        };
        self.shared
            .counts
            .refused
            .fetch_add(count, Ordering::Relaxed);
        if !std::mem::replace(&mut self.is_down, true) {
            let url = &self.settings.url;
            warn!(%url, reason = refusal.reason, "the collector of traces takes no spans; they are lost until it does");
        }
    }

    async fn once(&self, body: bytes::Bytes) -> Result<(), Refusal> {
        let request = self.client.post(self.settings.url.clone());
        let request = request.header(CONTENT_TYPE, "application/x-protobuf");
        let answer = request.body(body).send().await.map_err(|error| Refusal {
            reason: error.without_url().to_string(),
            again: Some(Duration::ZERO),
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let may_succeed = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        let told = answer.headers().get(RETRY_AFTER);
        let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
        Err(Refusal {
            reason: format!("it answered {status}"),
            again: may_succeed.then(|| Duration::from_secs(told.unwrap_or(0))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otel::span::Kind;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn settings(url: &str) -> Settings {
        Settings {
            url: url.parse().unwrap(),
            headers: http::HeaderMap::new(),
            timeout: Duration::from_secs(5),
            resource: vec![("service.name".into(), "test".into())],
            sampler: Sampler::PARENT_OR_ALL,
            queue_max: 8,
            batch_max: 4,
            delay: Duration::from_millis(1),
        }
    }

    fn span() -> Span {
        let job = JobId::new(7, false);
        let context = TraceContext {
            trace_id: [1; 16],
            span_id: [2; 8],
            is_sampled: true,
            state: None,
        };
        Span::of_job("submit", Kind::Producer, context, "tts", job)
    }

    /// A collector that answers with these statuses in turn, the last for ever; with what it was sent.
    async fn collector(answers: Vec<&'static str>) -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut count = 0;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let mut piece = [0; 4096];
                let body = loop {
                    let read = stream.read(&mut piece).await.unwrap();
                    bytes.extend_from_slice(&piece[..read]);
                    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
                        continue;
                    };
                    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                    let length: usize = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                        .unwrap();
                    if bytes.len() == end + 4 + length {
                        break bytes[end + 4..].to_vec();
                    }
                };
                kept.lock().unwrap().push(body);
                let answer = answers[count.min(answers.len() - 1)];
                count += 1;
                let text =
                    format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        (url, seen)
    }

    #[tokio::test]
    async fn spans_are_posted_in_batches() {
        let (url, seen) = collector(vec!["200 OK"]).await;
        let (tracer, exporter) = Tracer::start(settings(&url)).unwrap();
        for _ in 0..6 {
            tracer.send(span());
        }
        let end = Instant::now() + Duration::from_secs(30);
        while tracer.counts().unwrap().sent < 6 && Instant::now() < end {
            tokio::task::yield_now().await;
        }
        assert_eq!(tracer.counts().unwrap().sent, 6);
        exporter.stop().await;
        let posts = seen.lock().unwrap();
        let named = |body: &[u8]| body.windows(6).filter(|w| *w == b"submit").count();
        let total: usize = posts.iter().map(|body| named(body)).sum();
        assert_eq!(total, 6);
        assert!(posts.iter().all(|body| named(body) <= 4), "in batches");
    }

    #[tokio::test]
    async fn a_collector_that_is_busy_is_asked_again() {
        let (url, seen) = collector(vec!["503 Busy", "200 OK"]).await;
        let (tracer, exporter) = Tracer::start(settings(&url)).unwrap();
        tracer.send(span());
        let sent = || tracer.counts().unwrap().sent == 1;
        let end = Instant::now() + Duration::from_secs(30);
        while !sent() && Instant::now() < end {
            tokio::task::yield_now().await;
        }
        assert!(sent(), "{:?}", tracer.counts());
        let posts = seen.lock().unwrap().clone();
        assert_eq!(posts.len(), 2);
        assert_eq!(posts[0], posts[1]);
        exporter.stop().await;
    }

    #[tokio::test]
    async fn a_collector_that_is_down_costs_the_queue_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        // It accepts connections and never answers.
        let (tracer, exporter) = Tracer::start(settings(&url)).unwrap();
        for _ in 0..1_000 {
            tracer.send(span());
        }
        let counts = tracer.counts().unwrap();
        assert_eq!(counts.sent, 0);
        assert!(counts.lost >= 1_000 - 8 - 4, "{counts:?}");
        exporter.stop().await;
    }

    #[tokio::test]
    async fn a_job_enters_its_callers_trace_or_its_own() {
        let job = JobId::new(7, false);
        let caller = span().context;
        let off = Tracer::default();
        assert_eq!(off.enter(None, job, 0), None);
        let entered = off.enter(Some(caller.clone()), job, 0).unwrap();
        assert_eq!(
            (entered.context, entered.is_recorded),
            (caller.clone(), false)
        );
        let (url, _) = collector(vec!["200 OK"]).await;
        let (on, exporter) = Tracer::start(settings(&url)).unwrap();
        let own = on.enter(None, job, 0).unwrap();
        assert_eq!((own.caller, own.is_recorded), (None, true));
        assert_eq!(own.context.trace_id, span::trace_of(job));
        let entered = on.enter(Some(caller.clone()), job, 0).unwrap();
        assert_eq!(entered.caller, Some(caller.span_id));
        assert_eq!(entered.context.trace_id, caller.trace_id);
        assert_ne!(entered.context.span_id, caller.span_id);
        let unsampled = TraceContext {
            is_sampled: false,
            ..caller
        };
        let passed = on.enter(Some(unsampled.clone()), job, 0).unwrap();
        assert_eq!((passed.context, passed.is_recorded), (unsampled, false));
        exporter.stop().await;
    }
}

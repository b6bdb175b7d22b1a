//! The service: takes what is due per receiver, sends it, and tells the engine what became of it.
//!
//! A receiver has few attempts at once, and after some failures in a row none at all for a while: what
//! it is owed stays due and keeps its attempts. So one that hangs holds back nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overspill_core::effect::Answer;
use overspill_core::event::Event;
use overspill_core::time::{DurationMs, Timestamp};
use overspill_core::webhook::{Webhook, WebhookId, WebhookOutcome};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::body;
use super::send::{Message, Resolve, Sender, SystemResolver};
use crate::clock;
use crate::engine::api::{Engine as _, Unavailable};
use crate::engine::handle::Handle;
use crate::otel::span::{self, Kind, OPERATION, Span};

/// Attempts at once in all.
const AT_ONCE_MAX: usize = 64;
/// Attempts at once to one receiver.
const PER_RECEIVER_MAX: usize = 8;
/// Kibibytes of bodies in memory at once; a larger body goes alone.
const BODY_KIB_MAX: u32 = 256 << 10;
/// Failures in a row after which a receiver is left alone.
const FAILURES_MAX: u32 = 5;
/// How long it is left alone first; doubled each time, up to [`REST_MAX`].
const REST_FIRST: DurationMs = DurationMs::from_secs(30);
/// See [`REST_FIRST`].
const REST_MAX: DurationMs = DurationMs::from_secs(600);
/// The store is asked at least this often, whatever was missed.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// At the end, what is under way is waited for this long.
const END_GRACE: Duration = Duration::from_secs(5);

/// How webhooks are sent.
#[derive(Clone)]
pub struct Options {
    /// `[webhooks] allow`.
    pub allowed: Vec<String>,
    /// Where this server listens itself.
    pub own: Vec<SocketAddr>,
    /// Turns names into addresses.
    pub resolver: Arc<dyn Resolve>,
    /// One attempt takes at most this long.
    pub timeout: Duration,
}

impl Options {
    /// With the system's resolver and the usual time-out.
    #[must_use]
    pub fn new(allowed: Vec<String>, own: Vec<SocketAddr>) -> Self {
        Self {
            allowed,
            own,
            resolver: Arc::new(SystemResolver),
            timeout: Duration::from_secs(15),
        }
    }
}

/// The running service.
pub struct Service {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    /// Starts no further attempts and waits a little for those under way.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// Starts sending.
#[must_use]
pub fn start(handle: Handle, options: Options) -> Service {
    let stop = CancellationToken::new();
    let sender = Sender::new(
        Arc::clone(&options.resolver),
        options.own.clone(),
        options.timeout,
    );
    let work = Work {
        handle,
        sender,
        allowed: options.allowed.into(),
        memory: Arc::new(Semaphore::new(BODY_KIB_MAX as usize)),
        under_way: JoinSet::new(),
        ids: BTreeSet::new(),
        receivers: BTreeMap::new(),
    };
    let task = tokio::spawn(work.run(stop.clone()));
    Service { stop, task }
}

/// What is known of a receiver while something is sent to it, or it fails.
#[derive(Debug, Default)]
struct Health {
    at_once: usize,
    failures: u32,
    rests_until: Option<Timestamp>,
}

impl Health {
    /// Attempts that may be started now.
    fn room(&self, now: Timestamp) -> usize {
        match self.rests_until {
            Some(until) if now < until => 0,
            // After a rest one attempt shows whether it is back.
            Some(_) => 1_usize.saturating_sub(self.at_once),
            None => PER_RECEIVER_MAX.saturating_sub(self.at_once),
        }
    }

    fn ended(&mut self, is_taken: bool, now: Timestamp) {
        self.at_once = self.at_once.saturating_sub(1);
        if is_taken {
            self.failures = 0;
            self.rests_until = None;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(over) = self.failures.checked_sub(FAILURES_MAX) {
            let rest = REST_FIRST.as_millis() << over.min(10);
            let rest = DurationMs::from_millis(rest.min(REST_MAX.as_millis()));
            self.rests_until = Some(now + rest);
        }
    }
}

struct Ended {
    id: WebhookId,
    receiver: String,
    is_taken: bool,
}

struct Work {
    handle: Handle,
    sender: Sender,
    allowed: Arc<[String]>,
    memory: Arc<Semaphore>,
    under_way: JoinSet<Ended>,
    ids: BTreeSet<WebhookId>,
    receivers: BTreeMap<String, Health>,
}

impl Work {
    async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.begin().await {
                Ok(wait) => wait.min(LOOK_AGAIN),
                // The store is being read anew, or the engine is about to end.
                Err(Unavailable) => Duration::from_secs(1),
            };
            let live = self.handle.live();
            tokio::select! {
                () = stop.cancelled() => {}
                () = live.webhook_due() => {}
                () = tokio::time::sleep(wait) => {}
                Some(ended) = self.under_way.join_next() => self.ended(ended),
            }
            while let Some(ended) = self.under_way.try_join_next() {
                self.ended(ended);
            }
        }
        let rest = async { while self.under_way.join_next().await.is_some() {} };
        if tokio::time::timeout(END_GRACE, rest).await.is_err() {
            debug!("webhooks under way are sent again after the next start");
        }
    }

    /// Starts what is due and has room. How long until something else is due.
    async fn begin(&mut self) -> Result<Duration, Unavailable> {
        let mut next = Duration::MAX;
        let receivers = self
            .handle
            .read(|reader| reader.webhook_receivers())
            .await?;
        let known: BTreeSet<&String> = receivers.iter().map(|(receiver, _)| receiver).collect();
        self.receivers
            .retain(|receiver, health| health.at_once > 0 || known.contains(receiver));
        for (receiver, due_at) in receivers {
            let now = self.handle.now();
            let health = self.receivers.entry(receiver.clone()).or_default();
            let room = health
                .room(now)
                .min(AT_ONCE_MAX.saturating_sub(self.under_way.len()));
            let rests_until = health.rests_until.unwrap_or(due_at).max(due_at);
            if rests_until > now {
                let wait = Duration::from_millis(rests_until.since(now).as_millis());
                next = next.min(wait);
            }
            if due_at > now || room == 0 {
                continue;
            }
            let limit = room + health.at_once;
            let name = receiver.clone();
            let due = self
                .handle
                .read(move |reader| reader.webhooks_due(&name, now, limit))
                .await?;
            let fresh = due.into_iter().filter(|due| !self.ids.contains(&due.id));
            let fresh: Vec<Webhook> = fresh.take(room).collect();
            for webhook in fresh {
                // Whoever asks for a replay does not meet an attempt under way.
                if self.handle.live().sending(webhook.id) {
                    self.start(receiver.clone(), webhook);
                }
            }
        }
        Ok(next)
    }

    fn start(&mut self, receiver: String, webhook: Webhook) {
        if let Some(health) = self.receivers.get_mut(&receiver) {
            health.at_once += 1;
        }
        self.ids.insert(webhook.id);
        let (handle, sender) = (self.handle.clone(), self.sender.clone());
        let (allowed, memory) = (Arc::clone(&self.allowed), Arc::clone(&self.memory));
        self.under_way.spawn(async move {
            let id = webhook.id;
            let kib = u32::try_from(webhook.payload_bytes >> 10).unwrap_or(u32::MAX);
            let permit = memory.acquire_many(kib.clamp(1, BODY_KIB_MAX)).await;
            let outcome = attempt(&handle, &sender, &allowed, &webhook).await;
            drop(permit);
            let is_taken = !matches!(outcome, WebhookOutcome::Failed { .. });
            tell(&handle, webhook, outcome).await;
            handle.live().sent(id);
            Ended {
                id,
                receiver,
                is_taken,
            }
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ok(ended) = ended else {
            warn!("sending a webhook broke off");
            return;
        };
        self.ids.remove(&ended.id);
        let now = self.handle.now();
        if let Some(health) = self.receivers.get_mut(&ended.receiver) {
            health.ended(ended.is_taken, now);
        }
    }
}

/// One attempt, with the body read first.
async fn attempt(
    handle: &Handle,
    sender: &Sender,
    allowed: &[String],
    webhook: &Webhook,
) -> WebhookOutcome {
    let id = webhook.id;
    let payloads = handle
        .read(move |reader| {
            let (input, output) = (reader.input(id.job)?, reader.webhook_output(id)?);
            let ended = reader.ended(id.job)?;
            Ok((input, output, ended.and_then(|ended| ended.trace)))
        })
        .await;
    let Ok((input, output, trace)) = payloads else {
        return WebhookOutcome::Failed {
            status: None,
            failure: "the job's input and output cannot be read now".into(),
        };
    };
    let body = body::of(webhook, input.as_deref(), output.as_deref());
    let now = handle.now();
    // Its receiver compares with its own clock: what the time of day is, not what it was at our start.
    let seconds = clock::wall().as_millis().div_euclid(1_000);
    let text = id.to_string();
    let signature = handle.live().rotations().signature(
        handle.server_secret(),
        webhook.endpoint,
        now,
        seconds,
        &text,
        &body,
    );
    let tracer = &handle.live().tracer;
    let step = span::of_delivery(id, webhook.attempts, now);
    let context = tracer.passed_on(trace.as_deref(), step);
    let message = Message {
        id: text,
        seconds,
        signature,
        trace: context.clone(),
        body,
    };
    let outcome = sender.send(&webhook.url, allowed, message).await;
    if let (Some(parent), Some(own)) = (tracer.wanted(trace.as_deref()), context) {
        let directory = handle.live().directory();
        let endpoint = directory.get(webhook.endpoint);
        let name = endpoint.map_or("", |endpoint| endpoint.name.as_str());
        let mut span =
            Span::of_job("webhook", Kind::Client, own, name, id.job).lasting(now, handle.now());
        span.parent = Some(parent.span_id);
        tracer.send(told(span, webhook, &outcome));
    }
    outcome
}

/// What the span of a delivery says.
fn told(mut span: Span, webhook: &Webhook, outcome: &WebhookOutcome) -> Span {
    span.text(OPERATION, "settle");
    span.text("webhook_id", &webhook.id.to_string());
    span.text("server.address", &webhook.receiver());
    span.int("attempt", i64::from(webhook.attempts) + 1);
    let (status, error) = match outcome {
        WebhookOutcome::Accepted { status } => (Some(*status), None),
        WebhookOutcome::Gone => (Some(410), Some("the receiver wants no more".to_owned())),
        WebhookOutcome::Failed { status, failure } => (*status, Some(failure.clone())),
    };
    if let Some(status) = status {
        span.int("http.response.status_code", status.into());
    }
    span.error = error;
    span
}

/// Tells the engine until it is written: otherwise the same attempt would be made again.
async fn tell(handle: &Handle, webhook: Webhook, outcome: WebhookOutcome) {
    match &outcome {
        WebhookOutcome::Accepted { status } => {
            debug!(webhook = %webhook.id, status, "a webhook was delivered");
        }
        WebhookOutcome::Gone => info!(webhook = %webhook.id, "the receiver wants no more"),
        WebhookOutcome::Failed { failure, .. } => {
            info!(webhook = %webhook.id, failure, "a webhook was not delivered");
        }
    }
    let mut pause = Duration::from_millis(100);
    for _ in 0..8 {
        let (webhook, outcome) = (Box::new(webhook.clone()), outcome.clone());
        let asked = handle.ask(
            Vec::new(),
            Box::new(move |request| Event::WebhookTried {
                request,
                webhook,
                outcome,
            }),
        );
        if asked.await == Answer::Noted {
            return;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    warn!(webhook = %webhook.id, "what became of a webhook could not be written; it is sent again");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_fails_is_left_alone_and_then_tried_once() {
        let mut health = Health::default();
        let mut now = Timestamp::from_millis(1_000);
        assert_eq!(health.room(now), PER_RECEIVER_MAX);
        for _ in 0..FAILURES_MAX {
            assert!(health.room(now) > 0);
            health.at_once += 1;
            health.ended(false, now);
        }
        assert_eq!(health.room(now), 0);
        now += REST_FIRST;
        assert_eq!(health.room(now), 1);
        health.at_once += 1;
        assert_eq!(health.room(now), 0);
        health.ended(false, now);
        assert_eq!(health.room(now + REST_FIRST), 0, "longer each time");
        now += REST_MAX;
        health.at_once += 1;
        health.ended(true, now);
        assert_eq!(health.room(now), PER_RECEIVER_MAX);
    }
}

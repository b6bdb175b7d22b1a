//! Bodies: of answers, as pieces of bytes that are never joined; of requests, read up to a cap and
//! with a time-out for their pauses.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::delivery::Delivery;
use super::error::ApiError;
use super::memory::{Memory, Room, SMALL_BYTES};

/// An answer on its way.
pub type Reply = Response<Body>;

/// The body of an answer.
#[derive(Debug, Default)]
pub struct Body {
    pieces: VecDeque<Bytes>,
    stream: Option<mpsc::Receiver<Bytes>>,
    /// Jobs that this answer hands to a worker: told of, if it is not written whole.
    delivery: Option<Delivery>,
    /// Dropped with the body: the request is over then, not when its handler returns.
    lasts: Vec<Box<dyn std::any::Any + Send + Sync>>,
}

impl Body {
    /// A body of these pieces, in order.
    pub fn pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            pieces: pieces.into_iter().filter(|p| !p.is_empty()).collect(),
            ..Self::default()
        }
    }

    /// A body whose length is not known before its end.
    #[must_use]
    pub fn stream(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            stream: Some(receiver),
            ..Self::default()
        }
    }

    /// The same body, carrying jobs to a worker.
    #[must_use]
    pub fn delivering(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// The same body; `guard` is dropped when it was written, or given up.
    #[must_use]
    pub fn lasting(mut self, guard: impl std::any::Any + Send + Sync) -> Self {
        self.lasts.push(Box::new(guard));
        self
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::pieces([bytes.into()])
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(piece) = self.pieces.pop_front() {
            if self.pieces.is_empty()
                && self.stream.is_none()
                && let Some(delivery) = self.delivery.take()
            {
                delivery.handed_over();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut self.stream {
            None => Poll::Ready(None),
            Some(stream) => stream
                .poll_recv(context)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.stream.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// 200 with JSON.
#[must_use]
pub fn json(body: impl Into<Body>) -> Reply {
    let mut reply = Reply::new(body.into());
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    reply
}

/// 200 with a value as JSON.
#[must_use]
pub fn json_of<T: serde::Serialize>(value: &T) -> Reply {
    json(serde_json::to_vec(value).expect("our own types have text keys and finite numbers"))
}

/// 204.
#[must_use]
pub fn no_content() -> Reply {
    let mut reply = Reply::new(Body::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}

/// What was read of a request's body.
#[derive(Debug)]
pub(super) enum Read {
    /// All of it, and the memory that it has.
    Whole(Bytes, Room),
    /// It is longer than allowed; so many bytes were seen.
    TooLong(u64),
}

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadRules<'a> {
    /// Where the memory for a large one comes from, and how long that may take; `None` for a worker's: there
    /// are no more of these than workers, and a result that is turned away is lost.
    pub memory: Option<(&'a Memory, Duration)>,
    /// The most bytes it may have.
    pub bytes_max: u64,
    /// The longest pause between two pieces of it.
    pub idle_max: Duration,
    /// Whether a body that is too long is read to its end all the same, and thrown away.
    pub drains: bool,
}

/// Reads a request's body.
///
/// # Errors
/// 408 when it pauses for too long, 400 when it breaks off or its framing is wrong, 415 when it is
/// compressed: a few kilobytes can unpack to gigabytes; 503 when there is no memory for it.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    rules: ReadRules<'_>,
) -> Result<Read, ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "encoding_unsupported",
            "compressed request bodies are not taken",
        )
        .hint("send the body without Content-Encoding")
        .closing());
    }
    let announced = http_body::Body::size_hint(&body).exact();
    let is_too_long = announced.is_some_and(|length| length > rules.bytes_max);
    if is_too_long && !rules.drains {
        return Ok(Read::TooLong(announced.unwrap_or_default()));
    }
    let mut seen = 0_u64;
    let mut first: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    let mut room: Option<Room> = rules.memory.is_none().then(Room::default);
    loop {
        let Ok(frame) = tokio::time::timeout(rules.idle_max, body.frame()).await else {
            return Err(too_slow(rules.idle_max));
        };
        let data = match frame {
            None => break,
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                return Err(ApiError::bad_request(
                    "body_incomplete",
                    format!("the body could not be read to its end: {error}"),
                )
                .hint("check Content-Length, or the chunks of the body")
                .closing());
            }
        };
        seen += data.len() as u64;
        // Not before: a length is said in a moment, and its bytes may take for ever.
        if let (None, Some((memory, patience)), true) = (&room, rules.memory, seen > SMALL_BYTES) {
            let length = announced.unwrap_or(rules.bytes_max).min(rules.bytes_max);
            room = Some(memory.for_request(length, patience).await?);
        }
        if seen > rules.bytes_max {
            if !rules.drains {
                return Ok(Read::TooLong(seen));
            }
            first = None;
            joined = BytesMut::new();
            continue;
        }
        // Most bodies come in one piece and need no copy.
        match (&first, joined.is_empty()) {
            (None, true) => first = Some(data),
            _ => {
                if let Some(first) = first.take() {
                    let known = if room.is_some() {
                        rules.bytes_max
                    } else {
                        SMALL_BYTES
                    };
                    let whole = announced.unwrap_or(0).min(known);
                    joined.reserve(usize::try_from(whole).unwrap_or(0).max(first.len()));
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(&data);
            }
        }
    }
    if seen > rules.bytes_max {
        return Ok(Read::TooLong(seen));
    }
    let whole = first.unwrap_or_else(|| joined.freeze());
    let mut room = room.unwrap_or_default();
    room.shrink(seen);
    Ok(Read::Whole(whole, room))
}

fn too_slow(idle_max: Duration) -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timeout",
        format!(
            "nothing of the body came for {} seconds",
            idle_max.as_secs()
        ),
    )
    .hint("check Content-Length and the connection")
    .closing()
}

/// 413, with the limit.
#[must_use]
pub fn too_large(limit: u64, seen: u64, route: &str) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!(
            "the body has {seen} bytes or more; {route} takes at most {limit} ({} MB)",
            limit / 1_000_000
        ),
    )
    .hint("put large data into object storage and send its URL")
    .closing()
}

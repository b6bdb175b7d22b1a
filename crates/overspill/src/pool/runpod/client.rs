//! The data plane: `RunPod`'s serverless API of one account.
//!
//! Every call takes its turn in the [`Limiter`] first, and a 429 pauses that lane for everybody. Nothing is retried
//! here; the error says whether a retry is sound.

use super::answer::{
    self, CloudHealth, CloudJobId, CloudStatus, ErrorBody, ProtocolFault, StreamPart,
};
pub use super::http::{Account, AccountError, Timeouts, TransportError};
use super::http::{Answer, Call, Http};
use super::limits::{Limiter, NoRoom, Operation};
use super::submission::BODY_BYTES_MAX;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::time::Duration;

/// The largest answer that may hold an output, in bytes: above the documented 20 MB of a result.
const OUTPUT_BYTES_MAX: usize = 32 << 20;

/// The largest answer without an output, in bytes.
const CONTROL_BYTES_MAX: usize = 256 << 10;

/// How long a call waits for its turn under the rate limit, in milliseconds.
const PATIENCE_MS: i64 = 5_000;

/// How a submission failed. The two cases must never be mixed up: only the first may be submitted again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Surely not accepted: nothing was sent, or the cloud said no.
    #[error("the cloud did not take the job: {detail}")]
    NotAccepted {
        /// Why, as far as code can tell.
        reason: RefusalReason,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// The cloud's own code, such as `ENDPOINT_PAUSED`.
        code: Option<String>,
        /// When to try again, in milliseconds, if the cloud or the rate limit said so.
        retry_after_ms: Option<i64>,
        /// What was said.
        detail: String,
    },
    /// It may run: the answer was lost or cannot be read.
    #[error("it is not known whether the cloud took the job")]
    Unknown {
        /// What happened.
        #[source]
        cause: UnknownCause,
    },
}

/// Why a submission was surely not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// 409: the endpoint's max workers is 0.
    Paused,
    /// 429, or our own limits had no room.
    RateLimited,
    /// 401 or 403.
    Unauthorized,
    /// 404: there is no such endpoint.
    NoEndpoint,
    /// The body is larger than the cloud takes.
    TooLarge,
    /// No connection; not a byte was sent.
    Unreachable,
    /// Another 4xx.
    Rejected,
}

/// Why it is not known whether a submission was accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCause {
    /// Time-out or broken connection after the request left.
    #[error(transparent)]
    Transport(TransportError),
    /// A 5xx (or a 4xx of a proxy that gave up waiting): the job may have been queued behind it.
    #[error("the cloud answered {status}: {detail}")]
    ServerError {
        /// The HTTP status.
        status: u16,
        /// What the body says.
        detail: String,
    },
    /// 200 with an answer that cannot be read.
    #[error(transparent)]
    Protocol(ProtocolFault),
}

/// How any call but a submission failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// 404: expired, deleted, never visible, or the wrong endpoint; never "still queued".
    #[error("the cloud knows no such thing: {detail}")]
    Gone {
        /// What was said.
        detail: String,
    },
    /// 401 or 403.
    #[error("the cloud refuses the API key ({status}): {detail}")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
        /// What was said.
        detail: String,
    },
    /// 409.
    #[error("the cloud says that this conflicts with the present state: {detail}")]
    Conflict {
        /// The cloud's own code.
        code: Option<String>,
        /// What was said.
        detail: String,
    },
    /// 429, or our own limits had no room.
    #[error("the rate limit has no room; try again in {retry_after_ms} ms")]
    RateLimited {
        /// When to try again, in milliseconds.
        retry_after_ms: i64,
    },
    /// 400, 413 or 422: the request itself is refused and will be again.
    #[error("the cloud rejects the request ({status}): {detail}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// What was said.
        detail: String,
    },
    /// An answer that breaks the protocol.
    #[error("cloud_protocol_error: {0}")]
    Protocol(ProtocolFault),
    /// 5xx.
    #[error("the cloud failed ({status}): {detail}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// What was said.
        detail: String,
    },
    /// No answer.
    #[error(transparent)]
    Transport(TransportError),
}

/// The serverless API of one account.
#[derive(Debug, Clone)]
pub struct DataPlane {
    http: Http,
    limiter: Arc<Limiter>,
    timeouts: Timeouts,
}

impl DataPlane {
    /// `account.base_url` ends in `/v2` (`https://api.runpod.ai/v2`).
    ///
    /// # Errors
    /// [`AccountError`] when the address or the key cannot be used.
    pub fn new(
        account: &Account,
        timeouts: Timeouts,
        limiter: Arc<Limiter>,
    ) -> Result<Self, AccountError> {
        Ok(Self {
            http: Http::new(account, timeouts)?,
            limiter,
            timeouts,
        })
    }

    /// Submits a job by `/run`, with where it stands in a trace.
    ///
    /// # Errors
    /// [`SubmitError`]; a job behind [`SubmitError::Unknown`] may run.
    pub async fn submit(
        &self,
        endpoint_id: &str,
        body: Bytes,
        traceparent: Option<&str>,
    ) -> Result<CloudJobId, SubmitError> {
        if body.len() > BODY_BYTES_MAX {
            let detail = format!(
                "its body has {} bytes, the cloud takes {BODY_BYTES_MAX}",
                body.len()
            );
            return Err(not_accepted(RefusalReason::TooLarge, None, detail));
        }
        let permit = self
            .limiter
            .permit(endpoint_id, Operation::Submit, PATIENCE_MS)
            .await;
        let _permit = permit.map_err(|no_room: NoRoom| SubmitError::NotAccepted {
            reason: RefusalReason::RateLimited,
            status: None,
            code: None,
            retry_after_ms: Some(no_room.retry_after_ms),
            detail: no_room.to_string(),
        })?;
        let answer = self
            .http
            .call(Call {
                method: Method::POST,
                path: &format!("/{}/run", segment(endpoint_id)),
                body: Some(body),
                traceparent,
                timeout: self.timeouts.submit,
                answer_bytes_max: CONTROL_BYTES_MAX,
            })
            .await
            .map_err(submit_transport_error)?;
        match answer.status {
            200..=299 => {
                answer::read_submitted(&answer.body).map_err(|fault| SubmitError::Unknown {
                    cause: UnknownCause::Protocol(fault),
                })
            }
            429 => {
                self.limiter
                    .pause(endpoint_id, Operation::Submit, answer.retry_after_ms());
                Err(refusal(RefusalReason::RateLimited, &answer))
            }
            401 | 403 => Err(refusal(RefusalReason::Unauthorized, &answer)),
            404 => Err(refusal(RefusalReason::NoEndpoint, &answer)),
            409 => Err(refusal(RefusalReason::Paused, &answer)),
            413 => Err(refusal(RefusalReason::TooLarge, &answer)),
            // 408 and 499 are what a proxy says that gave up on the server behind it.
            400..=407 | 410..=498 => Err(refusal(RefusalReason::Rejected, &answer)),
            status => {
                let detail = answer::read_error(&answer.body).detail;
                Err(SubmitError::Unknown {
                    cause: UnknownCause::ServerError { status, detail },
                })
            }
        }
    }

    /// Asks for a job's state and, once it ended, its result.
    ///
    /// # Errors
    /// [`CloudError`]; [`CloudError::Gone`] for a fresh job may only mean that it is not visible yet.
    pub async fn status(
        &self,
        endpoint_id: &str,
        job: &CloudJobId,
    ) -> Result<CloudStatus, CloudError> {
        let path = format!("/{}/status/{job}", segment(endpoint_id));
        let body = self
            .ask(endpoint_id, Operation::Status, Method::GET, &path)
            .await?;
        answer::read_status(job, &body).map_err(CloudError::Protocol)
    }

    /// Sets what is left of a job's time to live, in milliseconds (10 s to 7 d; clamped), and says its state.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn set_ttl(
        &self,
        endpoint_id: &str,
        job: &CloudJobId,
        ttl_ms: u64,
    ) -> Result<CloudStatus, CloudError> {
        let ttl_ms = ttl_ms.clamp(10_000, 604_800_000);
        let path = format!("/{}/status/{job}?ttl={ttl_ms}", segment(endpoint_id));
        let body = self
            .ask(endpoint_id, Operation::Status, Method::GET, &path)
            .await?;
        answer::read_status(job, &body).map_err(CloudError::Protocol)
    }

    /// Takes the chunks that came since the last call; the cloud holds an empty poll for up to `wait`.
    ///
    /// The cloud forgets what it gives out: chunks of an answer that is lost on the way are lost.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn stream(
        &self,
        endpoint_id: &str,
        job: &CloudJobId,
        wait: Duration,
    ) -> Result<StreamPart, CloudError> {
        let wait_ms = wait.as_millis().clamp(1_000, 20_000);
        let path = format!("/{}/stream/{job}?wait={wait_ms}", segment(endpoint_id));
        let body = self
            .ask(endpoint_id, Operation::Stream, Method::GET, &path)
            .await?;
        answer::read_stream(job, &body).map_err(CloudError::Protocol)
    }

    /// Cancels a job and says what became of it; a job that ended before keeps its state.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn cancel(
        &self,
        endpoint_id: &str,
        job: &CloudJobId,
    ) -> Result<CloudStatus, CloudError> {
        let path = format!("/{}/cancel/{job}", segment(endpoint_id));
        let body = self
            .ask(endpoint_id, Operation::Cancel, Method::POST, &path)
            .await?;
        answer::read_status(job, &body).map_err(CloudError::Protocol)
    }

    /// The endpoint's gauges. Costs none of the management API's calls.
    ///
    /// # Errors
    /// [`CloudError`]; [`CloudError::Gone`] means that there is no such endpoint.
    pub async fn health(&self, endpoint_id: &str) -> Result<CloudHealth, CloudError> {
        let path = format!("/{}/health", segment(endpoint_id));
        let body = self
            .ask(endpoint_id, Operation::Health, Method::GET, &path)
            .await?;
        answer::read_health(&body).map_err(CloudError::Protocol)
    }

    /// Removes all queued jobs of the endpoint; says how many. Running jobs stay.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn purge(&self, endpoint_id: &str) -> Result<u64, CloudError> {
        let path = format!("/{}/purge-queue", segment(endpoint_id));
        let body = self
            .ask(endpoint_id, Operation::Purge, Method::POST, &path)
            .await?;
        answer::read_purged(&body).map_err(CloudError::Protocol)
    }

    async fn ask(
        &self,
        endpoint_id: &str,
        operation: Operation,
        method: Method,
        path: &str,
    ) -> Result<Bytes, CloudError> {
        let permit = self
            .limiter
            .permit(endpoint_id, operation, PATIENCE_MS)
            .await;
        let _permit = permit.map_err(|no_room| CloudError::RateLimited {
            retry_after_ms: no_room.retry_after_ms,
        })?;
        let body = (method == Method::POST).then(|| Bytes::from_static(b"{}"));
        let answer_bytes_max = match operation {
            Operation::Status | Operation::Stream | Operation::Cancel => OUTPUT_BYTES_MAX,
            _ => CONTROL_BYTES_MAX,
        };
        let call = Call {
            traceparent: None,
            method,
            path,
            body,
            timeout: self.timeouts.call,
            answer_bytes_max,
        };
        let answer = self.http.call(call).await.map_err(transport_error)?;
        if answer.status == 429 {
            self.limiter
                .pause(endpoint_id, operation, answer.retry_after_ms());
        }
        success(answer).map(|answer| answer.body)
    }
}

/// The answer if it is a success, else what its status means.
pub(super) fn success(answer: Answer) -> Result<Answer, CloudError> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let ErrorBody { code, detail } = answer::read_error(&answer.body);
    let status = answer.status;
    Err(match status {
        401 | 403 => CloudError::Unauthorized { status, detail },
        404 => CloudError::Gone { detail },
        409 => CloudError::Conflict { code, detail },
        429 => CloudError::RateLimited {
            retry_after_ms: answer.retry_after_ms().unwrap_or(1_000),
        },
        400 | 413 | 422 => CloudError::Rejected { status, detail },
        500..=599 => CloudError::Unavailable { status, detail },
        _ => CloudError::Protocol(ProtocolFault::UnexpectedStatus { status, detail }),
    })
}

/// A failed transport, told apart from an answer that is refused for what it is.
pub(super) fn transport_error(error: TransportError) -> CloudError {
    match error {
        TransportError::TooLarge { .. } | TransportError::Redirected { .. } => {
            CloudError::Protocol(ProtocolFault::Refused(error))
        }
        _ => CloudError::Transport(error),
    }
}

fn submit_transport_error(error: TransportError) -> SubmitError {
    let detail = error.to_string();
    match error {
        TransportError::NotSent { .. } => not_accepted(RefusalReason::Unreachable, None, detail),
        // "Send it elsewhere": whoever says so did not take the job. (303 says "done, look there".)
        TransportError::Redirected { status, .. } if status != 303 => {
            not_accepted(RefusalReason::Rejected, Some(status), detail)
        }
        TransportError::TooLarge { status, .. }
            if (400..500).contains(&status) && status != 408 =>
        {
            not_accepted(RefusalReason::Rejected, Some(status), detail)
        }
        _ => SubmitError::Unknown {
            cause: UnknownCause::Transport(error),
        },
    }
}

fn not_accepted(reason: RefusalReason, status: Option<u16>, detail: String) -> SubmitError {
    SubmitError::NotAccepted {
        reason,
        status,
        code: None,
        retry_after_ms: None,
        detail,
    }
}

fn refusal(reason: RefusalReason, answer: &Answer) -> SubmitError {
    let ErrorBody { code, detail } = answer::read_error(&answer.body);
    let retry_after_ms = answer.retry_after_ms();
    SubmitError::NotAccepted {
        reason,
        status: Some(answer.status),
        code,
        retry_after_ms,
        detail,
    }
}

/// The endpoint id as one path segment: whatever it holds, it cannot reach another path.
pub(super) fn segment(id: &str) -> String {
    let mut segment = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

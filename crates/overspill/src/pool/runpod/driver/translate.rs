//! The cloud's words in the core's. Pure.

use super::super::answer::{CloudHealth, CloudState, CloudStatus};
use super::super::client::{CloudError, RefusalReason, SubmitError};
use bytes::Bytes;
use overspill_core::event::{
    CloudJobState, CloudRefusal, CloudWorkerCounts, Event, Outcome, PayloadRef,
};
use overspill_core::id::AttemptId;
use overspill_core::time::DurationMs;

/// How a job ended, with the bytes of its output; `None` while it has not.
#[must_use]
pub fn ended(status: &CloudStatus) -> Option<(CloudJobState, Option<Bytes>)> {
    let payload = payload_ref(status.output.as_ref());
    let execution = status.execution_ms.and_then(duration);
    let finished = |outcome| CloudJobState::Ended {
        outcome,
        worker: status.worker_id.clone(),
        delay: status.delay_ms.and_then(duration),
        execution,
    };
    let state = match &status.state {
        // Python writes these bare; the same output from a local worker fails its job as well.
        CloudState::Completed if status.has_non_finite => finished(Outcome::Failed {
            error: "worker_output_invalid: the output holds NaN or Infinity, which are no JSON; \
                    they stand as null"
                .to_owned(),
            output: payload,
        }),
        CloudState::Completed => finished(Outcome::Completed { output: payload }),
        CloudState::Failed => {
            let error = status
                .error
                .clone()
                .unwrap_or_else(|| "the job failed without an error text".to_owned());
            if is_platform_timeout(&error) {
                return Some((
                    CloudJobState::TimedOut {
                        error,
                        worker: status.worker_id.clone(),
                        delay: status.delay_ms.and_then(duration),
                        execution,
                    },
                    None,
                ));
            }
            finished(Outcome::Failed {
                error,
                output: payload,
            })
        }
        CloudState::Cancelled => return Some((CloudJobState::Cancelled, None)),
        CloudState::TimedOut => {
            let error = status
                .error
                .clone()
                .unwrap_or_else(|| "the job timed out at RunPod".to_owned());
            return Some((
                CloudJobState::TimedOut {
                    error,
                    worker: status.worker_id.clone(),
                    delay: status.delay_ms.and_then(duration),
                    execution,
                },
                None,
            ));
        }
        CloudState::Queued | CloudState::Running | CloudState::Unknown(_) => return None,
    };
    Some((state, status.output.clone()))
}

/// A job that is not over, as the core sees it.
#[must_use]
pub fn live(status: &CloudStatus) -> Option<CloudJobState> {
    match status.state {
        CloudState::Queued => Some(CloudJobState::Queued),
        CloudState::Running => Some(CloudJobState::Running {
            worker: status.worker_id.clone(),
            delay: status.delay_ms.and_then(duration),
        }),
        _ => None,
    }
}

/// The two ends that the platform gives a job itself, by their exact texts (seen live).
fn is_platform_timeout(error: &str) -> bool {
    error.starts_with("executionTimeout exceeded") || error.starts_with("job timed out after")
}

/// The outcome of a failed submission.
#[must_use]
pub fn submit_failed(attempt: AttemptId, error: &SubmitError) -> Event {
    match error {
        SubmitError::NotAccepted {
            reason,
            status,
            retry_after_ms,
            detail,
            code: _,
        } => Event::CloudRefused {
            attempt,
            refusal: refusal(*reason, *status, detail),
            retry_after: retry_after_ms.and_then(duration),
            detail: detail.clone(),
        },
        SubmitError::Unknown { cause } => Event::CloudSubmitUnknown {
            attempt,
            detail: cause.to_string(),
        },
    }
}

fn refusal(reason: RefusalReason, status: Option<u16>, detail: &str) -> CloudRefusal {
    match reason {
        RefusalReason::Paused => CloudRefusal::Paused,
        RefusalReason::RateLimited => CloudRefusal::RateLimited,
        RefusalReason::Unauthorized if speaks_of_balance(detail) => CloudRefusal::NoBalance,
        RefusalReason::Unauthorized => CloudRefusal::Unauthorized,
        RefusalReason::NoEndpoint => CloudRefusal::EndpointGone,
        RefusalReason::Unreachable => CloudRefusal::Unreachable,
        RefusalReason::Rejected if status == Some(402) || speaks_of_balance(detail) => {
            CloudRefusal::NoBalance
        }
        // A redirect says nothing about the job; somebody else answers at the cloud's address.
        RefusalReason::Rejected if status.is_some_and(|status| status < 400) => {
            CloudRefusal::Unreachable
        }
        RefusalReason::TooLarge | RefusalReason::Rejected => CloudRefusal::BadJob,
    }
}

/// Why a pool cannot be used, from a failed call; `None` for failures that pass (they are retried).
#[must_use]
pub fn pool_failed(error: &CloudError) -> Option<CloudRefusal> {
    match error {
        CloudError::Unauthorized { detail, .. } if speaks_of_balance(detail) => {
            Some(CloudRefusal::NoBalance)
        }
        CloudError::Unauthorized { .. } => Some(CloudRefusal::Unauthorized),
        CloudError::Gone { .. } => Some(CloudRefusal::EndpointGone),
        CloudError::Rejected { detail, .. } | CloudError::Conflict { detail, .. }
            if speaks_of_balance(detail) && !speaks_of_quota(detail) =>
        {
            Some(CloudRefusal::NoBalance)
        }
        // "Your worker concurrency cannot go beyond the maximum limit of (5)": new limits are refused for
        // nothing else that we send.
        CloudError::Rejected { .. } | CloudError::Conflict { .. } => Some(CloudRefusal::Quota),
        CloudError::RateLimited { .. }
        | CloudError::Protocol(_)
        | CloudError::Unavailable { .. }
        | CloudError::Transport(_) => None,
    }
}

fn speaks_of_balance(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    ["balance", "insufficient funds", "credit", "payment"]
        .iter()
        .any(|word| detail.contains(word))
}

fn speaks_of_quota(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    ["worker concurrency", "maximum limit", "quota"]
        .iter()
        .any(|word| detail.contains(word))
}

/// The gauges of workers.
#[must_use]
pub fn counts(health: &CloudHealth) -> CloudWorkerCounts {
    CloudWorkerCounts {
        initializing: health.workers_initializing,
        idle: health.workers_idle.max(health.workers_ready),
        running: health.workers_running,
        throttled: health.workers_throttled,
        unhealthy: health.workers_unhealthy,
    }
}

/// The reference that stands for bytes on their way beside an event: their length, no handle yet.
#[must_use]
pub fn payload_ref(bytes: Option<&Bytes>) -> PayloadRef {
    PayloadRef {
        handle: 0,
        bytes: bytes.map_or(0, |bytes| bytes.len() as u64),
    }
}

fn duration(ms: i64) -> Option<DurationMs> {
    u64::try_from(ms).ok().map(DurationMs::from_millis)
}

#[cfg(test)]
mod tests {
    use super::super::super::answer::{CloudJobId, read_status};
    use super::*;

    fn status(body: &'static str) -> CloudStatus {
        read_status(
            &CloudJobId::parse("a").unwrap(),
            &Bytes::from_static(body.as_bytes()),
        )
        .unwrap()
    }

    #[test]
    fn a_completed_job_brings_its_output() {
        let (state, output) = ended(&status(
            r#"{"id":"a","status":"COMPLETED","output":[1],"executionTime":7,"workerId":"w"}"#,
        ))
        .unwrap();
        let expected = CloudJobState::Ended {
            outcome: Outcome::Completed {
                output: PayloadRef {
                    handle: 0,
                    bytes: 3,
                },
            },
            worker: Some("w".to_owned()),
            delay: None,
            execution: Some(DurationMs::from_millis(7)),
        };
        assert_eq!(
            (state, output.as_deref()),
            (expected, Some(b"[1]".as_slice()))
        );
    }

    #[test]
    fn completed_without_output_is_completed() {
        let (state, output) = ended(&status(r#"{"id":"a","status":"COMPLETED"}"#)).unwrap();
        assert!(matches!(
            state,
            CloudJobState::Ended {
                outcome: Outcome::Completed {
                    output: PayloadRef {
                        handle: 0,
                        bytes: 0
                    }
                },
                ..
            }
        ));
        assert_eq!(output, None);
    }

    #[test]
    fn the_platforms_own_ends_are_told_from_the_handlers() {
        for error in ["executionTimeout exceeded", "job timed out after 1 retries"] {
            let body = format!(r#"{{"id":"a","status":"FAILED","error":"{error}"}}"#);
            let (state, _) = ended(&status(body.leak())).unwrap();
            assert!(
                matches!(state, CloudJobState::TimedOut { .. }),
                "{error}: {state:?}"
            );
        }
        let (state, _) = ended(&status(
            r#"{"id":"a","status":"FAILED","error":"boom","output":{"k":1}}"#,
        ))
        .unwrap();
        assert!(matches!(
            state,
            CloudJobState::Ended {
                outcome: Outcome::Failed {
                    output: PayloadRef { bytes: 7, .. },
                    ..
                },
                ..
            }
        ));
    }

    #[test]
    fn what_is_not_over_is_not_ended() {
        for word in ["IN_QUEUE", "IN_PROGRESS", "HIBERNATING"] {
            let body = format!(r#"{{"id":"a","status":"{word}"}}"#);
            assert_eq!(ended(&status(body.leak())), None);
        }
    }

    #[test]
    fn a_redirect_is_not_the_jobs_fault() {
        assert_eq!(
            refusal(RefusalReason::Rejected, Some(302), "x"),
            CloudRefusal::Unreachable
        );
        assert_eq!(
            refusal(RefusalReason::Rejected, Some(402), "x"),
            CloudRefusal::NoBalance
        );
        assert_eq!(
            refusal(RefusalReason::Rejected, Some(400), "x"),
            CloudRefusal::BadJob
        );
    }
}

//! The REST management API (v2) of one account: endpoints, their workers and scaling.
//!
//! All calls share 60 a minute (documented), part of which the limiter keeps for changes; what an answer's
//! `RateLimit` header says of empty windows pauses the lane before a 429 would. Reads that failed on the way
//! are tried once more within the retry budget; changes are not, the caller asks again with what it wants *then*.
//! Gauges of workers come from the data plane's `/health`, which costs none of the 60.

use super::answer;
use super::client::{CloudError, segment, success, transport_error};
use super::http::{Account, AccountError, Call, Http, Timeouts};
use super::limits::{Limiter, Operation, RetryBudget, longest_empty_ms};
use bytes::Bytes;
use http::Method;
use overspill_wire::management::endpoint::{
    CreateEndpoint, Endpoint, EndpointList, UpdateEndpoint,
};
use overspill_wire::management::limits::REMAINING_HEADER;
use overspill_wire::management::worker::WorkerList;
use overspill_wire::management::{BILLING_SERVERLESS_PATH, CATALOG_GPUS_PATH, SERVERLESS_PATH};
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest answer, in bytes: an account's whole list of endpoints.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// How long a read waits for its turn, in milliseconds: reads are chores and can come late.
const READ_PATIENCE_MS: i64 = 60_000;

/// How long a change waits for its turn, in milliseconds; after that the wish may be outdated.
const WRITE_PATIENCE_MS: i64 = 10_000;

/// The management API of one account.
#[derive(Debug, Clone)]
pub struct Management {
    http: Http,
    limiter: Arc<Limiter>,
    timeouts: Timeouts,
    retries: Arc<Mutex<RetryBudget>>,
}

impl Management {
    /// `account.base_url` ends in `/v2` (`https://api.runpod.io/v2`).
    ///
    /// # Errors
    /// [`AccountError`] when the address or the key cannot be used.
    pub fn new(
        account: &Account,
        timeouts: Timeouts,
        limiter: Arc<Limiter>,
    ) -> Result<Self, AccountError> {
        let retries = Arc::new(Mutex::new(RetryBudget::new()));
        Ok(Self {
            http: Http::new(account, timeouts)?,
            limiter,
            timeouts,
            retries,
        })
    }

    /// All endpoints of the account.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn list(&self) -> Result<Vec<Endpoint>, CloudError> {
        let list: EndpointList = self.read(SERVERLESS_PATH).await?;
        Ok(list.endpoints)
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`CloudError`]; [`CloudError::Gone`] when there is none.
    pub async fn get(&self, endpoint_id: &str) -> Result<Endpoint, CloudError> {
        self.read(&one(endpoint_id)).await
    }

    /// The limits of one endpoint's workers.
    ///
    /// # Errors
    /// [`CloudError`]; [`CloudError::Gone`] when there is no such endpoint.
    pub async fn limits(&self, endpoint_id: &str) -> Result<LimitsRead, CloudError> {
        let read: EndpointLimits = self.read(&one(endpoint_id)).await?;
        Ok(read.workers)
    }

    /// The endpoint's workers, each with its state, card and data centre.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn workers(&self, endpoint_id: &str) -> Result<WorkerList, CloudError> {
        self.read(&format!("{}/workers", one(endpoint_id))).await
    }

    /// The catalog's GPUs as JSON text, with availability and prices for serverless.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn gpus<T: DeserializeOwned>(&self) -> Result<T, CloudError> {
        self.read(&format!(
            "{CATALOG_GPUS_PATH}?include=AVAILABILITY&product=SERVERLESS"
        ))
        .await
    }

    /// Serverless billing records of `[from, to)`, both RFC 3339 in UTC, in buckets of an hour.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn billing<T: DeserializeOwned>(
        &self,
        from: &str,
        to: &str,
    ) -> Result<T, CloudError> {
        let (from, to) = (segment(from), segment(to));
        self.read(&format!(
            "{BILLING_SERVERLESS_PATH}?startTime={from}&endTime={to}&bucketSize=hour"
        ))
        .await
    }

    /// Makes an endpoint.
    ///
    /// # Errors
    /// [`CloudError`]; after a lost answer the endpoint may exist: look for its name before trying again.
    pub async fn create(&self, endpoint: &CreateEndpoint) -> Result<Endpoint, CloudError> {
        let body = self
            .write(Method::POST, SERVERLESS_PATH, to_json(endpoint))
            .await?;
        answer::parse(201, &body).map_err(CloudError::Protocol)
    }

    /// Changes what `change` holds; the answer is the limits as they then are.
    ///
    /// # Errors
    /// [`CloudError`]; safe to repeat.
    pub async fn update(
        &self,
        endpoint_id: &str,
        change: &UpdateEndpoint,
    ) -> Result<LimitsRead, CloudError> {
        let body = self
            .write(Method::PATCH, &one(endpoint_id), to_json(change))
            .await?;
        let read: EndpointLimits = answer::parse(200, &body).map_err(CloudError::Protocol)?;
        Ok(read.workers)
    }

    /// Deletes an endpoint, its workers and jobs. One that is gone already counts as deleted.
    ///
    /// # Errors
    /// [`CloudError`]; safe to repeat.
    pub async fn delete(&self, endpoint_id: &str) -> Result<(), CloudError> {
        match self.write(Method::DELETE, &one(endpoint_id), None).await {
            Ok(_empty) => Ok(()),
            Err(CloudError::Gone { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, CloudError> {
        self.retries().on_first_try();
        let mut outcome = self
            .call(Operation::ManagementRead, Method::GET, path, None)
            .await;
        let is_passing = matches!(
            outcome,
            Err(CloudError::Transport(_) | CloudError::Unavailable { .. })
        );
        if is_passing && self.retries().take() {
            outcome = self
                .call(Operation::ManagementRead, Method::GET, path, None)
                .await;
        }
        answer::parse(200, &outcome?).map_err(CloudError::Protocol)
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Bytes, CloudError> {
        self.call(Operation::ManagementWrite, method, path, body)
            .await
    }

    async fn call(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Bytes, CloudError> {
        let is_read = operation == Operation::ManagementRead;
        let patience_ms = if is_read {
            READ_PATIENCE_MS
        } else {
            WRITE_PATIENCE_MS
        };
        let permit = self.limiter.permit("", operation, patience_ms).await;
        let _permit = permit.map_err(|no_room| CloudError::RateLimited {
            retry_after_ms: no_room.retry_after_ms,
        })?;
        let timeout = self.timeouts.call;
        let call = Call {
            traceparent: None,
            method,
            path,
            body,
            timeout,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let answer = self.http.call(call).await.map_err(transport_error)?;
        let empty_ms = answer.header(REMAINING_HEADER).and_then(longest_empty_ms);
        if answer.status == 429 || empty_ms.is_some() {
            self.limiter
                .pause("", operation, answer.retry_after_ms().max(empty_ms));
        }
        success(answer).map(|answer| answer.body)
    }

    fn retries(&self) -> std::sync::MutexGuard<'_, RetryBudget> {
        // Each use is one arithmetic step; a panic cannot leave it half done.
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Limits of workers as an answer states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct LimitsRead {
    /// Always on; absent when the answer does not say.
    pub min: Option<u32>,
    /// At most; absent when the answer does not say.
    pub max: Option<u32>,
}

/// The one part of an endpoint that the control of workers needs: whatever else an answer of a newer cloud holds
/// must not make a scale-down look failed.
#[derive(serde::Deserialize)]
struct EndpointLimits {
    workers: LimitsRead,
}

fn one(endpoint_id: &str) -> String {
    format!("{SERVERLESS_PATH}/{}", segment(endpoint_id))
}

fn to_json<T: serde::Serialize>(value: &T) -> Option<Bytes> {
    let json = serde_json::to_vec(value).expect("a request type of plain fields is always JSON");
    Some(Bytes::from(json))
}

#[cfg(test)]
mod tests {
    use super::super::clock::SystemClock;
    use super::super::testing::{FakeCloud, Seen, timeouts};
    use super::*;
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use overspill_wire::management::endpoint::WorkerLimits;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const ENDPOINT: &str = r#"{"id":"ep1","name":"burst","type":"QUEUE","image":"me/w:3","gpu":{"pools":["ADA_24"],"count":1},
        "workers":{"min":0,"max":4,"idleTimeout":5},"scaling":{"type":"QUEUE_DELAY","queueDelay":0.5},"timeout":600000,
        "flashboot":"OFF","createdAt":"2026-06-01T12:00:00Z","newField":1}"#;

    fn management(cloud: &FakeCloud) -> Management {
        let limiter = Arc::new(Limiter::new(Arc::new(SystemClock::start())));
        Management::new(&cloud.account(), timeouts(), limiter).unwrap()
    }

    #[tokio::test]
    async fn a_scale_change_sends_only_what_changes() {
        let cloud = FakeCloud::start(|_seen| async { ENDPOINT }).await;
        let limits = WorkerLimits {
            min: Some(0),
            max: Some(4),
            idle_timeout: None,
        };
        let limits_now = management(&cloud)
            .update("ep1", &UpdateEndpoint::of_workers(limits))
            .await
            .unwrap();
        assert_eq!(
            limits_now,
            LimitsRead {
                min: Some(0),
                max: Some(4)
            }
        );
        let Seen {
            method, path, body, ..
        } = cloud.seen().remove(0);
        assert_eq!(
            (method.as_str(), path.as_str()),
            ("PATCH", "/v2/serverless/ep1")
        );
        assert_eq!(body.as_ref(), br#"{"workers":{"min":0,"max":4}}"#);
    }

    #[tokio::test]
    async fn a_delete_without_body_and_of_nothing_is_a_success() {
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
            let cloud = FakeCloud::start(move |_seen| async move { status }).await;
            assert_eq!(management(&cloud).delete("ep1").await, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_read_is_tried_once_more_a_change_is_not() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let cloud = FakeCloud::start(move |_seen| {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                if call == 0 {
                    StatusCode::BAD_GATEWAY.into_response()
                } else {
                    ENDPOINT.into_response()
                }
            }
        })
        .await;
        let management = management(&cloud);
        assert_eq!(management.get("ep1").await.unwrap().id, "ep1");
        calls.store(0, Ordering::Relaxed);
        let changed = management.update("ep1", &UpdateEndpoint::default()).await;
        assert!(
            matches!(changed, Err(CloudError::Unavailable { status: 502, .. })),
            "{changed:?}"
        );
    }

    #[tokio::test]
    async fn an_empty_window_stops_calls_before_a_429_does() {
        let cloud = FakeCloud::start(|_seen| async {
            (
                [("RateLimit", r#""minute";r=0;t=30, "hour";r=9;t=99"#)],
                r#"{"endpoints":[]}"#,
            )
        })
        .await;
        let management = management(&cloud);
        assert_eq!(management.list().await, Ok(Vec::new()));
        let refused = management.update("ep1", &UpdateEndpoint::default()).await;
        let Err(CloudError::RateLimited { retry_after_ms }) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            (20_000..=30_000).contains(&retry_after_ms),
            "{retry_after_ms}"
        );
        assert_eq!(cloud.seen().len(), 1);
    }

    #[tokio::test]
    async fn problems_are_read() {
        let cloud = FakeCloud::start(|_seen| async {
            let problem = r#"{"title":"Unprocessable","status":422,"detail":"Request validation failed.","errors":["workers.max: too big"]}"#;
            (StatusCode::UNPROCESSABLE_ENTITY, problem)
        })
        .await;
        let refused = management(&cloud)
            .update("ep1", &UpdateEndpoint::default())
            .await;
        let Err(CloudError::Rejected {
            status: 422,
            detail,
        }) = refused
        else {
            panic!("{refused:?}")
        };
        assert!(detail.contains("workers.max: too big"), "{detail}");
    }
}

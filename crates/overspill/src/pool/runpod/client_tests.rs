//! The data plane against clouds that misbehave.

use super::super::testing::{FakeCloud, Seen, data_plane};
use super::*;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn body() -> Bytes {
    Bytes::from_static(br#"{"input":{"prompt":"x"}}"#)
}

fn job() -> CloudJobId {
    CloudJobId::parse("a1-u1").unwrap()
}

async fn submit_against(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    text: &'static str,
) -> Result<CloudJobId, SubmitError> {
    let cloud = FakeCloud::start(move |_seen| answer(status, headers, text)).await;
    cloud.data_plane().submit("ep1", body(), None).await
}

async fn status_against(status: u16, text: &'static str) -> Result<CloudStatus, CloudError> {
    let cloud = FakeCloud::start(move |_seen| answer(status, &[], text)).await;
    cloud.data_plane().status("ep1", &job()).await
}

async fn answer(
    status: u16,
    headers: &[(&'static str, &'static str)],
    text: &'static str,
) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// Accepts one connection, does `act` with it, and drops it.
async fn raw_server<F: Future<Output = ()> + Send>(
    act: impl FnOnce(tokio::net::TcpStream) -> F + Send + 'static,
) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { act(listener.accept().await.unwrap().0).await });
    address
}

#[tokio::test]
async fn a_submission_carries_key_and_installation_and_gets_an_id() {
    let cloud = FakeCloud::start(|_seen| async { r#"{"id":"a1-u1","status":"IN_QUEUE"}"# }).await;
    let job = cloud
        .data_plane()
        .submit("ep1", body(), None)
        .await
        .unwrap();
    assert_eq!(job.as_str(), "a1-u1");
    let Seen {
        method,
        path,
        headers,
        body: sent,
    } = cloud.seen().remove(0);
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/v2/ep1/run"));
    assert_eq!(headers["authorization"], "Bearer test-key-0123456789");
    assert_eq!(headers["x-overspill-installation"], "inst-test");
    assert_eq!(sent, body());
}

#[tokio::test]
async fn refusals_are_sure() {
    const PAUSED: &str = r#"{"status":409,"title":"Conflict","detail":"Endpoint is paused (max_workers=0). Set max_workers > 0 to accept work.","code":"ENDPOINT_PAUSED"}"#;
    for (status, reason) in [
        (400, RefusalReason::Rejected),
        (401, RefusalReason::Unauthorized),
        (403, RefusalReason::Unauthorized),
        (404, RefusalReason::NoEndpoint),
        (409, RefusalReason::Paused),
        (413, RefusalReason::TooLarge),
        (429, RefusalReason::RateLimited),
    ] {
        let refused = submit_against(status, &[("retry-after", "7")], PAUSED)
            .await
            .unwrap_err();
        let SubmitError::NotAccepted {
            reason: got,
            code,
            retry_after_ms,
            ..
        } = refused
        else {
            panic!("{status}: {refused:?}")
        };
        assert_eq!(got, reason, "{status}");
        assert_eq!(code.as_deref(), Some("ENDPOINT_PAUSED"));
        assert_eq!(retry_after_ms, Some(7_000));
    }
}

#[tokio::test]
async fn answers_that_do_not_say_no_leave_it_unknown() {
    for (status, text) in [
        (500, r#"{"error":"internal"}"#),
        (502, "<html>bad gateway</html>"),
        (503, ""),
        (408, ""),
        (200, "<html>log in</html>"),
        (200, r#"{"status":"IN_QUEUE"}"#),
        (200, r#"{"id":"../../x"}"#),
        (200, r#"{"errors":[{"message":"no"}]}"#),
        (204, ""),
    ] {
        let outcome = submit_against(status, &[], text).await;
        assert!(
            matches!(outcome, Err(SubmitError::Unknown { .. })),
            "{status} {text}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_cloud_that_hangs_after_accepting_leaves_it_unknown() {
    let cloud = FakeCloud::start(|_seen| std::future::pending::<&str>()).await;
    let outcome = cloud
        .impatient_data_plane(Duration::from_millis(200))
        .submit("ep1", body(), None)
        .await;
    let cause = UnknownCause::Transport(TransportError::TimedOut {
        limit: Duration::from_millis(200),
    });
    assert_eq!(outcome, Err(SubmitError::Unknown { cause }));
    assert_eq!(cloud.seen().len(), 1, "nothing is sent twice");
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_it_unknown() {
    let address = raw_server(async |mut stream| {
        let _read = stream.read(&mut [0; 1024]).await.unwrap();
    })
    .await;
    let outcome = data_plane(address).submit("ep1", body(), None).await;
    assert!(
        matches!(
            outcome,
            Err(SubmitError::Unknown {
                cause: UnknownCause::Transport(TransportError::Broken { .. })
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn an_answer_cut_short_leaves_it_unknown() {
    let address = raw_server(async |mut stream| {
        let _read = stream.read(&mut [0; 1024]).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"id\":\"a1")
            .await
            .unwrap();
    })
    .await;
    let outcome = data_plane(address).submit("ep1", body(), None).await;
    assert!(
        matches!(outcome, Err(SubmitError::Unknown { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_a_sure_no() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = data_plane(address).submit("ep1", body(), None).await;
    assert!(
        matches!(
            outcome,
            Err(SubmitError::NotAccepted {
                reason: RefusalReason::Unreachable,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_key_never_follows_a_redirect() {
    let other = FakeCloud::start(|_seen| async { r#"{"id":"a1-u1","status":"COMPLETED"}"# }).await;
    let target = format!("http://{}/v2/ep1/run", other.address);
    let cloud = FakeCloud::start(move |_seen| {
        let target = target.clone();
        async move { (StatusCode::TEMPORARY_REDIRECT, [("location", target)]) }
    })
    .await;
    let submitted = cloud.data_plane().submit("ep1", body(), None).await;
    assert!(
        matches!(
            submitted,
            Err(SubmitError::NotAccepted {
                reason: RefusalReason::Rejected,
                status: Some(307),
                ..
            })
        ),
        "{submitted:?}"
    );
    let asked = cloud.data_plane().status("ep1", &job()).await;
    assert!(
        matches!(asked, Err(CloudError::Protocol(ProtocolFault::Refused(_)))),
        "{asked:?}"
    );
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_sent() {
    let cloud = FakeCloud::start(|_seen| async { "" }).await;
    let outcome = cloud
        .data_plane()
        .submit("ep1", Bytes::from(vec![b'x'; BODY_BYTES_MAX + 1]), None)
        .await;
    assert!(
        matches!(
            outcome,
            Err(SubmitError::NotAccepted {
                reason: RefusalReason::TooLarge,
                ..
            })
        ),
        "{outcome:?}"
    );
    assert!(cloud.seen().is_empty());
}

#[tokio::test]
async fn a_429_pauses_the_lane_for_everybody() {
    let cloud = FakeCloud::start(|_seen| answer(429, &[("retry-after", "60")], "{}")).await;
    let data_plane = cloud.data_plane();
    let first = data_plane.status("ep1", &job()).await;
    assert_eq!(
        first,
        Err(CloudError::RateLimited {
            retry_after_ms: 60_000
        })
    );
    let second = data_plane.status("ep1", &job()).await;
    assert!(
        matches!(second, Err(CloudError::RateLimited { .. })),
        "{second:?}"
    );
    assert_eq!(cloud.seen().len(), 1, "the second call was not sent");
}

#[tokio::test]
async fn a_429_to_a_submission_holds_the_next_back_for_as_long_as_it_says() {
    let cloud = FakeCloud::start(|_seen| answer(429, &[("retry-after", "60")], "{}")).await;
    let data_plane = cloud.data_plane();
    for _ in 0..2 {
        let refused = data_plane.submit("ep1", body(), None).await;
        let Err(SubmitError::NotAccepted {
            reason: RefusalReason::RateLimited,
            retry_after_ms: Some(wait_ms),
            ..
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert!((50_000..=60_000).contains(&wait_ms), "{wait_ms}");
    }
    assert_eq!(cloud.seen().len(), 1, "the second was not sent");
}

#[tokio::test]
async fn a_status_is_believed_only_if_it_is_about_the_job() {
    let good = status_against(
        200,
        r#"{"id":"a1-u1","status":"COMPLETED","output":{"k":1}}"#,
    )
    .await
    .unwrap();
    assert_eq!(good.output.as_deref(), Some(br#"{"k":1}"#.as_slice()));
    let wrong = status_against(200, r#"{"id":"other-u1","status":"COMPLETED","output":1}"#).await;
    assert!(
        matches!(
            wrong,
            Err(CloudError::Protocol(ProtocolFault::WrongJob { .. }))
        ),
        "{wrong:?}"
    );
    let html = status_against(200, "<html>").await;
    assert!(
        matches!(
            html,
            Err(CloudError::Protocol(ProtocolFault::NotJson { .. }))
        ),
        "{html:?}"
    );
}

#[tokio::test]
async fn failures_of_a_status_are_told_apart() {
    assert!(matches!(
        status_against(404, "").await,
        Err(CloudError::Gone { .. })
    ));
    assert!(matches!(
        status_against(401, "").await,
        Err(CloudError::Unauthorized { status: 401, .. })
    ));
    assert!(matches!(
        status_against(500, "").await,
        Err(CloudError::Unavailable { status: 500, .. })
    ));
    assert!(matches!(
        status_against(418, "").await,
        Err(CloudError::Protocol(_))
    ));
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    for has_length in [true, false] {
        let cloud = FakeCloud::start(move |_seen| async move {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            let chunks = futures_util::stream::iter(
                (0..64).map(move |_| Ok::<_, std::io::Error>(chunk.clone())),
            );
            let mut response = axum::body::Body::from_stream(chunks).into_response();
            if has_length {
                response
                    .headers_mut()
                    .insert("content-length", (64_u64 << 20).into());
            }
            response
        })
        .await;
        let outcome = cloud.data_plane().status("ep1", &job()).await;
        assert!(
            matches!(
                outcome,
                Err(CloudError::Protocol(ProtocolFault::Refused(
                    TransportError::TooLarge { .. }
                )))
            ),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn streams_cancels_health_and_purge_use_their_paths() {
    let cloud = FakeCloud::start(|seen: Seen| async move {
        match seen.path.as_str() {
            path if path.contains("/stream/") => {
                r#"{"status":"IN_PROGRESS","stream":[{"output":1}]}"#
            }
            path if path.contains("/cancel/") => r#"{"id":"a1-u1","status":"CANCELLED"}"#,
            path if path.contains("/health") => r#"{"jobs":{"inQueue":1},"workers":{"idle":2}}"#,
            _ => r#"{"removed":2,"status":"completed"}"#,
        }
    })
    .await;
    let data_plane = cloud.data_plane();
    let part = data_plane
        .stream("ep/1", &job(), Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(part.chunks, [Bytes::from_static(b"1")]);
    let cancelled = data_plane.cancel("ep/1", &job()).await.unwrap();
    assert!(cancelled.state == answer::CloudState::Cancelled && !cancelled.has_started());
    assert_eq!(data_plane.health("ep/1").await.unwrap().workers_idle, 2);
    assert_eq!(data_plane.purge("ep/1").await.unwrap(), 2);
    let asked: Vec<_> = cloud
        .seen()
        .into_iter()
        .map(|seen| format!("{} {}", seen.method, seen.path))
        .collect();
    assert_eq!(
        asked,
        [
            "GET /v2/ep%2F1/stream/a1-u1?wait=2000",
            "POST /v2/ep%2F1/cancel/a1-u1",
            "GET /v2/ep%2F1/health",
            "POST /v2/ep%2F1/purge-queue",
        ]
    );
}

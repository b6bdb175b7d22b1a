//! Slow clients, kept connections, and the drain.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use super::rig::{Rig, read_answer};

#[tokio::test]
async fn headers_that_never_end_close_the_connection() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(
        !rest.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
}

#[tokio::test]
async fn a_kept_connection_outlives_the_header_time_out() {
    let rig = Rig::with(|options| options.holds.headers = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let request = rig.request("GET", "/livez", &[], b"");
    stream.write_all(&request).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
    // Rests for longer than headers may take: only their own time counts, not the rest between.
    let resting = tokio::time::timeout(Duration::from_millis(200), stream.readable()).await;
    assert!(resting.is_err(), "the server closed a resting connection");
    stream.write_all(&request).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_resting_connection_is_closed_after_a_while() {
    let rig = Rig::with(|options| options.holds.idle = Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_drain_releases_held_requests_first() {
    let mut rig = Rig::start().await;
    let server = rig.server.take().unwrap();
    let mut held = rig.fake.held.subscribe();
    let id = {
        let worker = rig.worker();
        let drain = async {
            held.wait_for(|held| *held == 1).await.unwrap();
            rig.stop.cancel();
        };
        let sdxl = rig.post("/v2/sdxl/runsync", "{\"input\":1}");
        let (take, client, ()) = tokio::join!(worker.take(), sdxl, drain);
        assert_eq!(take.status, 204);
        assert_eq!(
            (client.status, client.field("status")),
            (200, "IN_QUEUE".into())
        );
        client.field("id")
    };
    assert!(id.starts_with("sync-"));
    tokio::time::timeout(Duration::from_secs(5), server)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn probes_need_no_key_and_head_has_no_body() {
    let rig = Rig::start().await;
    for path in ["/livez", "/readyz"] {
        let answer = rig.send("GET", path, &[], b"").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let mut request = rig.request("HEAD", "/livez", &[], b"");
    request.truncate(request.len() - 2);
    request.extend_from_slice(b"Connection: close\r\n\r\n");
    stream.write_all(&request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn odd_requests_break_nothing() {
    let rig = Rig::start().await;
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v2/tts/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/tts/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        if let Some(answer) = read_answer(&mut stream).await {
            assert!((400..600).contains(&answer.status), "{}", answer.status);
        }
    }
    assert_eq!(rig.send("GET", "/livez", &[], b"").await.status, 200);
}

#[tokio::test]
async fn f28_an_answer_that_nobody_reads_is_broken_off() {
    let rig = Rig::with(|options| options.holds.write = Duration::from_millis(100)).await;
    let job = rig.submit("{}").await;
    let worker = rig.worker();
    worker.take().await;
    // More than the kernel holds for the two of them.
    let output = "x".repeat(12 << 20);
    worker
        .done(&job, &format!("{{\"output\":\"{output}\"}}"))
        .await;
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    let headers = [("Authorization", rig.key.as_str())];
    let path = format!("/v2/tts/status/{job}");
    let request = rig.request("GET", &path, &headers, b"");
    slow.write_all(&request).await.unwrap();
    slow.ready(Interest::ERROR).await.unwrap();
    let error = slow.take_error().unwrap().expect("it was reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn f28_answers_that_nobody_reads_take_no_more_memory_than_there_is() {
    const OUTPUT_BYTES: usize = 12 << 20;
    let rig = Rig::with(|options| {
        options.memory_bytes_max = 20 << 20;
        options.holds.memory = Duration::from_millis(100);
    })
    .await;
    let job = rig.submit("{}").await;
    let worker = rig.worker();
    worker.take().await;
    let output = "x".repeat(OUTPUT_BYTES);
    worker
        .done(&job, &format!("{{\"output\":\"{output}\"}}"))
        .await;
    let path = format!("/v2/tts/status/{job}");
    // Asks, and reads the first bytes only: more than the kernel holds is still to come.
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    let headers = [("Authorization", rig.key.as_str())];
    let request = rig.request("GET", &path, &headers, b"");
    slow.write_all(&request).await.unwrap();
    slow.readable().await.unwrap();
    let refused = rig.get(&path).await;
    assert_eq!(
        (refused.status, refused.field("code")),
        (503, "memory_full".into())
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(rig.get("/v2/tts/health").await.status, 200);
    let refused = rig.post_bytes("/v2/tts/run", &[b' '; 9 << 20]).await;
    assert_eq!(
        (refused.status, refused.field("code")),
        (503, "memory_full".into())
    );
    // What is said once is said all the same: these chunks would be gone.
    let second = rig.submit("{}").await;
    worker.take().await;
    let chunk = format!("{{\"output\":\"{}\"}}", "y".repeat(9 << 20));
    worker.post("job-stream", &second, chunk.as_bytes()).await;
    let told = rig.get(&format!("/v2/tts/stream/{second}")).await;
    assert_eq!(told.status, 200);
    assert!(!told.json()["stream"].as_array().unwrap().is_empty());
    drop(slow);
    loop {
        let answer = rig.get(&path).await;
        if answer.status == 200 {
            assert_eq!(
                answer.json()["output"].as_str().unwrap().len(),
                OUTPUT_BYTES
            );
            return;
        }
    }
}

#[tokio::test]
async fn f11_a_job_that_waits_holds_no_memory_for_bodies() {
    let rig = Rig::with(|options| {
        options.memory_bytes_max = 1 << 20;
        options.holds.memory = Duration::from_millis(100);
    })
    .await;
    // Of unknown length, so that each might be as long as any: it has all there is while it comes.
    let head = format!(
        "POST /v2/tts/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        rig.key
    );
    let body = format!("{{\"input\":\"{}\"}}", "x".repeat(200_000));
    let request = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for _ in 0..3 {
        assert_eq!(rig.raw(request.as_bytes()).await.status, 200);
    }
}

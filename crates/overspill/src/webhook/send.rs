//! One attempt: resolve, check every address, connect to a checked one, post, read a little.
//!
//! The connection goes to the very address that was checked, with the receiver's own name in `Host`
//! and TLS, so that a name that changes between check and connect changes nothing. No proxy, no
//! redirect, no connection kept.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use overspill_core::webhook::WebhookOutcome;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::gateway::webhook_url::{self, Receiver};
use crate::otel::TraceContext;

/// An answer's body is read up to this many bytes, and thrown away.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Turns names into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name.
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    }
}

/// Makes attempts.
#[derive(Clone)]
pub(super) struct Sender {
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    own: Vec<SocketAddr>,
    timeout: Duration,
}

/// What goes with one attempt.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) seconds: i64,
    pub(super) signature: String,
    /// Where the delivery stands in a trace.
    pub(super) trace: Option<TraceContext>,
    pub(super) body: Bytes,
}

impl Sender {
    pub(super) fn new(resolver: Arc<dyn Resolve>, own: Vec<SocketAddr>, timeout: Duration) -> Self {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            resolver,
            tls: TlsConnector::from(Arc::new(config)),
            own,
            timeout,
        }
    }

    /// One attempt, from the name to the answer.
    pub(super) async fn send(
        &self,
        url: &str,
        allowed: &[String],
        message: Message,
    ) -> WebhookOutcome {
        let failed = |failure: String| WebhookOutcome::Failed {
            status: None,
            failure,
        };
        let receiver = match webhook_url::check(url, allowed) {
            Ok(receiver) => receiver,
            Err(error) => return failed(error.sentence()),
        };
        match tokio::time::timeout(self.timeout, self.attempt(&receiver, message)).await {
            Ok(Ok(status)) if status.is_success() => WebhookOutcome::Accepted {
                status: status.as_u16(),
            },
            Ok(Ok(StatusCode::GONE)) => WebhookOutcome::Gone,
            Ok(Ok(status)) => WebhookOutcome::Failed {
                status: Some(status.as_u16()),
                failure: if status.is_redirection() {
                    format!("the receiver answered {status}; redirects are not followed")
                } else {
                    format!("the receiver answered {status}")
                },
            },
            Ok(Err(failure)) => failed(failure),
            Err(_) => failed(format!(
                "the receiver did not answer within {} s",
                self.timeout.as_secs()
            )),
        }
    }

    async fn attempt(&self, receiver: &Receiver, message: Message) -> Result<StatusCode, String> {
        let addresses = match receiver.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = self.resolver.resolve(receiver.host.clone()).await;
                found.map_err(|error| format!("{} cannot be resolved: {error}", receiver.host))?
            }
        };
        if addresses.is_empty() {
            return Err(format!("{} has no address", receiver.host));
        }
        for &address in &addresses {
            let to = SocketAddr::new(address, receiver.port);
            webhook_url::check_address(receiver, to, &self.own)?;
        }
        let stream = connect(&addresses, receiver.port).await?;
        // This server listens on every interface: a connection to itself has its own address.
        if let (Ok(here), Ok(there)) = (stream.local_addr(), stream.peer_addr())
            && here.ip() == there.ip()
            && self
                .own
                .iter()
                .any(|own| own.ip().is_unspecified() && own.port() == there.port())
        {
            return Err(format!("{there} is this server itself"));
        }
        if !receiver.is_https {
            return post(stream, receiver, message).await;
        }
        let name = ServerName::try_from(receiver.host.clone())
            .map_err(|_| format!("{} is no name for TLS", receiver.host))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("TLS with the receiver failed: {error}"))?;
        post(stream, receiver, message).await
    }
}

/// Connects to the first address that answers; all were checked.
async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, String> {
    let mut failure = String::new();
    for &address in addresses {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = format!("the receiver cannot be reached: {error}"),
        }
    }
    Err(failure)
}

async fn post(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    receiver: &Receiver,
    message: Message,
) -> Result<StatusCode, String> {
    let lost = |error: hyper::Error| format!("the connection to the receiver was lost: {error}");
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(lost)?;
    let mut request = Request::post(&receiver.path)
        .header(header::HOST, &receiver.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(
            header::USER_AGENT,
            concat!("overspill/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONNECTION, "close")
        .header("webhook-id", message.id)
        .header("webhook-timestamp", message.seconds)
        .header("webhook-signature", message.signature);
    if let Some(trace) = message.trace {
        request = request.header("traceparent", trace.traceparent());
        if let Some(state) = trace.state {
            request = request.header("tracestate", state);
        }
    }
    let request = request
        .body(Full::new(message.body))
        .map_err(|error| format!("the request cannot be written: {error}"))?;
    let talk = async {
        let answer = requests.send_request(request).await.map_err(lost)?;
        let status = answer.status();
        // The status counts, whatever comes behind it, and however much.
        let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        Ok(status)
    };
    tokio::pin!(talk);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut talk => answer,
        _ = &mut connection => talk.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Gives these addresses in turn, the last one for ever.
    struct Flips(Mutex<Vec<Vec<&'static str>>>);

    impl Resolve for Flips {
        fn resolve(&self, _host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            };
            let answer = answer.iter().map(|text| text.parse().unwrap()).collect();
            std::future::ready(Ok(answer)).boxed()
        }
    }

    fn sender(answers: Vec<Vec<&'static str>>) -> Sender {
        let resolver = Arc::new(Flips(Mutex::new(answers)));
        Sender::new(resolver, Vec::new(), Duration::from_secs(5))
    }

    fn message() -> Message {
        Message {
            id: "msg_1".into(),
            seconds: 1,
            signature: "v1,x".into(),
            trace: None,
            body: Bytes::from_static(b"{}"),
        }
    }

    async fn failure(sender: &Sender, url: &str, allowed: &[String]) -> String {
        match sender.send(url, allowed, message()).await {
            WebhookOutcome::Failed { failure, .. } => failure,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn f31_a_name_that_stands_for_an_inside_address_gets_no_connection() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "::ffff:127.0.0.1",
            "fd00::1",
            "169.254.169.254",
        ] {
            // One of several is enough, and the name itself is above suspicion.
            let sender = sender(vec![vec!["8.8.8.8", inside]]);
            let why = failure(&sender, "https://e.org/", &[]).await;
            assert!(why.contains("inside this machine or network"), "{why}");
            assert!(why.contains("[webhooks] allow = [\"e.org:443\"]"), "{why}");
        }
    }

    #[tokio::test]
    async fn f31_the_checked_address_is_the_one_that_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // A second look at the name would find nobody listening.
        let sender = sender(vec![vec!["127.0.0.1"], vec!["127.0.0.2"]]);
        let url = format!("http://app.example:{port}/");
        let allowed = [format!("app.example:{port}")];
        let served = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"{}") {
                stream.readable().await.unwrap();
                let _ = stream.try_read_buf(&mut bytes);
            }
            stream.writable().await.unwrap();
            stream
                .try_write(b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let (why, request) = tokio::join!(failure(&sender, &url, &allowed), served);
        assert!(why.contains("redirects are not followed"), "{why}");
        let host = format!("host: app.example:{port}\r\n");
        assert!(request.contains(&host), "{request}");
    }
}

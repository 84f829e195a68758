//! The same limits below TLS and with HTTP/2.

use axum::body::to_bytes;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper_util::rt::TokioExecutor;
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::config::web;

/// A server with TLS, and its certificate.
struct Secured {
    scene: Scene,
    certificate: CertificateDer<'static>,
    connections: JoinSet<()>,
}

impl Secured {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
            path
        };
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["exporter".to_owned()]).unwrap().self_signed(&key).unwrap();
        write("server.pem", &certificate.pem());
        write("server.key", &key.serialize_pem());
        let file = write("web.yml", "tls_server_config: { cert_file: server.pem, key_file: server.key }");
        let access = WebSecurity::new(&web::load(&file).outcome.unwrap().config).unwrap();
        let access = tokio::sync::watch::channel(Arc::new(access)).1;
        let scene = Scene::with(|| unreachable!("no failure is asked for"), access, Limits::default());
        Self { scene, certificate: certificate.der().clone(), connections: JoinSet::new() }
    }

    /// A connection of HTTP/2 whose streams take so many bytes before they are read.
    async fn connect(&mut self, window: u32) -> SendRequest<Body> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![HTTP2.to_vec()];
        let Client(stream) = self.scene.connect();
        let name = ServerName::try_from("exporter").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let mut builder = client::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        self.connections.spawn(async move { connection.await.unwrap_or_default() });
        sender
    }

    /// Until the connection ends, and after how long it does.
    async fn end(&mut self) -> Duration {
        let start = Instant::now();
        self.connections.join_next().await.unwrap().unwrap();
        start.elapsed()
    }
}

async fn ask(sender: &mut SendRequest<Body>, path: &str) -> hyper::Result<Response<Incoming>> {
    sender.send_request(Request::get(format!("https://exporter{path}")).body(Body::empty()).unwrap()).await
}

async fn text(reply: Response<Incoming>) -> Result<Vec<u8>, axum::Error> {
    to_bytes(Body::new(reply.into_body()), usize::MAX).await.map(|bytes| bytes.to_vec())
}

const WIDE: u32 = 1 << 20;

#[tokio::test(start_paused = true)]
async fn hanging_handshake_has_the_head_timeout() {
    let secured = Secured::new();
    let start_of_a_client_hello = "\u{16}\u{3}\u{1}\u{1}";
    for sent in ["", start_of_a_client_hello] {
        let (rest, time) = secured.scene.client(sent).await.rest().await;
        assert_eq!(rest, "");
        assert!(about(Limits::default().head).contains(&time), "{time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_handshake_is_closed_at_once() {
    let secured = Secured::new();
    let mut client = secured.scene.client(&head("/")).await;
    let mut rest = Vec::new();
    let start = Instant::now();
    client.0.read_to_end(&mut rest).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1) && rest.len() < 10, "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_http2_stays_until_the_idle_limit() {
    let (mut secured, idle) = (Secured::new(), Limits::default().idle);
    let mut sender = secured.connect(WIDE).await;
    for _ in 0..3 {
        assert_eq!(text(ask(&mut sender, "/").await.unwrap()).await.unwrap(), b"hello");
        sleep(idle.saturating_sub(Duration::from_secs(2))).await;
    }
    assert_eq!(text(ask(&mut sender, "/large").await.unwrap()).await.unwrap().len(), LARGE);
    let time = secured.end().await;
    assert!(about(idle).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn http2_connection_without_a_request_has_the_head_timeout() {
    let mut secured = Secured::new();
    let _sender = secured.connect(WIDE).await;
    let time = secured.end().await;
    assert!(about(Limits::default().head).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn unread_http2_reply_is_aborted() {
    let mut secured = Secured::new();
    let mut sender = secured.connect(1_024).await;
    let deaf = ask(&mut sender, "/pieces").await.unwrap();
    let time = secured.end().await;
    assert!(about(Limits::default().stall).contains(&time), "{time:?}");
    assert!(text(deaf).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn too_long_http2_head_is_rejected() {
    let mut secured = Secured::new();
    let mut sender = secured.connect(WIDE).await;
    let long = "x".repeat(usize::from(MAX_HEAD_BYTES));
    let request = Request::get("https://exporter/").header("a", long).body(Body::empty()).unwrap();
    let refused = sender.send_request(request).await;
    assert!(refused.is_err() || refused.is_ok_and(|reply| reply.status() == 431));
    assert_eq!(text(ask(&mut sender, "/").await.unwrap()).await.unwrap(), b"hello");
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_replies_of_http2() {
    let mut secured = Secured::new();
    let mut sender = secured.connect(1_024).await;
    let mut idle = secured.connect(WIDE).await;
    assert_eq!(text(ask(&mut idle, "/").await.unwrap()).await.unwrap(), b"hello");
    let reading = ask(&mut sender, "/large").await.unwrap();
    secured.scene.stop.cancel();
    assert!(secured.end().await < Duration::from_secs(1));
    assert_eq!(text(reading).await.unwrap().len(), LARGE);
    secured.scene.serving.join_next().await.unwrap().unwrap();
}

/// The stream of a reply and the connection are different tasks.
#[tokio::test(start_paused = true)]
async fn http2_connection_is_idle_after_an_early_written_reply() {
    let limits = Limits::default();
    let connections = Connections::new(limits);
    let connection = connections.add();
    connection.set_http2();
    let reply = connection.request_started();
    connection.sent();
    connection.flushed();
    drop(reply);
    let goes_within = async |time| {
        tokio::time::advance(time).await;
        connections.close_overdue();
        tokio::time::timeout(Duration::ZERO, connection.closed()).await.is_ok()
    };
    assert!(!goes_within(limits.idle.saturating_sub(SWEEP_INTERVAL)).await);
    assert!(goes_within(SWEEP_INTERVAL).await);
}

#[tokio::test(start_paused = true)]
async fn requests_of_an_ended_connection_of_http2_end_with_it() {
    struct Ends(mpsc::UnboundedSender<()>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.send(()).ok();
        }
    }
    let (sender, mut ended) = mpsc::unbounded_channel();
    let streams = StreamTasks::default();
    let ends = Ends(sender);
    streams.execute(async move {
        let _ends = ends;
        future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    drop(streams);
    assert_eq!(ended.recv().await, Some(()));
}

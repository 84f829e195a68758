//! Slow, silent and too many clients, on paused time and streams in memory.

mod secured;

use std::future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::routing::get;
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

use super::*;
use crate::web::WebSecurity;

/// Bytes on the way between client and server: far fewer than there are in a large reply.
const ON_THE_WAY: usize = 1_024;

const LARGE: usize = 1 << 20;

/// So many pieces of a reply, as an exposition has them.
struct ResponseBody(usize);

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; ON_THE_WAY])))))
    }
}

/// Takes clients from a channel, and fails so many times before the next one.
struct Clients {
    connecting: Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
    failures: Arc<AtomicUsize>,
    failure: fn() -> io::Error,
}

impl Listen for Clients {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<DuplexStream> {
        let taken = |left: usize| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok() {
            return Err((self.failure)());
        }
        match self.connecting.lock().await.recv().await {
            Some(client) => Ok(client),
            None => future::pending().await,
        }
    }
}

struct Scene {
    clients: mpsc::UnboundedSender<DuplexStream>,
    failures: Arc<AtomicUsize>,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        // No more files: EMFILE of Linux.
        Self::with(|| io::Error::from_raw_os_error(24), WebSecurity::open(), limits)
    }

    fn failing_with(failure: fn() -> io::Error, limits: Limits) -> Self {
        Self::with(failure, WebSecurity::open(), limits)
    }

    fn with(failure: fn() -> io::Error, access: WebSecurityReader, limits: Limits) -> Self {
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/large", get(async || vec![b'x'; LARGE]))
            .route("/pieces", get(async || Body::new(ResponseBody(LARGE / ON_THE_WAY))))
            .route("/hanging", get(future::pending::<()>));
        let (clients, connecting) = mpsc::unbounded_channel();
        let failures = Arc::<AtomicUsize>::default();
        let listener =
            Clients { connecting: Mutex::new(connecting), failures: Arc::clone(&failures), failure };
        let (stop, mut serving) = (CancellationToken::new(), JoinSet::new());
        serving.spawn(Server::new(router, access, limits).serve(listener, stop.clone()));
        Self { clients, failures, stop, serving }
    }

    fn connect(&self) -> Client {
        let (ours, theirs) = duplex(ON_THE_WAY);
        self.clients.send(theirs).unwrap();
        Client(ours)
    }

    /// A client that has sent this, and the server has read it.
    async fn client(&self, sent: &str) -> Client {
        let mut client = self.connect();
        client.send(sent).await;
        client
    }
}

struct Client(DuplexStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        // Time goes on only when nobody has anything to do.
        sleep(Duration::from_millis(1)).await;
    }

    /// A whole request with its reply.
    async fn ask(&mut self) {
        self.send(&head("/")).await;
        let mut reply = Vec::new();
        while !reply.ends_with(b"hello") {
            assert_ne!(self.0.read_buf(&mut reply).await.unwrap(), 0, "{}", String::from_utf8_lossy(&reply));
        }
    }

    /// The bytes until the server closes the connection, and the time until then.
    async fn rest(&mut self) -> (String, Duration) {
        let (start, mut rest) = (Instant::now(), String::new());
        self.0.read_to_string(&mut rest).await.unwrap();
        (rest, start.elapsed())
    }

    /// Returns whether the server closes the connection within this time without sending anything.
    async fn is_closed_within(&mut self, time: Duration) -> bool {
        matches!(tokio::time::timeout(time, self.rest()).await, Ok((rest, _)) if rest.is_empty())
    }
}

fn head(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: exporter\r\n\r\n")
}

/// The limit, as precisely as it is kept.
fn about(limit: Duration) -> std::ops::Range<Duration> {
    limit.saturating_sub(Duration::from_millis(10))..limit + SWEEP_INTERVAL * 2
}

#[tokio::test(start_paused = true)]
async fn slow_head_is_closed_at_the_head_timeout() {
    let (scene, limits) = (Scene::new(Limits::default()), Limits::default());
    for sent in ["", "GET / HTTP/1.1\r\nhost: "] {
        let (rest, time) = scene.client(sent).await.rest().await;
        assert_eq!(rest, "");
        assert!(about(limits.head).contains(&time), "{sent}: {time:?}");
    }
    let start = Instant::now();
    let mut trickling = scene.client("GET / HTTP/1.1\r\n").await;
    while trickling.0.write_all(b"a: b\r\n").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(about(limits.head).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays_until_the_idle_limit() {
    let (scene, limits) = (Scene::new(Limits::default()), Limits::default());
    let mut client = scene.connect();
    for _ in 0..3 {
        client.ask().await;
        sleep(limits.idle.saturating_sub(Duration::from_secs(2))).await;
    }
    client.ask().await;
    let (rest, time) = client.rest().await;
    assert_eq!(rest, "");
    assert!(about(limits.idle).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn each_request_head_has_the_head_timeout() {
    let (scene, limits) = (Scene::new(Limits::default()), Limits::default());
    let mut client = scene.connect();
    client.ask().await;
    sleep(limits.head * 2).await;
    client.send("GET").await;
    let (_, time) = client.rest().await;
    assert!(about(limits.head).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn unread_reply_is_aborted() {
    let (scene, limits) = (Scene::new(Limits::default()), Limits::default());
    for (waiting, is_whole) in
        [(limits.stall.saturating_sub(SWEEP_INTERVAL), true), (limits.stall + SWEEP_INTERVAL * 2, false)]
    {
        let mut deaf = scene.client(&head("/large").replace("host", "connection: close\r\nhost")).await;
        sleep(waiting).await;
        let (reply, _) = deaf.rest().await;
        assert!(reply.starts_with("HTTP/1.1 200"));
        assert_eq!(reply.len() > LARGE, is_whole, "{waiting:?}");
        assert_eq!(reply.len() <= ON_THE_WAY, !is_whole, "{waiting:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slow_reply_continues_until_the_reply_timeout() {
    let (scene, limits) = (Scene::new(Limits::default()), Limits::default());
    let mut slow = scene.client(&head("/large")).await;
    let start = Instant::now();
    while slow.0.read(&mut [0; 64]).await.unwrap() > 0 {
        sleep(limits.stall / 3).await;
    }
    // What was on the way is still read.
    let expected = limits.reply..limits.reply + limits.stall * 10;
    assert!(expected.contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn missing_reply_does_not_hold_a_connection() {
    let (scene, limits) = (Scene::new(Limits::default()), Limits::default());
    let (rest, time) = scene.client(&head("/hanging")).await.rest().await;
    assert_eq!(rest, "");
    assert!(about(limits.stall).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn excess_connection_closes_the_quietest_idle_one_first() {
    let scene = Scene::new(Limits { connections: 3, ..Limits::default() });
    let at_once = Duration::from_millis(10);
    let mut deaf = scene.client(&head("/large")).await;
    let mut silent = scene.client("").await;
    let mut idle = scene.connect();
    idle.ask().await;

    let mut next = scene.client("GET").await;
    assert!(silent.is_closed_within(at_once).await);
    assert!(!idle.is_closed_within(at_once).await);
    let mut after_next = scene.client("GET").await;
    assert!(idle.is_closed_within(at_once).await);
    let mut last = scene.connect();
    last.ask().await;
    assert!(next.is_closed_within(at_once).await);

    assert!(!after_next.is_closed_within(at_once).await);
    let mut first_byte = [0];
    assert_eq!(deaf.0.read(&mut first_byte).await.unwrap(), 1);
    after_next.send(&head("/large")[3..]).await;
    last.send(&head("/large")).await;
    // All three have a reply, and the first has not read on.
    sleep(Duration::from_secs(1)).await;
    scene.connect().ask().await;
    let (rest, time) = deaf.rest().await;
    assert!(rest.len() <= ON_THE_WAY && time < at_once, "{} {time:?}", rest.len());
}

#[tokio::test(start_paused = true)]
async fn thousands_of_slow_clients_do_not_delay_a_request() {
    let scene = Scene::new(Limits::default());
    let mut slow = Vec::new();
    for sent in ["", "GET / HTTP/1.1\r\nhost: ", &head("/large"), &head("/hanging")].repeat(500) {
        slow.push(scene.client(sent).await);
        if slow.len() % 100 == 0 {
            let start = Instant::now();
            scene.connect().ask().await;
            assert!(start.elapsed() < Duration::from_millis(10), "{} {:?}", slow.len(), start.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn too_long_head_gets_status_431() {
    let scene = Scene::new(Limits::default());
    let long =
        format!("GET / HTTP/1.1\r\nhost: exporter\r\na: {}\r\n\r\n", "x".repeat(usize::from(MAX_HEAD_BYTES)));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    for sent in [long, many] {
        let Client(client) = scene.connect();
        let (mut reading, mut writing) = tokio::io::split(client);
        let mut reply = String::new();
        // The rest of what is too long is not taken.
        let (sent, read) =
            tokio::join!(writing.write_all(sent.as_bytes()), reading.read_to_string(&mut reply));
        sent.ok();
        read.unwrap();
        assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    }
    let mut fits = scene.connect();
    fits.0.write_all(format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(8_000)).as_bytes()).await.unwrap();
    let mut status = [0; 12];
    fits.0.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test(start_paused = true)]
async fn stop_closes_idle_connections_and_finishes_replies() {
    let mut scene = Scene::new(Limits::default());
    let mut silent = scene.client("").await;
    let mut half = scene.client("GET / HTTP/1.1\r\n").await;
    let mut idle = scene.connect();
    idle.ask().await;
    let mut reading = scene.client(&head("/large")).await;
    let mut deaf = scene.client(&head("/large")).await;

    scene.stop.cancel();
    for client in [&mut silent, &mut half, &mut idle] {
        assert!(client.is_closed_within(Duration::from_millis(10)).await);
    }
    let (reply, _) = reading.rest().await;
    assert!(reply.len() > LARGE);
    let start = Instant::now();
    scene.serving.join_next().await.unwrap().unwrap();
    assert!(about(Limits::default().stall).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(deaf.rest().await.0.len() <= ON_THE_WAY);
}

#[tokio::test(start_paused = true)]
async fn accepting_continues_without_file_descriptors() {
    let scene = Scene::new(Limits::default());
    let mut silent = scene.client("").await;
    let mut half = scene.client("GET").await;
    scene.failures.store(1, Ordering::Relaxed);
    // The server is at its next accept already, so this one still gets in.
    let mut idle = scene.connect();
    idle.ask().await;
    let start = Instant::now();
    scene.connect().ask().await;
    assert!(start.elapsed() < ACCEPT_PAUSE * 2, "{:?}", start.elapsed());
    let at_once = Duration::from_millis(10);
    assert!(silent.is_closed_within(at_once).await);
    assert!(!half.is_closed_within(at_once).await && !idle.is_closed_within(at_once).await);
}

#[tokio::test(start_paused = true)]
async fn client_that_left_before_accept_delays_no_other() {
    let scene = Scene::failing_with(|| io::ErrorKind::ConnectionAborted.into(), Limits::default());
    scene.failures.store(5, Ordering::Relaxed);
    scene.connect().ask().await;
    let start = Instant::now();
    scene.connect().ask().await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
}

//! Many clients that send slowly, send nothing or read nothing, against the real router. On paused time and
//! in-memory streams, so that only the time limits let time pass.

use std::future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mde_exporter::clock::Clock;
use mde_exporter::facts::{self, Facts};
use mde_exporter::fleet::{MachineFacts, TenantFleet};
use mde_exporter::metrics::RenderOptions;
use mde_exporter::model::{ExpositionFormat, Freshness, MachineId};
use mde_exporter::publish::publication;
use mde_exporter::self_metrics::SelfMetrics;
use mde_exporter::web::{Limits, LinkBase, Listen, ScrapeLimiter, Server, WebSecurity, WebState, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::exposition;
use crate::support::fleets::now;

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nhost: exporter\r\nconnection: close\r\n\r\n";

/// A number of machines whose scrape is larger than any buffer.
const MACHINES: u32 = 20_000;

/// A listener whose clients are in-memory streams.
struct ClientListener(Mutex<mpsc::UnboundedReceiver<DuplexStream>>);

impl Listen for ClientListener {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<DuplexStream> {
        match self.0.lock().await.recv().await {
            Some(client) => Ok(client),
            None => future::pending().await,
        }
    }
}

pub(super) struct InMemoryExporter {
    clients: mpsc::UnboundedSender<DuplexStream>,
    self_metrics: Arc<SelfMetrics>,
    _serving: JoinSet<()>,
}

impl InMemoryExporter {
    pub(super) fn start(max_requests: usize) -> Self {
        let self_metrics = Arc::new(SelfMetrics::new("0.0.0"));
        let clock = Clock::new(now);
        let options = RenderOptions { freshness: freshness(), ..RenderOptions::default() };
        let (_, _, published) = publication(
            vec![fleet()],
            options,
            clock.clone(),
            Arc::clone(&self_metrics),
            None,
            facts::fixed(Facts::default()),
        );
        let router = router(WebState {
            published,
            self_metrics: Arc::clone(&self_metrics),
            telemetry_path: "/metrics".to_owned(),
            links: LinkBase::default(),
            scrape_slots: ScrapeLimiter::new(max_requests),
            version: "0.0.0",
            clock,
            access: WebSecurity::open(),
            reload: None,
        });
        let (clients, connecting) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        let server = Server::new(router, WebSecurity::open(), Limits::default());
        serving.spawn(server.serve(ClientListener(Mutex::new(connecting)), CancellationToken::new()));
        Self { clients, self_metrics, _serving: serving }
    }

    /// A client that has sent `sent`, which the server has read.
    pub(super) async fn client(&self, sent: &str) -> DuplexStream {
        let (mut ours, theirs) = duplex(64 * 1024);
        self.clients.send(theirs).unwrap();
        ours.write_all(sent.as_bytes()).await.unwrap();
        // Time advances only when no task can run.
        sleep(Duration::from_millis(1)).await;
        ours
    }

    /// Scrapes, and returns head, body and duration.
    async fn scrape(&self) -> (String, String, Duration) {
        let start = Instant::now();
        let mut reply = String::new();
        self.client(SCRAPE).await.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned(), start.elapsed())
    }

    /// Asserts that a scrape is complete and immediate.
    pub(super) async fn is_scraped_at_once(&self) {
        let (head, body, took) = self.scrape().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(took < Duration::from_millis(10), "{took:?}");
        let scrape = exposition::parse(&body).unwrap();
        assert_eq!(scrape.count("mde_machine_info"), f64::from(MACHINES));
    }

    /// The number of scrapes with this status.
    fn counted(&self, code: &str) -> f64 {
        let metrics = String::from_utf8(self.self_metrics.encode(ExpositionFormat::Text)).unwrap();
        let labels = [("code", code), ("path", "/metrics")];
        exposition::parse(&metrics).unwrap().value("mde_exporter_http_requests_total", &labels).unwrap()
    }
}

fn freshness() -> Freshness {
    let hours = Duration::from_hours;
    Freshness { stale_after: hours(13), expire_after: hours(48), inactive_after: hours(720) }
}

fn fleet() -> TenantFleet {
    let mut fleet = TenantFleet::new("contoso".into());
    let id = |number| MachineId::parse(&format!("{number:040x}")).unwrap();
    let machines = (0..MACHINES).map(|number| MachineFacts::unlisted(id(number)));
    fleet.apply_list(machines.collect(), now(), &freshness());
    fleet
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_slow_clients_do_not_delay_a_scrape() {
    let exporter = InMemoryExporter::start(40);
    let mut slow = Vec::new();
    for _ in 0..400 {
        slow.push(exporter.client("").await);
        slow.push(exporter.client("GET /metrics HTTP/1.1\r\nhost: ").await);
    }
    exporter.is_scraped_at_once().await;

    // Clients that read nothing hold the scrape permits until a time limit.
    for _ in 0..100 {
        slow.push(exporter.client(SCRAPE).await);
    }
    assert!(exporter.scrape().await.0.starts_with("HTTP/1.1 503 "));
    sleep(Duration::from_secs(5)).await;
    exporter.is_scraped_at_once().await;
    assert_eq!((exporter.counted("200"), exporter.counted("503")), (42.0, 61.0));
}

#[tokio::test(start_paused = true)]
async fn excess_scrape_is_rejected_at_once_and_the_next_succeeds() {
    let exporter = InMemoryExporter::start(1);
    let mut reading = exporter.client(SCRAPE).await;
    let (head, body, took) = exporter.scrape().await;
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    assert_eq!(body, "too many scrapes at once\n");
    assert!(took < Duration::from_millis(10), "{took:?}");

    // A slow scrape that makes progress keeps its permit.
    let mut bytes = vec![0; 1 << 20];
    for _ in 0..8 {
        sleep(Duration::from_secs(1)).await;
        reading.read_exact(&mut bytes[..128 * 1024]).await.unwrap();
        assert!(exporter.scrape().await.0.starts_with("HTTP/1.1 503 "));
    }
    reading.read_to_end(&mut bytes).await.unwrap();
    exporter.is_scraped_at_once().await;
    exporter.is_scraped_at_once().await;
}

#[tokio::test(start_paused = true)]
async fn other_pages_use_no_scrape_permit() {
    let exporter = InMemoryExporter::start(1);
    let _reading = exporter.client(SCRAPE).await;
    for path in ["/", "/-/healthy"] {
        let mut reply = String::new();
        let mut client = exporter.client(&SCRAPE.replace("/metrics", path)).await;
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    }
}

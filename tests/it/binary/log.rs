//! The log of the real binary: nobody reads it, somebody reads it late, and what it says of requests.

use std::io::{BufRead as _, BufReader, PipeReader, Read as _};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::process::{Child, Command};

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, test_tenant};
use crate::support::exposition;
use crate::support::tenant::TestTenant;

const DROPPED: &str = "mde_exporter_log_messages_dropped_total";

/// Longer than any step takes, even on a busy host.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// An exporter that logs thousands of calls to a pipe that nobody reads once it serves.
struct UnreadExporter {
    child: Child,
    reader: PipeReader,
    /// The URL of its metrics.
    url: String,
    _test_tenant: TestTenant,
}

impl UnreadExporter {
    async fn start() -> Self {
        let test_tenant = test_tenant(2_000).await;
        configure_contoso(&test_tenant);
        // The calls of an interval are spread over it.
        let config = std::fs::read_to_string(test_tenant.folder.path().join("mde_exporter.yml")).unwrap();
        test_tenant.write("mde_exporter.yml", &config.replace("interval: 100s", "interval: 10s"));
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut run = command(&test_tenant.folder, &["run", LOOPBACK, "--log.level=debug"]);
        run.stderr(writer);
        let child = run.spawn().unwrap();
        drop(run);
        let reading = tokio::task::spawn_blocking(move || {
            let mut log = String::new();
            loop {
                let mut bytes = [0; 512];
                let read = reader.read(&mut bytes).unwrap();
                assert_ne!(read, 0, "{log}");
                log += std::str::from_utf8(&bytes[..read]).unwrap();
                let after = log.split("\"serving metrics\" address=").nth(1);
                if let Some((address, _)) = after.and_then(|after| after.split_once(' ')) {
                    return (reader, format!("http://{address}/metrics"));
                }
            }
        });
        let (reader, url) = tokio::time::timeout(TIME_LIMIT, reading).await.unwrap().unwrap();
        Self { child, reader, url, _test_tenant: test_tenant }
    }
}

/// Scrapes until log lines were dropped, and returns how many.
async fn dropped_lines(url: &str) -> f64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let scraping = async {
        loop {
            let reply = client.get(url).send().await.unwrap();
            assert_eq!(reply.status(), StatusCode::OK);
            let scrape = exposition::parse(&reply.text().await.unwrap()).unwrap();
            match scrape.value(DROPPED, &[]) {
                Some(dropped) if dropped > 0.0 => return dropped,
                value => assert_eq!(value, Some(0.0)),
            }
        }
    };
    tokio::time::timeout(TIME_LIMIT, scraping)
        .await
        .expect("the exporter polls although nobody reads its log")
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("the exporter runs").to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn unread_log_delays_neither_polls_nor_the_stop() {
    let UnreadExporter { mut child, reader, url, _test_tenant } = UnreadExporter::start().await;
    dropped_lines(&url).await;
    signal(&child, "-TERM").await;
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    assert_eq!(status.expect("SIGTERM ends the exporter").unwrap().code(), Some(0));
    drop(reader);
}

#[tokio::test]
async fn log_that_is_read_again_reports_dropped_lines() {
    let UnreadExporter { mut child, reader, url, _test_tenant } = UnreadExporter::start().await;
    dropped_lines(&url).await;
    let reading = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        lines.into_iter().find(|line| line.contains("log lines were dropped"))
    });
    let line = tokio::time::timeout(TIME_LIMIT, reading).await.unwrap().unwrap().unwrap();
    assert!(line.contains(" level=warn ") && line.contains(" lines="), "{line}");
    child.kill().await.unwrap();
}

#[tokio::test]
async fn closed_log_is_counted_and_stops_nothing() {
    let UnreadExporter { mut child, reader, url, _test_tenant } = UnreadExporter::start().await;
    drop(reader);
    dropped_lines(&url).await;
    signal(&child, "-TERM").await;
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    assert_eq!(status.expect("SIGTERM ends the exporter").unwrap().code(), Some(0));
}

#[tokio::test]
async fn each_request_is_logged_at_debug_without_its_query() {
    let test_tenant = test_tenant(3).await;
    configure_contoso(&test_tenant);
    let arguments = ["run", LOOPBACK, "--log.level=debug"];
    let mut running = RunningExporter::start(command(&test_tenant.folder, &arguments)).await;
    running.line_with("poll finished").await;
    let requests: Vec<_> = running.log.iter().filter(|line| line.contains("\"request ended\"")).collect();
    let of = |endpoint: &str| {
        let field = format!(" endpoint={endpoint} ");
        requests.iter().filter(|line| line.contains(&field)).collect::<Vec<_>>()
    };
    let counts = ["token", "machines", "getmissingkbs"].map(|endpoint| of(endpoint).len());
    assert_eq!((counts[0], counts[2]), (1, 3), "{:#?}", running.log);
    assert!(counts[1] > 0, "{:#?}", running.log);
    for line in &requests {
        for field in
            [" level=debug ", " tenant=contoso ", " path=/", " attempt=1 ", " status=200 ", " duration_ms="]
        {
            assert!(line.contains(field), "{line}");
        }
        assert!(!line.contains('?') && !line.contains('$'), "{line}");
    }
    assert!(of("token")[0].contains(" host=127.0.0.1 "), "{:?}", of("token"));
    running.stop("TERM").await;
}

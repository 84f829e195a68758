//! The log of the real binary: nobody reads it, somebody reads it late, and what it says of requests.

use std::io::{BufRead as _, BufReader, PipeReader};
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::support::binary::{LOOPBACK, RunningExporter, command, configure_contoso, test_tenant};
use crate::support::exposition;

const DROPPED: &str = "mde_exporter_log_messages_dropped_total";

/// Longer than any step takes, even on a busy host.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// A demo whose log goes to a pipe that nobody reads, and the URL of its metrics.
async fn demo_without_reader(folder: &TempDir) -> (Child, PipeReader, String) {
    let arguments = ["demo", LOOPBACK, "--machines=2000", "--log.level=debug", "--storage.path=data"];
    let (reader, writer) = std::io::pipe().unwrap();
    let mut demo = command(folder, &arguments);
    demo.stderr(writer);
    let mut child = demo.spawn().unwrap();
    let (mut greeting, stdout) = (Vec::new(), child.stdout.as_mut().unwrap());
    while !String::from_utf8_lossy(&greeting).contains("Ctrl-C") {
        let read = tokio::time::timeout(TIME_LIMIT, stdout.read_buf(&mut greeting)).await;
        assert_ne!(read.unwrap().unwrap(), 0, "{}", String::from_utf8_lossy(&greeting));
    }
    let greeting = String::from_utf8(greeting).unwrap();
    let url = greeting.split_whitespace().find(|word| word.ends_with("/metrics")).unwrap();
    (child, reader, url.to_owned())
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
    tokio::time::timeout(TIME_LIMIT, scraping).await.expect("the demo polls although nobody reads its log")
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("the exporter runs").to_string();
    assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn unread_log_delays_neither_polls_nor_the_stop() {
    let folder = TempDir::new().unwrap();
    let (mut child, reader, url) = demo_without_reader(&folder).await;
    dropped_lines(&url).await;
    signal(&child, "-TERM").await;
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    assert_eq!(status.expect("SIGTERM ends the exporter").unwrap().code(), Some(0));
    drop(reader);
}

#[tokio::test]
async fn log_that_is_read_again_reports_dropped_lines() {
    let folder = TempDir::new().unwrap();
    let (mut child, reader, url) = demo_without_reader(&folder).await;
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
    let folder = TempDir::new().unwrap();
    let (mut child, reader, url) = demo_without_reader(&folder).await;
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

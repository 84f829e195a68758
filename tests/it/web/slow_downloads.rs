//! Downloads by clients that do not read, against the real router.

use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::sleep;

use super::slow_clients::InMemoryExporter;

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: exporter\r\nconnection: close\r\n\r\n")
}

/// A client that has read the head of a download, and reads nothing more for now.
async fn downloading(exporter: &InMemoryExporter) -> DuplexStream {
    let mut client = exporter.client(&request("/machines.csv")).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    client
}

async fn reply(exporter: &InMemoryExporter, path: &str) -> String {
    let mut reply = String::new();
    exporter.client(&request(path)).await.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test(start_paused = true)]
async fn head_of_a_download_has_no_length_because_none_is_known() {
    let exporter = InMemoryExporter::start(1);
    for path in ["/machines.csv", "/machines.json", "/updates.csv", "/updates.json"] {
        let mut head = String::new();
        let request = request(path).replace("GET", "HEAD");
        exporter.client(&request).await.read_to_string(&mut head).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(
            head.contains("\r\ncontent-disposition: attachment") && !head.contains("content-length"),
            "{head}"
        );
    }
    // No download holds a slot.
    assert!(reply(&exporter, "/machines.csv").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn third_download_waits_for_no_slot_and_delays_nothing() {
    let exporter = InMemoryExporter::start(1);
    let mut first = downloading(&exporter).await;
    let _second = downloading(&exporter).await;
    for path in ["/machines.csv", "/machines.json", "/updates.csv", "/machines/0000.csv"] {
        let refused = reply(&exporter, path).await;
        assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
        assert!(refused.contains("\r\nretry-after: 5\r\n"), "{refused}");
        assert!(refused.ends_with("too many downloads at once\n"), "{refused}");
    }
    exporter.is_scraped_at_once().await;
    assert!(reply(&exporter, "/").await.starts_with("HTTP/1.1 200 "));

    let mut rest = String::new();
    first.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the download is not complete");
    assert!(reply(&exporter, "/machines.csv").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn client_that_goes_or_stalls_frees_its_slot() {
    let exporter = InMemoryExporter::start(1);
    let gone = downloading(&exporter).await;
    let mut stalled = downloading(&exporter).await;
    drop(gone);
    sleep(Duration::from_millis(10)).await;
    assert!(reply(&exporter, "/machines.csv").await.starts_with("HTTP/1.1 200 "));

    let other = downloading(&exporter).await;
    assert!(reply(&exporter, "/machines.csv").await.starts_with("HTTP/1.1 503 "));
    sleep(Duration::from_secs(61)).await;
    assert!(reply(&exporter, "/machines.csv").await.starts_with("HTTP/1.1 200 "));
    let mut rest = Vec::new();
    stalled.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "a part of a download looks complete");
    drop(other);
}

#[test]
fn stalled_downloads_do_not_keep_the_server_from_stopping() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let exporter = runtime.block_on(async {
        let exporter = InMemoryExporter::start(1);
        let clients = [downloading(&exporter).await, downloading(&exporter).await];
        (exporter, clients)
    });
    // Waits for the work that blocks.
    drop(runtime);
    drop(exporter);
}

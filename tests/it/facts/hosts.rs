//! Hosts that redirect, fail or send something else.

use tempfile::TempDir;

use crate::support::export_server::Reply;
use crate::support::facts_host::{
    FactsHost, INDEX, KEV, TestDocument, WINDOWS, json_reply, kev, reply, servicing, status,
};
use crate::support::facts_updater::RunningUpdater;

fn june() -> TestDocument {
    TestDocument::new("2026-Jun", "2026-06-10T07:00:00", [5_000_003])
}

fn redirect(to: &str) -> Reply {
    let header: &'static str = format!("location: {to}\r\n").leak();
    Reply::Complete(302, header, Vec::new())
}

/// Runs one update whose catalogue is answered with `reply`, and returns the failures.
async fn failures_of_kev(host: &FactsHost, reply: Reply) -> Vec<String> {
    host.answer(KEV, [reply]);
    let folder = TempDir::new().unwrap();
    let mut config = host.config();
    config.http.timeout = std::time::Duration::from_secs(2);
    let updater = RunningUpdater::start(&folder, Some(&config));
    updater.until("the other sources", |updater| updater.has(5_000_003)).await;
    updater.all_failures()
}

#[tokio::test]
async fn redirect_to_another_place_is_refused() {
    let foreign = FactsHost::start(&[june()]).await;
    let host = FactsHost::start(&[june()]).await;
    let places = [
        foreign.url(KEV),
        "https://other.example/kev.json".to_owned(),
        "http://other.example/kev.json".to_owned(),
        "//other.example/kev.json".to_owned(),
        "ftp://127.0.0.1/kev.json".to_owned(),
        "https://user@127.0.0.1/kev.json".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://[".to_owned(),
        String::new(),
        host.url(KEV),
    ];
    for place in places {
        let before = foreign.paths().len();
        assert_eq!(failures_of_kev(&host, redirect(&place)).await, ["kev redirect 1"], "{place}");
        assert_eq!(foreign.paths().len(), before, "{place}");
    }
}

#[tokio::test]
async fn redirect_within_the_host_of_a_loopback_source_is_followed() {
    let host = FactsHost::start(&[june()]).await;
    host.answer(WINDOWS, [redirect("/products/windows/")]);
    host.answer("/products/windows/", [json_reply(&servicing("windows"))]);
    host.answer("/moved.json", [json_reply(&kev([5_000_003]))]);
    assert_eq!(failures_of_kev(&host, redirect("/moved.json")).await, [""; 0]);
    assert_eq!(host.requests("/products/windows/"), 1);
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    let host = FactsHost::start(&[june()]).await;
    let catalogue = kev([5_000_003]).to_string().into_bytes();
    let half = catalogue[..catalogue.len() / 2].to_vec();
    for (reply, reason) in [
        (status(401), "forbidden"),
        (status(403), "forbidden"),
        (status(404), "not_found"),
        (status(429), "server_error"),
        (status(502), "server_error"),
        (status(418), "unexpected_status"),
        (status(204), "unexpected_status"),
        (reply("<html>"), "decode"),
        (reply(""), "decode"),
        (reply("null"), "decode"),
        (reply("[[[[[[[["), "decode"),
        (reply(half.clone()), "decode"),
        (Reply::Truncated(half.clone(), 9), "network"),
        (Reply::Closed, "network"),
        (Reply::Silence, "timeout"),
        (Reply::Drip, "timeout"),
    ] {
        let shown = format!("{reply:?}");
        assert_eq!(failures_of_kev(&host, reply).await, [format!("kev {reason} 1")], "{shown}");
    }
}

#[tokio::test]
async fn hostile_document_leaves_the_others() {
    let may = TestDocument::new("2026-May", "2026-05-20T07:00:00", [5_000_001]);
    let host = FactsHost::start(&[may.clone(), june()]).await;
    let cut = may.json().to_string();
    let other = TestDocument::new("2026-Jul", "2026-05-20T07:00:00", [5_000_001]);
    for (body, reason) in [
        (cut[..cut.len() - 20].to_owned(), "decode"),
        ("{}".to_owned(), "decode"),
        ("[".repeat(100_000), "decode"),
        (other.json().to_string(), "decode"),
    ] {
        host.answer(&may.path(), [reply(body.clone())]);
        let folder = TempDir::new().unwrap();
        let updater = RunningUpdater::start(&folder, Some(&host.config()));
        updater.until("the other document", |updater| updater.has(5_000_003)).await;
        assert_eq!(updater.all_failures(), [format!("msrc {reason} 1")], "{}", &body[..20.min(body.len())]);
        assert!(!updater.has(5_000_001));
    }
}

#[tokio::test]
async fn hostile_ids_of_the_index_are_not_requested() {
    let host = FactsHost::start(&[june()]).await;
    let entry = |id: &str| serde_json::json!({"ID": id, "CurrentReleaseDate": "2026-06-10T07:00:00", "CvrfUrl": "http://127.0.0.1:1/"});
    let ids = ["../../kev.json", "2026-Jun/../x", "2026-Jun?x", "http://a", "2026-Jun#", "", "2026-Jun"];
    let entries: Vec<_> = ids.iter().map(|id| entry(id)).collect();
    host.answer(INDEX, [json_reply(&serde_json::json!({"value": entries}))]);
    let folder = TempDir::new().unwrap();
    let updater = RunningUpdater::start(&folder, Some(&host.config()));
    updater.until("the good one", |updater| updater.has(5_000_003)).await;
    let documents = host.paths().into_iter().filter(|path| path.contains("/cvrf/v3.0/cvrf"));
    assert_eq!(documents.collect::<Vec<_>>(), [june().path()]);
}

#[tokio::test]
async fn endless_compressed_reply_ends_in_a_failure() {
    let host = FactsHost::start(&[june()]).await;
    let zeros = crate::support::export_server::gzip(&vec![b' '; 300 << 20]);
    assert_eq!(failures_of_kev(&host, reply(zeros)).await, ["kev too_large 1"]);
}

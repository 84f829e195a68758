//! The bulk export over real HTTP: lists, links, files and their faults.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::config::Tenant;
use mde_exporter::defender::{ApiError, Export, ExportOutcome};
use mde_exporter::error::Chain;
use mde_exporter::model::MachineId;
use mde_simulator::Realism;
use serde_json::{Value, json};

use crate::support::api::{Api, options};
use crate::support::export_server::{ExportHost, LIST, Reply, gzip};

const TIME: &str = "2026-03-10T11:00:00Z";

/// A client whose API is a host of export files; tokens come from the simulator.
struct ExportHarness {
    host: ExportHost,
    api: Api,
}

impl ExportHarness {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A client with a short timeout for stalled downloads.
    async fn with_short_timeout() -> Self {
        Self::with(|tenant| tenant.http.timeout = Duration::from_millis(400)).await
    }

    async fn with(change: impl FnOnce(&mut Tenant)) -> Self {
        let host = ExportHost::start().await;
        let api = Api::new(options(0, Realism::Plain), |tenant| {
            tenant.api_url = host.url.parse().unwrap();
            change(tenant);
        });
        let api = api.await;
        Self { host, api }
    }

    /// A host of two valid files of one row each, in lists that differ only in their links.
    async fn with_two_files() -> Self {
        let harness = Self::new().await;
        harness.host.answer(LIST, (1..9).map(|turn| harness.host.list(TIME, turn, &["/one", "/two"])));
        harness.host.answer("/one", [Reply::file(&[row("a1", 5_000_001)])]);
        harness.host.answer("/two", [Reply::file(&[row("b2", 5_000_002)])]);
        harness
    }

    async fn export(&self, known: Option<&str>) -> Result<ExportOutcome, ApiError> {
        let scope: HashSet<_> = ["a1", "b2", "c3"].iter().map(|text| id(text)).collect();
        self.api.client.export(Arc::new(scope), known.map(time)).await
    }

    /// Fetches the export and returns the KBs of both machines.
    async fn kbs(&self) -> [Vec<u32>; 2] {
        let ExportOutcome::New(export) = self.export(None).await.unwrap() else { panic!("no export") };
        kbs(export)
    }

    /// The kind of the error. Asserts that the error prints no link.
    async fn kind(&self) -> &'static str {
        let error = self.export(None).await.unwrap_err();
        let text = format!("{} | {error:?}", Chain(&error));
        assert!(!text.contains("SECRET") && !text.contains("/one") && !text.contains("127.0.0.1"), "{text}");
        error.kind()
    }

    fn requests(&self, endpoint: &str, code: &str) -> f64 {
        self.api.count("api_requests_total", &[("endpoint", endpoint), ("code", code)])
    }
}

fn id(text: &str) -> MachineId {
    MachineId::parse(text).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn row(device: &str, kb: u32) -> Value {
    json!({
        "DeviceId": device, "SoftwareVendor": "microsoft", "SoftwareName": "windows_10",
        "CveId": "CVE-2026-1111", "RecommendedSecurityUpdateId": kb.to_string(),
    })
}

fn kbs(mut export: Export) -> [Vec<u32>; 2] {
    ["a1", "b2"].map(|text| {
        let answer = export.take(&id(text)).unwrap();
        answer.updates.iter().map(|reported| reported.update.kb.number()).collect()
    })
}

fn both() -> [Vec<u32>; 2] {
    [vec![5_000_001], vec![5_000_002]]
}

#[tokio::test]
async fn all_listed_files_are_read_into_one_export() {
    let harness = ExportHarness::new().await;
    let files = ["/one", "/empty", "/two"];
    harness.host.answer(LIST, [harness.host.list(TIME, 1, &files)]);
    let members = [gzip(b""), gzip(format!("{}\n", row("a1", 5_000_001)).as_bytes())].concat();
    harness.host.answer("/one", [Reply::Complete(200, "content-encoding: gzip\r\n", members)]);
    harness.host.answer("/empty", [Reply::Complete(200, "", vec![])]);
    harness.host.answer(
        "/two",
        [Reply::file(&[
            row("b2", 5_000_002),
            row("b2", 5_000_002),
            row("d4", 5_000_003),
            json!({"DeviceId": "c3", "SoftwareVendor": "vmware", "RecommendedSecurityUpdateId": "VMSA-1"}),
            json!({"SoftwareVendor": "microsoft"}),
        ])],
    );
    let ExportOutcome::New(export) = harness.export(Some("2026-03-10T05:00:00Z")).await.unwrap() else {
        panic!()
    };
    assert_eq!((export.generated_at(), export.rows(), export.machines()), (time(TIME), 5, 3));
    assert!(export.contains(&id("c3")) && !export.contains(&id("d4")));
    assert_eq!(kbs(export), both());

    let path = format!("{LIST}?sasValidHours=6");
    let expected = [
        path,
        "/one?turn=1&sig=SECRET".into(),
        "/empty?turn=1&sig=SECRET".into(),
        "/two?turn=1&sig=SECRET".into(),
    ];
    assert_eq!(harness.host.paths(), expected);
    assert_eq!(harness.requests("softwarevulnerabilitiesexport", "200"), 1.0);
    assert_eq!(harness.requests("exportfile", "200"), 3.0);
    let rejected = |reason| harness.api.count("rejected_records_total", &[("reason", reason)]);
    assert_eq!((rejected("bad_kb"), rejected("no_id"), rejected("malformed")), (1.0, 1.0, 0.0));
    assert_eq!(harness.api.count("duplicate_records_total", &[]), 1.0);
}

#[tokio::test]
async fn downloads_send_no_token_and_use_no_quota() {
    let harness = ExportHarness::with_two_files().await;
    assert_eq!(harness.kbs().await, both());
    let has_token = |head: &str| head.contains("authorization") || head.contains("bearer");
    let requests = harness.host.requests();
    assert_eq!(
        requests.iter().map(|request| has_token(&request.head)).collect::<Vec<_>>(),
        [true, false, false]
    );
    let used = harness.api.count("api_quota_used_requests", &[("window", "1h")]);
    assert_eq!(used, 1.0);
}

#[tokio::test]
async fn same_or_older_version_is_not_downloaded() {
    let harness = ExportHarness::with_two_files().await;
    assert!(matches!(harness.export(Some(TIME)).await.unwrap(), ExportOutcome::Unchanged));
    let ExportOutcome::Older { generated_at } = harness.export(Some("2026-03-10T17:00:00Z")).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(generated_at, time(TIME));
    assert_eq!(harness.host.paths().len(), 2, "lists only");
    assert!(matches!(harness.export(Some("2026-03-10T05:00:00Z")).await.unwrap(), ExportOutcome::New(_)));
}

#[tokio::test]
async fn file_list_without_a_time_is_current() {
    let harness = ExportHarness::with_two_files().await;
    let body = json!({"ExportFiles": [format!("{}/one", harness.host.url)]});
    harness.host.answer(LIST, [Reply::Complete(200, "", body.to_string().into_bytes())]);
    let ExportOutcome::New(export) = harness.export(Some(TIME)).await.unwrap() else { panic!() };
    assert_eq!(export.generated_at(), harness.api.clock.now());
}

#[tokio::test]
async fn expired_links_are_renewed_and_read_files_are_kept() {
    for status in [403, 404] {
        let harness = ExportHarness::with_two_files().await;
        harness.host.answer("/two", [Reply::status(status), Reply::file(&[row("b2", 5_000_002)])]);
        assert_eq!(harness.kbs().await, both());
        let list = format!("{LIST}?sasValidHours=6");
        let expected = [
            list.as_str(),
            "/one?turn=1&sig=SECRET",
            "/two?turn=1&sig=SECRET",
            &list,
            "/two?turn=2&sig=SECRET",
        ];
        assert_eq!(harness.host.paths(), expected, "{status}");
    }
}

#[tokio::test]
async fn newer_version_after_expired_links_is_read_completely() {
    let harness = ExportHarness::with_two_files().await;
    let later = "2026-03-10T17:00:00Z";
    let lists =
        [harness.host.list(TIME, 1, &["/one", "/two"]), harness.host.list(later, 2, &["/one", "/two"])];
    harness.host.answer(LIST, lists);
    harness.host.answer("/one", [Reply::file(&[row("a1", 5_000_009)]), Reply::file(&[row("a1", 5_000_001)])]);
    harness.host.answer("/two", [Reply::status(403), Reply::file(&[row("b2", 5_000_002)])]);
    let ExportOutcome::New(export) = harness.export(None).await.unwrap() else { panic!() };
    assert_eq!((export.generated_at(), export.rows()), (time(later), 2));
    assert_eq!(kbs(export), both());
}

#[tokio::test]
async fn links_that_never_work_fail_after_three_lists() {
    for (status, kind) in [(403, "forbidden"), (404, "not_found")] {
        let harness = ExportHarness::with_two_files().await;
        harness.host.answer("/two", [Reply::status(status)]);
        assert_eq!(harness.kind().await, kind);
        assert_eq!(harness.requests("softwarevulnerabilitiesexport", "200"), 3.0);
        assert_eq!(harness.requests("exportfile", "200"), 1.0);
        assert_eq!(harness.requests("exportfile", &status.to_string()), 3.0);
    }
}

#[tokio::test]
async fn retried_file_counts_its_records_once() {
    let file = Reply::file(&[row("b2", 5_000_002), json!({"SoftwareName": "x"})]);
    let Reply::Complete(_, _, body) = file.clone() else { panic!() };
    for fault in [
        Reply::status(500),
        Reply::status(503),
        Reply::status(408),
        Reply::Complete(429, "retry-after: 0\r\n", vec![]),
        Reply::Closed,
        Reply::Truncated(body.clone(), 1),
        Reply::Truncated(body[..body.len() - 4].to_vec(), 4),
    ] {
        let harness = ExportHarness::with_two_files().await;
        harness.host.answer("/two", [fault.clone(), fault.clone(), file.clone()]);
        assert_eq!(harness.kbs().await, both(), "{fault:?}");
        assert_eq!(harness.api.count("api_retries_total", &[]), 2.0, "{fault:?}");
        assert_eq!(harness.api.count("duplicate_records_total", &[]), 0.0, "{fault:?}");
        assert_eq!(harness.api.count("rejected_records_total", &[("reason", "no_id")]), 1.0, "{fault:?}");
    }
}

#[tokio::test]
async fn permanent_error_of_one_file_fails_the_export() {
    let whole = gzip(format!("{}\n", row("b2", 5_000_002)).as_bytes());
    for (fault, kind, attempts) in [
        (Reply::status(500), "server_error", 4),
        (Reply::Closed, "network", 4),
        (Reply::Truncated(whole.clone(), 1), "network", 4),
        (Reply::Complete(429, "retry-after: 600\r\n", vec![]), "throttled", 1),
        (Reply::Complete(302, "location: /one\r\n", vec![]), "unexpected_status", 1),
        (Reply::status(401), "unexpected_status", 1),
        (Reply::Complete(200, "", whole[..whole.len() - 9].to_vec()), "incomplete", 1),
        (Reply::Complete(200, "", b"<html>sign in</html>".to_vec()), "incomplete", 1),
        (Reply::Complete(200, "", row("b2", 5_000_002).to_string().into_bytes()), "incomplete", 1),
        (Reply::Complete(200, "", gzip(b"<html>\n</html>\n")), "decode", 1),
    ] {
        let harness = ExportHarness::with_two_files().await;
        harness.host.answer("/two", [fault.clone()]);
        assert_eq!(harness.kind().await, kind, "{fault:?}");
        let downloads = harness.host.paths().iter().filter(|path| path.starts_with("/two")).count();
        assert_eq!(downloads, attempts, "{fault:?}");
        // The next poll starts again.
        harness.host.answer("/two", [Reply::file(&[row("b2", 5_000_002)])]);
        assert_eq!(harness.kbs().await, both(), "{fault:?}");
    }
}

#[tokio::test]
async fn gzip_bomb_ends_at_the_size_limit() {
    let harness = ExportHarness::with_two_files().await;
    let member = gzip(&vec![b'x'; 16 << 20]);
    harness.host.answer("/two", [Reply::Complete(200, "", member.repeat(200))]);
    assert_eq!(harness.kind().await, "too_large");
}

#[tokio::test]
async fn stalled_or_slow_download_times_out() {
    let (dripping, silent) =
        tokio::join!(ExportHarness::with_short_timeout(), ExportHarness::with_short_timeout());
    let stalled = async |harness: &ExportHarness, reply| {
        harness.host.answer(LIST, [harness.host.list(TIME, 1, &["/one"])]);
        harness.host.answer("/one", [reply]);
        harness.kind().await
    };
    let kinds = tokio::join!(stalled(&dripping, Reply::Drip), stalled(&silent, Reply::Silence));
    assert_eq!(kinds, ("timeout", "timeout"));
}

#[tokio::test]
async fn export_without_files_or_rows_is_rejected() {
    let harness = ExportHarness::new().await;
    harness.host.answer(LIST, [harness.host.list(TIME, 1, &[])]);
    assert_eq!(harness.kind().await, "empty");
    harness.host.answer(LIST, [harness.host.list(TIME, 1, &["/one"])]);
    harness.host.answer("/one", [Reply::Complete(200, "", vec![])]);
    assert_eq!(harness.kind().await, "empty");
    harness.host.answer("/one", [Reply::Complete(200, "", gzip(b"\n\n"))]);
    assert_eq!(harness.kind().await, "empty");
}

#[tokio::test]
async fn malformed_file_list_is_an_error() {
    for (body, kind) in [
        (json!({}), "decode"),
        (json!({"exportFiles": null}), "decode"),
        (json!({"exportFiles": [7]}), "decode"),
        (json!({"exportFiles": ["ftp://127.0.0.1/one?sig=SECRET"]}), "foreign_link"),
        (json!({"exportFiles": ["/one?sig=SECRET"]}), "foreign_link"),
        (json!({"exportFiles": ["https://user:pass@127.0.0.1/one?sig=SECRET"]}), "foreign_link"),
        (json!({"exportFiles": ["x".repeat(5 << 20)]}), "too_large"),
    ] {
        // One client may fetch five lists a minute.
        let harness = ExportHarness::new().await;
        harness.host.answer(LIST, [Reply::Complete(200, "", body.to_string().into_bytes())]);
        assert_eq!(harness.kind().await, kind);
    }
}

#[tokio::test]
async fn forbidden_list_names_the_role() {
    let harness = ExportHarness::new().await;
    let body = json!({"error": {"code": "Forbidden", "message": "Missing application roles. API required roles: x"}});
    harness.host.answer(LIST, [Reply::Complete(403, "", body.to_string().into_bytes())]);
    let error = harness.export(None).await.unwrap_err();
    assert!(error.to_string().contains("`Vulnerability.Read.All`"), "{error}");
}

//! One test for each kind of reply.

mod security;

use std::io::Read;

use axum::body::{Body as RequestBody, to_bytes};
use axum::http::HeaderMap;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::facts::Facts;
use crate::fleet::{MachineFacts, ReportedUpdate, TenantFleet};
use crate::metrics::{RenderOptions, Renderer};
use crate::model::{Freshness, KbId, MachineId, Policy};
use crate::publish::Snapshot;
use crate::self_metrics::TenantStatus;

pub(super) const HOSTILE: &str = "<script>alert('1')</script>\"&";

pub(super) fn now() -> Timestamp {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

pub(super) fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

pub(super) const FRESHNESS: Freshness = Freshness::DEFAULT;

pub(super) fn published(
    fleets: Vec<TenantFleet>,
    policies: Vec<Policy>,
    series_limit: u64,
) -> SnapshotReader {
    published_with(fleets, policies, series_limit, Vec::new())
}

pub(super) fn published_with(
    fleets: Vec<TenantFleet>,
    policies: Vec<Policy>,
    series_limit: u64,
    statuses: Vec<TenantStatus>,
) -> SnapshotReader {
    let options = RenderOptions { policies: policies.into(), series_limit, ..RenderOptions::default() };
    rendered(fleets, &options, statuses)
}

pub(super) fn rendered(
    fleets: Vec<TenantFleet>,
    options: &RenderOptions,
    statuses: Vec<TenantStatus>,
) -> SnapshotReader {
    let fleets = fleets.into_iter().map(Arc::new).collect();
    let snapshot = Snapshot::render(&mut Renderer::default(), 1, fleets, now(), options, Arc::default());
    watch::channel(Arc::new(snapshot.with_statuses(statuses))).1
}

pub(super) fn state(fleets: Vec<TenantFleet>) -> WebState {
    WebState {
        published: published(fleets, Vec::new(), 0),
        self_metrics: Arc::new(SelfMetrics::new("1.2.3")),
        telemetry_path: "/metrics".to_owned(),
        links: LinkBase::default(),
        scrape_slots: ScrapeLimiter::new(2),
        version: "1.2.3",
        clock: Clock::new(now),
        access: WebSecurity::open(),
        reload: None,
    }
}

/// A tenant with a fresh, a stale, an inactive and an unknown machine.
pub(super) fn polled(tenant: &str) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    let id = |name: &str| MachineId::parse(name).unwrap();
    let facts = |name: &str| MachineFacts { name: HOSTILE.to_owned(), ..MachineFacts::unlisted(id(name)) };
    let inactive = MachineFacts { last_seen: Some(ago(40 * 86_400)), ..facts("inactive") };
    fleet.apply_list(vec![facts("fresh"), facts("stale"), inactive, facts("unknown")], now(), &FRESHNESS);
    let update = ReportedUpdate {
        kb: KbId::new(5_039_212).unwrap(),
        facts: Arc::default(),
        cves: None,
        reported_machines: None,
        severity: None,
        cvss: None,
    };
    fleet.apply_answer(&id("fresh"), ago(60), vec![update], &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id("stale"), ago(14 * 3600), Vec::new(), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id("inactive"), ago(60), Vec::new(), &FRESHNESS, &Facts::default());
    fleet.status.up = true;
    fleet.status.last_poll = Some(ago(60) + std::time::Duration::from_nanos(1));
    fleet.status.last_success = Some(ago(7200));
    fleet.status.next_poll = Some(ago(-3600));
    fleet
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(state: &WebState, method: &str, path: &str, headers: &[(header::HeaderName, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(RequestBody::empty()).unwrap();
    let response = router(state.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(super) async fn get(state: &WebState, path: &str) -> Answer {
    ask(state, "GET", path, &[]).await
}

#[tokio::test]
async fn metrics_are_served_before_the_first_poll() {
    let answer = get(&state(vec![TenantFleet::new("contoso".into())]), "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header(header::CONTENT_TYPE), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.header(header::VARY), "accept, accept-encoding");
    assert_eq!(answer.header(header::CONTENT_ENCODING), "");
    assert!(answer.text().contains("mde_up{tenant=\"contoso\"} 0\n"), "{}", answer.text());
    assert!(answer.text().contains("mde_exporter_build_info"));
}

#[tokio::test]
async fn metrics_come_in_the_format_and_encoding_that_is_asked_for() {
    let state = state(vec![polled("contoso")]);
    let openmetrics = "application/openmetrics-text;version=1.0.0,*/*;q=0.1";
    for (accept, is_openmetrics) in [("", false), ("text/plain", false), ("*/*", false), (openmetrics, true)]
    {
        for (codings, is_gzip) in [("", false), ("gzip;q=0", false), ("br, gzip;q=0.5", true)] {
            let headers = [(header::ACCEPT, accept), (header::ACCEPT_ENCODING, codings)];
            let answer = ask(&state, "GET", "/metrics", &headers).await;
            let kind = if is_openmetrics {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            } else {
                "text/plain; version=0.0.4; charset=utf-8"
            };
            assert_eq!(answer.header(header::CONTENT_TYPE), kind, "{accept} {codings}");
            assert_eq!(answer.header(header::VARY), "accept, accept-encoding");
            assert_eq!(answer.header(header::CONTENT_LENGTH), answer.body.len().to_string());
            assert_eq!(answer.header(header::CONTENT_ENCODING), if is_gzip { "gzip" } else { "" });
            let mut text = String::new();
            if is_gzip {
                GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
            } else {
                answer.text().clone_into(&mut text);
            }
            assert!(text.contains("mde_up{tenant=\"contoso\"} 1\n"), "{text}");
            assert!(text.contains("mde_exporter_build_info"), "{text}");
            assert_eq!(text.ends_with("\n# EOF\n"), is_openmetrics);
            let family = "# TYPE mde_exporter_http_requests counter\n";
            assert_eq!(text.contains(family), is_openmetrics, "{text}");
        }
    }
}

#[tokio::test]
async fn detail_gives_a_shallower_body() {
    let state = state(vec![polled("contoso")]);
    for (query, machines, updates) in [
        ("", true, true),
        ("?detail=fleet", false, false),
        ("?detail=machine", true, false),
        ("?detail=update", true, true),
        ("?details=fleet", true, true),
        ("?x=1&detail=fleet", false, false),
        ("?detail=fleet&detail=update", false, false),
        ("?%ff&&==", true, true),
    ] {
        let answer = get(&state, &format!("/metrics{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        let text = answer.text();
        assert!(text.contains("mde_up{") && text.contains("mde_exporter_series{"), "{query}");
        assert_eq!(text.contains("mde_machine_info{"), machines, "{query}");
        assert_eq!(text.contains("mde_machine_missing_update_first_seen"), updates, "{query}");
    }
}

#[tokio::test]
async fn unknown_detail_is_answered_with_the_levels() {
    let state = state(vec![polled("contoso")]);
    for (query, word) in [
        ("?detail=auto", "auto"),
        ("?detail=", ""),
        ("?detail", ""),
        ("?detail=Fleet", "Fleet"),
        ("?detail=nothing&detail=fleet", "nothing"),
    ] {
        let answer = get(&state, &format!("/metrics{query}")).await;
        let text =
            format!("invalid value {word:?} of the parameter detail; these exist:\nfleet\nmachine\nupdate\n");
        assert_eq!((answer.status.as_u16(), answer.text()), (400, text.as_str()), "{query}");
    }
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let state = state(vec![polled("contoso")]);
    for path in ["/metrics", "/", "/machines", "/updates", "/status", "/-/healthy", "/-/ready", "/nothing"] {
        let [whole, head] = [get(&state, path).await, ask(&state, "HEAD", path, &[]).await];
        assert_eq!(head.status, whole.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        let length: usize = head.header(header::CONTENT_LENGTH).parse().unwrap();
        // The metrics change with each request.
        assert!(length == whole.body.len() || path == "/metrics" && length > 0, "{path}");
        assert_eq!(head.header(header::CONTENT_TYPE), whole.header(header::CONTENT_TYPE), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let state = state(vec![polled("contoso")]);
    for path in ["/metrics", "/", "/-/healthy", "/-/ready"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let answer = ask(&state, method, path, &[]).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header(header::ALLOW), "GET,HEAD");
        }
    }
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let state = state(vec![polled("contoso")]);
    for path in ["/metrics/", "/metric", "/-/reload/", "/-/", "//", "/favicon.ico", "/%6detrics"] {
        let answer = get(&state, path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (404, "not found\n"), "{path}");
    }
}

#[tokio::test]
async fn requests_are_counted_under_a_closed_list_of_paths() {
    let state = state(vec![polled("contoso")]);
    get(&state, "/metrics").await;
    get(&state, "/-/ready").await;
    get(&state, "/a?b").await;
    ask(&state, "POST", "/b", &[]).await;
    ask(&state, "POST", "/", &[]).await;
    let text = get(&state, "/metrics?x=1").await;
    for line in [
        "mde_exporter_http_requests_total{code=\"200\",path=\"/metrics\"} 1\n",
        "mde_exporter_http_requests_total{code=\"200\",path=\"/-/ready\"} 1\n",
        "mde_exporter_http_requests_total{code=\"404\",path=\"other\"} 2\n",
        "mde_exporter_http_requests_total{code=\"405\",path=\"/\"} 1\n",
        "mde_exporter_http_request_duration_seconds_count{path=\"other\"} 2\n",
    ] {
        assert!(text.text().contains(line), "{line}{}", text.text());
    }
}

#[tokio::test]
async fn health_says_nothing_about_the_fleet() {
    let state = state(vec![polled("contoso"), TenantFleet::new("fabrikam".into())]);
    let healthy = get(&state, "/-/healthy").await;
    assert_eq!((healthy.status.as_u16(), healthy.text()), (200, "healthy\n"));
    let ready = get(&state, "/-/ready").await;
    assert_eq!((ready.status.as_u16(), ready.text()), (503, "tenants without data: 1\n"));
}

#[tokio::test]
async fn ready_is_when_every_tenant_has_data() {
    let mut restored = polled("restored");
    restored.status = crate::fleet::PollStatus::default();
    let mut without_machines = TenantFleet::new("empty".into());
    without_machines.status.last_success = Some(ago(1));
    let ready = get(&state(vec![restored, without_machines]), "/-/ready").await;
    assert_eq!((ready.status.as_u16(), ready.text()), (200, "ready\n"));
    let mut listed_only = TenantFleet::new("listed".into());
    listed_only.apply_list(vec![MachineFacts::unlisted(MachineId::parse("a").unwrap())], now(), &FRESHNESS);
    assert_eq!(get(&state(vec![listed_only]), "/-/ready").await.status, 503);
}

#[tokio::test]
async fn the_telemetry_path_can_be_any_path() {
    for path in ["/", "/-/healthy", "/a/b", "/{a}", "/:a", "/*a"] {
        let mut state = state(vec![polled("contoso")]);
        state.telemetry_path = path.to_owned();
        let answer = get(&state, path).await;
        assert!(answer.text().contains("mde_up{"), "{path}");
        assert_eq!(get(&state, "/{b}").await.status, 404, "{path}");
        if path != "/" {
            assert!(get(&state, "/").await.text().contains("<h1>"), "{path}");
        }
    }
}

#[tokio::test]
async fn stopping_ends_the_server_and_idle_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let client = async {
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        connection.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        stop.cancel();
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"healthy\n"));
    };
    let server = Server::new(router(state(vec![])), WebSecurity::open(), Limits::default());
    tokio::join!(server.serve(listener, stop.clone()), client);
}

#[tokio::test]
async fn a_reload_is_asked_for_and_answered_with_what_came_of_it() {
    let (ask, mut asked) = tokio::sync::mpsc::channel::<ReloadRequest>(1);
    let state = WebState { reload: Some(ask), ..state(Vec::new()) };
    for (outcome, status) in
        [(Ok("changed: x\n"), StatusCode::OK), (Err("a problem\n"), StatusCode::BAD_REQUEST)]
    {
        let (Ok(text) | Err(text)) = outcome;
        let answering = async {
            let request = asked.recv().await.unwrap();
            request.send(outcome.map(str::to_owned).map_err(str::to_owned)).unwrap();
        };
        let (answer, ()) = tokio::join!(ask_reload(&state, "POST"), answering);
        assert_eq!((answer.status, answer.text()), (status, text));
    }
    assert_eq!(ask_reload(&state, "GET").await.status, StatusCode::METHOD_NOT_ALLOWED);
    drop(asked);
    assert_eq!(ask_reload(&state, "POST").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_reload_that_nobody_may_ask_for_is_forbidden() {
    let answer = ask_reload(&state(Vec::new()), "POST").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.text().contains("--web.enable-lifecycle"), "{}", answer.text());
}

async fn ask_reload(state: &WebState, method: &str) -> Answer {
    ask(state, method, "/-/reload", &[]).await
}

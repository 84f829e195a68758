//! One test for each kind of reply.

use std::io::Read;

use axum::body::{Body as RequestBody, to_bytes};
use axum::http::HeaderMap;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tower::ServiceExt;

use super::*;
use crate::fleet::{Ages, MachineFacts, MachineId, TenantFleet};
use crate::publish::Published;

const HOSTILE: &str = "<script>alert('1')</script>\"&";

fn now() -> Timestamp {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

const AGES: Ages = Ages {
    stale_after: std::time::Duration::from_hours(13),
    expire_after: std::time::Duration::from_hours(48),
    inactive_after: std::time::Duration::from_hours(720),
};

fn published(fleets: Vec<TenantFleet>) -> Reader {
    let published = Published::render(1, fleets.into_iter().map(Arc::new).collect(), now(), AGES, &[]);
    watch::channel(Arc::new(published)).1
}

fn state(fleets: Vec<TenantFleet>) -> WebState {
    WebState {
        published: published(fleets),
        selfmon: Arc::new(SelfMetrics::new("1.2.3")),
        telemetry_path: "/metrics".to_owned(),
        version: "1.2.3",
        clock: Clock::new(now),
    }
}

/// A tenant with a current, a stale, an inactive and an unknown machine.
fn polled(tenant: &str) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    let id = |name: &str| MachineId::parse(name).unwrap();
    let facts = |name: &str| MachineFacts { name: HOSTILE.to_owned(), ..MachineFacts::unlisted(id(name)) };
    let inactive = MachineFacts { last_seen: Some(ago(40 * 86_400)), ..facts("inactive") };
    fleet.apply_list(vec![facts("current"), facts("stale"), inactive, facts("unknown")], now(), &AGES);
    fleet.apply_answer(&id("current"), ago(60), Vec::new(), &AGES);
    fleet.apply_answer(&id("stale"), ago(14 * 3600), Vec::new(), &AGES);
    fleet.apply_answer(&id("inactive"), ago(60), Vec::new(), &AGES);
    fleet.status.up = true;
    fleet.status.last_poll = Some(ago(60) + std::time::Duration::from_nanos(1));
    fleet.status.last_success = Some(ago(7200));
    fleet.status.next_poll = Some(ago(-3600));
    fleet
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(state: &WebState, method: &str, path: &str, accept_encoding: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(codings) = accept_encoding {
        request = request.header(header::ACCEPT_ENCODING, codings);
    }
    let request = request.body(RequestBody::empty()).unwrap();
    let response = router(state.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

async fn get(state: &WebState, path: &str) -> Answer {
    ask(state, "GET", path, None).await
}

#[tokio::test]
async fn metrics_are_served_before_the_first_poll() {
    let answer = get(&state(vec![TenantFleet::new("contoso".into())]), "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header(header::CONTENT_TYPE), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.header(header::VARY), "accept-encoding");
    assert_eq!(answer.header(header::CONTENT_ENCODING), "");
    assert!(answer.text().contains("mde_up{tenant=\"contoso\"} 0\n"), "{}", answer.text());
    assert!(answer.text().contains("mde_exporter_build_info"));
}

#[tokio::test]
async fn metrics_are_compressed_for_those_who_accept_it() {
    let state = state(vec![polled("contoso")]);
    let answer = ask(&state, "GET", "/metrics", Some("br, gzip;q=0.5")).await;
    assert_eq!(answer.header(header::CONTENT_ENCODING), "gzip");
    assert_eq!(answer.header(header::VARY), "accept-encoding");
    let mut text = String::new();
    GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("mde_up{tenant=\"contoso\"} 1\n"));
    let answer = ask(&state, "GET", "/metrics", Some("gzip;q=0")).await;
    assert_eq!(answer.header(header::CONTENT_ENCODING), "");
    assert!(answer.text().contains("mde_up{tenant=\"contoso\"} 1\n"));
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let state = state(vec![polled("contoso")]);
    for path in ["/metrics", "/", "/-/healthy", "/-/ready"] {
        let answer = ask(&state, "HEAD", path, None).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.is_empty(), "{path}");
        assert_ne!(answer.header(header::CONTENT_LENGTH), "0", "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let state = state(vec![polled("contoso")]);
    for path in ["/metrics", "/", "/-/healthy", "/-/ready"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let answer = ask(&state, method, path, None).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header(header::ALLOW), "GET,HEAD");
        }
    }
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let state = state(vec![polled("contoso")]);
    for path in ["/metrics/", "/metric", "/-/reload", "/-/", "//", "/favicon.ico", "/%6detrics"] {
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
    ask(&state, "POST", "/b", None).await;
    ask(&state, "POST", "/", None).await;
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
    listed_only.apply_list(vec![MachineFacts::unlisted(MachineId::parse("a").unwrap())], now(), &AGES);
    assert_eq!(get(&state(vec![listed_only]), "/-/ready").await.status, 503);
}

#[tokio::test]
async fn the_status_page_shows_every_tenant() {
    let mut failing = TenantFleet::new("fabrikam".into());
    failing.status.last_poll = Some(ago(5));
    failing.status.last_error = Some("token refused (AADSTS7000222)".to_owned());
    let page = get(&state(vec![polled("contoso"), failing, TenantFleet::new("new".into())]), "/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header(header::CONTENT_TYPE), "text/html; charset=utf-8");
    let body = page.text().split_once("<body>").unwrap().1;
    insta::assert_snapshot!(body);
}

#[tokio::test]
async fn hostile_text_is_escaped_on_the_status_page() {
    let mut fleet = polled(HOSTILE);
    fleet.status.last_error = Some(HOSTILE.to_owned());
    let mut state = state(vec![fleet]);
    state.telemetry_path = format!("/{HOSTILE}");
    let page = get(&state, "/").await;
    assert!(!page.text().contains("<script"), "{}", page.text());
    assert!(!page.text().contains(HOSTILE));
    let escaped = "&#60;script&#62;alert(&#39;1&#39;)&#60;/script&#62;&#34;&#38;";
    assert_eq!(page.text().matches(escaped).count(), 3, "{}", page.text());
}

#[tokio::test]
async fn the_status_page_allows_its_own_style_and_nothing_else() {
    let page = get(&state(vec![]), "/").await;
    let style = page.text().split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    let hash = azure_core::base64::encode(digest.as_ref());
    assert!(policy.starts_with(&format!("default-src 'none'; style-src 'sha256-{hash}';")), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert_eq!(page.header(header::REFERRER_POLICY), "no-referrer");
    for dynamic in ["<script", " style=", " on", "http://", "https://"] {
        let markup = page.text().split_once("</style>").unwrap().1;
        assert!(!markup.contains(dynamic), "{dynamic}");
    }
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
    let (served, ()) = tokio::join!(serve(listener, router(state(vec![])), stop.clone()), client);
    served.unwrap();
}

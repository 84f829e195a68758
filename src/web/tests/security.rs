//! Access control: passwords, the rate limit, and headers of every reply.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::web::{PasswordHash, RateLimit, WebConfig};

/// `correct horse`, at the lowest cost.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";

fn with_a_password() -> WebConfig {
    let users = BTreeMap::from([("alice".to_owned(), PasswordHash::fake(HASH))]);
    WebConfig { users, ..WebConfig::default() }
}

fn with_a_limit(burst: u32) -> WebConfig {
    let burst = NonZeroU32::new(burst).unwrap();
    let rate_limit = Some(RateLimit { interval: std::time::Duration::from_secs(10), burst });
    WebConfig { rate_limit, ..WebConfig::default() }
}

fn guarded(config: &WebConfig) -> (WebState, watch::Sender<Arc<WebSecurity>>) {
    let (sender, access) = watch::channel(Arc::new(WebSecurity::new(config).unwrap()));
    (WebState { access, ..state(vec![polled("contoso")]) }, sender)
}

async fn ask_as(state: &WebState, path: &str, user_and_password: &str) -> Answer {
    let value = format!("Basic {}", STANDARD.encode(user_and_password));
    ask(state, "GET", path, &[(header::AUTHORIZATION, &value)]).await
}

#[tokio::test]
async fn every_page_except_health_pages_needs_a_password() {
    let (state, _access) = guarded(&with_a_password());
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/"),
        ("HEAD", "/metrics"),
        ("POST", "/metrics"),
        ("GET", "/nothing"),
        ("POST", "/-/reload"),
        ("GET", "/-/healthy/"),
        ("GET", "//-/healthy"),
        ("GET", "/%2D/healthy"),
    ] {
        let answer = ask(&state, method, path, &[]).await;
        assert_eq!(answer.status, 401, "{method} {path}");
        assert_eq!(
            answer.header(header::WWW_AUTHENTICATE),
            "Basic realm=\"mde_exporter\", charset=\"UTF-8\""
        );
        assert!(!answer.text().contains("mde"), "{method} {path}: {}", answer.text());
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(get(&state, path).await.status, 200, "{path}");
    }
    assert_eq!(ask_as(&state, "/metrics", "alice:correct horse").await.status, 200);
    assert_eq!(ask_as(&state, "/", "alice:correct horse").await.status, 200);
    assert_eq!(ask_as(&state, "/nothing", "alice:correct horse").await.status, 404);
    for wrong in ["alice:wrong", "alice:", "bob:correct horse"] {
        assert_eq!(ask_as(&state, "/metrics", wrong).await.status, 401, "{wrong}");
    }
}

#[tokio::test]
async fn metrics_on_a_health_path_need_a_password() {
    let (mut state, _access) = guarded(&with_a_password());
    state.telemetry_path = HEALTHY.to_owned();
    assert_eq!(get(&state, HEALTHY).await.status, 401);
    assert_eq!(get(&state, READY).await.status, 200);
}

#[tokio::test]
async fn refusals_are_counted() {
    let (state, _access) = guarded(&with_a_password());
    get(&state, "/metrics").await;
    let metrics = ask_as(&state, "/metrics", "alice:correct horse").await;
    let counted = "mde_exporter_http_requests_total{path=\"/metrics\",code=\"401\"} 1\n";
    let other_order = "mde_exporter_http_requests_total{code=\"401\",path=\"/metrics\"} 1\n";
    let text = metrics.text();
    assert!(text.contains(counted) || text.contains(other_order), "{text}");
}

#[tokio::test(start_paused = true)]
async fn rate_limit_precedes_the_password_and_skips_health_pages() {
    let limited = WebConfig { users: with_a_password().users, ..with_a_limit(2) };
    let (state, _access) = guarded(&limited);
    for expected in [401, 401, 429, 429] {
        assert_eq!(get(&state, "/metrics").await.status, expected);
    }
    assert_eq!(get(&state, "/metrics").await.text(), "too many requests\n");
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(get(&state, path).await.status, 200, "{path}");
    }
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert_eq!(get(&state, "/metrics").await.status, 401);
    assert_eq!(get(&state, "/metrics").await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn configured_headers_replace_those_of_every_page() {
    let policy = HeaderValue::from_static("frame-ancestors 'none'");
    let headers = HeaderMap::from_iter([
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1")),
    ]);
    let config = WebConfig { users: with_a_password().users, headers, ..with_a_limit(3) };
    let (state, _access) = guarded(&config);
    let mut answers = Vec::new();
    for path in ["/", "/nothing"] {
        answers.push(ask_as(&state, path, "alice:correct horse").await);
    }
    answers.push(get(&state, "/metrics").await);
    answers.push(get(&state, "/metrics").await);
    answers.push(get(&state, "/-/healthy").await);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [200, 404, 401, 429, 200]);
    for answer in answers {
        let policies: Vec<_> = answer.headers.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["frame-ancestors 'none'"]);
        assert_eq!(answer.header(header::STRICT_TRANSPORT_SECURITY), "max-age=1");
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    }
}

#[tokio::test]
async fn swapped_security_applies_to_the_next_request() {
    let (state, access) = guarded(&WebConfig::default());
    assert_eq!(get(&state, "/metrics").await.status, 200);
    access.send_replace(Arc::new(WebSecurity::new(&with_a_password()).unwrap()));
    assert_eq!(get(&state, "/metrics").await.status, 401);
    assert_eq!(ask_as(&state, "/metrics", "alice:correct horse").await.status, 200);
    access.send_replace(Arc::default());
    assert_eq!(get(&state, "/metrics").await.status, 200);
}

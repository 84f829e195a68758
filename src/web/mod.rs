//! The HTTP server: metrics, status page, health.
//!
//! Every answer comes from the newest [`Snapshot`](crate::publish::Snapshot) value and the self
//! metrics. A GET never waits for the API, never causes work on it, and changes nothing but the
//! counters of requests. `/-/healthy` and `/-/ready` say nothing about the fleet, since they stay open
//! when the rest asks for a password.
//!
//! [`router`] is the whole of it; a [`Server`] puts it on sockets. `negotiation` reads what the client accepts,
//! `scrape`, `health`, `status` and `reload` answer. [`WebSecurity`] says who is let in, and how: `auth`, `rate_limit` and
//! `tls` are its parts, and an [`WebConfigWatcher`] keeps it up to date with the web configuration file.

mod auth;
mod config_watcher;
mod health;
mod negotiation;
mod rate_limit;
mod reload;
mod scrape;
mod scrape_limiter;
mod security;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::publish::SnapshotReader;
use crate::self_metrics::SelfMetrics;
pub use config_watcher::{WebConfigError, WebConfigWatcher};
pub use reload::ReloadRequest;
pub use scrape_limiter::ScrapeLimiter;
pub use security::{WebSecurity, WebSecurityError, WebSecurityReader};
pub use serve::{Limits, Listen, Server};

/// What answers are made from.
#[derive(Clone)]
pub struct WebState {
    /// The newest fleets and their exposition.
    pub published: SnapshotReader,
    /// Added to every scrape; counts the requests.
    pub self_metrics: Arc<SelfMetrics>,
    /// Path of the metrics, starting with `/`. Another page at the same path gives way to it.
    pub telemetry_path: String,
    /// How many scrapes are served at once; one more is answered with 503.
    pub scrape_slots: ScrapeLimiter,
    /// Shown on the status page.
    pub version: &'static str,
    /// What ages on the status page are counted from.
    pub clock: Clock,
    /// Who may ask.
    pub access: WebSecurityReader,
    /// Where a reload is asked for; none when nobody may.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
}

/// Every path that is answered. Others are 404, other methods than GET and HEAD (POST for a reload) 405.
///
/// # Panics
///
/// When `telemetry_path` does not start with `/`.
pub fn router(state: WebState) -> Router {
    let metrics = state.telemetry_path.clone();
    // A path is taken as it is, braces and colons included: it is no pattern.
    let literal = metrics.replace('{', "{{").replace('}', "}}");
    // `get` answers HEAD too.
    let pages: [(&str, MethodRouter<WebState>); 4] = [
        ("/", status::page()),
        (HEALTHY, get(health::healthy)),
        (READY, get(health::ready)),
        (RELOAD, post(reload::reload)),
    ];
    let mut router = Router::new().without_v07_checks().route(&literal, get(scrape::metrics));
    for (path, answer) in pages.into_iter().filter(|(path, _)| *path != metrics) {
        router = router.route(path, answer);
    }
    router
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"))
        .layer(middleware::from_fn_with_state(state.clone(), security::guard))
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

const HEALTHY: &str = "/-/healthy";
const READY: &str = "/-/ready";
const RELOAD: &str = "/-/reload";

/// Counts the request under a path of a closed list, and forbids browsers to guess types.
async fn observe(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = path_label(request.uri().path(), &state.telemetry_path);
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    state.self_metrics.http_request_finished(path, response.status().as_u16(), started.elapsed());
    response
}

fn path_label(path: &str, telemetry_path: &str) -> &'static str {
    match path {
        path if path == telemetry_path => "/metrics",
        "/" => "/",
        HEALTHY => HEALTHY,
        READY => READY,
        RELOAD => RELOAD,
        _ => "other",
    }
}

//! The HTTP server: metrics, status page, health.
//!
//! Every reply is made from the newest [`Snapshot`](crate::publish::Snapshot) and the self metrics. A GET
//! request never waits for the API, never causes an API call, and changes nothing except the request
//! counters. `/-/healthy` and `/-/ready` expose nothing about the fleet, because they need no password.
//!
//! [`router`] defines the pages and a [`Server`] serves them on sockets. `negotiation` selects format and
//! encoding; `scrape`, `health`, `status` and `reload` reply. [`WebSecurity`] controls access: `auth`,
//! `rate_limit` and `tls` are its parts, and a [`WebConfigWatcher`] updates it when the web configuration
//! file changes.

mod auth;
mod config_watcher;
mod health;
mod links;
mod negotiation;
mod pages;
mod rate_limit;
mod reload;
mod scrape;
mod scrape_limiter;
mod security;
mod serve;
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
use crate::model::HttpPath;
use crate::publish::SnapshotReader;
use crate::self_metrics::SelfMetrics;
pub use config_watcher::{WebConfigError, WebConfigWatcher};
pub use links::LinkBase;
pub use reload::ReloadRequest;
pub use scrape_limiter::ScrapeLimiter;
pub use security::{WebSecurity, WebSecurityError, WebSecurityReader};
pub use serve::{Limits, Listen, Server};

/// The state that requests are answered from.
#[derive(Clone)]
pub struct WebState {
    /// The newest fleets and their exposition.
    pub published: SnapshotReader,
    /// Added to every scrape; counts the requests.
    pub self_metrics: Arc<SelfMetrics>,
    /// Path of the metrics, starting with `/`. It takes precedence over another page with the same path.
    pub telemetry_path: String,
    /// The base of the links on the pages.
    pub links: LinkBase,
    /// Limits the number of concurrent scrapes; a further one is answered with 503.
    pub scrape_slots: ScrapeLimiter,
    /// Shown on the status page.
    pub version: &'static str,
    /// The clock for ages on the status page.
    pub clock: Clock,
    /// TLS, authentication, headers and rate limit.
    pub access: WebSecurityReader,
    /// Sends reload requests to the daemon; `None` without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
}

/// Creates the router. Unknown paths are answered with 404, methods other than GET and HEAD (POST for a reload)
/// with 405.
///
/// # Panics
///
/// Panics if `telemetry_path` does not start with `/`.
pub fn router(state: WebState) -> Router {
    let metrics = state.telemetry_path.clone();
    // The path is literal, including braces and colons; it is not a pattern.
    let literal = metrics.replace('{', "{{").replace('}', "}}");
    // `get` answers HEAD too.
    let checks: [(&str, MethodRouter<WebState>); 3] =
        [(HEALTHY, get(health::healthy)), (READY, get(health::ready)), (RELOAD, post(reload::reload))];
    let mut router = Router::new().without_v07_checks().route(&literal, get(scrape::metrics));
    let pages = pages::routes().into_iter().chain(checks);
    for (path, answer) in pages.filter(|(path, _)| *path != metrics) {
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

/// Counts the request under a path of a closed list, and disables content sniffing by browsers.
async fn observe(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = path_label(request.uri().path(), &state.telemetry_path);
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    state.self_metrics.http_request_finished(path, response.status().as_u16(), started.elapsed());
    response
}

fn path_label(path: &str, telemetry_path: &str) -> HttpPath {
    match path {
        path if path == telemetry_path => HttpPath::Metrics,
        "/" => HttpPath::Root,
        "/status" => HttpPath::Status,
        path if is_within("/machines", path) => HttpPath::Machines,
        path if is_within("/updates", path) => HttpPath::Updates,
        HEALTHY => HttpPath::Healthy,
        READY => HttpPath::Ready,
        RELOAD => HttpPath::Reload,
        _ => HttpPath::Other,
    }
}

/// Returns whether `path` is the list at `page`, one of its objects, or a download.
fn is_within(page: &str, path: &str) -> bool {
    path.strip_prefix(page).is_some_and(|rest| matches!(rest, "" | ".csv" | ".json") || rest.starts_with('/'))
}

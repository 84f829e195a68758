//! The pages for people.
//!
//! Everything on a page comes from one [`Snapshot`](crate::publish::Snapshot), with the same states as the metrics.
//! `query` parses the parameters, `selection` finds the machines that they select, `context` makes links, `layout`
//! holds what all pages have in common, and `text` formats times and numbers. Each page has a module of its own.
//!
//! Text from outside (names, errors, the address) is shown with invisible characters spelt out, cut if it is long, and
//! escaped by the template. The pages run no script and load nothing; their content security policy allows only their
//! inline style and their form.

mod chart;
mod context;
mod layout;
mod machine;
mod machines;
mod overview;
mod query;
mod selection;
mod status;
mod tenants;
#[cfg(test)]
mod tests;
mod text;
mod update;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use tokio::sync::Semaphore;

use self::context::PageContext;
use self::layout::CONTENT_POLICY;
use self::query::PageQuery;
use super::WebState;

/// The interval at which a page refreshes itself, in seconds.
const REFRESH: HeaderValue = HeaderValue::from_static("60");

/// The answer to a request for a page.
enum Answer {
    Html(String),
    /// The link to the page that the search means.
    Redirect(String),
    /// A sentence that says what is not known.
    NotFound(String),
    /// The page cannot be rendered.
    Failed,
}

impl Answer {
    fn of(page: &impl Template) -> askama::Result<Self> {
        page.render().map(Self::Html)
    }
}

/// Builds a page; the second argument is the part of the path that names an object.
type BuildPage = fn(&PageContext, &str) -> askama::Result<Answer>;

/// The paths of the pages and their answers.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<WebState>)> {
    // One page is built at a time, not on the threads that serve: for a large fleet it takes a while, and scrapes
    // have priority.
    let permits = Arc::new(Semaphore::new(1));
    let page = |orders, build| page(&permits, orders, build);
    vec![
        ("/", page(&[], overview::page)),
        ("/machines", page(&machines::ORDERS, machines::page)),
        ("/machines/{id}", page(&machine::ORDERS, machine::page)),
        ("/status", page(&[], status::page)),
        ("/updates/{kb}", page(update::ORDERS, update::page)),
    ]
}

fn page(
    permits: &Arc<Semaphore>,
    orders: &'static [&'static str],
    build: BuildPage,
) -> MethodRouter<WebState> {
    let permits = Arc::clone(permits);
    get(
        async move |State(state): State<WebState>,
                    uri: Uri,
                    RawQuery(query): RawQuery,
                    object: Option<Path<String>>| {
            let permit = permits.acquire_owned().await;
            let building = tokio::task::spawn_blocking(move || {
                let object = object.map(|Path(object)| object).unwrap_or_default();
                let answer = respond(&state, uri.path(), &query.unwrap_or_default(), &object, orders, build);
                // Held until the page is built, even if the client has disconnected.
                drop(permit);
                answer
            });
            building.await.expect("Safe: building the page does not panic and is never aborted")
        },
    )
}

fn respond(
    state: &WebState,
    path: &str,
    query: &str,
    object: &str,
    orders: &[&'static str],
    build: BuildPage,
) -> Response {
    let snapshot = state.published.borrow().clone();
    let query = match PageQuery::parse(query, &snapshot, orders) {
        Ok(query) => query,
        Err(invalid) => return (StatusCode::BAD_REQUEST, invalid.to_string()).into_response(),
    };
    let context = PageContext {
        snapshot,
        query,
        now: state.clock.now(),
        version: state.version,
        links: state.links.start(path),
        path: path.trim_start_matches('/').to_owned(),
        metrics_path: state.telemetry_path.clone(),
    };
    let answer = build(&context, object).unwrap_or_else(|error| {
        tracing::error!(%error, path, "cannot render the page");
        Answer::Failed
    });
    let mut response = match answer {
        Answer::Html(html) => Html(html).into_response(),
        Answer::Redirect(link) => Redirect::to(&link).into_response(),
        Answer::NotFound(sentence) => (StatusCode::NOT_FOUND, sentence + "\n").into_response(),
        Answer::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "cannot render the page\n").into_response(),
    };
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static(&CONTENT_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !context.query.is_fixed && response.status().is_success() {
        response.headers_mut().insert(header::REFRESH, REFRESH);
    }
    response
}

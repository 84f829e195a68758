//! The pages for people, and the downloads of their tables.
//!
//! Everything on a page comes from one [`Snapshot`](crate::publish::Snapshot), with the same states as the metrics.
//! `query` parses the parameters, `selection` finds the machines that they select, `ranking` sorts what is shown of them,
//! `context` makes links, `layout`
//! holds what all pages have in common, and `text` formats times and numbers. Each page has a module of its own.
//! `downloads` writes the rows of pages as CSV and JSON, and `objects` finds the machine or update that a path names.
//!
//! Text from outside (names, errors, the address) is shown with invisible characters spelt out, cut if it is long, and
//! escaped by the template. The pages run no script and load nothing; their content security policy allows only their
//! inline style and their form.

mod chart;
mod chips;
mod context;
mod downloads;
mod layout;
mod list;
mod machine;
mod machines;
mod objects;
mod overview;
mod query;
mod ranking;
mod reason;
mod selection;
mod status;
mod tenants;
#[cfg(test)]
mod tests;
mod text;
mod update;
mod updates;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use tokio::sync::Semaphore;

use self::context::PageContext;
use self::downloads::{Download, DownloadFormat, Downloads};
use self::layout::CONTENT_POLICY;
use self::query::{InvalidParameter, PageQuery};
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

/// The paths of the pages and downloads, and their answers.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<WebState>)> {
    let pages = Pages::default();
    vec![
        ("/", pages.page(&[], overview::page)),
        ("/machines", pages.page(&machines::ORDERS, machines::page)),
        ("/machines.csv", pages.download(Download::Machines, DownloadFormat::Csv)),
        ("/machines.json", pages.download(Download::Machines, DownloadFormat::Json)),
        ("/machines/{id}", pages.object(&machine::ORDERS, machine::page, Download::Machine)),
        ("/updates", pages.page(&updates::ORDERS, updates::page)),
        ("/updates.csv", pages.download(Download::Updates, DownloadFormat::Csv)),
        ("/updates.json", pages.download(Download::Updates, DownloadFormat::Json)),
        ("/updates/{kb}", pages.object(update::ORDERS, update::page, Download::Update)),
        ("/status", pages.page(&[], status::page)),
    ]
}

/// Builds the pages and writes the downloads.
#[derive(Clone)]
struct Pages {
    /// One page is built at a time, not on the threads that serve: for a large fleet it takes a while, and scrapes
    /// have priority.
    permits: Arc<Semaphore>,
    downloads: Downloads,
}

impl Default for Pages {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(1)), downloads: Downloads::default() }
    }
}

impl Pages {
    /// A page with these orders of its rows.
    fn page(&self, orders: &'static [&'static str], build: BuildPage) -> MethodRouter<WebState> {
        let pages = self.clone();
        get(async move |State(state): State<WebState>, uri: Uri, RawQuery(query): RawQuery| {
            pages.build(state, uri, query, String::new(), orders, build).await
        })
    }

    /// The page of the object that the last segment of the path names, or its download if the segment ends in the
    /// name of a format.
    fn object(
        &self,
        orders: &'static [&'static str],
        build: BuildPage,
        download: Download,
    ) -> MethodRouter<WebState> {
        let pages = self.clone();
        get(
            async move |State(state): State<WebState>,
                        method: Method,
                        uri: Uri,
                        RawQuery(query): RawQuery,
                        Path(object): Path<String>| {
                match DownloadFormat::split(&object) {
                    Some((object, format)) => {
                        let object = object.to_owned();
                        pages.downloads.respond(state, method, uri, query, (download, object, format)).await
                    }
                    None => pages.build(state, uri, query, object, orders, build).await,
                }
            },
        )
    }

    /// A download of all rows of a page.
    fn download(&self, download: Download, format: DownloadFormat) -> MethodRouter<WebState> {
        let pages = self.clone();
        get(
            async move |State(state): State<WebState>,
                        method: Method,
                        uri: Uri,
                        RawQuery(query): RawQuery| {
                pages.downloads.respond(state, method, uri, query, (download, String::new(), format)).await
            },
        )
    }

    async fn build(
        &self,
        state: WebState,
        uri: Uri,
        query: Option<String>,
        object: String,
        orders: &'static [&'static str],
        build: BuildPage,
    ) -> Response {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let building = tokio::task::spawn_blocking(move || {
            let answer = respond(&state, uri.path(), &query.unwrap_or_default(), &object, orders, build);
            // Held until the page is built, even if the client has disconnected.
            drop(permit);
            answer
        });
        building.await.expect("Safe: building the page does not panic and is never aborted")
    }
}

/// What a page or download is built from, by the parameters of the request.
fn context(
    state: &WebState,
    path: &str,
    query: &str,
    orders: &[&'static str],
) -> Result<PageContext, InvalidParameter> {
    let snapshot = state.published.borrow().clone();
    let query = PageQuery::parse(query, &snapshot, orders)?;
    Ok(PageContext {
        snapshot,
        query,
        now: state.clock.now(),
        version: state.version,
        links: state.links.start(path),
        path: path.trim_start_matches('/').to_owned(),
        metrics_path: state.telemetry_path.clone(),
    })
}

fn respond(
    state: &WebState,
    path: &str,
    query: &str,
    object: &str,
    orders: &[&'static str],
    build: BuildPage,
) -> Response {
    let context = match context(state, path, query, orders) {
        Ok(context) => context,
        Err(invalid) => return (StatusCode::BAD_REQUEST, invalid.to_string()).into_response(),
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

//! `GET /`: the status page with all tenants and their machines.
//!
//! Everything on it comes from one [`Snapshot`], with the same states as the metrics. `deadlines`, `tenants` and
//! `machines` build the parts, `query` parses the address, `text` formats times and numbers.
//!
//! Text from outside (names, errors, the address) is shown with invisible characters spelt out, cut if it
//! is long, and escaped by the template. The page runs no script and loads nothing; its content security
//! policy allows only its inline style and its form.

mod deadlines;
mod machines;
mod query;
mod tenants;
#[cfg(test)]
mod tests;
mod text;

use std::sync::{Arc, LazyLock};

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::WebState;
use crate::fleet::overview::TenantOverview;
use crate::fleet::{MachineState, TenantFleet};
use crate::metrics::SeriesBudget;
use crate::model::DetailLevel;
use crate::publish::Snapshot;
use deadlines::Deadlines;
use machines::MachineTable;
use query::MachineQuery;
use tenants::{FactValue, TenantCard};
use text::{ShownTime, grouped, visible};

const STYLE: &str = include_str!("../../../templates/status.css");

static CONTENT_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    // The page has an empty icon, so that browsers do not request one.
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    )
});

/// Responds with the page. One page is built at a time, not on the threads that serve: for a large fleet it
/// takes a while, and scrapes have priority.
pub(super) fn page() -> MethodRouter<WebState> {
    let permits = Arc::new(Semaphore::new(1));
    get(async move |State(state): State<WebState>, RawQuery(query): RawQuery| {
        let permit = permits.acquire_owned().await;
        let building = tokio::task::spawn_blocking(move || {
            let html = StatusPage::of(&state, &query.unwrap_or_default()).render();
            // Held until the page is built, even if the client has disconnected.
            drop(permit);
            html
        });
        respond(building.await.expect("Safe: building the page does not panic and is never aborted"))
    })
}

fn respond(page: askama::Result<String>) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match page {
        Ok(html) => (headers, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render the status page");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot render the status page\n").into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    style: &'static str,
    version: &'static str,
    /// The start of every link to another page.
    links: String,
    /// The link to the metrics.
    metrics: String,
    /// Sentences about policies that cannot judge everything.
    warnings: Vec<String>,
    deadlines: Deadlines,
    tenants: Vec<TenantCard>,
    levels: Vec<LevelRow>,
    series_limit: String,
    /// The search text, which the form shows again.
    search: String,
    /// Options of the tenant filter; empty if there is only one tenant.
    tenant_choices: Vec<SelectOption>,
    state_choices: Vec<SelectOption>,
    is_filtered: bool,
    table: MachineTable,
    at: ShownTime,
}

struct LevelRow {
    name: &'static str,
    served: String,
    suppressed: String,
    is_suppressed: bool,
    is_deepest: bool,
}

struct SelectOption {
    value: String,
    label: String,
    is_selected: bool,
}

impl StatusPage {
    fn of(state: &WebState, query: &str) -> Self {
        let snapshot = state.published.borrow().clone();
        let query = MachineQuery::parse(query);
        let now = state.clock.now();
        let budget = snapshot.body.budget();
        let links = state.links.start("/");
        Self {
            style: STYLE,
            version: state.version,
            metrics: format!("{links}{}", state.telemetry_path.trim_start_matches('/')),
            links,
            warnings: snapshot.policy_warnings().iter().map(|warning| visible(warning)).collect(),
            deadlines: Deadlines::of(&snapshot),
            tenants: tenants(&snapshot, now),
            levels: DetailLevel::ALL.into_iter().map(|level| LevelRow::of(level, budget)).collect(),
            series_limit: if budget.limit == 0 { "none".to_owned() } else { grouped(budget.limit) },
            search: query.search.clone(),
            tenant_choices: tenant_choices(&snapshot, &query),
            state_choices: MachineState::ALL.map(|state| SelectOption::of_state(state, &query)).into(),
            is_filtered: query.is_filtered(),
            table: MachineTable::of(&snapshot, &query, now),
            at: ShownTime::past(snapshot.at, now),
        }
    }
}

fn tenants(snapshot: &Snapshot, now: Timestamp) -> Vec<TenantCard> {
    let count = snapshot.fleets.len();
    let overviews = snapshot.fleets.iter().zip(&snapshot.overview().tenants);
    let card = |(index, (fleet, overview)): (usize, (&Arc<TenantFleet>, &TenantOverview))| {
        let status = snapshot.statuses.get(index).copied().unwrap_or_default();
        TenantCard::of(fleet, overview, status, count, now)
    };
    overviews.enumerate().map(card).collect()
}

fn tenant_choices(snapshot: &Snapshot, query: &MachineQuery) -> Vec<SelectOption> {
    let names = snapshot.fleets.iter().map(|fleet| &*fleet.tenant);
    let choice = |name: &str| SelectOption {
        value: name.to_owned(),
        label: visible(name),
        is_selected: *name == query.tenant,
    };
    if snapshot.fleets.len() > 1 { names.map(choice).collect() } else { Vec::new() }
}

impl SelectOption {
    fn of_state(state: MachineState, query: &MachineQuery) -> Self {
        let name = state.as_str().to_owned();
        Self { value: name.clone(), label: name, is_selected: query.state == Some(state) }
    }
}

impl LevelRow {
    fn of(level: DetailLevel, budget: &SeriesBudget) -> Self {
        let series = budget.series[level as usize];
        let suppressed = budget.suppressed[level as usize];
        let (served_text, suppressed_text) = match suppressed {
            _ if level > budget.wanted => ("none".to_owned(), "not configured".to_owned()),
            0 => (grouped(series), "none suppressed".to_owned()),
            _ => (grouped(series), format!("{} suppressed", grouped(suppressed))),
        };
        Self {
            name: level.as_str(),
            served: served_text,
            suppressed: suppressed_text,
            is_suppressed: suppressed > 0,
            is_deepest: level == budget.deepest,
        }
    }
}

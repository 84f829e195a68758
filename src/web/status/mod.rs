//! `GET /`: one look at all tenants and their machines, for a person.
//!
//! Whatever comes from outside (names, errors, the address) is spelt out where it cannot be seen, cut when it
//! is long, and escaped by the template. The page runs no script and loads nothing; its content policy allows
//! the one style that it carries and its own form.
//!
//! `tenants` and `machines` make the two parts, `query` reads what is asked for, `words` says times and
//! numbers. All of it comes from one [`Snapshot`] value, judged at its time as the metrics are.

mod machines;
mod query;
mod tenants;
#[cfg(test)]
mod tests;
mod words;

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
use machines::MachineTable;
use query::Wanted;
use tenants::{Shown, TenantCard};
use words::{Moment, grouped, visible};

const STYLE: &str = include_str!("../../../templates/status.css");

static CONTENT_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    // The empty icon keeps browsers from asking for one.
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    )
});

/// Answers with the page. One at a time is made, off the threads that serve: over a large fleet it takes
/// a moment, and scrapes come first.
pub(super) fn page() -> MethodRouter<WebState> {
    let turn = Arc::new(Semaphore::new(1));
    get(async move |State(state): State<WebState>, RawQuery(query): RawQuery| {
        let turn = turn.acquire_owned().await;
        let making = tokio::task::spawn_blocking(move || {
            let html = StatusPage::of(&state, &query.unwrap_or_default()).render();
            // Held until the work is done, even if nobody waits for it any more.
            drop(turn);
            html
        });
        answer(making.await.expect("Safe: making the page does not panic and is never aborted"))
    })
}

fn answer(page: askama::Result<String>) -> Response {
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
    telemetry_path: String,
    tenants: Vec<TenantCard>,
    levels: Vec<LevelRow>,
    series_limit: String,
    /// What was asked for, to stand in the form again.
    search: String,
    /// Each tenant as it is shown, and whether it is chosen; none when there is no choice.
    tenant_choices: Vec<Choice>,
    state_choices: Vec<Choice>,
    is_narrowed: bool,
    table: MachineTable,
    at: Moment,
}

struct LevelRow {
    name: &'static str,
    served: String,
    left_out: String,
    is_cut: bool,
    is_deepest: bool,
}

struct Choice {
    value: String,
    shown: String,
    is_chosen: bool,
}

impl StatusPage {
    fn of(state: &WebState, query: &str) -> Self {
        let published = state.published.borrow().clone();
        let (wanted, now) = (Wanted::parse(query), state.clock.now());
        let served = published.body.served();
        Self {
            style: STYLE,
            version: state.version,
            telemetry_path: state.telemetry_path.clone(),
            tenants: tenants(state, &published, now),
            levels: DetailLevel::ALL.into_iter().map(|level| LevelRow::of(level, served)).collect(),
            series_limit: if served.limit == 0 { "none".to_owned() } else { grouped(served.limit) },
            search: wanted.search.clone(),
            tenant_choices: tenant_choices(&published, &wanted),
            state_choices: MachineState::ALL.map(|state| Choice::of_state(state, &wanted)).into(),
            is_narrowed: wanted.is_narrowed(),
            table: MachineTable::of(&published, &wanted, now),
            at: Moment::past(published.at, now),
        }
    }
}

fn tenants(state: &WebState, published: &Snapshot, now: Timestamp) -> Vec<TenantCard> {
    let (count, readings) = (published.fleets.len(), state.self_metrics.readings());
    let card = |(fleet, overview): (&Arc<TenantFleet>, &TenantOverview)| {
        let readings = readings.get(&*fleet.tenant).copied().unwrap_or_default();
        TenantCard::of(fleet, overview, readings, count, now)
    };
    published.fleets.iter().zip(&published.overview().tenants).map(card).collect()
}

fn tenant_choices(published: &Snapshot, wanted: &Wanted) -> Vec<Choice> {
    let names = published.fleets.iter().map(|fleet| &*fleet.tenant);
    let choice = |name: &str| {
        let (value, shown) = (name.to_owned(), visible(name));
        Choice { value, shown, is_chosen: *name == wanted.tenant }
    };
    if published.fleets.len() > 1 { names.map(choice).collect() } else { Vec::new() }
}

impl Choice {
    fn of_state(state: MachineState, wanted: &Wanted) -> Self {
        let name = state.as_str().to_owned();
        Self { value: name.clone(), shown: name, is_chosen: wanted.state == Some(state) }
    }
}

impl LevelRow {
    fn of(level: DetailLevel, served: &SeriesBudget) -> Self {
        let (series, left_out) = (served.series[level as usize], served.suppressed[level as usize]);
        let (served_text, left_out_text) = match left_out {
            _ if level > served.wanted => ("none".to_owned(), "not asked for".to_owned()),
            0 => (grouped(series), "nothing left out".to_owned()),
            _ => (grouped(series), format!("{} left out", grouped(left_out))),
        };
        Self {
            name: level.as_str(),
            served: served_text,
            left_out: left_out_text,
            is_cut: left_out > 0,
            is_deepest: level == served.deepest,
        }
    }
}

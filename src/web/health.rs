//! `/-/healthy` and `/-/ready`, for supervisors. The replies contain no name of a tenant or machine.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::WebState;
use crate::fleet::{Machine, TenantFleet};
use crate::publish::Snapshot;

/// Answers 200 while the process serves.
pub(super) async fn healthy() -> &'static str {
    "healthy\n"
}

/// Answers 200 once data is served for every tenant, else 503. A tenant without a machine to read is ready after
/// its first machine list.
pub(super) async fn ready(State(state): State<WebState>) -> (StatusCode, String) {
    let published = state.published.borrow().clone();
    let waits = |fleet: &&Arc<TenantFleet>| !has_data(fleet, &published);
    match published.fleets.iter().filter(waits).count() {
        0 => (StatusCode::OK, "ready\n".to_owned()),
        waiting => (StatusCode::SERVICE_UNAVAILABLE, format!("tenants without data: {waiting}\n")),
    }
}

/// Returns whether data of `fleet` is served, or the list shows that there is none to read.
fn has_data(fleet: &TenantFleet, published: &Snapshot) -> bool {
    let machines = || fleet.machines.values();
    let is_asked = |machine: &&Arc<Machine>| machine.state(published.at, &published.freshness).is_asked();
    let is_read = |machine: &Arc<Machine>| machine.attempt.is_some_and(|attempt| attempt.succeeded);
    machines().any(|machine| machine.assessment.is_some())
        || fleet.status.last_success.is_some() && machines().filter(is_asked).all(is_read)
}

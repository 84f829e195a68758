//! `/-/healthy` and `/-/ready`, for supervisors. The replies contain no name of a tenant or machine.

use axum::extract::State;
use axum::http::StatusCode;

use super::WebState;
use crate::fleet::TenantFleet;

/// Answers 200 while the process serves.
pub(super) async fn healthy() -> &'static str {
    "healthy\n"
}

/// Answers 200 once data is served for every tenant, else 503. A tenant without machines has data after its
/// first successful poll.
pub(super) async fn ready(State(state): State<WebState>) -> (StatusCode, String) {
    let published = state.published.borrow().clone();
    match published.fleets.iter().filter(|fleet| !has_data(fleet)).count() {
        0 => (StatusCode::OK, "ready\n".to_owned()),
        waiting => (StatusCode::SERVICE_UNAVAILABLE, format!("tenants without data: {waiting}\n")),
    }
}

fn has_data(fleet: &TenantFleet) -> bool {
    fleet.status.last_success.is_some() || fleet.machines.values().any(|machine| machine.assessment.is_some())
}

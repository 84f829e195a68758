//! `GET /`: one look at all tenants, for a person.
//!
//! Whatever comes from outside (names, errors) is escaped by the template. The page runs no script and
//! loads nothing; its content policy allows the one style that it carries.

use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;

use super::WebState;
use crate::fleet::{MachineState, TenantFleet};
use crate::publish::Published;

const STYLE: &str = include_str!("../../templates/status.css");

static CONTENT_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = azure_core::base64::encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

pub(super) async fn page(State(state): State<WebState>) -> Response {
    let published = state.published.borrow().clone();
    let now = state.clock.now();
    let page = StatusPage {
        style: STYLE,
        version: state.version,
        telemetry_path: &state.telemetry_path,
        tenants: published.fleets.iter().map(|fleet| TenantCard::of(fleet, &published, now)).collect(),
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match page.render() {
        Ok(html) => (headers, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render the status page");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot render the status page\n").into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    style: &'a str,
    version: &'a str,
    telemetry_path: &'a str,
    tenants: Vec<TenantCard<'a>>,
}

struct TenantCard<'a> {
    name: &'a str,
    health: Health,
    last_poll: Option<Moment>,
    next_poll: Option<Moment>,
    last_success: Option<Moment>,
    last_error: Option<&'a str>,
    machines: usize,
    by_state: [(&'static str, usize); MachineState::ALL.len()],
}

/// How the newest attempt went; `class` colours it.
struct Health {
    word: &'static str,
    class: &'static str,
}

/// A time, exact and in words.
struct Moment {
    exact: String,
    words: String,
}

impl<'a> TenantCard<'a> {
    fn of(fleet: &'a TenantFleet, published: &Published, now: Timestamp) -> Self {
        let status = &fleet.status;
        let mut by_state = MachineState::ALL.map(|state| (state.as_str(), 0));
        for machine in fleet.machines.values() {
            by_state[machine.state(now, &published.ages) as usize].1 += 1;
        }
        let moment = |at: Timestamp, words| Moment { exact: format!("{at:.0}"), words };
        let past = |at| moment(at, ago(now, at));
        Self {
            name: &fleet.tenant,
            health: match (status.up, status.last_poll) {
                (true, _) => Health { word: "up", class: "good" },
                (false, Some(_)) => Health { word: "down", class: "bad" },
                (false, None) => Health { word: "not polled yet", class: "waiting" },
            },
            last_poll: status.last_poll.map(past),
            next_poll: status.next_poll.map(|at| moment(at, until(now, at))),
            last_success: status.last_success.map(past),
            last_error: status.last_error.as_deref(),
            machines: fleet.machines.len(),
            by_state,
        }
    }
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    match Duration::try_from(now.duration_since(at)) {
        Ok(age) if age >= Duration::from_secs(1) => format!("{} ago", in_words(age)),
        // Clocks are set back now and then.
        _ => "just now".to_owned(),
    }
}

fn until(now: Timestamp, at: Timestamp) -> String {
    match Duration::try_from(at.duration_since(now)) {
        Ok(wait) if wait >= Duration::from_secs(1) => format!("in {}", in_words(wait)),
        _ => "due now".to_owned(),
    }
}

/// The length of a time in its largest unit.
fn in_words(length: Duration) -> String {
    let seconds = length.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_people_say_them() {
        let now = Timestamp::UNIX_EPOCH;
        let cases = [
            (0, "just now", "due now"),
            (1, "1 second ago", "in 1 second"),
            (59, "59 seconds ago", "in 59 seconds"),
            (60, "1 minute ago", "in 1 minute"),
            (7199, "1 hour ago", "in 1 hour"),
            (86_400, "24 hours ago", "in 24 hours"),
            (172_800, "2 days ago", "in 2 days"),
        ];
        for (seconds, past, future) in cases {
            let length = Duration::from_secs(seconds);
            assert_eq!(ago(now, now - length), past);
            assert_eq!(until(now, now + length), future);
        }
        assert_eq!(ago(now, now + Duration::from_hours(1)), "just now");
        assert_eq!(until(now, now - Duration::from_hours(1)), "due now");
    }
}

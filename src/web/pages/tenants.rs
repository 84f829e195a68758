//! The cards of the tenants on the status page.

use std::time::Duration;

use jiff::Timestamp;

use super::context::PageContext;
use super::text::{ShownTime, counted, grouped, visible, visible_error};
use crate::fleet::overview::TenantOverview;
use crate::fleet::{MachineState, TenantFleet};
use crate::model::Source;
use crate::self_metrics::{QuotaWindow, TenantStatus};

/// A tenant and its polls.
pub(super) struct TenantCard {
    pub(super) name: String,
    pub(super) health: Health,
    /// The number of machines in words.
    pub(super) machines: String,
    /// The link to the machines; none without one.
    pub(super) link: Option<String>,
    /// State of data, number of machines in it, and the link to their list; empty before the first machine list.
    pub(super) states: Vec<(&'static str, String, String)>,
    pub(super) facts: Vec<Fact>,
    pub(super) last_error: Option<String>,
}

/// Result of the newest attempt; `class` selects the colour.
pub(super) struct Health {
    pub(super) word: &'static str,
    pub(super) class: &'static str,
}

pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) value: FactValue,
}

pub(super) enum FactValue {
    Words(String),
    Time(ShownTime),
}

/// The cards of all tenants that the query selects.
pub(super) fn cards(context: &PageContext) -> Vec<TenantCard> {
    let tenants = 0..context.snapshot.fleets.len();
    let is_selected = |tenant: &usize| context.query.tenant.is_none_or(|other| other == *tenant);
    tenants.filter(is_selected).map(|tenant| TenantCard::of(context, tenant)).collect()
}

impl TenantCard {
    fn of(context: &PageContext, tenant: usize) -> Self {
        let snapshot = &context.snapshot;
        let fleet = &snapshot.fleets[tenant];
        let overview = &snapshot.overview().tenants[tenant];
        let sampled = snapshot.statuses.get(tenant).copied().unwrap_or_default();
        let status = &fleet.status;
        let is_listed = fleet.listed_at.is_some() || !fleet.machines.is_empty();
        let machines = || match fleet.machines.len() {
            0 => "no machine in scope: the selectors match none".to_owned(),
            number => counted(number as u64, "machine"),
        };
        let state = |state: MachineState| {
            let link = context.machines(|query| (query.tenant, query.state) = (Some(tenant), Some(state)));
            (state.as_str(), grouped(overview.summary.machines(state)), link)
        };
        let shown = MachineState::ALL.into_iter().filter(|_| is_listed);
        Self {
            name: visible(&fleet.tenant),
            health: match (status.up, status.last_poll) {
                (true, _) => Health { word: "up", class: "up" },
                (false, Some(_)) => Health { word: "down", class: "down" },
                (false, None) => Health { word: "not polled yet", class: "waiting" },
            },
            machines: if is_listed { machines() } else { "no machine list yet".to_owned() },
            link: (!fleet.machines.is_empty()).then(|| context.machines(|query| query.tenant = Some(tenant))),
            states: shown.map(state).collect(),
            facts: facts(fleet, overview, sampled, context.now),
            last_error: status.last_error.as_deref().map(visible_error),
        }
    }
}

fn facts(fleet: &TenantFleet, overview: &TenantOverview, sampled: TenantStatus, now: Timestamp) -> Vec<Fact> {
    let status = &fleet.status;
    let past = |at: Option<Timestamp>, fallback| time(at.map(|at| ShownTime::past(at, now)), fallback);
    let quota = |window: Option<QuotaWindow>| {
        let used = |window: QuotaWindow| format!("{} of {}", grouped(window.used), grouped(window.allowed));
        FactValue::Words(window.map_or_else(|| "unknown".to_owned(), used))
    };
    let [minute, hour] = sampled.quota.map_or([None; 2], |windows| windows.map(Some));
    let source = match fleet.source {
        Source::Machines => "machine by machine",
        Source::Export => "bulk export",
    };
    let mut facts = vec![
        ("Last poll", past(status.last_poll, "never")),
        ("Last success", past(status.last_success, "never")),
        ("Next poll", time(status.next_poll.map(|at| ShownTime::coming(at, now)), "not scheduled")),
        ("Waiting to be read", FactValue::Words(waiting(fleet))),
        ("Poll interval", FactValue::Words(sampled.poll_interval.map_or("unknown".to_owned(), interval))),
        ("Calls in the last minute", quota(minute)),
        ("Calls in the last hour", quota(hour)),
        ("Access token", token(sampled.token_expiry, now)),
        ("Source", FactValue::Words(source.to_owned())),
    ];
    if fleet.source == Source::Export {
        facts.push((
            "Export generated",
            past(fleet.export_version.map(|export| export.generated_at), "none yet"),
        ));
    }
    facts.push(("Oldest data", past(overview.data.map(|(oldest, _)| oldest), "none")));
    let oldest_first_seen = overview.summary.oldest_first_seen.map(|at| ShownTime::since(at, now));
    facts.push(("Oldest missing update", time(oldest_first_seen, "none")));
    facts.into_iter().map(|(label, value)| Fact { label, value }).collect()
}

/// The progress of the reading: the machines that wait, and the time that the quota needs for them.
pub(super) fn waiting(fleet: &TenantFleet) -> String {
    let status = &fleet.status;
    if status.waiting == 0 {
        return "none".to_owned();
    }
    let machines = counted(fleet.machines.len() as u64, "machine");
    let minutes = status.time_left.map(|left| left.as_secs().div_ceil(60)).filter(|minutes| *minutes > 0);
    let left = minutes.map(|minutes| humantime::format_duration(Duration::from_secs(minutes * 60)));
    let left = left.map_or_else(String::new, |left| format!(", about {left} left"));
    format!("{} of {machines}{left}", grouped(status.waiting as u64))
}

fn time(shown: Option<ShownTime>, fallback: &str) -> FactValue {
    shown.map_or_else(|| FactValue::Words(fallback.to_owned()), FactValue::Time)
}

fn interval(interval: Duration) -> String {
    humantime::format_duration(interval).to_string()
}

fn token(expiry: Option<Timestamp>, now: Timestamp) -> FactValue {
    let shown = expiry.map(|at| {
        let (verb, shown) = if at > now {
            ("expires", ShownTime::coming(at, now))
        } else {
            ("expired", ShownTime::past(at, now))
        };
        ShownTime { words: format!("{verb} {}", shown.words), ..shown }
    });
    time(shown, "none yet")
}

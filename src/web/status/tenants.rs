//! The cards of the tenants.

use std::time::Duration;

use jiff::Timestamp;

use super::query::MachineQuery;
use super::text::{ShownTime, counted, grouped, visible, visible_error};
use crate::fleet::overview::TenantOverview;
use crate::fleet::{MachineState, TenantFleet};
use crate::model::{Severity, Source};
use crate::self_metrics::{QuotaWindow, TenantStatus};

/// If there are more tenants than this, those without a problem are shown folded.
const MOST_UNFOLDED: usize = 3;

pub(super) struct TenantCard {
    pub(super) name: String,
    pub(super) health: Health,
    pub(super) unfolded: bool,
    pub(super) machines: String,
    /// Numbers of machines and missing updates; none before the first machine list.
    pub(super) figures: Option<Figures>,
    pub(super) facts: Vec<Fact>,
    pub(super) last_error: Option<String>,
}

/// Result of the newest attempt; `class` selects the colour.
pub(super) struct Health {
    pub(super) word: &'static str,
    pub(super) class: &'static str,
}

pub(super) struct Figures {
    /// State, number of machines in it, and the link to their list.
    pub(super) states: Vec<(&'static str, String, String)>,
    /// Number of missing updates; none while they are known of no machine.
    pub(super) missing: Option<String>,
}

pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) value: FactValue,
}

pub(super) enum FactValue {
    Words(String),
    Time(ShownTime),
}

impl TenantCard {
    pub(super) fn of(
        fleet: &TenantFleet,
        overview: &TenantOverview,
        sampled: TenantStatus,
        tenants: usize,
        now: Timestamp,
    ) -> Self {
        let status = &fleet.status;
        let is_listed = fleet.listed_at.is_some() || !fleet.machines.is_empty();
        let machines = || match fleet.machines.len() {
            0 => "no machine in scope: the selectors match none".to_owned(),
            number => counted(number as u64, "machine"),
        };
        Self {
            name: visible(&fleet.tenant),
            health: match (status.up, status.last_poll) {
                (true, _) => Health { word: "up", class: "good" },
                (false, Some(_)) => Health { word: "down", class: "bad" },
                (false, None) => Health { word: "not polled yet", class: "waiting" },
            },
            unfolded: tenants <= MOST_UNFOLDED || !status.up || status.last_error.is_some(),
            machines: if is_listed { machines() } else { "no machine list yet".to_owned() },
            figures: is_listed.then(|| Figures::of(fleet, overview)),
            facts: facts(fleet, overview, sampled, now),
            last_error: status.last_error.as_deref().map(visible_error),
        }
    }
}

impl Figures {
    fn of(fleet: &TenantFleet, overview: &TenantOverview) -> Self {
        let summary = &overview.summary;
        let states = MachineState::ALL.map(|state| {
            let link = MachineQuery::of_tenant(&fleet.tenant, state).link_to(1);
            (state.as_str(), grouped(summary.machines(state)), link)
        });
        let is_known = fleet.machines.is_empty() || overview.oldest_data.is_some();
        let severities = Severity::WORST_FIRST.into_iter().map(Some).chain([None]);
        let missing = || severities.map(|severity| summary.missing_updates(severity)).sum();
        Self { states: states.into(), missing: is_known.then(|| grouped(missing())) }
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
    facts.push(("Oldest data", past(overview.oldest_data, "none")));
    let oldest_first_seen = overview.summary.oldest_first_seen.map(|at| ShownTime::since(at, now));
    facts.push(("Oldest missing update", time(oldest_first_seen, "none")));
    facts.into_iter().map(|(label, value)| Fact { label, value }).collect()
}

/// The progress of the reading: the machines that wait, and the time that the quota needs for them.
fn waiting(fleet: &TenantFleet) -> String {
    let status = &fleet.status;
    if status.waiting == 0 {
        return "none".to_owned();
    }
    let machines = counted(fleet.machines.len() as u64, "machine");
    let minutes = status.time_left.map(|left| left.as_secs().div_ceil(60));
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

//! How each tenant and its polls stand.

use std::time::Duration;

use jiff::Timestamp;

use super::query::Wanted;
use super::words::{Moment, counted, grouped, visible, visible_error};
use crate::fleet::overview::TenantOverview;
use crate::fleet::summary::Summary;
use crate::fleet::{MachineState, TenantFleet};
use crate::model::{Severity, Source};
use crate::self_metrics::{QuotaWindow, TenantReadings};

/// More tenants than this are shown folded, as long as nothing is wrong with them.
const MOST_UNFOLDED: usize = 3;

pub(super) struct TenantCard {
    pub(super) name: String,
    pub(super) health: Health,
    pub(super) unfolded: bool,
    pub(super) machines: String,
    /// None before the first machine list.
    pub(super) figures: Option<Figures>,
    pub(super) facts: Vec<Fact>,
    pub(super) last_error: Option<String>,
}

/// How the newest attempt went; `class` colours it.
pub(super) struct Health {
    pub(super) word: &'static str,
    pub(super) class: &'static str,
}

pub(super) struct Figures {
    /// Machines in each state, and where they are listed.
    pub(super) states: Vec<(&'static str, String, String)>,
    /// Pairs of machine and missing update; none while no machine is judged.
    pub(super) missing: Option<String>,
}

pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) value: Shown,
}

pub(super) enum Shown {
    Words(String),
    Time(Moment),
}

impl TenantCard {
    pub(super) fn of(
        fleet: &TenantFleet,
        overview: &TenantOverview,
        readings: TenantReadings,
        tenants: usize,
        now: Timestamp,
    ) -> Self {
        let status = &fleet.status;
        let is_listed = fleet.listed_at.is_some() || !fleet.machines.is_empty();
        let machines = || counted(fleet.machines.len() as u64, "machine");
        Self {
            name: visible(&fleet.tenant),
            health: match (status.up, status.last_poll) {
                (true, _) => Health { word: "up", class: "good" },
                (false, Some(_)) => Health { word: "down", class: "bad" },
                (false, None) => Health { word: "not polled yet", class: "waiting" },
            },
            unfolded: tenants <= MOST_UNFOLDED || !status.up || status.last_error.is_some(),
            machines: if is_listed { machines() } else { "no machine list yet".to_owned() },
            figures: is_listed.then(|| Figures::of(fleet, &overview.summary)),
            facts: facts(fleet, overview, readings, now),
            last_error: status.last_error.as_deref().map(visible_error),
        }
    }
}

impl Figures {
    fn of(fleet: &TenantFleet, summary: &Summary) -> Self {
        let states = MachineState::ALL.map(|state| {
            let link = Wanted::of_tenant(&fleet.tenant, state).link_to(1);
            (state.as_str(), grouped(summary.machines(state)), link)
        });
        let judged = MachineState::ALL.into_iter().filter(|state| state.is_assessed());
        let is_known =
            fleet.machines.is_empty() || judged.map(|state| summary.machines(state)).sum::<u64>() > 0;
        let severities = Severity::WORST_FIRST.into_iter().map(Some).chain([None]);
        let missing = || severities.map(|severity| summary.missing_updates(severity)).sum();
        Self { states: states.into(), missing: is_known.then(|| grouped(missing())) }
    }
}

fn facts(
    fleet: &TenantFleet,
    overview: &TenantOverview,
    readings: TenantReadings,
    now: Timestamp,
) -> Vec<Fact> {
    let status = &fleet.status;
    let past = |at: Option<Timestamp>, otherwise| time(at.map(|at| Moment::past(at, now)), otherwise);
    let quota = |window: Option<QuotaWindow>| {
        let used = |window: QuotaWindow| format!("{} of {}", grouped(window.used), grouped(window.allowed));
        Shown::Words(window.map_or_else(|| "not known yet".to_owned(), used))
    };
    let [minute, hour] = readings.quota.map_or([None; 2], |windows| windows.map(Some));
    let source = match fleet.source {
        Source::Machines => "machine by machine",
        Source::Export => "bulk export",
    };
    let mut facts = vec![
        ("Last poll", past(status.last_poll, "never")),
        ("Last success", past(status.last_success, "never")),
        ("Next poll", time(status.next_poll.map(|at| Moment::coming(at, now)), "not planned yet")),
        ("Poll interval", Shown::Words(readings.poll_interval.map_or("not known yet".to_owned(), interval))),
        ("Calls in the last minute", quota(minute)),
        ("Calls in the last hour", quota(hour)),
        ("Access token", token(readings.token_expiry, now)),
        ("Source", Shown::Words(source.to_owned())),
    ];
    if fleet.source == Source::Export {
        facts.push((
            "Export made",
            past(fleet.export_version.map(|snapshot| snapshot.generated_at), "none yet"),
        ));
    }
    facts.push(("Oldest data", past(overview.oldest_data, "none")));
    let oldest_first_seen = overview.summary.oldest_first_seen.map(|at| Moment::since(at, now));
    facts.push(("Oldest gap", time(oldest_first_seen, "none known")));
    facts.into_iter().map(|(label, value)| Fact { label, value }).collect()
}

fn time(moment: Option<Moment>, otherwise: &str) -> Shown {
    moment.map_or_else(|| Shown::Words(otherwise.to_owned()), Shown::Time)
}

fn interval(interval: Duration) -> String {
    humantime::format_duration(interval).to_string()
}

fn token(expiry: Option<Timestamp>, now: Timestamp) -> Shown {
    let moment = expiry.map(|at| {
        let (verb, moment) =
            if at > now { ("expires", Moment::coming(at, now)) } else { ("expired", Moment::past(at, now)) };
        Moment { words: format!("{verb} {}", moment.words), ..moment }
    });
    time(moment, "none yet")
}

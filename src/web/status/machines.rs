//! The table of the machines that match the query, one page of it.
//!
//! The [`Overview`](crate::fleet::Overview) of a snapshot holds the machines in order; a query walks over it
//! once and builds only the rows of its page.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;

use super::query::MachineQuery;
use super::text::{ShownTime, grouped, visible};
use crate::fleet::MachineState;
use crate::fleet::overview::{MachineSummary, MissingCounts};
use crate::fleet::policy::{CompiledPolicies, TenantPolicies};
use crate::fleet::servicing::MachineServicing;
use crate::model::{OwnLabel, ServicingState};
use crate::publish::Snapshot;

/// Number of machines on a page.
const ROWS: usize = 50;

pub(super) struct MachineTable {
    pub(super) rows: Vec<MachineTableRow>,
    /// Number and order of the machines.
    pub(super) caption: String,
    /// The policies that decide which updates are overdue; none without policies.
    pub(super) policy: Option<String>,
    /// True if there is more than one tenant.
    pub(super) shows_tenant: bool,
    pub(super) position: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

pub(super) struct MachineTableRow {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) platform: String,
    /// The mark of a machine that is, or may be, past end of servicing.
    pub(super) servicing: Option<ServicingMark>,
    pub(super) group: String,
    /// Name and value of each own label that is not empty.
    pub(super) own_labels: Vec<(String, String)>,
    pub(super) state: &'static str,
    /// Missing updates; none while unknown, which is different from zero.
    pub(super) missing: Option<MissingCells>,
    pub(super) last_assessed: Option<ShownTime>,
    pub(super) newest_attempt_failed: bool,
    /// True if the newest answer contains an update id that is no KB.
    pub(super) has_unreadable_ids: bool,
}

pub(super) struct ServicingMark {
    pub(super) class: &'static str,
    pub(super) words: String,
    /// The end of servicing, shown as the last day; none if it is not known.
    pub(super) end: Option<ShownTime>,
}

/// What exceptions cover of a machine.
#[derive(Clone, Copy, Default)]
struct Accepted {
    updates: u64,
    /// True if the machine is past end of servicing and one covers it.
    servicing: bool,
}

pub(super) struct MissingCells {
    pub(super) missing: String,
    /// Missing updates that an exception covers; none if there is none.
    pub(super) accepted: Option<String>,
    /// Overdue updates; none if no policy can judge them.
    pub(super) overdue: Option<String>,
    pub(super) is_overdue: bool,
    /// Time since the oldest first-seen time; none if no update is missing.
    pub(super) oldest: Option<ShownTime>,
}

impl MachineTable {
    pub(super) fn of(snapshot: &Snapshot, query: &MachineQuery, now: Timestamp) -> Self {
        let matching = select(snapshot, query);
        let pages = matching.len().div_ceil(ROWS).max(1);
        let page = query.page.min(pages);
        let start = (page - 1) * ROWS;
        let shown: Vec<_> = matching.iter().skip(start).take(ROWS).collect();
        let accepted = accepted(snapshot, &shown);
        let row = |(summary, accepted): (&&&MachineSummary, Accepted)| {
            MachineTableRow::of(summary, snapshot, accepted, now)
        };
        let link = |page: usize| query.link_to(page);
        Self {
            rows: shown.iter().zip(accepted).map(row).collect(),
            caption: caption(matching.len(), start, shown.len(), query),
            policy: match &snapshot.policies[..] {
                [] => None,
                [policy] => Some(visible(&policy.name)),
                [..] => Some("any policy".to_owned()),
            },
            shows_tenant: snapshot.fleets.len() > 1,
            position: (pages > 1)
                .then(|| format!("Page {} of {}", grouped(page as u64), grouped(pages as u64))),
            previous: (page > 1).then(|| link(page - 1)),
            next: (page < pages).then(|| link(page + 1)),
        }
    }
}

/// The matching machines, in order.
fn select<'a>(snapshot: &'a Snapshot, query: &MachineQuery) -> Vec<&'a MachineSummary> {
    let machines = &snapshot.overview().machines;
    if !query.is_filtered() {
        return machines.iter().collect();
    }
    let is_of_tenant = |summary: &MachineSummary| {
        query.tenant.is_empty() || *snapshot.fleets[summary.tenant].tenant == *query.tenant
    };
    let is_in_state = |summary: &MachineSummary| query.state.is_none_or(|state| summary.state == state);
    let search = query.search.to_lowercase();
    let finder = Finder::new(&search);
    let is_named = |summary: &MachineSummary| {
        search.is_empty()
            || finder.find(summary.lower_name.as_bytes()).is_some()
            || summary.machine.facts.id.as_str() == search
    };
    let matches =
        |summary: &&MachineSummary| is_of_tenant(summary) && is_in_state(summary) && is_named(summary);
    machines.iter().filter(matches).collect()
}

/// What exceptions cover of each of `machines`.
fn accepted(snapshot: &Snapshot, machines: &[&&MachineSummary]) -> Vec<Accepted> {
    if snapshot.exceptions.is_empty() || snapshot.policies.is_empty() {
        return vec![Accepted::default(); machines.len()];
    }
    let compiled = CompiledPolicies::new(&snapshot.policies, &snapshot.exceptions, snapshot.at);
    let mut of_tenants = BTreeMap::new();
    let mut accepted = |summary: &MachineSummary| {
        let machine = &summary.machine;
        let missing_updates = machine.assessed_updates(snapshot.at, &snapshot.freshness);
        let policies = of_tenants.entry(summary.tenant).or_insert_with(|| {
            let updates = &snapshot.overview().tenants[summary.tenant].summary.updates;
            TenantPolicies::new(&compiled, &snapshot.fleets[summary.tenant], updates, &snapshot.facts)
        });
        // Exceptions are the same under every policy.
        let verdicts = policies.verdicts(0, machine, missing_updates.unwrap_or_default());
        let is_ended = summary.servicing.decides(summary.state);
        Accepted {
            updates: verdicts.iter().filter(|verdict| verdict.exception.is_some()).count() as u64,
            servicing: is_ended && policies.servicing_verdict(machine).exception.is_some(),
        }
    };
    machines.iter().map(|summary| accepted(summary)).collect()
}

fn caption(matching: usize, start: usize, shown: usize, query: &MachineQuery) -> String {
    let grouped = |number: usize| grouped(number as u64);
    let suffix = if query.is_filtered() { " found" } else { "" };
    match (matching, shown) {
        (0, _) if query.is_filtered() => "No machine in scope matches.".to_owned(),
        (0, _) => "No machine in scope yet.".to_owned(),
        (1, _) => format!("1 machine{suffix}"),
        (matching, shown) if matching == shown => {
            format!("{} machines{suffix}, most missing updates first", grouped(matching))
        }
        (matching, shown) => format!(
            "Machines {} to {} of {}{suffix}, most missing updates first",
            grouped(start + 1),
            grouped(start + shown),
            grouped(matching)
        ),
    }
}

impl MachineTableRow {
    fn of(summary: &MachineSummary, snapshot: &Snapshot, accepted: Accepted, now: Timestamp) -> Self {
        let machine = &summary.machine;
        let facts = &machine.facts;
        let platform = [facts.os_platform.as_str(), &facts.os_version].map(visible).join(" ");
        Self {
            name: visible(&facts.name),
            id: visible(facts.id.as_str()),
            tenant: visible(&snapshot.fleets[summary.tenant].tenant),
            platform: platform.trim().to_owned(),
            servicing: ServicingMark::of(summary, accepted.servicing),
            group: visible(&facts.device_group),
            own_labels: own_labels(&snapshot.labels, facts.tags.as_deref()),
            state: summary.state.as_str(),
            missing: summary.missing.map(|counts| MissingCells::of(counts, accepted.updates, now)),
            last_assessed: machine
                .assessment
                .as_ref()
                .map(|assessment| ShownTime::past(assessment.fetched_at, now)),
            has_unreadable_ids: machine.has_unreadable_ids(),
            newest_attempt_failed: machine.attempt.is_some_and(|attempt| !attempt.succeeded),
        }
    }
}

impl ServicingMark {
    fn of(summary: &MachineSummary, is_accepted: bool) -> Option<Self> {
        let servicing = &summary.servicing;
        let class = match servicing.state {
            _ if summary.state == MachineState::Unsupported => return None,
            ServicingState::InService | ServicingState::Unknown => return None,
            ServicingState::Uncertain => "waiting",
            ServicingState::Ended if is_accepted => "covered",
            ServicingState::Ended => "bad",
        };
        let words = match servicing.state {
            ServicingState::Uncertain => {
                format!("servicing uncertain: set {}", settings(servicing).join(" and "))
            }
            _ if is_accepted => "accepted, servicing ended".to_owned(),
            _ => "servicing ended".to_owned(),
        };
        Some(Self { class, words, end: servicing.ended_at.map(last_day) })
    }
}

/// The settings that would settle whether servicing has ended.
fn settings(servicing: &MachineServicing) -> Vec<&'static str> {
    let editions = servicing.needs_edition.then_some("servicing.editions");
    let extended = servicing.needs_extended.then_some("servicing.extended");
    editions.into_iter().chain(extended).collect()
}

/// The last day before `end`.
fn last_day(end: Timestamp) -> ShownTime {
    let last = end - SignedDuration::from_secs(1);
    ShownTime { exact: end.to_string(), words: last.strftime("%Y-%m-%d").to_string() }
}

fn own_labels(labels: &[OwnLabel], tags: Option<&[String]>) -> Vec<(String, String)> {
    let values = labels.iter().map(|label| (label.name.to_string(), visible(label.value(tags))));
    values.filter(|(_, value)| !value.is_empty()).collect()
}

impl MissingCells {
    fn of(counts: MissingCounts, accepted: u64, now: Timestamp) -> Self {
        Self {
            missing: grouped(counts.total as u64),
            accepted: (accepted > 0).then(|| grouped(accepted)),
            overdue: counts.overdue.map(grouped),
            is_overdue: counts.overdue.is_some_and(|overdue| overdue > 0),
            oldest: counts.oldest.map(|at| ShownTime::since(at, now)),
        }
    }
}

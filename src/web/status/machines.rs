//! The machines that are asked for, a page of them.
//!
//! The [`Overview`](crate::fleet::Overview) has them in order, once per publication; a question walks over
//! it once and no row is made that is not shown.

use jiff::Timestamp;
use memchr::memmem::Finder;

use super::query::Wanted;
use super::words::{Moment, grouped, visible};
use crate::fleet::overview::{MachineSummary, MissingCounts};
use crate::fleet::policy::strictest;
use crate::publish::Snapshot;

/// Machines on a page.
const ROWS: usize = 50;

pub(super) struct MachineTable {
    pub(super) rows: Vec<Row>,
    /// What is shown, in words.
    pub(super) caption: String,
    /// Name of the policy by which updates are overdue; none when there is no policy.
    pub(super) policy: Option<String>,
    /// Whether there is more than one tenant to tell apart.
    pub(super) shows_tenant: bool,
    pub(super) position: Option<String>,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

pub(super) struct Row {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) platform: String,
    pub(super) group: String,
    pub(super) state: &'static str,
    /// None while it is not known, which is not the same as nothing.
    pub(super) backlog: Option<MissingCells>,
    pub(super) last_read: Option<Moment>,
    pub(super) newest_attempt_failed: bool,
}

pub(super) struct MissingCells {
    pub(super) missing: String,
    pub(super) overdue: String,
    pub(super) is_overdue: bool,
    /// None when there is no gap.
    pub(super) oldest: Option<Moment>,
}

impl MachineTable {
    pub(super) fn of(published: &Snapshot, wanted: &Wanted, now: Timestamp) -> Self {
        let found = select(published, wanted);
        let pages = found.len().div_ceil(ROWS).max(1);
        let page = wanted.page.min(pages);
        let start = (page - 1) * ROWS;
        let shown: Vec<_> = found.iter().skip(start).take(ROWS).collect();
        let row =
            |standing: &&&MachineSummary| Row::of(standing, &published.fleets[standing.tenant].tenant, now);
        let link = |page: usize| wanted.link_to(page);
        Self {
            rows: shown.iter().map(row).collect(),
            caption: caption(found.len(), start, shown.len(), wanted),
            policy: strictest(&published.policies).map(|policy| visible(&policy.name)),
            shows_tenant: published.fleets.len() > 1,
            position: (pages > 1)
                .then(|| format!("Page {} of {}", grouped(page as u64), grouped(pages as u64))),
            previous: (page > 1).then(|| link(page - 1)),
            next: (page < pages).then(|| link(page + 1)),
        }
    }
}

/// The machines that fit, in their order.
fn select<'a>(published: &'a Snapshot, wanted: &Wanted) -> Vec<&'a MachineSummary> {
    let machines = &published.overview().machines;
    if !wanted.is_narrowed() {
        return machines.iter().collect();
    }
    let is_of_tenant = |standing: &MachineSummary| {
        wanted.tenant.is_empty() || *published.fleets[standing.tenant].tenant == *wanted.tenant
    };
    let is_in_state = |standing: &MachineSummary| wanted.state.is_none_or(|state| standing.state == state);
    let search = wanted.search.to_lowercase();
    let finder = Finder::new(&search);
    let is_found = |standing: &MachineSummary| {
        search.is_empty()
            || finder.find(standing.lower_name.as_bytes()).is_some()
            || standing.machine.facts.id.as_str() == search
    };
    let fits =
        |standing: &&MachineSummary| is_of_tenant(standing) && is_in_state(standing) && is_found(standing);
    machines.iter().filter(fits).collect()
}

fn caption(found: usize, start: usize, shown: usize, wanted: &Wanted) -> String {
    let grouped = |number: usize| grouped(number as u64);
    let narrowed = if wanted.is_narrowed() { " found" } else { "" };
    match (found, shown) {
        (0, _) if wanted.is_narrowed() => "No machine in scope is like that.".to_owned(),
        (0, _) => "No machine is known yet.".to_owned(),
        (1, _) => format!("1 machine{narrowed}"),
        (found, shown) if found == shown => {
            format!("{} machines{narrowed}, most missing updates first", grouped(found))
        }
        (found, shown) => format!(
            "Machines {} to {} of {}{narrowed}, most missing updates first",
            grouped(start + 1),
            grouped(start + shown),
            grouped(found)
        ),
    }
}

impl Row {
    fn of(standing: &MachineSummary, tenant: &str, now: Timestamp) -> Self {
        let machine = &standing.machine;
        let facts = &machine.facts;
        let platform = [facts.os_platform.as_str(), &facts.os_version].map(visible).join(" ");
        Self {
            name: visible(&facts.name),
            id: visible(facts.id.as_str()),
            tenant: visible(tenant),
            platform: platform.trim().to_owned(),
            group: visible(&facts.device_group),
            state: standing.state.as_str(),
            backlog: standing.missing.map(|missing| MissingCells::of(missing, now)),
            last_read: machine.assessment.as_ref().map(|assessment| Moment::past(assessment.fetched_at, now)),
            newest_attempt_failed: machine.attempt.is_some_and(|attempt| !attempt.succeeded),
        }
    }
}

impl MissingCells {
    fn of(missing: MissingCounts, now: Timestamp) -> Self {
        let overdue = missing.overdue.unwrap_or_default();
        Self {
            missing: grouped(missing.total as u64),
            overdue: grouped(overdue),
            is_overdue: overdue > 0,
            oldest: missing.oldest.map(|at| Moment::since(at, now)),
        }
    }
}

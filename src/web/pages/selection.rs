//! The machines that a query selects.

use std::collections::BTreeSet;
use std::ops::Range;
use std::slice;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use memchr::memmem::Finder;

use super::query::PageQuery;
use crate::fleet::overview::{MachineSummary, Overview, PolicyOverview, TenantOverview};
use crate::fleet::policy::{MachineJudgement, PolicyState, UpdateState, UpdateVerdict};
use crate::fleet::{MachineState, MissingUpdate};
use crate::model::KbId;
use crate::publish::Snapshot;

/// The fewest digits that a search takes for a part of a KB.
const KB_DIGITS: usize = 4;

/// Selects the machines of a snapshot that match a query.
pub(super) struct Selection<'a> {
    overview: &'a Overview,
    policy: usize,
    query: &'a PageQuery,
    /// The searched text in lower case; none without a search.
    finder: Option<Finder<'static>>,
    /// The machines that miss a KB that the search may mean; none without one.
    misses_searched: Option<MachineSet>,
    /// The machines that miss the KB of the query; none without one.
    misses_kb: Option<MachineSet>,
    /// True if the query selects machines by more than their tenant and state.
    is_narrow: bool,
    /// For each owner, true if its own labels match.
    owners: Option<Vec<bool>>,
}

impl<'a> Selection<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, query: &'a PageQuery) -> Self {
        let overview = snapshot.overview();
        let search = query.search.to_lowercase();
        let has_label = |values: &[Box<str>]| {
            let pairs = query.labels.iter().zip(values);
            pairs.into_iter().all(|(wanted, value)| wanted.as_ref().is_none_or(|wanted| *wanted == **value))
        };
        let searched = searched_kbs(overview, &search);
        let is_narrow = PageQuery { tenant: None, policy_state: None, ..query.clone() }.is_filtered();
        let is_owned = query.labels.iter().any(Option::is_some);
        Self {
            overview,
            policy: query.policy,
            query,
            misses_searched: (!searched.is_empty()).then(|| MachineSet::missing(overview, &searched)),
            misses_kb: query.kb.as_ref().map(|kb| MachineSet::missing(overview, kb.kb.as_slice())),
            is_narrow,
            finder: (!search.is_empty()).then(|| Finder::new(&search).into_owned()),
            owners: is_owned.then(|| overview.owners.iter().map(|values| has_label(values)).collect()),
        }
    }

    /// The places of the machines in [`Overview::machines`], in their order.
    pub(super) fn machines(&self) -> Vec<usize> {
        self.places().filter(|&place| self.matches(place)).collect()
    }

    /// The machines under the policy in effect.
    pub(super) fn under_policy(&self) -> &'a PolicyOverview {
        &self.overview.policies[self.policy]
    }

    fn places(&self) -> Range<usize> {
        match self.query.tenant {
            Some(tenant) => self.overview.tenants[tenant].machines.clone(),
            None => 0..self.overview.machines.len(),
        }
    }

    /// The tenants whose machines it may select.
    pub(super) fn tenants(&self) -> &'a [TenantOverview] {
        match self.query.tenant {
            Some(tenant) => slice::from_ref(&self.overview.tenants[tenant]),
            None => &self.overview.tenants,
        }
    }

    /// Returns whether the machine at `place` matches.
    pub(super) fn matches(&self, place: usize) -> bool {
        self.places().contains(&place)
            && self.query.policy_state.is_none_or(|state| self.under_policy().state(place) == state)
            && (!self.is_narrow || self.matches_machine(place))
    }

    fn matches_machine(&self, place: usize) -> bool {
        let PageQuery {
            state, platform, group, tag, exploited, deadline, exception, servicing, reason, ..
        } = self.query;
        if self.misses_kb.as_ref().is_some_and(|misses| !misses.contains(place)) {
            return false;
        }
        let summary = &self.overview.machines[place];
        let facts = &summary.machine.facts;
        let is = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(text))
        };
        // Only a query for tags reads them: the memory of a machine is far from that of the next one.
        let tags = || facts.tags.as_deref().unwrap_or_default().iter();
        state.is_none_or(|state| summary.state == state)
            && self.owners.as_ref().is_none_or(|owners| owners[summary.owner as usize])
            && servicing.is_none_or(|servicing| {
                summary.servicing.state == servicing && summary.state != MachineState::Unsupported
            })
            && exploited.is_none_or(|exploited| {
                summary.missing.is_some_and(|missing| (missing.exploited > 0) == exploited)
            })
            && reason.is_none_or(|reason| self.overview.not_judged(place, self.policy) == Some(reason))
            && deadline.is_none_or(|days| {
                next_deadline_day(&self.under_policy().machines[place]).is_some_and(|day| days.contains(day))
            })
            && exception.is_none_or(|exception| self.overview.is_covered(place, exception))
            && is(platform, &facts.os_platform)
            && is(group, &facts.device_group)
            && tag.as_ref().is_none_or(|tag| tags().any(|other| other.eq_ignore_ascii_case(tag)))
            && self.is_found(place, summary)
    }

    fn is_found(&self, place: usize, summary: &MachineSummary) -> bool {
        let Some(finder) = &self.finder else { return true };
        self.misses_searched.as_ref().is_some_and(|misses| misses.contains(place))
            || finder.find(self.overview.searched(summary).as_bytes()).is_some()
    }
}

/// Some of the machines of an overview.
pub(super) struct MachineSet(Box<[bool]>);

impl MachineSet {
    /// The machines that a selection selects.
    pub(super) fn of(selection: &Selection<'_>) -> Self {
        Self::of_places(selection.overview, selection.machines())
    }

    /// The machines that miss one of these KBs.
    fn missing(overview: &Overview, kbs: &[KbId]) -> Self {
        let tenants = overview.tenants.iter();
        Self::of_places(
            overview,
            tenants.flat_map(|tenant| kbs.iter().flat_map(|kb| tenant.missing.machines(*kb))),
        )
    }

    fn of_places(overview: &Overview, places: impl IntoIterator<Item = usize>) -> Self {
        let mut machines = vec![false; overview.machines.len()];
        places.into_iter().for_each(|place| machines[place] = true);
        Self(machines.into())
    }

    /// Returns whether it has the machine at `place`.
    pub(super) fn contains(&self, place: usize) -> bool {
        self.0[place]
    }
}

/// Returns whether a query selects a missing update of a machine with this verdict: by KB, state and exploitation.
pub(super) fn selects_update(query: &PageQuery, missing: &MissingUpdate, verdict: &UpdateVerdict) -> bool {
    query.policy_state.is_none_or(|state| update_state(state) == Some(verdict.state))
        && query.exploited.is_none_or(|exploited| verdict.exploited == Some(exploited))
        && query.kb.as_ref().is_none_or(|kb| kb.kb == Some(missing.update.kb))
}

/// The state of missing updates that a value of `policy_state` selects; none if it is only a state of machines.
pub(super) fn update_state(state: PolicyState) -> Option<UpdateState> {
    match state {
        PolicyState::Overdue => Some(UpdateState::Overdue),
        PolicyState::Due => Some(UpdateState::Due),
        PolicyState::Accepted => Some(UpdateState::Accepted),
        PolicyState::Unknown => Some(UpdateState::Unknown),
        PolicyState::Compliant | PolicyState::Unsupported => None,
    }
}

/// The UTC day on which a machine that is not overdue becomes overdue.
pub(super) fn next_deadline_day(judgement: &MachineJudgement) -> Option<Date> {
    let deadline = judgement.next_deadline.filter(|_| judgement.state != PolicyState::Overdue)?;
    Some(TimeZone::UTC.to_datetime(deadline).date())
}

/// The missing KBs that a search in lower case may mean: those that contain its digits.
fn searched_kbs(overview: &Overview, search: &str) -> Vec<KbId> {
    let digits = search.strip_prefix("kb").unwrap_or(search).trim_start_matches([' ', '-']);
    if digits.len() < KB_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let kbs = overview.tenants.iter().flat_map(|tenant| tenant.summary.updates.keys());
    let found: BTreeSet<_> = kbs.filter(|kb| kb.to_string().contains(digits)).copied().collect();
    found.into_iter().collect()
}

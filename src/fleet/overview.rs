//! The machines of all tenants at one time, for the pages and downloads.
//!
//! [`Overview`] lists every machine in scope with what pages show, search and sort by, and judges it under every policy.
//! The states are those of the metrics: both come from the same rules.

mod missing_index;
mod not_judged;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::slice;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;

use super::policy::{
    CompiledPolicies, MachineExtent, MachineJudgement, PolicyState, PolicyStates, TenantPolicies,
};
use super::servicing::{CompiledServicing, MachineServicing};
use super::summary::Summary;
use super::{Machine, MachineState, MissingUpdate, TenantFleet};
use crate::facts::Facts;
use crate::model::{
    Exception, Freshness, KbId, MachineId, OwnLabel, Policy, PolicyRule, RuleDeadline, ServicingSettings,
};

use missing_index::MissingIndexBuilder;

pub use missing_index::{MissingEntry, MissingIndex};
pub use not_judged::NotJudged;

/// Stands in where the configuration has no policies, because exceptions are compared together with policies.
pub static NO_DEADLINE: LazyLock<Policy> = LazyLock::new(|| Policy {
    rules: vec![PolicyRule::unconditional(RuleDeadline::Unlimited)],
    ..Policy::default()
});

/// The tenants and machines at one time.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// One for each fleet, in their order.
    pub tenants: Vec<TenantOverview>,
    /// Every machine in scope, in the order of tenants and ids.
    pub machines: Vec<MachineSummary>,
    /// The machines under each policy, in the order of the policies. Without policies there is one, under which no
    /// missing update has a deadline.
    pub policies: Vec<PolicyOverview>,
    /// The values of the own labels that machines have; see [`MachineSummary::owner`].
    pub owners: Vec<Box<[Box<str>]>>,
    /// The tags that machines have together; see [`MachineSummary::tag_set`].
    pub tag_sets: Vec<Arc<[String]>>,
    /// The searched texts of all machines, one after another, so that a search reads memory in order.
    searched: String,
}

/// The machines of a tenant together.
#[derive(Clone, Debug)]
pub struct TenantOverview {
    /// The counts over its machines.
    pub summary: Summary,
    /// The places of its machines in [`Overview::machines`].
    pub machines: Range<usize>,
    /// Its machines by the updates that they miss.
    pub missing: MissingIndex,
    /// The times that the data in service describes, from the oldest to the newest; none without such data.
    pub data: Option<(Timestamp, Timestamp)>,
    /// Its machines by state under each policy, in the order of [`Overview::policies`].
    pub policies: Vec<PolicyStates>,
    /// For each exception, the places of the machines of which it covers a missing update or the end of servicing, in
    /// their order.
    pub exception_machines: Vec<Vec<usize>>,
}

/// The machines under one policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyOverview {
    /// One for each machine, in the order of [`Overview::machines`].
    pub machines: Vec<MachineJudgement>,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct MachineSummary {
    /// The index of its tenant among the fleets.
    pub tenant: usize,
    /// The machine.
    pub machine: Arc<Machine>,
    /// The part of the searched texts that is its own; see [`Overview::searched`].
    searched: Range<usize>,
    /// Its place among all machines in the order of names.
    pub name_rank: u32,
    /// The place of the values of its own labels in [`Overview::owners`].
    pub owner: u32,
    /// The place of its tags in [`Overview::tag_sets`].
    pub tag_set: u32,
    /// The state of its data.
    pub state: MachineState,
    /// Its missing updates; none while it is not assessed.
    pub missing: Option<MissingCounts>,
    /// The servicing of its version of Windows.
    pub servicing: MachineServicing,
}

/// Counts of the missing updates of an assessed machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingCounts {
    /// All missing updates.
    pub total: usize,
    /// Those that fix an exploited CVE, themselves or by a link.
    pub exploited: u32,
    /// Those that an exception covers.
    pub accepted: u32,
    /// The earliest first-seen time of them and of the updates that they stand for; none without a missing update.
    pub oldest: Option<Timestamp>,
}

/// What an overview is made with.
#[derive(Clone, Copy, Debug)]
pub struct OverviewTerms<'a> {
    /// The time of the overview.
    pub now: Timestamp,
    /// The limits of the age of data.
    pub freshness: &'a Freshness,
    /// The policies.
    pub policies: &'a [Policy],
    /// The exceptions.
    pub exceptions: &'a [Exception],
    /// The settings about servicing.
    pub servicing: &'a ServicingSettings,
    /// The own labels.
    pub labels: &'a [OwnLabel],
    /// The facts.
    pub facts: &'a Facts,
}

impl Overview {
    /// The overview of `fleets`. Takes a good part of a second for a large fleet.
    #[must_use]
    pub fn of(fleets: &[Arc<TenantFleet>], terms: OverviewTerms<'_>) -> Self {
        let policies = match terms.policies {
            [] => slice::from_ref(&*NO_DEADLINE),
            policies => policies,
        };
        let compiled = CompiledPolicies::new(policies, terms.exceptions, terms.now);
        let servicing = CompiledServicing::new(terms.servicing, terms.facts.servicing(), terms.now);
        let policies = policies.iter().map(|_| PolicyOverview::default()).collect();
        let mut overview = Self { policies, ..Self::default() };
        let mut owners = OwnerList::default();
        for (tenant, fleet) in fleets.iter().enumerate() {
            let summary = Summary::by_owner(fleet, &servicing, &[], terms.freshness, terms.facts);
            overview.add_tenant(tenant, fleet, summary, &compiled, terms, &mut owners);
        }
        overview.owners = owners.list;
        overview.tag_sets = owners.tag_sets;
        overview.searched.shrink_to_fit();
        overview.rank_names();
        overview
    }

    fn add_tenant(
        &mut self,
        tenant: usize,
        fleet: &TenantFleet,
        summary: Summary,
        compiled: &CompiledPolicies<'_>,
        terms: OverviewTerms<'_>,
        owners: &mut OwnerList,
    ) {
        let OverviewTerms { now, freshness, labels, facts, .. } = terms;
        let first = self.machines.len();
        let mut states = vec![PolicyStates::default(); self.policies.len()];
        let mut judgements = vec![MachineJudgement::NOT_ASSESSED; self.policies.len()];
        let mut data: Option<(Timestamp, Timestamp)> = None;
        let mut policies = TenantPolicies::new(compiled, fleet, &summary.updates, facts);
        let mut missing = MissingIndexBuilder::new(&summary.updates, self.policies.len());
        let mut exception_machines = vec![Vec::new(); terms.exceptions.len()];
        for (machine, servicing) in fleet.machines.values().zip(&summary.servicing) {
            let state = machine.state(now, freshness);
            let updates = machine.assessed_updates(now, freshness);
            let ended = servicing.decides(state).then_some(servicing.ended_at);
            missing.add(self.machines.len(), updates.unwrap_or_default());
            let extent = policies.judge(machine, updates, ended, &mut judgements, |policy, place, state| {
                missing.set_state(policy, place, state);
            });
            for ((policy, states), judgement) in self.policies.iter_mut().zip(&mut states).zip(&judgements) {
                policy.machines.push(*judgement);
                states.add(judgement.state);
            }
            for exception in policies.newly_covering() {
                exception_machines[exception].push(self.machines.len());
            }
            if let (Some(assessment), Some(_)) = (&machine.assessment, updates) {
                let (oldest, newest) = data.unwrap_or((assessment.as_of, assessment.as_of));
                data = Some((oldest.min(assessment.as_of), newest.max(assessment.as_of)));
            }
            let (tag_set, owner) = owners.places(labels, machine.facts.tags.as_ref());
            let start = self.searched.len();
            self.searched.push_str(&searched(machine));
            self.machines.push(MachineSummary {
                tenant,
                machine: Arc::clone(machine),
                searched: start..self.searched.len(),
                name_rank: 0,
                owner,
                tag_set,
                state,
                missing: updates.map(|updates| MissingCounts::of(updates, extent)),
                servicing: *servicing,
            });
        }
        let machines = first..self.machines.len();
        let policies = states;
        self.tenants.push(TenantOverview {
            summary,
            machines,
            missing: missing.finish(),
            data,
            policies,
            exception_machines,
        });
    }

    /// Numbers the machines by name; those of one name by tenant and id.
    fn rank_names(&mut self) {
        let mut places: Vec<usize> = (0..self.machines.len()).collect();
        places.sort_by_cached_key(|&place| self.machines[place].machine.facts.name.to_lowercase());
        for (rank, place) in (0..).zip(places) {
            self.machines[place].name_rank = rank;
        }
    }

    /// The text that a search of this machine looks through: its name, id, group, platform with version, and tags in
    /// lower case, one on a line.
    #[must_use]
    pub fn searched(&self, machine: &MachineSummary) -> &str {
        &self.searched[machine.searched.clone()]
    }

    /// The places of the machines with this id, at most one for each tenant.
    pub fn machines_with_id<'a>(&'a self, id: &'a MachineId) -> impl Iterator<Item = usize> + 'a {
        self.tenants.iter().filter_map(move |tenant| {
            let machines = &self.machines[tenant.machines.clone()];
            let place = machines.binary_search_by(|summary| summary.machine.facts.id.cmp(id)).ok()?;
            Some(tenant.machines.start + place)
        })
    }

    /// Returns whether the exception with this index covers a missing update or the end of servicing of the machine at
    /// `place`.
    #[must_use]
    pub fn is_covered(&self, place: usize, exception: usize) -> bool {
        let tenant = &self.tenants[self.machines[place].tenant];
        tenant.exception_machines[exception].binary_search(&place).is_ok()
    }

    /// The reason why the machine at `place` cannot be judged under the policy with this index; none if it is judged.
    #[must_use]
    pub fn not_judged(&self, place: usize, policy: usize) -> Option<NotJudged> {
        let summary = &self.machines[place];
        NotJudged::of(&summary.machine, summary.state, self.policies[policy].machines[place].state)
    }
}

impl MachineSummary {
    /// The missing updates that are served and counted; none while the machine is not assessed.
    #[must_use]
    pub fn updates(&self) -> Option<&[MissingUpdate]> {
        self.missing.map(|_| self.machine.missing_updates())
    }

    /// The place of `kb` in the list of its missing updates; none if it is not assessed or does not miss it.
    #[must_use]
    pub fn place_of(&self, kb: KbId) -> Option<usize> {
        self.updates()?.binary_search_by_key(&kb, |missing| missing.update.kb).ok()
    }
}

impl MissingCounts {
    fn of(updates: &[MissingUpdate], extent: MachineExtent) -> Self {
        let MachineExtent { exploited, accepted } = extent;
        let oldest = updates.iter().map(MissingUpdate::oldest_first_seen).min();
        Self { total: updates.len(), exploited, accepted, oldest }
    }
}

/// The text that a search looks through.
fn searched(machine: &Machine) -> String {
    let facts = &machine.facts;
    let mut text = [&*facts.name, facts.id.as_str(), &*facts.device_group, &*facts.os_platform].join("\n");
    text.push(' ');
    text.push_str(&facts.os_version);
    for tag in facts.tags.as_deref().unwrap_or_default() {
        text.push('\n');
        text.push_str(tag);
    }
    if text.is_ascii() {
        text.make_ascii_lowercase();
    } else {
        text = text.to_lowercase();
    }
    text
}

/// The tags and the values of own labels so far.
#[derive(Debug, Default)]
struct OwnerList {
    list: Vec<Box<[Box<str>]>>,
    places: HashMap<Box<[Box<str>]>, u32>,
    tag_sets: Vec<Arc<[String]>>,
    /// The places of the tags and of the values that follow from them.
    by_tags: HashMap<Arc<[String]>, (u32, u32)>,
    without_tags: Arc<[String]>,
}

impl OwnerList {
    /// The places of `tags` and of the values of the own labels of a machine that has them.
    fn places(&mut self, labels: &[OwnLabel], tags: Option<&Arc<[String]>>) -> (u32, u32) {
        let tags = tags.unwrap_or(&self.without_tags);
        if let Some(&places) = self.by_tags.get(tags) {
            return places;
        }
        let tags = Arc::clone(tags);
        let values: Box<[Box<str>]> = labels.iter().map(|label| label.value(Some(&tags)).into()).collect();
        let owner = if let Some(&owner) = self.places.get(&values) {
            owner
        } else {
            let owner = next_place(&self.list);
            self.list.push(values.clone());
            self.places.insert(values, owner);
            owner
        };
        let places = (next_place(&self.tag_sets), owner);
        self.tag_sets.push(Arc::clone(&tags));
        self.by_tags.insert(tags, places);
        places
    }
}

fn next_place<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

impl PolicyOverview {
    /// The state of the machine at `place`.
    #[must_use]
    pub fn state(&self, place: usize) -> PolicyState {
        self.machines[place].state
    }
}

//! Patch deadlines: the states of missing updates and of machines under each policy.
//!
//! [`CompiledPolicies`] prepares the rules for one rendering, [`TenantPolicies`] compares the missing updates of a
//! tenant with them, and [`PolicyCounts`] counts. The first rule that matches a missing update sets its deadline. A
//! missing update is overdue once its deadline has passed; at the exact deadline it is not overdue yet.
//!
//! A deadline is measured from the start of the oldest update that the missing update stands for. The release is a
//! fact of the update and not of one machine: it is [`UpdateSummary::released`](super::summary::UpdateSummary::released), which is also exported, whatever
//! title the machine itself reports. Where it is unknown, the first-seen time is the start.
//!
//! A missing update that an exception in effect covers is accepted, before and after its deadline. Its clock is not
//! stopped: once the exception has ended, the original deadline counts. Links that an exception covers are left out, so a
//! missing update does not stand for an accepted one.
//!
//! Only assessed machines are compliant, due, accepted or overdue. Any other machine is `unknown` or `unsupported`, never
//! compliant.

mod exceptions;
mod judge;
mod kb_lookup;
mod key_hasher;
mod lacking_facts;
mod machine_state;
mod rules;
mod tenant;
#[cfg(test)]
mod tests;

use std::iter::Sum;

use self::tenant::MachineStates;
use super::TenantFleet;
use super::summary::Summary;
use crate::facts::Facts;
use crate::model::{FactsSource, Freshness, Policy};

pub(in crate::fleet) use key_hasher::KeyHashing;

pub use judge::{MachineExtent, MachineJudgement};
pub use lacking_facts::{lacking_for_exception, lacking_for_policy};
pub use rules::CompiledPolicies;
pub use tenant::{ServicingVerdict, TenantPolicies, UpdateVerdict};

/// The state of a missing update under a policy, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpdateState {
    /// Past its deadline.
    Overdue,
    /// An exception in effect covers it, whatever its deadline is.
    Accepted,
    /// Its deadline has not passed.
    Due,
    /// It has no deadline: no rule matches, or the rule sets none.
    Unlimited,
    /// The policy lacks facts that it needs.
    Unknown,
}

impl UpdateState {
    /// Every state, the worst first.
    pub const ALL: [Self; 5] = [Self::Overdue, Self::Accepted, Self::Due, Self::Unlimited, Self::Unknown];

    /// The word of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overdue => "overdue",
            Self::Accepted => "accepted",
            Self::Due => "due",
            Self::Unlimited => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// The state of a machine under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// Assessed, without a missing update that has a deadline.
    Compliant,
    /// Assessed, with missing updates that have a deadline, none of them overdue.
    Due,
    /// Assessed, with an overdue update.
    Overdue,
    /// Assessed, with an update that an exception covers, and none that is overdue.
    Accepted,
    /// Not assessed: inactive, or without data that is still served. Or assessed, but the missing updates cannot be
    /// judged.
    Unknown,
    /// Not assessed: not a Windows machine, or not onboarded.
    Unsupported,
}

impl PolicyState {
    /// Every state, in the order of the exposition.
    pub const ALL: [Self; 6] =
        [Self::Compliant, Self::Due, Self::Overdue, Self::Accepted, Self::Unknown, Self::Unsupported];

    /// The value of the label `state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Due => "due",
            Self::Overdue => "overdue",
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Numbers of machines by their state under a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyStates([u64; PolicyState::ALL.len()]);

impl PolicyStates {
    /// The number of machines in `state`.
    #[must_use]
    pub fn machines(&self, state: PolicyState) -> u64 {
        self.0[state as usize]
    }

    /// The number of machines of which the policy knows whether they are within their deadlines.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.within_deadline() + self.machines(PolicyState::Overdue)
    }

    /// The number of judged machines that are not overdue.
    #[must_use]
    pub fn within_deadline(&self) -> u64 {
        let states = [PolicyState::Compliant, PolicyState::Due, PolicyState::Accepted];
        states.into_iter().map(|state| self.machines(state)).sum()
    }

    /// Counts a machine.
    pub fn add(&mut self, state: PolicyState) {
        self.0[state as usize] += 1;
    }

    /// Adds other machines.
    pub fn add_all(&mut self, others: &Self) {
        self.0.iter_mut().zip(others.0).for_each(|(sum, count)| *sum += count);
    }
}

impl Sum for PolicyStates {
    fn sum<I: Iterator<Item = Self>>(states: I) -> Self {
        states.fold(Self::default(), |sum, states| {
            Self(std::array::from_fn(|state| sum.0[state] + states.0[state]))
        })
    }
}

/// Counts of the machines of a tenant under one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySummary<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The machines by state.
    pub states: PolicyStates,
    /// The machines of each owner by state, in the order of the owners.
    pub by_owner: Vec<PolicyStates>,
    /// The overdue missing updates that fix an exploited CVE. None while that is not known: without facts, or
    /// if none is known and the catalogue of known exploited vulnerabilities was never loaded.
    pub overdue_exploited: Option<u64>,
}

impl PolicySummary<'_> {
    /// The number of machines in `state`.
    #[must_use]
    pub fn machines(&self, state: PolicyState) -> u64 {
        self.states.machines(state)
    }
}

/// Counts of a tenant under every policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyCounts<'a> {
    /// One for each policy, in their order.
    pub summaries: Vec<PolicySummary<'a>>,
    /// For each machine of the fleet, in the order of ids, the missing updates that are overdue under at least one
    /// policy. None if the machine is not assessed, without a policy, and if every policy lacks facts that it needs.
    pub overdue_updates: Vec<Option<u64>>,
    /// For each machine of the fleet, the missing updates that fix an exploited CVE, themselves or by a link. 0 if the
    /// machine is not assessed.
    pub exploited_updates: Vec<u64>,
    /// For each exception, in their order, the missing updates of assessed machines that it covers. None if it does not
    /// name the tenant.
    pub exception_updates: Vec<Option<u64>>,
    /// For each exception, in their order, the machines past end of servicing that it covers. None if it does not name
    /// the tenant.
    pub exception_servicing: Vec<Option<u64>>,
}

impl<'a> PolicyCounts<'a> {
    /// Counts the machines of `fleet`. `summary` must be that of the fleet at the same time.
    #[must_use]
    pub fn of(
        compiled: &CompiledPolicies<'a>,
        fleet: &TenantFleet,
        summary: &Summary,
        facts: &Facts,
        freshness: &Freshness,
    ) -> Self {
        let owners = &summary.owners;
        let mut policies = TenantPolicies::new(compiled, fleet, &summary.updates, facts);
        let lacks_facts: Vec<_> =
            (0..compiled.policies.len()).map(|index| policies.lacks_facts(index)).collect();
        let can_judge = lacks_facts.contains(&false);
        let mut states = vec![MachineStates::default(); lacks_facts.len()];
        let empty = |policy| PolicySummary {
            policy,
            states: PolicyStates::default(),
            by_owner: vec![PolicyStates::default(); owners.list().len()],
            overdue_exploited: Some(0),
        };
        let mut summaries: Vec<_> = compiled.policies.iter().map(empty).collect();
        let mut overdue_updates = Vec::with_capacity(fleet.machines.len());
        let mut exploited_updates = Vec::with_capacity(fleet.machines.len());
        for ((place, machine), servicing) in fleet.machines.values().enumerate().zip(&summary.servicing) {
            let missing_updates = machine.assessed_updates(compiled.now, freshness);
            let is_ended = servicing.decides(machine.state(compiled.now, freshness));
            let ended = is_ended.then(|| policies.count_ended(machine));
            let counts = missing_updates.map(|missing| policies.count(machine, missing, &mut states));
            for (index, summary) in summaries.iter_mut().enumerate() {
                let worst = missing_updates.map(|missing| match missing {
                    [] => None,
                    _ if lacks_facts[index] => Some(UpdateState::Unknown),
                    _ => Some(states[index].worst()),
                });
                let state = PolicyState::of_machine(machine, worst, ended);
                summary.states.add(state);
                summary.by_owner[owners.of_machine(place)].add(state);
                if let (Some(sum), Some(_)) = (&mut summary.overdue_exploited, counts) {
                    *sum += states[index].overdue_exploited;
                }
            }
            let misses_nothing = missing_updates.is_some_and(<[_]>::is_empty);
            exploited_updates.push(counts.map_or(0, |counts| counts.exploited));
            let overdue = counts.map(|counts| counts.overdue);
            overdue_updates.push(overdue.filter(|_| can_judge || misses_nothing && !summaries.is_empty()));
        }
        for (summary, lacks_facts) in summaries.iter_mut().zip(lacks_facts) {
            let is_known =
                |&count: &u64| facts.has(FactsSource::Msrc) && (facts.has(FactsSource::Kev) || count > 0);
            summary.overdue_exploited =
                summary.overdue_exploited.filter(|count| !lacks_facts && is_known(count));
        }
        let [exception_updates, exception_servicing] = policies.covered_by_exception(&fleet.tenant);
        Self { summaries, overdue_updates, exploited_updates, exception_updates, exception_servicing }
    }

    /// Counts the machines of all owners together.
    pub fn fold_owners(&mut self) {
        for summary in &mut self.summaries {
            summary.by_owner = vec![summary.states];
        }
    }
}

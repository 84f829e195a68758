//! The exceptions that apply to the machines of one tenant.

use super::rules::CompiledPolicies;
use crate::facts::Facts;
use crate::fleet::TenantFleet;
use crate::fleet::rules::{RuleBits, RuleMask};
use crate::model::Exception;

/// Decides which exceptions cover a missing update or a machine, and counts what each one covers.
#[derive(Debug)]
pub(super) struct TenantExceptions {
    /// The exceptions that may cover a missing update of the tenant.
    applicable: RuleMask,
    /// Those of them that cover whole machines.
    of_machines: RuleMask,
    /// True if one of them may cover a missing update of the newest machine.
    pub(super) may_cover: bool,
    /// The missing updates that were counted, by exception.
    pub(super) covered: Box<[u64]>,
    /// The machines past end of servicing that were counted, by exception.
    pub(super) covered_machines: Box<[u64]>,
    /// The sums of both at the last call of [`Self::newly_covering`].
    noted: Box<[u64]>,
}

impl TenantExceptions {
    /// The exceptions for the machines of `fleet`.
    pub(super) fn new(compiled: &CompiledPolicies<'_>, fleet: &TenantFleet, facts: &Facts) -> Self {
        let exceptions = compiled.exceptions;
        let is_applicable = |index: usize| {
            let exception = &exceptions[index];
            exception.names_tenant(&fleet.tenant) && has_needed_facts(exception, fleet, facts)
        };
        let is_of_machines = |index: usize| is_applicable(index) && !exceptions[index].depends_on_update();
        let none = vec![0; exceptions.len()];
        Self {
            applicable: RuleMask::new(&compiled.exception_words, exceptions.len(), is_applicable),
            of_machines: RuleMask::new(&compiled.exception_words, exceptions.len(), is_of_machines),
            may_cover: false,
            covered: none.clone().into(),
            covered_machines: none.clone().into(),
            noted: none.into(),
        }
    }

    /// Takes the outcomes of the conditions on a machine.
    pub(super) fn read_machine(&mut self, machine: &[RuleBits]) {
        self.may_cover = self.applicable.may_match(machine);
    }

    /// The index of the first exception of the configuration that covers a missing update with these outcomes.
    pub(super) fn first(&self, update: &[RuleBits], machine: &[RuleBits]) -> Option<usize> {
        if self.may_cover { self.applicable.first(update, machine) } else { None }
    }

    /// Counts a missing update with these outcomes in each exception that covers it. Returns whether one does.
    pub(super) fn count(&mut self, update: &[RuleBits], machine: &[RuleBits]) -> bool {
        self.applicable.count(update, machine, &mut self.covered)
    }

    /// The indexes of the exceptions that covered something of what was counted since the last call.
    pub(super) fn newly_covering(&mut self) -> impl Iterator<Item = usize> {
        let covered = self.covered.iter().zip(self.covered_machines.iter());
        let noted = covered.zip(self.noted.iter_mut()).enumerate();
        noted.filter_map(|(index, ((updates, machines), noted))| {
            let is_new = updates + machines > *noted;
            *noted = updates + machines;
            is_new.then_some(index)
        })
    }

    /// The index of the first exception that covers the whole machine.
    pub(super) fn first_of_machine(
        &self,
        compiled: &CompiledPolicies<'_>,
        machine: &[RuleBits],
    ) -> Option<usize> {
        self.of_machines.first(compiled.rules.initial(), machine)
    }

    /// Counts a machine past end of servicing in each exception that covers it.
    pub(super) fn count_machine(&mut self, compiled: &CompiledPolicies<'_>, machine: &[RuleBits]) {
        self.of_machines.count(compiled.rules.initial(), machine, &mut self.covered_machines);
    }
}

/// Returns whether the facts that the conditions need were ever loaded. Without them the conditions are unknown, also
/// where other facts seem to decide them.
fn has_needed_facts(exception: &Exception, fleet: &TenantFleet, facts: &Facts) -> bool {
    exception.needed_facts(fleet.source).all(|source| facts.has(source))
}

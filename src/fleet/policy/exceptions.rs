//! The exceptions that apply to the machines of one tenant.

use std::ops::Range;

use super::rules::{CompiledPolicies, RuleBits, WORD};
use crate::facts::Facts;
use crate::fleet::TenantFleet;
use crate::model::Exception;

/// Decides which exceptions cover a missing update, and counts what each one covers.
#[derive(Debug)]
pub(super) struct TenantExceptions {
    /// The words of the exceptions among those of all rules.
    words: Range<usize>,
    /// For each word, the exceptions that may cover a missing update of the tenant.
    applicable: Box<[u64]>,
    /// True if one of them may cover a missing update of the newest machine.
    pub(super) may_cover: bool,
    /// The missing updates that were counted, by exception.
    pub(super) covered: Box<[u64]>,
}

impl TenantExceptions {
    /// The exceptions for the machines of `fleet`.
    pub(super) fn new(compiled: &CompiledPolicies<'_>, fleet: &TenantFleet, facts: &Facts) -> Self {
        let words = compiled.exception_words.clone();
        let mut applicable = vec![0; words.len()];
        for (index, exception) in compiled.exceptions.iter().enumerate() {
            if exception.names_tenant(&fleet.tenant) && has_needed_facts(exception, fleet, facts) {
                applicable[index / WORD] |= 1 << (index % WORD);
            }
        }
        Self {
            words,
            applicable: applicable.into(),
            may_cover: false,
            covered: vec![0; compiled.exceptions.len()].into(),
        }
    }

    /// Takes the outcomes of the conditions on a machine.
    pub(super) fn read_machine(&mut self, machine: &[RuleBits]) {
        let words = machine[self.words.clone()].iter().zip(&self.applicable);
        self.may_cover = words.map(|(bits, mask)| bits.possible() & mask).any(|bits| bits != 0);
    }

    /// The exceptions that cover a missing update with these outcomes, one word after another.
    fn covering(&self, update: &[RuleBits], machine: &[RuleBits]) -> impl Iterator<Item = u64> {
        let words = if self.may_cover { self.words.clone() } else { 0..0 };
        let words = update[words.clone()].iter().zip(&machine[words]).zip(&self.applicable);
        words.map(|((update, machine), mask)| update.and(*machine).outcome().certain & mask)
    }

    /// The index of the first exception of the configuration that covers a missing update with these outcomes.
    pub(super) fn first(&self, update: &[RuleBits], machine: &[RuleBits]) -> Option<usize> {
        let (word, bits) = self.covering(update, machine).enumerate().find(|(_, bits)| *bits != 0)?;
        Some(word * WORD + bits.trailing_zeros() as usize)
    }

    /// Counts a missing update with these outcomes in each exception that covers it. Returns whether one does.
    pub(super) fn count(&mut self, update: &[RuleBits], machine: &[RuleBits]) -> bool {
        let mut is_covered = false;
        for word in 0..self.words.len() {
            let place = self.words.start + word;
            let outcome = update[place].and(machine[place]).outcome();
            let mut bits = outcome.certain & self.applicable[word];
            is_covered |= bits != 0;
            while bits != 0 {
                self.covered[word * WORD + bits.trailing_zeros() as usize] += 1;
                bits &= bits - 1;
            }
        }
        is_covered
    }
}

/// Returns whether the facts that the conditions need were ever loaded. Without them the conditions are unknown, also
/// where other facts seem to decide them.
fn has_needed_facts(exception: &Exception, fleet: &TenantFleet, facts: &Facts) -> bool {
    exception.needed_facts(fleet.source).all(|source| facts.has(source))
}

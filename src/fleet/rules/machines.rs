//! The outcomes of conditions on machines. Machines of one platform, device group or set of tags share theirs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::condition::MachineProperty;
use super::{RuleBits, RuleSet};
use crate::fleet::MachineFacts;

/// The number of values of a property that are kept. More are decided again for each machine.
const MOST_VALUES: usize = 4096;

/// The outcomes of the conditions on one machine after another.
#[derive(Debug, Default)]
pub(in crate::fleet) struct MachineOutcomes {
    platforms: HashMap<String, Box<[RuleBits]>>,
    device_groups: HashMap<String, Box<[RuleBits]>>,
    tags: HashMap<Option<Arc<[String]>>, Box<[RuleBits]>>,
    /// The outcomes for the newest machine.
    pub(in crate::fleet) bits: Vec<RuleBits>,
}

impl MachineOutcomes {
    /// Decides the conditions on a machine.
    pub(in crate::fleet) fn read(&mut self, rules: &RuleSet, facts: &MachineFacts) {
        let Self { platforms, device_groups, tags, bits } = self;
        bits.clear();
        bits.resize(rules.initial.len(), RuleBits::UNDECIDED);
        for property in MachineProperty::ALL.into_iter().filter(|property| rules.depends_on(*property)) {
            let decide = || {
                let mut decided = rules.undecided();
                rules.decide(property, facts, &mut decided);
                decided.into_boxed_slice()
            };
            match property {
                MachineProperty::Platform => combine(bits, platforms, &facts.os_platform, decide),
                MachineProperty::DeviceGroup => combine(bits, device_groups, &facts.device_group, decide),
                MachineProperty::Tags => combine(bits, tags, &facts.tags, decide),
                // Every machine has a name and an id of its own.
                MachineProperty::Name | MachineProperty::Id => rules.decide(property, facts, bits),
            }
        }
    }
}

/// Combines `bits` with the outcomes for `value`, which are decided once.
fn combine<Q, K>(
    bits: &mut [RuleBits],
    known: &mut HashMap<K, Box<[RuleBits]>>,
    value: &Q,
    decide: impl FnOnce() -> Box<[RuleBits]>,
) where
    Q: Hash + Eq + ToOwned<Owned = K>,
    K: Hash + Eq + std::borrow::Borrow<Q>,
{
    let and = |bits: &mut [RuleBits], others: &[RuleBits]| {
        bits.iter_mut().zip(others).for_each(|(bits, other)| *bits = bits.and(*other));
    };
    if let Some(outcomes) = known.get(value) {
        return and(bits, outcomes);
    }
    let outcomes = decide();
    and(bits, &outcomes);
    if known.len() < MOST_VALUES {
        known.insert(value.to_owned(), outcomes);
    }
}

//! Rules that no machine reaches, because an earlier rule selects all of its machines.

use crate::model::{Condition, MachineCondition, ServicingRule, TextPattern};

/// Returns for each rule an earlier one that selects all of its machines; none if there is none.
pub(super) fn earlier_rules<T>(
    rules: &[ServicingRule<T>],
) -> impl Iterator<Item = Option<&ServicingRule<T>>> {
    rules
        .iter()
        .enumerate()
        .map(|(index, rule)| rules[..index].iter().find(|earlier| includes(earlier, rule)))
}

/// Returns whether every machine that `rule` selects is one that `earlier` selects. False if the texts do not show it.
fn includes<T>(earlier: &ServicingRule<T>, rule: &ServicingRule<T>) -> bool {
    let includes_tenants = earlier.tenants.is_empty()
        || !rule.tenants.is_empty() && rule.tenants.iter().all(|tenant| earlier.names_tenant(tenant));
    let holds = |condition: &Condition| rule.conditions.iter().any(|given| follows(given, condition));
    includes_tenants && earlier.conditions.iter().all(holds)
}

/// Returns whether `condition` holds for every machine for which `given` holds.
fn follows(given: &Condition, condition: &Condition) -> bool {
    use MachineCondition::{DeviceGroups, Ids, Names, Platforms, Tags};
    let (Condition::Machine(given), Condition::Machine(condition)) = (given, condition) else { return false };
    match (given, condition) {
        (Platforms(given), Platforms(patterns))
        | (DeviceGroups(given), DeviceGroups(patterns))
        | (Names(given), Names(patterns)) => given.iter().all(|given| matches_all_of(patterns, given)),
        (Tags(given), Tags(tags)) => {
            let lower = |tag: &TextPattern| tag.as_str().to_lowercase();
            given.iter().all(|given| tags.iter().any(|tag| tag.is_lower(&lower(given))))
        }
        (Ids(given), Ids(ids)) => given.iter().all(|id| ids.contains(id)),
        _ => false,
    }
}

/// Returns whether one of `patterns` matches every text that `given` matches. A wildcard of `given` is matched by
/// wildcards alone, as it stands for any text.
fn matches_all_of(patterns: &[TextPattern], given: &TextPattern) -> bool {
    let lower = given.as_str().to_lowercase();
    patterns.iter().any(|pattern| pattern.matches_lower(&lower))
}

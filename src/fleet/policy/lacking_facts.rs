//! The sources of facts that a policy or an exception needs and that were never loaded.

use crate::facts::Facts;
use crate::model::{Exception, FactsSource, Policy, Source};

/// The sources that `policy` lacks in at least one of the tenants with these sources of data, in the order of
/// [`FactsSource::ALL`].
#[must_use]
pub fn lacking_for_policy(
    policy: &Policy,
    tenants: impl Iterator<Item = Source>,
    facts: &Facts,
) -> Vec<FactsSource> {
    let needed: Vec<_> = tenants.flat_map(|source| policy.needed_facts(source)).collect();
    let is_lacking = |source: &FactsSource| needed.contains(source) && !facts.has(*source);
    FactsSource::ALL.into_iter().filter(is_lacking).collect()
}

/// The sources that `exception` lacks in every tenant that it names; empty if it can cover a missing update in one of
/// them. Of each tenant, `tenants` has the name and the source of data.
#[must_use]
pub fn lacking_for_exception<'a>(
    exception: &Exception,
    tenants: impl Iterator<Item = (&'a str, Source)>,
    facts: &Facts,
) -> Vec<FactsSource> {
    let lacking = |source| exception.needed_facts(source).filter(|needed| !facts.has(*needed)).collect();
    let named = tenants.filter(|(tenant, _)| exception.names_tenant(tenant));
    named.map(|(_, source)| lacking(source)).min_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::model::{Severity, UpdateCondition};

    #[test]
    fn exception_lacks_facts_if_it_does_in_each_named_tenant() {
        let exception = |tenants: &[&str]| Exception {
            name: "lab".into(),
            reason: "isolated".to_owned(),
            until: date(2027, 1, 31),
            tenants: tenants.iter().map(|tenant| (*tenant).into()).collect(),
            conditions: vec![UpdateCondition::Severity(vec![Severity::Low]).into()],
            not: Vec::new(),
        };
        let tenants = [("contoso", Source::Machines), ("fabrikam", Source::Export)];
        let lacking = |tenants_of_exception: &[&str], facts: &Facts| {
            lacking_for_exception(&exception(tenants_of_exception), tenants.into_iter(), facts)
        };
        let without = Facts::default();
        assert_eq!(lacking(&["contoso"], &without), [FactsSource::Msrc]);
        // The export has a severity of its own.
        assert_eq!(lacking(&[], &without), []);
        assert_eq!(lacking(&["contoso"], &Facts::new([FactsSource::Msrc], [])), []);
    }
}

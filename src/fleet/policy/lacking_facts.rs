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

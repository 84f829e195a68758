//! The warnings about policies that cannot judge everything, and about exceptions that lack facts, for the log and the
//! page.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Snapshot;
use crate::facts::Facts;
use crate::fleet::TenantFleet;
use crate::fleet::policy::{lacking_for_exception, lacking_for_policy};
use crate::model::{FactsSource, INTERNET_FACING, Policy};

/// The number of tenants that a line names.
const SHOWN: usize = 5;

/// Logs when a policy or an exception lacks facts that it needs, when it has them, and when no machine has a tag that a preset uses.
/// Each line is logged once as long as nothing changes.
#[derive(Debug, Default)]
pub(super) struct PolicyLog {
    lacking: BTreeSet<(Arc<str>, Vec<FactsSource>)>,
    untagged: BTreeSet<(Arc<str>, Vec<Arc<str>>)>,
    exceptions: BTreeSet<(Arc<str>, Vec<FactsSource>)>,
}

impl PolicyLog {
    /// Compares `snapshot` with what was logged last, and logs changes.
    pub(super) fn update(&mut self, snapshot: &Snapshot) {
        let Snapshot { policies, fleets, facts, .. } = snapshot;
        let lacking: BTreeSet<_> =
            policies.iter().filter_map(|policy| lacking_facts(policy, fleets, facts)).collect();
        for (policy, sources) in lacking.difference(&self.lacking) {
            let sources: Vec<_> = sources.iter().map(|source| source.as_str()).collect();
            tracing::warn!(
                policy = &**policy,
                sources = sources.join(","),
                "policy needs facts that were never loaded; machines with missing updates are unknown under it until \
                 they are: see `facts` in the configuration"
            );
        }
        for (policy, _) in self.lacking.difference(&lacking) {
            if !lacking.iter().any(|(other, _)| other == policy)
                && policies.iter().any(|known| known.name == *policy)
            {
                tracing::info!(policy = &**policy, "policy has the facts that it needs");
            }
        }
        self.lacking = lacking;
        let untagged: BTreeSet<_> =
            policies.iter().filter_map(|policy| untagged_tenants(policy, fleets)).collect();
        for (policy, tenants) in untagged.difference(&self.untagged) {
            let more = if tenants.len() > SHOWN { ",..." } else { "" };
            let tenants: Vec<_> = tenants.iter().take(SHOWN).map(|tenant| &**tenant).collect();
            tracing::warn!(
                policy = &**policy,
                tag = INTERNET_FACING,
                tenants = tenants.join(",") + more,
                "no machine in scope has a tag that the preset of the policy uses; its rules for machines that can be \
                 reached from the internet match none: add the tag in Defender"
            );
        }
        self.untagged = untagged;
        let exceptions: BTreeSet<_> = snapshot.exceptions_without_facts().collect();
        for (exception, sources) in exceptions.difference(&self.exceptions) {
            let sources: Vec<_> = sources.iter().map(|source| source.as_str()).collect();
            tracing::warn!(
                exception = &**exception,
                sources = sources.join(","),
                "exception needs facts that were never loaded; it covers nothing until they are: see `facts` in the \
                 configuration"
            );
        }
        self.exceptions = exceptions;
    }
}

impl Snapshot {
    /// Sentences about policies that lack facts, or whose preset uses a tag that no machine has, about exceptions that
    /// lack facts, and about rules of the section `servicing` that do not do what they say.
    #[must_use]
    pub fn policy_warnings(&self) -> Vec<String> {
        let lacking = |policy| {
            let (policy, sources) = lacking_facts(policy, &self.fleets, &self.facts)?;
            let sources: Vec<_> = sources.iter().map(|source| source.as_str()).collect();
            Some(format!(
                "Policy {policy} needs facts that were never loaded ({}): machines with missing updates are unknown \
                 under it.",
                sources.join(", ")
            ))
        };
        let untagged = |policy| {
            let (policy, tenants) = untagged_tenants(policy, &self.fleets)?;
            let more = if tenants.len() > SHOWN { ", ..." } else { "" };
            let tenants: Vec<_> = tenants.iter().take(SHOWN).map(|tenant| &**tenant).collect();
            Some(format!(
                "No machine of {}{more} has the tag {INTERNET_FACING}, which the preset of policy {policy} uses.",
                tenants.join(", ")
            ))
        };
        let policies = || self.policies.iter();
        let uncovered = self.exceptions_without_facts().map(|(exception, sources)| {
            let sources: Vec<_> = sources.iter().map(|source| source.as_str()).collect();
            format!(
                "Exception {exception} needs facts that were never loaded ({}): it covers nothing.",
                sources.join(", ")
            )
        });
        let of_policies = policies().filter_map(lacking).chain(policies().filter_map(untagged));
        let of_servicing =
            self.servicing_warnings.iter().map(|warning| format!("{} {}.", warning.place, warning.text()));
        of_policies.chain(uncovered).chain(of_servicing).collect()
    }

    /// The exceptions in effect that lack facts in every tenant that they name, each with the sources.
    fn exceptions_without_facts(&self) -> impl Iterator<Item = (Arc<str>, Vec<FactsSource>)> {
        let tenants = || self.fleets.iter().map(|fleet| (&*fleet.tenant, fleet.source));
        self.exceptions.iter().filter(|exception| exception.is_in_effect(self.at)).filter_map(
            move |exception| {
                let lacking = lacking_for_exception(exception, tenants(), &self.facts);
                (!lacking.is_empty()).then(|| (Arc::clone(&exception.name), lacking))
            },
        )
    }
}

/// The name of the policy and the sources that it lacks; none if it lacks none.
fn lacking_facts(
    policy: &Policy,
    fleets: &[Arc<TenantFleet>],
    facts: &Facts,
) -> Option<(Arc<str>, Vec<FactsSource>)> {
    let lacking = lacking_for_policy(policy, fleets.iter().map(|fleet| fleet.source), facts);
    (!lacking.is_empty()).then(|| (Arc::clone(&policy.name), lacking))
}

/// The name of the policy and the tenants without a machine that has the tag of its preset; none if there is none.
fn untagged_tenants(policy: &Policy, fleets: &[Arc<TenantFleet>]) -> Option<(Arc<str>, Vec<Arc<str>>)> {
    if policy.preset.is_none() || !policy.uses_tag(INTERNET_FACING) {
        return None;
    }
    let is_untagged = |fleet: &&Arc<TenantFleet>| {
        let mut has_tags = false;
        let mut machines =
            fleet.machines.values().filter_map(|machine| machine.facts.has_tag(INTERNET_FACING));
        let has_tag = machines.any(|has_tag| {
            has_tags = true;
            has_tag
        });
        has_tags && !has_tag
    };
    let tenants = fleets.iter().filter(is_untagged).map(|fleet| Arc::clone(&fleet.tenant));
    let tenants: Vec<_> = tenants.collect();
    (!tenants.is_empty()).then(|| (Arc::clone(&policy.name), tenants))
}

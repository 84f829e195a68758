//! The servicing of the machines in scope, and the rules about it that do not do what they say.

use jiff::Timestamp;

use super::settings::CheckedSettings;
use crate::fleet::MachineFacts;
use crate::fleet::servicing::{
    CompiledServicing, ServicingRuleReason, ServicingRuleUses, ServicingRuleWarning,
};

/// Returns the texts about `machines` of `tenant` at `now`; empty if all of them are in service or unknown.
pub(super) fn warnings(
    tenant: &str,
    machines: &[MachineFacts],
    settings: &CheckedSettings,
    now: Timestamp,
) -> Vec<String> {
    let compiled = CompiledServicing::new(&settings.servicing, settings.facts.servicing(), now);
    let mut uses = ServicingRuleUses::new(&compiled);
    uses.add_tenant(tenant, machines.iter());
    // A rule may apply to machines of other tenants.
    let is_certain = |warning: &ServicingRuleWarning| match warning.reason {
        ServicingRuleReason::NoMachine | ServicingRuleReason::ServersAlone => settings.is_single_tenant,
        ServicingRuleReason::NoSuchEdition(_) | ServicingRuleReason::NoExtendedUpdates => true,
    };
    let of_rules = uses.warnings().into_iter().filter(is_certain);
    let of_rules = of_rules.map(|warning| format!("{} {}", warning.place, warning.text()));
    of_rules.collect()
}

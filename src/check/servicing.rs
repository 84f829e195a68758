//! The servicing of the machines in scope, and the rules about it that do not do what they say.

use std::sync::Arc;

use jiff::Timestamp;

use super::settings::CheckedSettings;
use crate::fleet::MachineFacts;
use crate::fleet::servicing::{
    CompiledServicing, ServicingCounts, ServicingRuleReason, ServicingRuleUses, ServicingRuleWarning,
    TenantServicing,
};

/// Returns the texts about `machines` of `tenant` at `now`; empty if all of them are in service or unknown.
pub(super) fn warnings(
    tenant: &str,
    machines: &[MachineFacts],
    settings: &CheckedSettings,
    now: Timestamp,
) -> Vec<String> {
    let compiled = CompiledServicing::new(&settings.servicing, settings.facts.servicing(), now);
    let mut servicing = TenantServicing::new(&compiled, tenant);
    let mut counts = ServicingCounts::default();
    for facts in machines.iter().filter(|facts| facts.is_supported()) {
        counts.add(facts, &servicing.of_machine(facts));
    }
    let mut uses = ServicingRuleUses::new(&compiled);
    uses.add_tenant(tenant, true, machines.iter());
    // A rule that is not limited to this tenant may apply to machines of another one.
    let is_limited = |tenants: &[Arc<str>]| matches!(tenants, [name] if **name == *tenant);
    let is_certain = |warning: &ServicingRuleWarning| match warning.reason {
        ServicingRuleReason::NoMachine | ServicingRuleReason::ServersAlone => {
            settings.is_single_tenant || is_limited(&warning.tenants)
        }
        ServicingRuleReason::NoSuchEdition(_) | ServicingRuleReason::NoExtendedUpdates => true,
    };
    let of_rules = uses.warnings().into_iter().filter(is_certain);
    let of_rules = of_rules.map(|warning| format!("{} {}", warning.place, warning.text()));
    let sentences = counts.ended().into_iter().chain(counts.uncertain());
    sentences.map(|sentence| sentence.trim_end_matches('.').to_owned()).chain(of_rules).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::config::Poll;
    use crate::facts::servicing::ServicingEnd::On;
    use crate::facts::{Facts, ServicingTable, VersionServicing};
    use crate::model::{
        MachineCondition, MachineId, ServicingEdition, ServicingRule, ServicingSettings, TextPattern,
    };

    /// A machine with Windows 11 of this build.
    fn machine(build: u32) -> MachineFacts {
        MachineFacts {
            os_platform: "Windows11".to_owned(),
            os_version: "23H2".to_owned(),
            os_build: Some(build),
            tags: Some(Arc::default()),
            ..MachineFacts::unlisted(MachineId::parse("a").unwrap())
        }
    }

    fn settings(servicing: ServicingSettings) -> CheckedSettings {
        let end = |year| Some(On(date(year, 10, 14)));
        let version =
            |extended| VersionServicing { editions: [(ServicingEdition::Pro, end(2025))].into(), extended };
        let table = ServicingTable::new([((false, 1), version(end(2028))), ((false, 2), version(None))]);
        CheckedSettings {
            poll: Poll::default(),
            policies: Vec::new(),
            servicing,
            facts: Arc::new(Facts::default().with_servicing(table)),
            is_single_tenant: true,
        }
    }

    fn texts(settings: &CheckedSettings, machines: &[MachineFacts]) -> Vec<String> {
        warnings("contoso", machines, settings, "2026-11-30T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn machines_are_judged_by_the_table_of_the_facts() {
        let phone = MachineFacts { os_platform: "iOS".to_owned(), ..machine(2) };
        let machines = [machine(1), machine(2), machine(2), machine(3), phone];
        let settings = settings(ServicingSettings::default());
        assert_eq!(
            texts(&settings, &machines),
            [
                "2 machines run a Windows version past end of servicing, which gets no updates: Windows11 23H2 (2)",
                "1 machine may be past end of servicing. Set servicing.extended to settle it",
            ]
        );
        assert_eq!(texts(&settings, &machines[3..]), [""; 0]);
    }

    #[test]
    fn rule_may_apply_to_machines_of_another_tenant() {
        let tags = MachineCondition::Tags(vec![TextPattern::new("esu")]);
        let rule = |conditions, tenants: &[&str]| ServicingRule {
            value: true,
            tenants: tenants.iter().map(|&tenant| tenant.into()).collect(),
            conditions,
            place: "servicing.extended[0] (line 9)".into(),
        };
        let of_rule = |rule, is_single_tenant| {
            let servicing = ServicingSettings { extended: vec![rule], ..ServicingSettings::default() };
            texts(&CheckedSettings { is_single_tenant, ..settings(servicing) }, &[machine(3), machine(2)])
        };
        let of = |conditions, is_single_tenant| of_rule(rule(conditions, &[]), is_single_tenant);
        let found = of(vec![tags.clone().into()], true);
        assert!(
            found[1].starts_with("servicing.extended[0] (line 9) applies to no machine in scope"),
            "{found:?}"
        );
        assert_eq!(of(vec![tags.clone().into()], false).len(), 1, "{found:?}");
        assert_eq!(
            of_rule(rule(vec![tags.into()], &["contoso"]), false),
            found,
            "it is limited to this tenant"
        );
        let found = of(Vec::new(), false);
        assert!(
            found[1].starts_with("servicing.extended[0] (line 9) does not apply to 1 machine"),
            "{found:?}"
        );
    }
}

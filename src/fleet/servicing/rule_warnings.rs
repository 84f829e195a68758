//! Rules of the section `servicing` that do not do what they say in the fleets of one time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{CompiledServicing, TenantServicing, version_name};
use crate::facts::is_server;
use crate::fleet::MachineFacts;
use crate::model::{ServicingEdition, ServicingRule, ServicingSettings};

/// The number of versions that a text names.
const SHOWN: usize = 5;

/// A rule about servicing that does not do what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicingRuleWarning {
    /// The place of the rule in the configuration.
    pub place: Arc<str>,
    /// The reason.
    pub reason: ServicingRuleReason,
    /// The number of machines that it concerns.
    pub machines: usize,
    /// The versions of these machines, such as `Windows10 22H2`.
    pub versions: BTreeSet<String>,
    /// The names of the tenants that the rule is limited to; empty for all.
    pub tenants: Vec<Arc<str>>,
}

/// The reason of a warning about a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServicingRuleReason {
    /// It applies to no machine.
    NoMachine,
    /// It gives an edition to servers alone.
    ServersAlone,
    /// It gives machines an edition that their version does not have.
    NoSuchEdition(ServicingEdition),
    /// It says that machines have Extended Security Updates that do not exist for their version.
    NoExtendedUpdates,
}

impl ServicingRuleWarning {
    /// The text that follows the place.
    #[must_use]
    pub fn text(&self) -> String {
        let machines = match self.machines {
            1 => "1 machine".to_owned(),
            number => format!("{number} machines"),
        };
        match self.reason {
            ServicingRuleReason::NoMachine => {
                "applies to no machine in scope: a name in it may be misspelt, or an earlier rule applies to its \
                 machines"
                    .to_owned()
            }
            ServicingRuleReason::ServersAlone => format!(
                "applies to servers alone ({machines}): a server has one end of servicing, whatever its edition, so \
                 the rule changes nothing"
            ),
            ServicingRuleReason::NoSuchEdition(edition) => format!(
                "does not apply to {machines}: their version ({}) does not exist in the edition {edition}",
                self.versions_text()
            ),
            ServicingRuleReason::NoExtendedUpdates => format!(
                "does not apply to {machines}: there are no Extended Security Updates for their version ({})",
                self.versions_text()
            ),
        }
    }

    fn versions_text(&self) -> String {
        let more = if self.versions.len() > SHOWN { ", ..." } else { "" };
        let shown: Vec<_> = self.versions.iter().take(SHOWN).map(String::as_str).collect();
        shown.join(", ") + more
    }
}

/// The machines to which a rule applies.
#[derive(Clone, Debug, Default)]
struct RuleUse {
    /// True as long as the machine list of every tenant that the rule names was read, and no other shard polls one.
    is_listed: Option<bool>,
    machines: usize,
    servers: usize,
    /// Machines with a version that the value of the rule does not suit.
    unsuited: usize,
    versions: BTreeSet<String>,
}

/// Collects the machines to which the rules apply, over all tenants.
#[derive(Debug)]
pub struct ServicingRuleUses<'a> {
    compiled: &'a CompiledServicing<'a>,
    editions: Vec<RuleUse>,
    extended: Vec<RuleUse>,
}

impl<'a> ServicingRuleUses<'a> {
    /// An empty collection.
    #[must_use]
    pub fn new(compiled: &'a CompiledServicing<'a>) -> Self {
        Self {
            compiled,
            editions: vec![RuleUse::default(); compiled.settings.editions.len()],
            extended: vec![RuleUse::default(); compiled.settings.extended.len()],
        }
    }

    /// Adds the machines of a tenant; `is_listed` is true if its machine list was read. Unsupported machines are left
    /// out.
    pub fn add_tenant<'m>(
        &mut self,
        tenant: &str,
        is_listed: bool,
        machines: impl Iterator<Item = &'m MachineFacts>,
    ) {
        let settings = self.compiled.settings;
        let mut servicing = TenantServicing::new(self.compiled, tenant);
        let (mut is_empty, mut has_tags) = (true, false);
        for facts in machines {
            is_empty = false;
            has_tags |= facts.tags.is_some();
            if facts.is_supported() {
                let of_machine = servicing.of_machine(facts);
                self.add(facts, of_machine.edition_rule, of_machine.extended_rule);
            }
        }
        // The state of an earlier release has no tags, on which rules may depend.
        let is_listed = is_listed && (is_empty || has_tags);
        note_listed(settings, &settings.editions, &mut self.editions, tenant, is_listed);
        note_listed(settings, &settings.extended, &mut self.extended, tenant, is_listed);
    }

    fn add(&mut self, facts: &MachineFacts, edition_rule: Option<usize>, extended_rule: Option<usize>) {
        let settings = self.compiled.settings;
        let version = || self.compiled.table.version(&facts.os_platform, facts.os_build?);
        let is_server = is_server(&facts.os_platform);
        if let Some(index) = edition_rule {
            let edition = settings.editions[index].value;
            let is_unsuited =
                !is_server && version().is_some_and(|version| !version.editions.contains_key(&edition));
            self.editions[index].add(facts, is_server, is_unsuited);
        }
        if let Some(index) = extended_rule {
            let is_unsuited =
                settings.extended[index].value && version().is_some_and(|version| version.extended.is_none());
            self.extended[index].add(facts, is_server, is_unsuited);
        }
    }

    /// The warnings, in the order of the configuration.
    #[must_use]
    pub fn warnings(self) -> Vec<ServicingRuleWarning> {
        let settings = self.compiled.settings;
        let of_editions = settings.editions.iter().zip(self.editions).filter_map(|(rule, rule_use)| {
            let is_for_servers = rule_use.machines > 0 && rule_use.servers == rule_use.machines;
            if is_for_servers && rule_use.is_listed == Some(true) {
                return Some(rule_use.warning(rule, ServicingRuleReason::ServersAlone));
            }
            rule_use.unsuited_or_unused(rule, ServicingRuleReason::NoSuchEdition(rule.value))
        });
        let of_extended = settings.extended.iter().zip(self.extended).filter_map(|(rule, rule_use)| {
            rule_use.unsuited_or_unused(rule, ServicingRuleReason::NoExtendedUpdates)
        });
        of_editions.chain(of_extended).collect()
    }
}

fn note_listed<T>(
    settings: &ServicingSettings,
    rules: &[ServicingRule<T>],
    uses: &mut [RuleUse],
    tenant: &str,
    is_listed: bool,
) {
    for (rule, rule_use) in rules.iter().zip(uses).filter(|(rule, _)| rule.names_tenant(tenant)) {
        let is_listed = is_listed && !settings.reaches_other_tenants(rule);
        rule_use.is_listed = Some(rule_use.is_listed.unwrap_or(true) && is_listed);
    }
}

impl RuleUse {
    fn add(&mut self, facts: &MachineFacts, is_server: bool, is_unsuited: bool) {
        self.machines += 1;
        self.servers += usize::from(is_server);
        if is_unsuited {
            self.unsuited += 1;
            if self.versions.len() <= SHOWN {
                self.versions.insert(version_name(facts));
            }
        }
    }

    /// The warning that it applies to machines that its value does not suit, or to none. It may not apply to any while
    /// the machines of a tenant are not known.
    fn unsuited_or_unused<T>(
        self,
        rule: &ServicingRule<T>,
        reason: ServicingRuleReason,
    ) -> Option<ServicingRuleWarning> {
        if self.unsuited > 0 {
            Some(self.warning(rule, reason))
        } else if self.machines == 0 && self.is_listed == Some(true) {
            Some(self.warning(rule, ServicingRuleReason::NoMachine))
        } else {
            None
        }
    }

    fn warning<T>(self, rule: &ServicingRule<T>, reason: ServicingRuleReason) -> ServicingRuleWarning {
        let machines = match reason {
            ServicingRuleReason::NoMachine | ServicingRuleReason::ServersAlone => self.machines,
            ServicingRuleReason::NoSuchEdition(_) | ServicingRuleReason::NoExtendedUpdates => self.unsuited,
        };
        let (place, tenants) = (Arc::clone(&rule.place), rule.tenants.clone());
        ServicingRuleWarning { place, reason, machines, versions: self.versions, tenants }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::date;

    use super::*;
    use crate::facts::servicing::ServicingEnd::On;
    use crate::facts::{ServicingTable, VersionServicing};
    use crate::model::{MachineCondition, MachineId, ServicingSettings, TextPattern};
    use ServicingRuleReason::{NoExtendedUpdates, NoMachine, NoSuchEdition, ServersAlone};

    /// Build 1 has the editions pro and enterprise, and Extended Security Updates as a client; build 2 has pro alone.
    fn table() -> ServicingTable {
        let end = Some(On(date(2026, 10, 14)));
        let version = |editions: &[ServicingEdition], extended| VersionServicing {
            editions: editions.iter().map(|edition| (*edition, end)).collect(),
            extended,
        };
        ServicingTable::new([
            ((false, 1), version(&[ServicingEdition::Pro, ServicingEdition::Enterprise], end)),
            ((false, 2), version(&[ServicingEdition::Pro], None)),
            ((true, 1), version(&[ServicingEdition::Server], None)),
        ])
    }

    fn machine(platform: &str, version: &str, build: u32, tags: Option<&[&str]>) -> MachineFacts {
        MachineFacts {
            os_platform: platform.to_owned(),
            os_version: version.to_owned(),
            os_build: Some(build),
            tags: tags.map(|tags| tags.iter().map(|&tag| tag.to_owned()).collect()),
            ..MachineFacts::unlisted(MachineId::parse("a").unwrap())
        }
    }

    /// A rule for machines with this tag; for all machines if it is empty.
    fn rule<T>(value: T, tag: &str, tenants: &[&str]) -> ServicingRule<T> {
        let tags = (!tag.is_empty()).then(|| MachineCondition::Tags(vec![TextPattern::new(tag)]).into());
        ServicingRule {
            value,
            tenants: tenants.iter().map(|&tenant| tenant.into()).collect(),
            conditions: tags.into_iter().collect(),
            place: format!("rule {tag}").into(),
        }
    }

    fn warnings(
        settings: &ServicingSettings,
        tenants: &[(&str, Vec<MachineFacts>)],
    ) -> Vec<ServicingRuleWarning> {
        let (table, now) = (table(), Timestamp::UNIX_EPOCH);
        let compiled = CompiledServicing::new(settings, &table, now);
        let mut uses = ServicingRuleUses::new(&compiled);
        for (tenant, machines) in tenants {
            uses.add_tenant(tenant, true, machines.iter());
        }
        uses.warnings()
    }

    /// The reasons with numbers of machines.
    fn reasons(
        settings: &ServicingSettings,
        tenants: &[(&str, Vec<MachineFacts>)],
    ) -> Vec<(ServicingRuleReason, usize)> {
        warnings(settings, tenants).iter().map(|warning| (warning.reason, warning.machines)).collect()
    }

    fn editions(rules: Vec<ServicingRule<ServicingEdition>>) -> ServicingSettings {
        ServicingSettings { editions: rules, ..ServicingSettings::default() }
    }

    fn extended(rules: Vec<ServicingRule<bool>>) -> ServicingSettings {
        ServicingSettings { extended: rules, ..ServicingSettings::default() }
    }

    #[test]
    fn edition_that_a_version_does_not_have_is_named_with_it() {
        let machines = vec![
            machine("Windows10", "22H2", 1, Some(&[])),
            machine("Windows11", "23H2", 2, Some(&[])),
            machine("Windows11", "23H2", 2, Some(&[])),
            machine("Windows11", "", 2, Some(&[])),
            machine("Windows11", "26H2", 3, Some(&[])),
            machine("WindowsServer2025", "24H2", 1, Some(&[])),
        ];
        let settings = editions(vec![rule(ServicingEdition::Enterprise, "", &[])]);
        let found = warnings(&settings, &[("contoso", machines)]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].text(),
            "does not apply to 3 machines: their version (Windows11, Windows11 23H2) does not exist in the edition \
             enterprise"
        );
        assert_eq!(found[0].reason, NoSuchEdition(ServicingEdition::Enterprise));
    }

    #[test]
    fn edition_of_servers_alone_changes_nothing() {
        let server = machine("WindowsServer2025", "24H2", 1, Some(&["a"]));
        let settings = editions(vec![rule(ServicingEdition::Ltsc, "a", &[])]);
        assert_eq!(reasons(&settings, &[("contoso", vec![server.clone()])]), [(ServersAlone, 1)]);
        let client = machine("Windows11", "26H2", 3, Some(&["A"]));
        let clients = ("fabrikam", vec![client]);
        assert_eq!(reasons(&settings, &[("contoso", vec![server.clone()]), clients]), []);
        let unlisted = ("fabrikam", vec![machine("Windows11", "26H2", 3, None)]);
        let tenants = [("contoso", vec![server]), unlisted];
        assert_eq!(reasons(&settings, &tenants), [], "clients of fabrikam may have the tag");
    }

    #[test]
    fn extended_updates_that_a_version_does_not_have_are_named() {
        let machines = || {
            vec![
                machine("Windows10", "22H2", 1, Some(&["esu"])),
                machine("Windows11", "23H2", 2, Some(&["esu"])),
                machine("WindowsServer2025", "24H2", 1, Some(&["esu"])),
                machine("Windows11", "26H2", 3, Some(&["esu"])),
            ]
        };
        let settings = extended(vec![rule(true, "esu", &[])]);
        let found = warnings(&settings, &[("contoso", machines())]);
        assert_eq!(found[0].reason, NoExtendedUpdates);
        assert_eq!(
            found[0].text(),
            "does not apply to 2 machines: there are no Extended Security Updates for their version (Windows11 23H2, \
             WindowsServer2025 24H2)"
        );
        let settings = extended(vec![rule(false, "esu", &[])]);
        assert_eq!(reasons(&settings, &[("contoso", machines())]), [], "it is true of each of them");
    }

    #[test]
    fn rule_without_a_machine_is_named_once_lists_are_known() {
        let listed = || machine("Windows10", "22H2", 1, Some(&["a"]));
        let unlisted = || machine("Windows10", "22H2", 1, None);
        let settings =
            extended(vec![rule(true, "a", &[]), rule(true, "A", &[]), rule(false, "b", &["contoso"])]);
        let both = [(NoMachine, 0), (NoMachine, 0)];
        assert_eq!(reasons(&settings, &[("contoso", vec![listed()])]), both, "the first rule applies");
        let nothing = [(NoMachine, 0); 3];
        assert_eq!(reasons(&settings, &[("contoso", Vec::new())]), nothing, "its list selects no machine");
        let (table, now) = (table(), Timestamp::UNIX_EPOCH);
        let compiled = CompiledServicing::new(&settings, &table, now);
        let mut unread = ServicingRuleUses::new(&compiled);
        unread.add_tenant("contoso", false, [listed()].iter());
        assert_eq!(unread.warnings(), [], "the list may select more machines");
        assert_eq!(reasons(&settings, &[("contoso", vec![unlisted()])]), []);
        let tenants = [("contoso", vec![listed()]), ("fabrikam", vec![unlisted()])];
        assert_eq!(reasons(&settings, &tenants), both[..1], "machines of fabrikam may have the tag");
        let tenants = [("fabrikam", vec![listed()])];
        assert_eq!(reasons(&settings, &tenants), both[..1], "no tenant has the name contoso");
    }

    #[test]
    fn unsupported_machines_are_left_out() {
        let phone = machine("iOS", "17", 1, Some(&["a"]));
        let settings = editions(vec![rule(ServicingEdition::Pro, "a", &[])]);
        assert_eq!(reasons(&settings, &[("contoso", vec![phone])]), [(NoMachine, 0)]);
    }

    #[test]
    fn many_versions_are_shortened() {
        let machines = (0..9).map(|number| machine("Windows11", &number.to_string(), 2, Some(&[]))).collect();
        let settings = extended(vec![rule(true, "", &[])]);
        let found = warnings(&settings, &[("contoso", machines)]);
        let text = found[0].text();
        assert!(
            text.starts_with("does not apply to 9 machines: ") && text.ends_with("Windows11 4, ...)"),
            "{text}"
        );
    }
}

//! The reload plan: the effect of a new configuration on each tenant.
//!
//! [`ReloadPlan::new`] is the only place that decides which tenants a reload touches. It is pure: the caller
//! reads the files, and the [`Supervisor`](super::supervisor::Supervisor) applies the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{self, Config, Tenant};
use crate::file_watch::ContentDigest;
use crate::model::IgnoredUpdates;

/// The name of a tenant in the configuration.
pub(crate) type TenantName = Arc<str>;

/// The digest of the CA file of each tenant; none for a tenant without one.
pub(crate) type CaDigests = BTreeMap<TenantName, ContentDigest>;

/// A configuration, and the content of the CA files that it names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigVersion<'a> {
    pub(crate) config: &'a Config,
    pub(crate) ca_digests: &'a CaDigests,
}

/// The effect of a new configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReloadPlan {
    /// The key paths of the changed settings, for the operator. Empty if there is nothing to apply.
    pub(crate) changes: Vec<String>,
    /// The tenants of the new configuration in its order, then the removed ones.
    pub(crate) tenants: Vec<(TenantName, TenantChange)>,
}

/// The effect of a reload on one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TenantChange {
    /// The poller continues undisturbed.
    Keep,
    /// A new poller replaces the old one; the client stays, with its connections, token and quota.
    Restart,
    /// A new poller and a new client replace the old ones. The quota continues if the application is the same.
    Reconnect,
    /// A poller and a client are added. The quota continues if this tenant was removed less than an hour ago.
    Add,
    /// The tenant continues the application, and so the quota, of a tenant that the new configuration lacks. It
    /// gets a new poller and a new client.
    Rename {
        /// The former name.
        from: TenantName,
    },
    /// The poller stops; the data of the tenant stays in the state file.
    Remove,
}

impl TenantChange {
    /// Returns whether the tenant needs new connections.
    pub(crate) fn needs_transport(&self) -> bool {
        matches!(self, Self::Reconnect | Self::Add | Self::Rename { .. })
    }

    /// Returns whether a new poller is started.
    pub(crate) fn needs_poller(&self) -> bool {
        self.needs_transport() || *self == Self::Restart
    }
}

impl ReloadPlan {
    /// Plans the step from `old` to `new`. `retired` are tenants that earlier reloads removed and whose calls
    /// still count against a quota, the latest last.
    pub(crate) fn new(old: ConfigVersion<'_>, new: ConfigVersion<'_>, retired: &[Tenant]) -> Self {
        let affects_all =
            old.config.poll != new.config.poll || ignored_updates(old.config) != ignored_updates(new.config);
        let old_tenants: BTreeMap<_, _> =
            old.config.tenants.iter().map(|tenant| (&tenant.name, tenant)).collect();
        let mut changes = config::changes(old.config, new.config);
        let mut tenants = Vec::new();
        for tenant in &new.config.tenants {
            let name = &tenant.name;
            let change = match old_tenants.get(name) {
                None => TenantChange::Add,
                Some(before) if !config::uses_same_connection(before, tenant) => TenantChange::Reconnect,
                Some(_) if old.ca_digests.get(name) != new.ca_digests.get(name) => {
                    changes.push(format!("tenants[{name}].http.ca_file (content)"));
                    TenantChange::Reconnect
                }
                Some(before) if affects_all || *before != tenant => TenantChange::Restart,
                Some(_) => TenantChange::Keep,
            };
            tenants.push((Arc::clone(name), change));
        }
        find_renames(&mut tenants, old.config, new.config, retired);
        let kept: BTreeSet<_> = new.config.tenants.iter().map(|tenant| &tenant.name).collect();
        let removed = old_tenants.into_keys().filter(|name| !kept.contains(name));
        tenants.extend(removed.map(|name| (Arc::clone(name), TenantChange::Remove)));
        Self { changes, tenants }
    }

    /// The tenants of the new configuration, each with its change.
    pub(crate) fn tenants_of<'a>(
        &'a self,
        new: &'a Config,
    ) -> impl Iterator<Item = (&'a Tenant, &'a TenantChange)> {
        new.tenants.iter().zip(&self.tenants).map(|(tenant, (_, change))| (tenant, change))
    }

    /// Returns whether the poller of the tenant is left alone.
    pub(crate) fn keeps(&self, tenant: &str) -> bool {
        self.names_with(|change| *change == TenantChange::Keep).any(|name| **name == *tenant)
    }

    /// The names of the tenants whose change fulfils `condition`, in the order of the plan.
    pub(crate) fn names_with(
        &self,
        condition: impl Fn(&TenantChange) -> bool,
    ) -> impl Iterator<Item = &TenantName> {
        self.tenants.iter().filter(move |(_, change)| condition(change)).map(|(name, _)| name)
    }
}

/// Turns [`TenantChange::Add`] and [`TenantChange::Reconnect`] into [`TenantChange::Rename`] where a tenant
/// continues the application of one that is no longer configured. A predecessor of the same name takes
/// precedence, and every predecessor is continued at most once.
fn find_renames(planned: &mut [(TenantName, TenantChange)], old: &Config, new: &Config, retired: &[Tenant]) {
    let configured: BTreeSet<_> = new.tenants.iter().map(|tenant| &tenant.name).collect();
    let mut predecessors: Vec<&Tenant> = retired.iter().collect();
    let mut stopped: Vec<&Tenant> =
        old.tenants.iter().filter(|tenant| !keeps(planned, &tenant.name)).collect();
    stopped.sort_by_key(|tenant| &tenant.name);
    predecessors.extend(stopped);
    for (tenant, (name, change)) in new.tenants.iter().zip(planned) {
        if !change.needs_transport() {
            continue;
        }
        let same_application = |before: &&Tenant| config::is_same_app_registration(before, tenant);
        let same_name =
            predecessors.iter().rposition(|before| before.name == *name && same_application(before));
        let unused_name = || {
            predecessors
                .iter()
                .rposition(|before| !configured.contains(&before.name) && same_application(before))
        };
        let Some(index) = same_name.or_else(unused_name) else { continue };
        let predecessor = predecessors.remove(index);
        if predecessor.name != *name {
            *change = TenantChange::Rename { from: Arc::clone(&predecessor.name) };
        }
    }
}

fn keeps(planned: &[(TenantName, TenantChange)], tenant: &TenantName) -> bool {
    planned.iter().any(|(name, change)| name == tenant && *change == TenantChange::Keep)
}

/// The updates that are excluded from all metrics.
pub(crate) fn ignored_updates(config: &Config) -> IgnoredUpdates {
    let ids = config.metrics.ignore_ids.iter().map(String::as_str);
    IgnoredUpdates::new(config.metrics.ignore_kbs.iter().copied(), ids)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = "\
tenants:
  - name: contoso
    tenant_id: contoso.example
    client_id: 11111111-0000-0000-0000-000000000000
    auth: { client_secret_env: A }
    machines: { all: true }
  - name: fabrikam
    tenant_id: fabrikam.example
    client_id: 22222222-0000-0000-0000-000000000000
    auth: { client_secret_env: B }
    machines: { all: true }
poll: { interval: 6h }
metrics: { ignore_kbs: ['1000001', '1000002'] }
";
    const FABRIKAM: &str = "  - name: fabrikam
    tenant_id: fabrikam.example
    client_id: 22222222-0000-0000-0000-000000000000
    auth: { client_secret_env: B }
    machines: { all: true }
";
    const CONTOSO_AUTH: &str = "client_secret_env: A";
    const CONTOSO_APPLICATION: &str = "contoso.example\n    client_id: 11111111-0000-0000-0000-000000000000";
    const FABRIKAM_APPLICATION: &str =
        "fabrikam.example\n    client_id: 22222222-0000-0000-0000-000000000000";

    fn config(text: &str) -> Config {
        config::parse(Path::new("f.yml"), text.as_bytes()).map_err(|error| error.to_string()).unwrap().config
    }

    /// The test configuration with replacements, each of which has to apply.
    fn edited(replacements: &[(&str, &str)]) -> Config {
        let edit = |text: String, (from, to): &(&str, &str)| {
            assert!(text.contains(from), "{from} is missing in\n{text}");
            text.replacen(from, to, 1)
        };
        config(&replacements.iter().fold(FILE.to_owned(), edit))
    }

    fn no_ca_files(config: &Config) -> CaDigests {
        config.tenants.iter().map(|tenant| (Arc::clone(&tenant.name), None)).collect()
    }

    fn plan(new: &Config, retired: &[Tenant]) -> ReloadPlan {
        let old = config(FILE);
        let old = ConfigVersion { config: &old, ca_digests: &no_ca_files(&old) };
        ReloadPlan::new(old, ConfigVersion { config: new, ca_digests: &no_ca_files(new) }, retired)
    }

    /// The changes of the tenants in one line.
    fn summary(plan: &ReloadPlan) -> String {
        let tenants = plan.tenants.iter().map(|(name, change)| match change {
            TenantChange::Rename { from } => format!("{name}=Rename({from})"),
            change => format!("{name}={change:?}"),
        });
        tenants.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_edit_has_its_plan() {
        let added = format!("{FABRIKAM}{}", FABRIKAM.replace("fabrikam", "tailspin"));
        let twice = format!(
            "{}{}",
            FABRIKAM.replace("name: fabrikam", "name: north"),
            FABRIKAM.replace("name: fabrikam", "name: south")
        );
        for (edits, expected) in [
            (&[][..], "contoso=Keep fabrikam=Keep"),
            // What is rendered does not concern the pollers.
            (&[("poll:", "policies: []\npoll:")], "contoso=Keep fabrikam=Keep"),
            (&[("ignore_kbs", "detail: fleet, ignore_kbs")], "contoso=Keep fabrikam=Keep"),
            (&[("['1000001', '1000002']", "['1000002', '1000001']")], "contoso=Keep fabrikam=Keep"),
            // What every poller uses concerns them all.
            (&[("6h", "7h")], "contoso=Restart fabrikam=Restart"),
            (&[("['1000001', '1000002']", "['1000001']")], "contoso=Restart fabrikam=Restart"),
            // What is polled.
            (&[("all: true", "ids: [a]")], "contoso=Restart fabrikam=Keep"),
            (&[("machines:", "source: export\n    machines:")], "contoso=Restart fabrikam=Keep"),
            (&[("machines:", "quota: { share: 0.5 }\n    machines:")], "contoso=Restart fabrikam=Keep"),
            // How a tenant is reached.
            (&[(CONTOSO_AUTH, "client_secret_env: C")], "contoso=Reconnect fabrikam=Keep"),
            (&[("machines:", "http: { timeout: 9s }\n    machines:")], "contoso=Reconnect fabrikam=Keep"),
            (&[("machines:", "cloud: gcc_high\n    machines:")], "contoso=Reconnect fabrikam=Keep"),
            (&[("tenant_id: contoso", "tenant_id: other")], "contoso=Reconnect fabrikam=Keep"),
            (&[(CONTOSO_AUTH, "client_secret_env: C"), ("6h", "7h")], "contoso=Reconnect fabrikam=Restart"),
            // Tenants come and go.
            (&[(FABRIKAM, &added)], "contoso=Keep fabrikam=Keep tailspin=Add"),
            (&[(FABRIKAM, "")], "contoso=Keep fabrikam=Remove"),
            (&[("name: contoso", "name: wingtip")], "wingtip=Rename(contoso) fabrikam=Keep contoso=Remove"),
            (
                &[("name: contoso", "name: wingtip"), ("id: contoso", "id: other")],
                "wingtip=Add fabrikam=Keep contoso=Remove",
            ),
            (&[(FABRIKAM, &twice)], "contoso=Keep north=Rename(fabrikam) south=Add fabrikam=Remove"),
            // A tenant takes over the application of one that goes.
            (
                &[(FABRIKAM, ""), (CONTOSO_APPLICATION, FABRIKAM_APPLICATION)],
                "contoso=Rename(fabrikam) fabrikam=Remove",
            ),
            // Names are exchanged: nobody goes, so nothing is taken over.
            (
                &[
                    ("name: contoso", "name: x"),
                    ("name: fabrikam", "name: contoso"),
                    ("name: x", "name: fabrikam"),
                ],
                "fabrikam=Reconnect contoso=Reconnect",
            ),
        ] {
            assert_eq!(summary(&plan(&edited(edits), &[])), expected, "{edits:?}");
        }
    }

    #[test]
    fn the_order_of_tenants_follows_the_new_file() {
        let reversed = edited(&[(FABRIKAM, ""), ("tenants:\n", &format!("tenants:\n{FABRIKAM}"))]);
        let plan = plan(&reversed, &[]);
        assert_eq!(summary(&plan), "fabrikam=Keep contoso=Keep");
        assert_eq!(plan.changes, ["tenants"]);
    }

    #[test]
    fn a_changed_ca_file_reconnects_its_tenant_alone() {
        let config = config(FILE);
        let mut changed = no_ca_files(&config);
        changed.insert("contoso".into(), Some([1; 32]));
        let old = ConfigVersion { config: &config, ca_digests: &no_ca_files(&config) };
        let plan = ReloadPlan::new(old, ConfigVersion { config: &config, ca_digests: &changed }, &[]);
        assert_eq!(summary(&plan), "contoso=Reconnect fabrikam=Keep");
        assert_eq!(plan.changes, ["tenants[contoso].http.ca_file (content)"]);
    }

    #[test]
    fn a_retired_tenant_is_continued_by_its_application() {
        let retired = |name: &str| {
            let text =
                FABRIKAM.replace("fabrikam", "tailspin").replace("name: tailspin", &format!("name: {name}"));
            config(&format!("tenants:\n{text}")).tenants
        };
        let added = edited(&[(FABRIKAM, &format!("{FABRIKAM}{}", FABRIKAM.replace("fabrikam", "tailspin")))]);
        for (retired, expected) in [
            (retired("tailspin"), "tailspin=Add"),
            (retired("former"), "tailspin=Rename(former)"),
            ([retired("former"), retired("latest")].concat(), "tailspin=Rename(latest)"),
            ([retired("tailspin"), retired("latest")].concat(), "tailspin=Add"),
            // A name that is configured is not a former one.
            (retired("contoso"), "tailspin=Add"),
        ] {
            assert_eq!(summary(&plan(&added, &retired)), format!("contoso=Keep fabrikam=Keep {expected}"));
        }
    }

    #[test]
    fn a_plan_without_changes_keeps_every_tenant() {
        let plan = plan(&edited(&[("6h", "360m")]), &[]);
        assert!(plan.changes.is_empty() && plan.keeps("contoso") && plan.keeps("fabrikam"), "{plan:?}");
        assert!(!plan.keeps("unknown"));
    }
}

//! What differs between two configurations, by key path, without a value.
//!
//! Tenants and policies go by their names, so that one that is added moves none of the others. Every
//! structure is taken apart by name: a field that is new has to be compared before it compiles.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Auth, Config, Http, Metrics, Policy, Poll, Quota, Selectors, Tenant};

/// The keys that have another effect in `new` than in `old`, as `poll.interval` or
/// `tenants[contoso].machines.tags`, and what comes or goes, as `tenants[contoso] removed`. Empty
/// when both mean the same, however they are written.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let Config { tenants, poll, metrics, policies } = old;
    let mut keys = Keys::default();
    keys.named("tenants", (tenants, &new.tenants), |tenant| &tenant.name, tenant);
    {
        let Poll { interval, stale_after, expire_after, inactive_after } = poll;
        keys.compare("poll.interval", interval, &new.poll.interval);
        keys.compare("poll.stale_after", stale_after, &new.poll.stale_after);
        keys.compare("poll.expire_after", expire_after, &new.poll.expire_after);
        keys.compare("poll.inactive_after", inactive_after, &new.poll.inactive_after);
    }
    let Metrics { detail, series_limit, ignore_kbs } = metrics;
    keys.compare("metrics.detail", detail, &new.metrics.detail);
    keys.compare("metrics.series_limit", series_limit, &new.metrics.series_limit);
    keys.compare("metrics.ignore_kbs", ignore_kbs, &new.metrics.ignore_kbs);
    keys.named("policies", (policies, &new.policies), |policy| &policy.name, policy);
    keys.0
}

/// Whether the two say the same of how the tenant is reached, so that connections and tokens of the
/// one do for the other.
#[must_use]
pub fn uses_same_connection(old: &Tenant, new: &Tenant) -> bool {
    let asked_alike =
        Tenant { source: old.source, machines: old.machines.clone(), quota: old.quota, ..new.clone() };
    asked_alike == *old
}

/// Whether the API counts the calls of both in one quota: they are those of one application in one
/// tenant, whatever they are named here.
#[must_use]
pub fn is_same_app_registration(old: &Tenant, new: &Tenant) -> bool {
    let ids = |tenant: &Tenant| {
        let application = match &tenant.auth {
            Auth::ManagedIdentity { client_id } => client_id,
            Auth::ClientSecret(_) | Auth::ClientCertificate(_) | Auth::WorkloadIdentity { .. } => {
                &tenant.client_id
            }
        };
        let lower = |id: &String| id.to_ascii_lowercase();
        (lower(&tenant.tenant_id), application.as_ref().map(lower))
    };
    ids(old) == ids(new) && old.api_url == new.api_url
}

fn tenant(keys: &mut Keys, path: &str, old: &Tenant, new: &Tenant) {
    let Tenant {
        name: _,
        tenant_id,
        client_id,
        auth,
        cloud,
        authority_url,
        api_url,
        scope,
        http: Http { timeout, ca_file, proxy_url },
        source,
        machines: Selectors { ids, names, tags, filter, all, exclude_ids, exclude_names },
        quota: Quota { per_minute, per_hour, share },
    } = old;
    let mut key = |key: &str, is_alike: bool| keys.note(&format!("{path}.{key}"), is_alike);
    key("tenant_id", *tenant_id == new.tenant_id);
    key("client_id", *client_id == new.client_id);
    key("auth", *auth == new.auth);
    key("cloud", *cloud == new.cloud);
    key("authority_url", *authority_url == new.authority_url);
    key("api_url", *api_url == new.api_url);
    key("scope", *scope == new.scope);
    key("http.timeout", *timeout == new.http.timeout);
    key("http.ca_file", *ca_file == new.http.ca_file);
    key("http.proxy_url", *proxy_url == new.http.proxy_url);
    key("source", *source == new.source);
    key("machines.ids", *ids == new.machines.ids);
    key("machines.names", *names == new.machines.names);
    key("machines.tags", *tags == new.machines.tags);
    key("machines.filter", *filter == new.machines.filter);
    key("machines.all", *all == new.machines.all);
    key("machines.exclude.ids", *exclude_ids == new.machines.exclude_ids);
    key("machines.exclude.names", *exclude_names == new.machines.exclude_names);
    key("quota.per_minute", *per_minute == new.quota.per_minute);
    key("quota.per_hour", *per_hour == new.quota.per_hour);
    key("quota.share", share.total_cmp(&new.quota.share).is_eq());
}

fn policy(keys: &mut Keys, path: &str, old: &Policy, new: &Policy) {
    let Policy { name: _, deadline, from } = old;
    keys.note(&format!("{path}.deadline"), *deadline == new.deadline);
    keys.note(&format!("{path}.from"), *from == new.from);
}

/// The keys that were found to differ.
#[derive(Default)]
struct Keys(Vec<String>);

impl Keys {
    fn note(&mut self, key: &str, is_alike: bool) {
        if !is_alike {
            self.0.push(key.to_owned());
        }
    }

    fn compare<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        self.note(key, old == new);
    }

    /// Compares items that have the same name with `compare`, and notes those that come and go. The list
    /// itself has changed when only the order has.
    fn named<T: PartialEq>(
        &mut self,
        key: &str,
        (old, new): (&[T], &[T]),
        name: fn(&T) -> &Arc<str>,
        compare: fn(&mut Self, &str, &T, &T),
    ) {
        let before = self.0.len();
        let by_name =
            |items| -> BTreeMap<&str, &T> { Iterator::map(items, |item| (&**name(item), item)).collect() };
        let (was, is) = (by_name(old.iter()), by_name(new.iter()));
        for item in new {
            let path = format!("{key}[{}]", name(item));
            match was.get(&**name(item)) {
                Some(known) => compare(self, &path, known, item),
                None => self.0.push(format!("{path} added")),
            }
        }
        for item in old.iter().filter(|item| !is.contains_key(&**name(item))) {
            self.0.push(format!("{key}[{}] removed", name(item)));
        }
        self.note(key, self.0.len() > before || old == new);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    const FILE: &str = "\
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: canary.txt }
    http: { proxy_url: 'http://u:canary@proxy:1' }
    machines: { all: true }
  - name: fabrikam
    tenant_id: fabrikam.example
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_env: A }
    machines: { all: true }
policies:
  - { name: 14d, deadline: 14d }
  - { name: 30d, deadline: 30d }
";

    fn config(text: &str) -> Config {
        parse(Path::new("f.yml"), text.as_bytes()).map_err(|error| error.to_string()).unwrap().config
    }

    /// What changes when `old` is replaced in the file.
    fn changed(old: &str, new: &str) -> String {
        assert!(FILE.contains(old), "{old}");
        changes(&config(FILE), &config(&FILE.replacen(old, new, 1))).join(",")
    }

    #[test]
    fn what_differs_is_named_by_its_key() {
        for (old, new, expected) in [
            ("name: contoso", "name: 'contoso'", ""),
            ("policies:", "poll: { interval: 360m }\npolicies:", ""),
            (
                "policies:",
                "poll: { interval: 7h, stale_after: 14h }\npolicies:",
                "poll.interval,poll.stale_after",
            ),
            (
                "policies:",
                "poll: { expire_after: 3d, inactive_after: 9d }\npolicies:",
                "poll.expire_after,poll.inactive_after",
            ),
            (
                "policies:",
                "metrics: { detail: fleet, series_limit: 1, ignore_kbs: ['1'] }\npolicies:",
                "metrics.detail,metrics.series_limit,metrics.ignore_kbs",
            ),
            (
                "machines: { all: true }",
                "machines: { tags: [a] }",
                "tenants[contoso].machines.tags,tenants[contoso].machines.all",
            ),
            (
                "machines: { all: true }",
                "machines: { all: true, ids: [a], names: [b], filter: c, exclude: { ids: [d], names: [e] } }",
                "tenants[contoso].machines.ids,tenants[contoso].machines.names,tenants[contoso].machines.filter,\
                 tenants[contoso].machines.exclude.ids,tenants[contoso].machines.exclude.names",
            ),
            ("canary.txt", "other-canary.txt", "tenants[contoso].auth"),
            ("u:canary@", "u:canary2@", "tenants[contoso].http.proxy_url"),
            (
                "http: {",
                "http: { timeout: 9s, ca_file: x,",
                "tenants[contoso].http.timeout,tenants[contoso].http.ca_file",
            ),
            (
                "    auth: { client_secret_env: A }",
                "    auth: { client_secret_env: A }\n    source: export\n    quota: { per_minute: 1, per_hour: 2, share: 0.5 }",
                "tenants[fabrikam].source,tenants[fabrikam].quota.per_minute,tenants[fabrikam].quota.per_hour,\
                 tenants[fabrikam].quota.share",
            ),
            (
                "    auth: { client_secret_env: A }",
                "    auth: { client_secret_env: A }\n    cloud: gcc_high",
                "tenants[fabrikam].cloud,tenants[fabrikam].authority_url,tenants[fabrikam].api_url,\
                 tenants[fabrikam].scope",
            ),
            ("tenant_id: fabrikam.example", "tenant_id: b.example", "tenants[fabrikam].tenant_id"),
            ("client_id: 6", "client_id: 7", "tenants[contoso].client_id"),
            ("name: fabrikam", "name: other", "tenants[other] added,tenants[fabrikam] removed"),
            (
                "{ name: 14d, deadline: 14d }",
                "{ name: 14d, deadline: 9d, from: released }",
                "policies[14d].deadline,policies[14d].from",
            ),
            ("  - { name: 14d, deadline: 14d }\n", "", "policies[14d] removed"),
            ("- { name: 30d", "- { name: 1d, deadline: 1d }\n  - { name: 30d", "policies[1d] added"),
            (
                "  - { name: 14d, deadline: 14d }\n  - { name: 30d, deadline: 30d }",
                "  - { name: 30d, deadline: 30d }\n  - { name: 14d, deadline: 14d }",
                "policies",
            ),
        ] {
            assert_eq!(changed(old, new), expected, "{old} -> {new}");
        }
    }

    #[test]
    fn no_value_is_repeated() {
        assert!(!changed("canary", "more-canary").contains("canary"));
    }

    #[test]
    fn an_application_is_known_by_its_ids_and_its_api() {
        let same = |old: &str, new: &str| {
            let (old, new) = (config(FILE), config(&FILE.replacen(old, new, 1)));
            is_same_app_registration(&old.tenants[0], &new.tenants[0])
        };
        assert!(same("name: contoso", "name: other"));
        assert!(same("canary.txt", "other.txt"));
        assert!(!same("tenant_id: 1", "tenant_id: 2"));
        assert!(!same("client_id: 6", "client_id: 7"));
        assert!(!same("http: {", "api_url: https://eu.api.example\n    http: {"));
    }

    #[test]
    fn what_is_asked_does_not_change_how_a_tenant_is_reached() {
        let alike = |old: &str, new: &str| {
            let (old, new) = (config(FILE), config(&FILE.replacen(old, new, 1)));
            uses_same_connection(&old.tenants[0], &new.tenants[0])
        };
        assert!(alike(
            "machines: { all: true }",
            "machines: { ids: [a] }\n    quota: { share: 1 }\n    source: export"
        ));
        assert!(!alike("canary.txt", "other.txt"));
        assert!(!alike("http: {", "http: { timeout: 9s,"));
        assert!(!alike("client_id: 6", "client_id: 7"));
    }
}

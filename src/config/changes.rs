//! The difference between two configurations, as key paths without values.
//!
//! Tenants and policies are matched by name, so an added one does not affect the others. Every struct is
//! destructured by field name, so a new field does not compile until it is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Auth, Config, FactsConfig, FactsUrls, Http, Metrics, Poll, Quota, Selectors, Tenant};
use crate::model::{Condition, Exception, Freshness, OwnLabel, Policy, RuleDeadline};

/// Returns the keys whose effect differs between `old` and `new`, such as `poll.interval` or
/// `tenants[contoso].machines.tags`, and added and removed items, such as `tenants[contoso] removed`.
/// Empty if both have the same effect, however they are written.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let Config { tenants, poll, metrics, facts: _, policies, exceptions } = old;
    let mut keys = Keys::default();
    keys.named("tenants", (tenants, &new.tenants), |tenant| &tenant.name, tenant);
    {
        let Poll { interval, freshness: Freshness { stale_after, expire_after, inactive_after } } = poll;
        keys.compare("poll.interval", interval, &new.poll.interval);
        keys.compare("poll.stale_after", stale_after, &new.poll.freshness.stale_after);
        keys.compare("poll.expire_after", expire_after, &new.poll.freshness.expire_after);
        keys.compare("poll.inactive_after", inactive_after, &new.poll.freshness.inactive_after);
    }
    let Metrics { detail, series_limit, ignore_kbs, ignore_ids, labels } = metrics;
    keys.compare("metrics.detail", detail, &new.metrics.detail);
    keys.compare("metrics.series_limit", series_limit, &new.metrics.series_limit);
    keys.compare("metrics.ignore_kbs", ignore_kbs, &new.metrics.ignore_kbs);
    keys.compare("metrics.ignore_ids", ignore_ids, &new.metrics.ignore_ids);
    keys.named("metrics.labels", (labels, &new.metrics.labels), |label| &label.name, own_label);
    facts(&mut keys, old.facts.as_ref(), new.facts.as_ref());
    keys.named("policies", (policies, &new.policies), |policy| &policy.name, policy);
    keys.named("exceptions", (exceptions, &new.exceptions), |exception| &exception.name, exception);
    keys.0
}

/// Returns whether both reach the tenant with the same connection settings and credential, so that the
/// connections and tokens of one are valid for the other.
#[must_use]
pub fn uses_same_connection(old: &Tenant, new: &Tenant) -> bool {
    let with_old_scope =
        Tenant { source: old.source, machines: old.machines.clone(), quota: old.quota, ..new.clone() };
    with_old_scope == *old
}

/// Returns whether the API counts the calls of both in one quota, because both use the same application
/// in the same Entra tenant, whatever their names here.
#[must_use]
pub fn shares_quota(one: &Tenant, other: &Tenant) -> bool {
    // Called for each two tenants of a configuration, so without a copy.
    one.tenant_id.eq_ignore_ascii_case(&other.tenant_id)
        && application(one).eq_ignore_ascii_case(application(other))
}

/// The client id of the application that `tenant` uses; empty for the identity of the host.
fn application(tenant: &Tenant) -> &str {
    let id = match &tenant.auth {
        Auth::ManagedIdentity { client_id } => client_id,
        Auth::ClientSecret(_) | Auth::ClientCertificate(_) | Auth::WorkloadIdentity { .. } => {
            &tenant.client_id
        }
    };
    id.as_deref().unwrap_or_default()
}

/// Returns whether both use the same application for the same API host, so that one continues the other.
#[must_use]
pub fn is_same_app_registration(old: &Tenant, new: &Tenant) -> bool {
    shares_quota(old, new) && old.api_url == new.api_url
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
    let mut key = |key: &str, is_equal: bool| keys.note(&format!("{path}.{key}"), is_equal);
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

/// Compares the sections `facts`. If one of them is off, the section itself is noted.
fn facts(keys: &mut Keys, old: Option<&FactsConfig>, new: Option<&FactsConfig>) {
    let (Some(old), Some(new)) = (old, new) else {
        keys.compare("facts", &old, &new);
        return;
    };
    let FactsConfig {
        file,
        update,
        months,
        sources: FactsUrls { msrc, kev, epss, servicing },
        http: Http { timeout, ca_file, proxy_url },
    } = old;
    keys.compare("facts.file", file, &new.file);
    keys.compare("facts.update", update, &new.update);
    keys.compare("facts.months", months, &new.months);
    keys.compare("facts.sources.msrc", msrc, &new.sources.msrc);
    keys.compare("facts.sources.kev", kev, &new.sources.kev);
    keys.compare("facts.sources.epss", epss, &new.sources.epss);
    keys.compare("facts.sources.servicing", servicing, &new.sources.servicing);
    keys.compare("facts.http.timeout", timeout, &new.http.timeout);
    keys.compare("facts.http.ca_file", ca_file, &new.http.ca_file);
    keys.compare("facts.http.proxy_url", proxy_url, &new.http.proxy_url);
}

fn policy(keys: &mut Keys, path: &str, old: &Policy, new: &Policy) {
    let Policy { name: _, from, rules, preset } = old;
    let parts = |deadline| match deadline {
        RuleDeadline::Within { time, from } => (Some(time), Some(from)),
        RuleDeadline::Unlimited | RuleDeadline::KnownExploitedDue => (None, None),
    };
    let single = old.single_deadline().zip(new.single_deadline());
    if let Some(((old_time, old_from), (time, from))) = single.map(|(old, new)| (parts(old), parts(new))) {
        keys.note(&format!("{path}.deadline"), old_time == time);
        keys.note(&format!("{path}.from"), old_from == from);
    } else {
        keys.note(&format!("{path}.preset"), *preset == new.preset);
        keys.note(&format!("{path}.from"), *from == new.from || preset.is_some() || new.preset.is_some());
        // The rules of a preset are no key of the file.
        keys.note(&format!("{path}.rules"), *rules == new.rules || preset.is_some() && new.preset.is_some());
    }
}

fn own_label(keys: &mut Keys, path: &str, old: &OwnLabel, new: &OwnLabel) {
    keys.note(&format!("{path}.tag_prefix"), old == new);
}

fn exception(keys: &mut Keys, path: &str, old: &Exception, new: &Exception) {
    let Exception { name: _, reason, until, tenants, conditions, not } = old;
    keys.note(&format!("{path}.reason"), *reason == new.reason);
    keys.note(&format!("{path}.until"), *until == new.until);
    keys.note(&format!("{path}.tenants"), *tenants == new.tenants);
    let all = || conditions.iter().chain(&new.conditions);
    for key in all().map(Condition::key).collect::<BTreeSet<_>>() {
        let of_key = |conditions: &'_ [Condition]| {
            conditions.iter().filter(|condition| condition.key() == key).cloned().collect::<Vec<_>>()
        };
        keys.note(&format!("{path}.{key}"), of_key(conditions) == of_key(&new.conditions));
    }
    keys.note(&format!("{path}.not"), *not == new.not);
}

/// Collects the keys that differ.
#[derive(Default)]
struct Keys(Vec<String>);

impl Keys {
    fn note(&mut self, key: &str, is_equal: bool) {
        if !is_equal {
            self.0.push(key.to_owned());
        }
    }

    fn compare<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        self.note(key, old == new);
    }

    /// Compares items of the same name with `compare`, and notes added and removed items. If only the
    /// order differs, the list itself is noted.
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
        let old_by_name = by_name(old.iter());
        let new_by_name = by_name(new.iter());
        for item in new {
            let path = format!("{key}[{}]", name(item));
            match old_by_name.get(&**name(item)) {
                Some(previous) => compare(self, &path, previous, item),
                None => self.0.push(format!("{path} added")),
            }
        }
        for item in old.iter().filter(|item| !new_by_name.contains_key(&**name(item))) {
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

    /// Returns the changes when `old` is replaced by `new` in the file.
    fn changed(old: &str, new: &str) -> String {
        assert!(FILE.contains(old), "{old}");
        changes(&config(FILE), &config(&FILE.replacen(old, new, 1))).join(",")
    }

    #[test]
    fn differences_are_named_by_their_key() {
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
                "metrics: { detail: fleet, series_limit: 1, ignore_kbs: ['1000001'], ignore_ids: [x] }\npolicies:",
                "metrics.detail,metrics.series_limit,metrics.ignore_kbs,metrics.ignore_ids",
            ),
            (
                "policies:",
                "metrics: { labels: { team: { tag_prefix: a } } }\npolicies:",
                "metrics.labels[team] added",
            ),
            (
                "policies:",
                "exceptions: [{ name: a, reason: b, until: 2027-01-31, kbs: [1000001] }]\npolicies:",
                "exceptions[a] added",
            ),
            ("policies:", "facts: off\npolicies:", ""),
            ("policies:", "facts: {}\npolicies:", "facts"),
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
    fn each_key_of_facts_is_compared() {
        let with = |facts: &str| config(&format!("{FILE}facts: {facts}\n"));
        let old = with("{ update: off }");
        let urls = "{ msrc: https://a.example, kev: off, epss: off, servicing: off }";
        let http = "{ timeout: 9s, ca_file: x, proxy_url: 'http://p' }";
        let new = with(&format!("{{ file: a, update: 1h, months: 2, sources: {urls}, http: {http} }}"));
        assert_eq!(
            changes(&old, &new).join(","),
            "facts.file,facts.update,facts.months,facts.sources.msrc,facts.sources.kev,facts.sources.epss,\
             facts.sources.servicing,facts.http.timeout,facts.http.ca_file,facts.http.proxy_url"
        );
    }

    #[test]
    fn each_key_of_labels_and_exceptions_is_compared() {
        let changed = |old: &str, new: &str| {
            changes(&config(&format!("{FILE}{old}")), &config(&format!("{FILE}{new}"))).join(",")
        };
        let labels = |labels: &str| format!("metrics: {{ labels: {{ {labels} }} }}\n");
        let (a, b) = ("a: { tag_prefix: x }", "b: { tag_prefix: y }");
        for (old, new, expected) in [
            (a.to_owned(), "a: { tag_prefix: X }".to_owned(), "metrics.labels[a].tag_prefix"),
            (a.to_owned(), b.to_owned(), "metrics.labels[b] added,metrics.labels[a] removed"),
            (format!("{a}, {b}"), format!("{b}, {a}"), "metrics.labels"),
        ] {
            assert_eq!(changed(&labels(&old), &labels(&new)), expected);
        }
        let lab = |keys: &str| format!("exceptions: [{{ name: lab, {keys} }}]\n");
        let old = lab("reason: a, until: 2027-01-31, kbs: [1000001], machines: { tags: [a] }");
        let new = "reason: b, until: 2027-02-28, tenants: [contoso], kbs: [1000002], severity: [low], \
                   not: { names: [a] }, machines: { tags: [a, b] }";
        assert_eq!(
            changed(&old, &lab(new)),
            "exceptions[lab].reason,exceptions[lab].until,exceptions[lab].tenants,exceptions[lab].kbs,\
             exceptions[lab].severity,exceptions[lab].tags,exceptions[lab].not"
        );
        assert_eq!(changed(&old, &old), "");
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
    fn scope_and_quota_do_not_change_the_connection() {
        let uses_same = |old: &str, new: &str| {
            let (old, new) = (config(FILE), config(&FILE.replacen(old, new, 1)));
            uses_same_connection(&old.tenants[0], &new.tenants[0])
        };
        assert!(uses_same(
            "machines: { all: true }",
            "machines: { ids: [a] }\n    quota: { share: 1 }\n    source: export"
        ));
        assert!(!uses_same("canary.txt", "other.txt"));
        assert!(!uses_same("http: {", "http: { timeout: 9s,"));
        assert!(!uses_same("client_id: 6", "client_id: 7"));
    }
}

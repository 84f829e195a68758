//! The difference between two configurations, as key paths without values.
//!
//! Tenants and policies are matched by name, so an added one does not affect the others. Every struct is
//! destructured by field name, so a new field does not compile until it is compared.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Auth, Config, FactsConfig, FactsUrls, Http, Metrics, Poll, Quota, Selectors, Tenant};
use crate::model::{
    Condition, Exception, Freshness, OwnLabel, Policy, RuleDeadline, ServicingRule, ServicingSettings,
};

/// Returns the keys whose effect differs between `old` and `new`, such as `poll.interval` or
/// `tenants[contoso].machines.tags`, and added and removed items, such as `tenants[contoso] removed`.
/// Empty if both have the same effect, however they are written.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let Config { tenants, poll, metrics, facts: _, policies, exceptions, servicing } = old;
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
    {
        // Other tenants are those of other shards, which change nothing here.
        let ServicingSettings { editions, extended, other_tenants: _ } = servicing;
        keys.note("servicing.editions", is_same_list(editions, &new.servicing.editions));
        keys.note("servicing.extended", is_same_list(extended, &new.servicing.extended));
    }
    keys.0
}

/// Returns whether both lists of rules have the same effect, wherever they are in the file.
fn is_same_list<T: PartialEq>(old: &[ServicingRule<T>], new: &[ServicingRule<T>]) -> bool {
    let is_same = |(old, new): (&ServicingRule<T>, &ServicingRule<T>)| {
        let ServicingRule { value, tenants, conditions, place: _ } = old;
        *value == new.value && *tenants == new.tenants && *conditions == new.conditions
    };
    old.len() == new.len() && old.iter().zip(new).all(is_same)
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

//! Keys that differ between two configurations.

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
fn each_list_of_servicing_is_compared() {
    let with = |section: &str| config(&format!("{FILE}{section}"));
    let rules = "servicing: { editions: [{ edition: pro }], extended: [{ machines: { tags: [a] } }] }\n";
    let old = with(rules);
    for (new, expected) in [
        (rules.to_owned(), ""),
        (format!("# A rule is the same in another line.\n{rules}"), ""),
        (String::new(), "servicing.editions,servicing.extended"),
        (rules.replace("pro", "ltsc"), "servicing.editions"),
        (rules.replace("pro", "pro, tenants: [contoso]"), "servicing.editions"),
        (rules.replace("[a]", "[A]"), "servicing.extended"),
        (rules.replace("{ machines", "{ has: false, machines"), "servicing.extended"),
        (rules.replace("extended: [", "extended: [{ tenants: [contoso] }, "), "servicing.extended"),
    ] {
        assert_eq!(changes(&old, &with(&new)).join(","), expected, "{new}");
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

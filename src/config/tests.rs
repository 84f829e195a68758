//! Tests of every rule of the configuration file.

use std::path::Path;

use super::*;
use crate::model::FactsSource;

const MINIMAL: &str = "\
tenants:
  - tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { tags: [production] }
";

fn read(text: &str) -> Result<LoadedConfig, LoadError> {
    parse(Path::new("conf/mde_exporter.yml"), text.as_bytes())
}

fn config(text: &str) -> Config {
    match read(text) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Returns the problems of [`MINIMAL`] with `old` replaced by `new`, without the file name.
fn problems(old: &str, new: &str) -> String {
    assert!(MINIMAL.contains(old), "{old}");
    let text = MINIMAL.replacen(old, new, 1);
    match read(&text) {
        Ok(loaded) => format!("{:?}", loaded.warnings),
        Err(error) => error.to_string().replace("conf/mde_exporter.yml: ", ""),
    }
}

#[test]
fn each_rule_has_its_words() {
    let tenant_id = "tenant_id: 11111111-2222-3333-4444-555555555555";
    let auth = "auth: { client_secret_file: secret.txt }";
    let machines = "machines: { tags: [production] }";
    let cases = [
        (MINIMAL, ""),
        (MINIMAL, "tenants:"),
        (MINIMAL, "tenants: {}"),
        (MINIMAL, "[]"),
        (MINIMAL, "a: [1\nb: 2"),
        (tenant_id, "name: x"),
        (tenant_id, "tenant_id: organizations"),
        (tenant_id, "tenant_id: 11111111-2222-3333-4444-55555555555"),
        (tenant_id, "tenant_id: contoso..com"),
        (tenant_id, "tenant_id:"),
        ("tenant_id:", "name: \"a\\tb\"\n    tenant_id:"),
        ("tenant_id:", "name: ' '\n    tenant_id:"),
        ("client_id: 66666666-7777-8888-9999-000000000000", "# none"),
        (auth, "auth:"),
        (auth, "auth: {}"),
        (auth, "auth: { client_secret_file: '' }"),
        (auth, "auth: { client_secret_env: 7UP }"),
        (auth, "auth: { client_secret_env: A, managed_identity: }"),
        (auth, "cloud: Commercial\n    auth: { client_secret_env: A }"),
        ("auth:", "authority_url: http://localhost\n    auth:"),
        ("auth:", "authority_url: https://a.example/b\n    auth:"),
        ("auth:", "api_url: http://a.example\n    auth:"),
        ("auth:", "api_url: https://u:p@a.example\n    auth:"),
        ("auth:", "api_url: https://a.example/?q\n    auth:"),
        ("auth:", "api_url: api.example\n    auth:"),
        ("auth:", "scope: https://a.example\n    auth:"),
        ("auth:", "scope: /.default\n    auth:"),
        ("auth:", "scope: a/.default b/.default\n    auth:"),
        ("auth:", "http: { timeout: 0s, proxy_url: 'socks5://x' }\n    auth:"),
        ("auth:", "http: { timeout: 61m, ca_file: }\n    auth:"),
        ("auth:", "quota: { per_minute: 0, per_hour: 1.5, share: 0 }\n    auth:"),
        ("auth:", "quota: { per_minute: '50', per_hour: -1, share: .nan }\n    auth:"),
        (machines, "machines:"),
        (machines, "machines: { all: false, ids: [], exclude: { names: [x] } }"),
        (machines, "machines: { ids: [a/b, ''], tags: [' '], filter: ' ' }"),
        (machines, "machines: { names: ['srv-*'], all: yes }"),
        (machines, "machines: { ids: [[a]], exclude: [b] }"),
        ("tenants:", "poll: { interval: 999ms, expire_after: 12h }\ntenants:"),
        ("tenants:", "poll: { interval: 1 day please }\ntenants:"),
        ("tenants:", "poll: 6h\ntenants:"),
        ("tenants:", "facts: on\ntenants:"),
        ("tenants:", "facts: [off]\ntenants:"),
        ("tenants:", "facts: { file: , update: 59s, months: 0, sources: off, http: 1 }\ntenants:"),
        ("tenants:", "facts: { update: daily, months: '24', sources: { nvd: off }, url: x }\ntenants:"),
        (
            "tenants:",
            "facts: { sources: { msrc: http://a.example, kev: ftp://a, epss: 'https://a/?b', servicing: false } }\ntenants:",
        ),
        ("tenants:", "policies: 14d\ntenants:"),
        ("tenants:", "policies: [14d, { from: , name: }, ]\ntenants:"),
        (
            "tenants:",
            "policies: [{ name: ' ', deadline: 999ms }, { name: \"a\\tb\", deadline: 3651d }]\ntenants:",
        ),
        (
            "tenants:",
            "policies: [{ name: a, deadline: 14, from: release }, { name: [], deadline: }]\ntenants:",
        ),
        ("tenants:", "policies:\n- { name: a, deadline: 1d }\n- { deadline: 2d, name: a }\ntenants:"),
        ("tenants:", "policies:\n- { name: a, rules: [] }\n- { name: b, rules: 14d }\ntenants:"),
        ("tenants:", "policies:\n- { name: a, deadline: 1d, rules: [{ deadline: 1d }] }\ntenants:"),
        (
            "tenants:",
            "policies:\n- { name: a, preset: cis, from: released }\n- { name: b, preset: }\ntenants:",
        ),
        ("tenants:", "policies:\n- { name: a, deadline: none }\ntenants:"),
        ("tenants:", "policies:\n- { name: a, deadline: 1d, from: known_exploited_due }\ntenants:"),
        (
            "tenants:",
            "policies:\n- name: a\n  rules:\n  - 14d\n  - { exploited: true }\n  - { deadline: 0s, from: x }\n  \
             - { deadline: 1d, from: known_exploited_due }\n  - { deadline: none, from: known_exploited_due }\ntenants:",
        ),
        (
            "tenants:",
            "policies:\n- name: a\n  rules:\n  - { exploited: 1, known_exploited: 'true', or_unknown: x, deadline: 1d }\n  \
             - { vendor_severity: [High], severity: [important, unknown], deadline: 1d }\n  \
             - { cvss_at_least: 10.1, epss_at_least: 1.1, deadline: 1d }\n  \
             - { cvss_at_least: '7', epss_at_least: -0.1, deadline: 1d }\n  \
             - { products: office, platforms: [], device_groups: [' '], names: [[a]], tags: [''], deadline: 1d }\n  \
             - { not: {}, deadline: 1d }\n  - { not: { not: { exploited: true } }, tag: [a], deadline: 1d }\ntenants:",
        ),
    ];
    let problems: Vec<String> = cases
        .iter()
        .map(|(old, new)| format!("--- {}\n{}\n", new.trim_end_matches("\n    auth:"), problems(old, new)))
        .collect();
    insta::assert_snapshot!(problems.concat());
}

#[test]
fn names_of_tenants_differ_including_defaults() {
    let second = MINIMAL.replace("tenants:\n", "").replace(
        "- tenant_id: 11111111-2222-3333-4444-555555555555",
        "- name: 11111111-2222-3333-4444-555555555555\n    tenant_id: contoso.onmicrosoft.com",
    );
    let error = read(&format!("{MINIMAL}{second}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "conf/mde_exporter.yml: tenants[1].name (line 6, column 5): is the same as that of tenants[0]; a name \
         of its own for each tenant is allowed; the default is the tenant_id"
    );
}

#[test]
fn digits_without_quotes_are_kept() {
    let text = MINIMAL.replace(
        "{ tags: [production] }",
        "{ ids: [0123456789012345678901234567890123456789, 1e5, 0x1F], names: [2016], tags: [0010] }",
    );
    let machines = &config(&text).tenants[0].machines;
    assert_eq!(machines.ids, ["0123456789012345678901234567890123456789", "1e5", "0x1f"]);
    assert_eq!(machines.names, ["2016"]);
    assert_eq!(machines.tags, ["0010"]);
}

#[test]
fn an_identity_without_settings_is_selected() {
    let identity = |auth: &str| {
        let text = MINIMAL.replace("{ client_secret_file: secret.txt }", auth);
        config(&text).tenants.remove(0).auth
    };
    let managed = Auth::ManagedIdentity { client_id: None };
    assert_eq!(identity("{ managed_identity: {} }"), managed);
    assert_eq!(identity("\n      managed_identity:"), managed);
    let workload = Auth::WorkloadIdentity { token_file: None };
    assert_eq!(identity("{ workload_identity: }"), workload);
    let text = MINIMAL
        .replace("    client_id: 66666666-7777-8888-9999-000000000000\n", "")
        .replace("client_secret_file: secret.txt", "managed_identity: {}");
    assert_eq!(config(&text).tenants[0].client_id, None);
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let path = |auth: &str| {
        let text = MINIMAL.replace("client_secret_file: secret.txt", auth);
        config(&text).tenants.remove(0).auth
    };
    let secret = |path: &str| Auth::ClientSecret(SecretSource::File(path.into()));
    assert_eq!(path("client_secret_file: a/b"), secret("conf/a/b"));
    assert_eq!(path("client_secret_file: /a/b"), secret("/a/b"));
    assert_eq!(path("client_certificate_file: c.pem"), Auth::ClientCertificate("conf/c.pem".into()));
    assert_eq!(
        path("workload_identity: { token_file: t }"),
        Auth::WorkloadIdentity { token_file: Some("conf/t".into()) }
    );
    let text = MINIMAL.replace("auth:", "http: { ca_file: ca.pem }\n    auth:");
    assert_eq!(config(&text).tenants[0].http.ca_file, Some("conf/ca.pem".into()));
}

#[test]
fn a_cloud_sets_hosts_and_scope_and_each_can_be_overridden() {
    for cloud in Cloud::ALL {
        let text = MINIMAL.replace("auth:", &format!("cloud: {}\n    auth:", cloud.as_str()));
        let tenant = config(&text).tenants.remove(0);
        assert_eq!(tenant.cloud, cloud);
        assert_eq!(tenant.authority_url, cloud.authority_url().parse().unwrap());
        assert_eq!(tenant.api_url, cloud.api_url().parse().unwrap());
        assert_eq!(tenant.scope, cloud.scope());
    }
    for api in ["http://127.0.0.1:8080", "http://[::1]:8080/", "http://localhost", "https://eu.example"] {
        let text = MINIMAL.replace("auth:", &format!("cloud: dod\n    api_url: {api}\n    auth:"));
        let tenant = config(&text).tenants.remove(0);
        assert_eq!(tenant.api_url, api.parse().unwrap());
        assert_eq!(tenant.scope, Cloud::Dod.scope());
    }
}

#[test]
fn facts_are_off_until_they_have_a_mapping() {
    let facts = |text: &str| config(&format!("{MINIMAL}{text}")).facts;
    assert_eq!((facts(""), facts("facts: off\n")), (None, None));
    assert_eq!(facts("facts: {}\n"), Some(FactsConfig::default()));
    assert_eq!(facts("facts:\n"), Some(FactsConfig::default()));
    let given = facts(
        "facts:
  file: f.json.gz
  update: 'off'
  months: 3
  sources: { msrc: 'https://a.example/cvrf/v3.0/', kev: off, servicing: http://127.0.0.1:8080 }
  http: { ca_file: ca.pem }
",
    )
    .unwrap();
    assert_eq!(given.file, Some("conf/f.json.gz".into()));
    assert_eq!((given.update, given.months.get()), (None, 3));
    assert_eq!(given.http.ca_file, Some("conf/ca.pem".into()));
    let urls = FactsSource::ALL.map(|source| given.sources.of(source).map(Url::as_str));
    let epss = "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz";
    assert_eq!(urls, [Some("https://a.example/cvrf/v3.0"), None, Some(epss), Some("http://127.0.0.1:8080/")]);
    assert_eq!(given.file_in(Path::new("data")), Path::new("conf/f.json.gz"));
    assert_eq!(FactsConfig::default().file_in(Path::new("data")), Path::new("data/facts.json.gz"));
}

#[test]
fn facts_file_is_an_input_if_something_else_brings_it() {
    let unreadable = |facts: &str| {
        let loaded = read(&format!("{MINIMAL}facts: {facts}\n")).unwrap();
        let warnings = loaded.unreadable_inputs(Path::new("no/such/folder"));
        warnings.iter().map(|warning| warning.key().to_owned()).collect::<Vec<_>>()
    };
    let secret = "tenants[0].auth.client_secret_file";
    assert_eq!(unreadable("off"), [secret]);
    assert_eq!(unreadable("{ file: none }"), [secret]);
    assert_eq!(unreadable("{ update: off }"), [secret, "facts.file"]);
    assert_eq!(unreadable("{ update: off, file: none }"), [secret, "facts.file"]);
    assert_eq!(unreadable("{ http: { ca_file: none } }"), [secret, "facts.http.ca_file"]);
}

#[test]
fn selectors_ignore_case() {
    let text = MINIMAL.replace(
        "{ tags: [production] }",
        "{ ids: [AbC], names: [SRV.Corp.Example], tags: [Prod], exclude: { ids: [DEF], names: [LAB-*] } }",
    );
    let machines = &config(&text).tenants[0].machines;
    assert_eq!(machines.ids, ["abc"]);
    assert_eq!(machines.names, ["srv.corp.example"]);
    assert_eq!(machines.tags, ["Prod"]);
    assert_eq!(machines.exclude_ids, ["def"]);
    assert_eq!(machines.exclude_names, ["lab-*"]);
}

#[test]
fn short_intervals_are_accepted_with_a_warning() {
    let loaded = read(&format!("{MINIMAL}poll: {{ interval: 1s, stale_after: 500ms }}\n"));
    assert!(loaded.is_err(), "ages start at 1s");
    let loaded = read(&format!("{MINIMAL}poll: {{ interval: 1m, stale_after: 30s }}\n")).unwrap();
    assert_eq!(loaded.config.poll.interval, Duration::from_mins(1));
    let keys: Vec<&str> = loaded.warnings.iter().map(Problem::key).collect();
    assert_eq!(keys, ["poll.interval", "poll.stale_after"]);
    assert_eq!(
        loaded.warnings[0].to_string(),
        "conf/mde_exporter.yml: poll.interval (line 6, column 9): is less than an hour, but the source changes \
         every few hours; 6h is the default"
    );
}

#[test]
fn an_unused_client_id_is_a_warning() {
    let text = MINIMAL.replace("client_secret_file: secret.txt", "managed_identity: {}");
    let loaded = read(&text).unwrap();
    assert_eq!(loaded.config.tenants[0].client_id, None);
    assert_eq!(loaded.warnings[0].key(), "tenants[0].client_id");
}

#[test]
fn entries_of_one_application_cause_a_warning() {
    let (_, entry) = MINIMAL.split_once("tenants:\n").unwrap();
    let named = |name: &str, client: &str| {
        format!("{}    name: {name}\n", entry.replace("11111111-2222-3333-4444-555555555555", client))
    };
    let warned = |entries: &[String]| {
        let loaded = read(&format!("tenants:\n{}", entries.concat())).unwrap();
        loaded.warnings.iter().map(Problem::to_string).collect::<Vec<_>>()
    };
    let upper = "ABCDEF00-2222-3333-4444-555555555555";
    let entries = [named("a", upper), named("b", "99999999-2222-3333-4444-555555555555")];
    assert_eq!(warned(&entries), [""; 0]);
    let warnings = warned(&[entries.as_slice(), &[named("c", &upper.to_lowercase())]].concat());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let text = "tenants[2] (line 12, column 5): uses the application of tenant a, so both share one quota";
    assert!(warnings[0].contains(text), "{warnings:?}");
}

#[test]
fn settings_can_be_shared_through_anchors() {
    let text = MINIMAL.replace("auth:", "http: &http { timeout: 90s }\n    auth:");
    let second = MINIMAL
        .replace("tenants:\n", "")
        .replace("11111111", "21111111")
        .replace("auth:", "http: { <<: *http, ca_file: ca.pem }\n    auth:");
    let config = config(&format!("{text}{second}"));
    assert_eq!(config.tenants[1].http.timeout, Duration::from_secs(90));
    assert_eq!(config.tenants[1].http.ca_file, Some("conf/ca.pem".into()));
}

//! The configuration file: valid and invalid settings, and the messages.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mde_exporter::config::{Config, LoadError, LoadedConfig, Problem, load, parse};
use proptest::prelude::*;

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

fn fixtures(ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir("tests/fixtures/config")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no fixture ends in {ending}");
    paths
}

#[test]
fn good_fixtures_load_without_a_warning() {
    for file in fixtures(".good.yml") {
        match load(&file) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", file.display()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn bad_fixtures_give_their_messages() {
    for file in fixtures(".bad.yml") {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        match load(&file) {
            Ok(_) => panic!("{} loads", file.display()),
            Err(error) => assert_eq!(error.to_string(), expected.trim_end(), "{}", file.display()),
        }
    }
}

#[test]
fn example_shows_the_defaults() {
    let example = load(Path::new("config.example.yml")).unwrap();
    assert_eq!(example.warnings, []);
    let mut bare = parse(Path::new("config.example.yml"), MINIMAL.as_bytes()).unwrap().config;
    assert_eq!(&*bare.tenants[0].name, "11111111-2222-3333-4444-555555555555");
    bare.tenants[0].name = "contoso".into();
    assert_eq!(example.config, bare);
}

/// Each section with an unknown key.
const UNKNOWN_KEYS: &str = "\
zzz: 1
tenants:
  - tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    zzz: 1
    auth:
      zzz: 1
      managed_identity: { zzz: 1 }
      workload_identity: { zzz: 1 }
    http: { zzz: 1 }
    machines: { all: true, zzz: 1, exclude: { zzz: 1 } }
    quota: { zzz: 1 }
poll: { zzz: 1 }
metrics: { zzz: 1, labels: { team: { zzz: 1 } } }
facts: { zzz: 1, sources: { zzz: 1 }, http: { zzz: 1 } }
policies: [{ zzz: 1 }]
exceptions: [{ zzz: 1, not: { zzz: 1 }, machines: { zzz: 1 } }]
";

#[test]
fn unknown_key_is_rejected_in_every_section() {
    let error = read(UNKNOWN_KEYS).unwrap_err().to_string();
    let keys: Vec<&str> = error
        .lines()
        .filter(|line| line.contains("the key is unknown"))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "zzz",
            "tenants[0].zzz",
            "tenants[0].auth.zzz",
            "tenants[0].auth.managed_identity.zzz",
            "tenants[0].auth.workload_identity.zzz",
            "tenants[0].http.zzz",
            "tenants[0].machines.zzz",
            "tenants[0].machines.exclude.zzz",
            "tenants[0].quota.zzz",
            "poll.zzz",
            "metrics.zzz",
            "metrics.labels.team.zzz",
            "facts.zzz",
            "facts.sources.zzz",
            "facts.http.zzz",
            "policies[0].zzz",
            "exceptions[0].zzz",
            "exceptions[0].not.zzz",
            "exceptions[0].machines.zzz",
        ]
    );
}

#[test]
fn example_holds_every_key() {
    let example = fs::read_to_string("config.example.yml").unwrap();
    let error = read(UNKNOWN_KEYS).unwrap_err().to_string();
    let keys: BTreeSet<&str> = error
        .lines()
        .filter_map(|line| line.split_once("allowed here: "))
        .flat_map(|(_, keys)| keys.split(", "))
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        assert!(example.contains(&format!("{key}:")), "{key} is not in the example");
    }
}

#[test]
fn values_are_never_repeated() {
    let planted = "hunter2~PLANTED";
    for place in [
        "tenants: PLANT",
        "PLANT: 1",
        "tenants: [{ PLANT }]",
        "tenants: [{ auth: PLANT, machines: PLANT, tenant_id: PLANT, cloud: PLANT, scope: PLANT }]",
        "tenants: [{ auth: { client_secret: PLANT, client_secret_env: PLANT } }]",
        "tenants: [{ auth: { client_secret:PLANT } }]",
        "tenants: [{ auth: { PLANT: 1, managed_identity: { client_id: PLANT } } }]",
        "tenants: [{ http: { timeout: PLANT, proxy_url: 'x://u:PLANT@h' }, quota: { share: PLANT } }]",
        "tenants: [{ authority_url: 'https://u:PLANT@h', api_url: 'https://u:PLANT@h' }]",
        "tenants: [{ auth: { client_secret_file: !PLANT x } }]",
        "tenants: [{ auth: { client_secret_file: *PLANT } }]",
        "poll: { interval: PLANT }",
        "facts: PLANT",
        "facts: { update: PLANT, months: PLANT, sources: { kev: 'https://u:PLANT@h', epss: 'https://h?PLANT' } }",
        "policies: PLANT",
        "policies: [PLANT, { name: PLANT }, { name: PLANT, deadline: PLANT, from: PLANT, PLANT: PLANT }]",
        "metrics: { labels: { a: { tag_prefix: [PLANT], PLANT: 1 }, b: PLANT } }",
        "exceptions: [PLANT, { name: PLANT, until: PLANT, tenants: PLANT, kbs: [PLANT], machines: { ids: [PLANT] } }]",
        "client_secret: PLANT\nclient_secret: \"PLANT",
    ] {
        let error = read(&place.replace("PLANT", planted)).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn proxy_password_is_not_in_debug_output() {
    let proxy = "http: { proxy_url: 'http://user:hunter2@proxy.example:3128' }\n    auth:";
    let config = config(&MINIMAL.replace("auth:", proxy));
    let proxy = config.tenants[0].http.proxy_url.as_ref().unwrap();
    assert_eq!(proxy.password(), Some("hunter2"));
    let shown = format!("{config:?}");
    assert!(shown.contains("http://proxy.example:3128"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn unreadable_files_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.yml");
    let error = load(&missing).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot be read: ", missing.display())), "{error}");
    assert_eq!(load(folder.path()).unwrap_err().problems().len(), 1);
    let error = parse(Path::new("x.yml"), b"a: 1\nb: \xc3\xa4\xff").unwrap_err();
    assert_eq!(error.to_string(), "x.yml: (line 2, column 5): is not UTF-8; YAML text in UTF-8 is allowed");
}

#[test]
fn byte_order_mark_is_ignored() {
    let digits = MINIMAL.replace("tags: [production]", "ids: [0123]");
    assert_eq!(config(&format!("\u{feff}{digits}")), config(&digits));
}

/// Text that is almost a configuration: its lines, truncated, repeated and altered.
fn nearly_configuration() -> impl Strategy<Value = String> {
    let example = fs::read_to_string("config.example.yml").unwrap();
    let lines: Vec<String> =
        example.lines().map(|line| line.replace("# ", "")).chain([MINIMAL.to_owned()]).collect();
    let line = (prop::sample::select(lines), "\\PC{0,3}", any::<prop::sample::Index>());
    let disturbed = line.prop_map(|(line, noise, at)| {
        let chars: Vec<char> = line.chars().collect();
        let at = at.index(chars.len() + 1);
        chars[..at].iter().collect::<String>() + &noise + &chars[at..].iter().collect::<String>()
    });
    prop::collection::vec(disturbed, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let outcome = parse(Path::new("x.yml"), &bytes);
        prop_assert!(outcome.is_err());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in nearly_configuration()) {
        if let Err(error) = parse(Path::new("x.yml"), text.as_bytes()) {
            prop_assert!(!error.problems().is_empty());
            prop_assert!(error.problems().is_sorted_by_key(Problem::location));
        }
    }
}

#[test]
fn names_that_do_not_fit_a_label_are_problems() {
    let with = |tenant: usize, policy: usize| {
        let exception = "e".repeat(policy);
        let policies = format!(
            "policies: [{{ name: {}, deadline: 14d }}]\nexceptions: [{{ name: {exception}, reason: a, until: 2099-01-31, kbs: [5094041] }}]\n",
            "p".repeat(policy)
        );
        format!(
            "{}{policies}",
            MINIMAL.replace("  - tenant_id", &format!("  - name: {}\n    tenant_id", "t".repeat(tenant)))
        )
    };
    assert_eq!(config(&with(256, 256)).tenants[0].name.len(), 256);
    let error = read(&with(257, 257)).unwrap_err().to_string();
    for key in ["tenants[0].name", "policies[0].name", "exceptions[0].name"] {
        let line = error.lines().find(|line| line.contains(key));
        assert!(line.is_some_and(|line| line.contains("is longer than 256 bytes")), "{error}");
    }
}

//! Exceptions: what they select, their problems, and the warnings about them.

use std::path::Path;

use jiff::civil::date;

use super::*;
use crate::config::{LoadError, LoadedConfig, Problem, parse};
use crate::model::{KbId, MachineCondition, MachineId, TextPattern};

const TENANTS: &str = "\
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
  - name: fabrikam
    tenant_id: 21111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    source: export
    machines: { all: true }
";

fn read(text: &str) -> Result<LoadedConfig, LoadError> {
    parse(Path::new("f.yml"), format!("{TENANTS}{text}").as_bytes())
}

fn exceptions(text: &str) -> Vec<Exception> {
    read(text).unwrap_or_else(|error| panic!("{error}")).config.exceptions
}

/// Returns the problems of one exception with `keys` in line 14, without the name of the file.
fn problems(keys: &str) -> Vec<String> {
    match read(&format!("exceptions:\n  - {{ {keys} }}\n")) {
        Ok(_) => Vec::new(),
        Err(error) => {
            error.problems().iter().map(|problem| problem.to_string().replace("f.yml: ", "")).collect()
        }
    }
}

const REQUIRED: &str = "name: a, reason: b, until: 2027-01-31";

/// Returns the exception with the required keys and `keys`.
fn with(keys: &str) -> Exception {
    exceptions(&format!("exceptions: [{{ {REQUIRED}, {keys} }}]\n")).remove(0)
}

fn patterns(texts: &[&str]) -> Vec<TextPattern> {
    texts.iter().map(|text| TextPattern::new(text)).collect()
}

#[test]
fn every_part_of_an_exception_is_a_condition() {
    let given = exceptions(
        "exceptions:
  - name: legacy-lab
    reason: CHG0012345, isolated network
    until: 2027-01-31
    tenants: [contoso]
    kbs: [\"5094041\", KB5094042, 5094043]
    exploited: false
    tags: [Lab]
    not: { products: [office*] }
    machines: { ids: [0AB1], tags: [plc], names: [plc-*], device_groups: [Shop Floor], platforms: [WindowsServer*] }
",
    );
    let kbs = [5_094_041, 5_094_042, 5_094_043].map(|number| KbId::new(number).unwrap());
    let expected = Exception {
        name: "legacy-lab".into(),
        reason: "CHG0012345, isolated network".to_owned(),
        until: date(2027, 1, 31),
        tenants: vec!["contoso".into()],
        conditions: vec![
            UpdateCondition::Kbs(kbs.into()).into(),
            UpdateCondition::Exploited(false).into(),
            MachineCondition::Tags(patterns(&["Lab"])).into(),
            MachineCondition::Ids(vec![MachineId::parse("0ab1").unwrap()]).into(),
            MachineCondition::Platforms(patterns(&["WindowsServer*"])).into(),
            MachineCondition::DeviceGroups(patterns(&["Shop Floor"])).into(),
            MachineCondition::Names(patterns(&["plc-*"])).into(),
            MachineCondition::Tags(patterns(&["plc"])).into(),
        ],
        not: vec![UpdateCondition::Products(patterns(&["office*"])).into()],
    };
    assert_eq!(given, [expected]);
    assert_eq!(exceptions(""), []);
    assert_eq!(exceptions("exceptions: []\n"), []);
    assert_eq!(exceptions("exceptions:\n"), []);
}

#[test]
fn one_of_kbs_machines_and_conditions_is_enough() {
    for keys in ["kbs: [5094041]", "machines: { names: ['*'] }", "severity: [low]", "not: { tags: [a] }"] {
        assert_eq!(problems(&format!("{REQUIRED}, {keys}")), [""; 0], "{keys}");
    }
    for keys in ["", "tenants: [contoso]"] {
        assert_eq!(
            problems(&format!("{REQUIRED}, {keys}")),
            [
                "exceptions[0] (line 14, column 5): selects nothing; at least one of kbs, machines or the conditions of a \
              rule is allowed"
            ],
            "{keys}"
        );
    }
}

#[test]
fn required_keys_are_reported_with_their_line() {
    let problems = problems("kbs: [5094041]");
    assert_eq!(
        problems,
        [
            "exceptions[0].name (line 14, column 5): is missing; text without control characters, of its own for each \
             exception, is allowed",
            "exceptions[0].reason (line 14, column 5): is missing; text that says why the risk is accepted, such as a \
             change number, is allowed",
            "exceptions[0].until (line 14, column 5): is missing; the last day, such as 2027-01-31, is allowed",
        ]
    );
}

#[test]
fn wrong_values_are_reported_with_their_key() {
    let long = "x".repeat(257);
    for (keys, key, what) in [
        ("name: ' ', reason: b, until: 2027-01-31, kbs: [5094041]", "name", "is blank"),
        (
            &format!("name: {long}, reason: b, until: 2027-01-31, kbs: [5094041]"),
            "name",
            "is longer than 256 bytes",
        ),
        (
            "name: \"a\\tb\", reason: b, until: 2027-01-31, kbs: [5094041]",
            "name",
            "holds a control character",
        ),
        ("name: a, reason: , until: 2027-01-31, kbs: [5094041]", "reason", "has no value"),
        ("name: a, reason: ' ', until: 2027-01-31, kbs: [5094041]", "reason", "is blank"),
        (
            "name: a, reason: \"a\\eb\", until: 2027-01-31, kbs: [5094041]",
            "reason",
            "holds a control character",
        ),
        ("name: a, reason: [b], until: 2027-01-31, kbs: [5094041]", "reason", "is a list"),
        ("name: a, reason: b, until: , kbs: [5094041]", "until", "has no value"),
        ("name: a, reason: b, until: 2027-02-29, kbs: [5094041]", "until", "is a day that does not exist"),
        ("name: a, reason: b, until: 31.01.2027, kbs: [5094041]", "until", "is not a day"),
        ("name: a, reason: b, until: 20270131, kbs: [5094041]", "until", "is not a day"),
        ("name: a, reason: b, until: 2027-01-31T00:00:00Z, kbs: [5094041]", "until", "is not a day"),
        ("name: a, reason: b, until: never, kbs: [5094041]", "until", "is not a day"),
        (&format!("{REQUIRED}, kbs: []"), "kbs", "is empty"),
        (&format!("{REQUIRED}, kbs: 5094041"), "kbs", "is a single value"),
        (&format!("{REQUIRED}, kbs: [5094041, Click to Run]"), "kbs[1]", "is not the number of a KB"),
        (&format!("{REQUIRED}, machines: {{}}"), "machines", "selects no machine"),
        (&format!("{REQUIRED}, machines: [lab]"), "machines", "is a list"),
        (&format!("{REQUIRED}, machines: {{ tags: [] }}"), "machines.tags", "is empty"),
        (&format!("{REQUIRED}, machines: {{ ids: [a/b] }}"), "machines.ids[0]", "is not a device id"),
        (&format!("{REQUIRED}, machines: {{ all: true }}"), "machines.all", "the key is unknown"),
        (&format!("{REQUIRED}, kbs: [5094041], ends: 2027-01-31"), "ends", "the key is unknown"),
        (&format!("{REQUIRED}, kbs: [5094041], or_unknown: true"), "or_unknown", "the key is unknown"),
        (&format!("{REQUIRED}, kbs: [5094041], not: {{ kbs: [5094041] }}"), "not.kbs", "the key is unknown"),
        (&format!("{REQUIRED}, not: {{}}"), "not", "holds no condition"),
        (&format!("{REQUIRED}, severity: [urgent]"), "severity[0]", "is not a severity of CVSS"),
        (&format!("{REQUIRED}, kbs: [5094041], tenants: []"), "tenants", "is empty"),
        (
            &format!("{REQUIRED}, kbs: [5094041], tenants: [contoso, Contoso]"),
            "tenants[1]",
            "is not the name of a tenant of this file",
        ),
    ] {
        let problems = problems(keys);
        let expected = format!("exceptions[0].{key} (line 14, column ");
        assert!(
            problems.len() == 1
                && problems[0].starts_with(&expected)
                && problems[0].contains(&format!("): {what}; ")),
            "{keys}: {problems:?}"
        );
    }
}

#[test]
fn names_of_exceptions_differ() {
    let error = read(&format!(
        "exceptions:\n  - {{ {REQUIRED}, kbs: [5094041] }}\n  - {{ {REQUIRED}, kbs: [5094042] }}\n"
    ));
    assert_eq!(
        error.unwrap_err().to_string(),
        "f.yml: exceptions[1].name (line 15, column 13): is the same as that of exceptions[0]; text without control \
         characters, of its own for each exception, is allowed"
    );
}

#[test]
fn reason_of_several_lines_becomes_one() {
    let given = exceptions(
        "exceptions:
  - name: a
    until: 2027-01-31
    kbs: [5094041]
    reason: |
      first

      second
",
    );
    assert_eq!(given[0].reason, "first second");
    assert_eq!(with("kbs: [5094041]").reason, "b");
}

#[test]
fn tenants_are_checked_even_if_one_has_a_problem() {
    let text = TENANTS.replacen("client_id: 6", "client_id: x", 1);
    let text =
        format!("{text}exceptions: [{{ {REQUIRED}, kbs: [5094041], tenants: [fabrikam, tailspin] }}]\n");
    let error = parse(Path::new("f.yml"), text.as_bytes()).unwrap_err();
    let keys: Vec<_> = error.problems().iter().map(Problem::key).collect();
    assert_eq!(keys, ["tenants[0].client_id", "exceptions[0].tenants[1]"]);
    // An exception may name the tenant whose name cannot be read.
    let text = text.replacen("name: contoso", "name: [tailspin]", 1);
    let error = parse(Path::new("f.yml"), text.as_bytes()).unwrap_err();
    let keys: Vec<_> = error.problems().iter().map(Problem::key).collect();
    assert_eq!(keys, ["tenants[0].name", "tenants[0].client_id"]);
}

#[test]
fn exception_of_the_past_is_a_warning() {
    let loaded = read(&format!(
        "poll: {{ interval: 1m }}
exceptions:
  - {{ {REQUIRED}, kbs: [5094041] }}
  - {{ name: c, reason: d, until: 2028-01-31, kbs: [5094041] }}
"
    ))
    .unwrap();
    let keys_at = |time: &str| {
        let warnings = loaded.warnings_at(time.parse().unwrap());
        warnings.iter().map(|warning| warning.key().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys_at("2027-01-31T23:59:59Z"), ["poll.interval"]);
    assert_eq!(keys_at("2027-02-01T00:00:00Z"), ["poll.interval", "exceptions[0].until"]);
    let keys = ["poll.interval", "exceptions[0].until", "exceptions[1].until"];
    assert_eq!(keys_at("2030-01-01T00:00:00Z"), keys);
    assert_eq!(
        loaded.warnings_at("2027-06-01T00:00:00Z".parse().unwrap())[1].to_string(),
        "f.yml: exceptions[0].until (line 15, column 34): is in the past, so the exception covers nothing; a later day \
         extends it; otherwise it can be removed"
    );
}

#[test]
fn exception_that_needs_facts_of_a_source_that_is_off_is_a_warning() {
    let warned = |keys: &str, facts: &str| {
        let loaded = read(&format!("facts: {facts}\nexceptions: [{{ {REQUIRED}, {keys} }}]\n")).unwrap();
        loaded.warnings.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
    };
    let all_off = warned("exploited: true", "off");
    let text = "exceptions[0] (line 14, column 14): needs facts of msrc and kev, which facts: off leaves out: it \
                covers nothing; facts: {} turns every source on";
    assert!(all_off.contains(text), "{all_off}");
    let kev_off = "{ sources: { kev: off } }";
    assert!(
        warned("not: { known_exploited: true }", kev_off).contains("needs facts of kev, which facts.sources")
    );
    for (keys, facts) in [
        ("exploited: true", "{}"),
        ("vendor_severity: [low]", kev_off),
        ("kbs: [5094041], machines: { tags: [a] }, products: [b]", "off"),
        // The export has ratings of its own.
        ("severity: [low], tenants: [fabrikam]", "off"),
    ] {
        assert_eq!(warned(keys, facts), "", "{keys} {facts}");
    }
    let of_one_tenant = warned("severity: [low]", "off");
    assert!(
        of_one_tenant.contains("leaves out: it covers nothing in tenants with source: machines; "),
        "{of_one_tenant}"
    );
    assert!(warned("severity: [low], tenants: [contoso]", "off").contains("leaves out: it covers nothing; "));
}

#[test]
fn exception_whose_kbs_are_all_ignored_is_a_warning() {
    let warnings = |kbs: &str| {
        let loaded = read(&format!(
            "metrics: {{ ignore_kbs: [5094041, 5094042] }}\nexceptions: [{{ {REQUIRED}, kbs: {kbs} }}]\n"
        ));
        loaded.unwrap().warnings
    };
    assert_eq!(warnings("[5094042, 5094043]"), []);
    let text = warnings("[5094042, 5094041]")[0].to_string();
    assert!(text.contains("covers nothing, because metrics.ignore_kbs names all of its kbs"), "{text}");
}

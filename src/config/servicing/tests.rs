//! The section `servicing`: its rules, their problems, and the warnings about them.

use std::path::Path;

use super::*;
use crate::config::{LoadError, LoadedConfig, parse};
use crate::facts::ServicingTable;
use crate::model::{MachineCondition, MachineId, TextPattern};

const TENANTS: &str = "\
tenants:
  - name: contoso
    tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
  - name: fabrikam
    tenant_id: 21111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000001
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
";

fn read(text: &str) -> Result<LoadedConfig, LoadError> {
    parse(Path::new("f.yml"), format!("{TENANTS}{text}").as_bytes())
}

fn settings(text: &str) -> ServicingSettings {
    read(text).unwrap_or_else(|error| panic!("{error}")).config.servicing
}

/// Returns the problems of the file with the section `servicing` in line 12.
fn problems(text: &str) -> Vec<String> {
    let result = read(&format!("servicing: {text}\n"));
    let problems = result.err().map(|error| error.problems().to_vec()).unwrap_or_default();
    problems.iter().map(|problem| problem.to_string().replace("f.yml: ", "")).collect()
}

/// Returns the warnings about rules of `list` (`editions`, `extended`), the first of which is in line 14.
fn warnings(list: &str, rules: &[&str]) -> Vec<String> {
    let lines: Vec<_> = rules.iter().map(|rule| format!("    - {{ {rule} }}\n")).collect();
    let lines = lines.concat();
    let loaded = read(&format!("servicing:\n  {list}:\n{lines}")).unwrap_or_else(|error| panic!("{error}"));
    loaded.warnings.iter().map(|warning| warning.to_string().replace("f.yml: ", "")).collect()
}

fn patterns(texts: &[&str]) -> Vec<TextPattern> {
    texts.iter().map(|text| TextPattern::new(text)).collect()
}

#[test]
fn each_rule_has_a_value_tenants_and_conditions() {
    let given = settings(
        "servicing:
  editions:
    - { edition: enterprise, machines: { platforms: [Windows11] } }
    - { edition: iot_ltsc, tenants: [fabrikam] }
  extended:
    - tenants: [contoso]
      machines: { platforms: [Windows10], tags: [esu], ids: [0AB1], names: [a*], device_groups: [b] }
    - { has: false, machines: { platforms: [Windows10] } }
",
    );
    let platforms = |name| MachineCondition::Platforms(patterns(&[name])).into();
    let rule = |value, tenant: Option<&str>, conditions, place: &str| ServicingRule {
        value,
        tenants: tenant.map(Arc::from).into_iter().collect(),
        conditions,
        place: place.into(),
    };
    let conditions = vec![
        MachineCondition::Ids(vec![MachineId::parse("0ab1").unwrap()]).into(),
        platforms("Windows10"),
        MachineCondition::DeviceGroups(patterns(&["b"])).into(),
        MachineCondition::Names(patterns(&["a*"])).into(),
        MachineCondition::Tags(patterns(&["esu"])).into(),
    ];
    assert_eq!(
        given.extended,
        [
            rule(true, Some("contoso"), conditions, "servicing.extended[0] (line 17)"),
            rule(false, None, vec![platforms("Windows10")], "servicing.extended[1] (line 19)"),
        ]
    );
    let rule = |value, tenant: Option<&str>, conditions, place: &str| ServicingRule {
        value,
        tenants: tenant.map(Arc::from).into_iter().collect(),
        conditions,
        place: place.into(),
    };
    assert_eq!(
        given.editions,
        [
            rule(
                ServicingEdition::Enterprise,
                None,
                vec![platforms("Windows11")],
                "servicing.editions[0] (line 14)"
            ),
            rule(ServicingEdition::IotLtsc, Some("fabrikam"), Vec::new(), "servicing.editions[1] (line 15)"),
        ]
    );
}

#[test]
fn section_and_its_lists_may_be_empty() {
    for text in ["", "servicing:\n", "servicing: {}\n", "servicing: { editions: [], extended: }\n"] {
        assert_eq!(settings(text), ServicingSettings::default(), "{text}");
    }
    for edition in ServicingEdition::CLIENTS {
        let given = settings(&format!("servicing: {{ editions: [{{ edition: {edition} }}] }}\n"));
        assert_eq!(given.editions[0].value, edition);
    }
    assert!(settings("servicing: { extended: [{ has: true }] }\n").extended[0].value);
    assert!(settings("servicing: { extended: [{ tenants: [contoso] }] }\n").extended[0].value);
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let found = problems(
        "
  edition: []
  editions:
    - { machines: { platforms: [Windows11] } }
    - { edition: Enterprise, machines: {} }
    - { edition: server, tenants: [] }
    - { edition: extended, has: true }
    - { edition: [pro], machines: { tag: [a], tags: ' ' } }
    - pro
  extended:
    -
    - {}
    - { has: 'no', kbs: [5094041] }
    - { edition: pro, has: 1, exploited: true }",
    );
    insta::assert_snapshot!(found.join("\n"));
    for text in ["[]", "off", "{ editions: {}, extended: 1 }"] {
        assert!(!problems(text).is_empty(), "{text}");
    }
}

#[test]
fn unknown_tenant_is_a_warning() {
    let found = warnings("extended", &["tenants: [contoso, Contoso, tailspin]", "tenants: [tailspin]"]);
    assert_eq!(
        found,
        [
            "servicing.extended[0].tenants[1] (line 14, column 28): is not the name of a tenant of this file, so it selects \
             no machine; the names of tenants are compared exactly",
            "servicing.extended[0].tenants[2] (line 14, column 37): is not the name of a tenant of this file, so it selects \
             no machine; the names of tenants are compared exactly",
            "servicing.extended[1] (line 15, column 7): is never used, because servicing.extended[0] (line 14) selects all \
             of its machines; the first rule that selects a machine applies; the narrower one belongs before it",
            "servicing.extended[1].tenants[0] (line 15, column 19): is not the name of a tenant of this file, so it selects \
             no machine; the names of tenants are compared exactly",
        ]
    );
    let found = settings("servicing: { extended: [{ tenants: [tailspin] }] }\n");
    assert!(!found.extended[0].names_tenant("contoso"), "an unknown tenant stands for no other tenant");
}

#[test]
fn edition_of_a_server_is_a_warning() {
    let found = warnings(
        "editions",
        &[
            "edition: enterprise, machines: { platforms: [Windows11, WindowsServer2019] }",
            "edition: ltsc, machines: { platforms: ['windowsSERVER*'], tags: [a] }",
            "edition: ltsc, machines: { platforms: ['Windows*', '*'], tags: [b] }",
            "edition: ltsc, machines: { names: ['srv-*'] }",
        ],
    );
    let text = "selects servers, which have one end of servicing, whatever their edition, so the rule does not apply to \
                them; a rule for servers is not needed";
    assert_eq!(
        found,
        [
            format!("servicing.editions[0].machines.platforms[1] (line 14, column 65): {text}"),
            format!("servicing.editions[1].machines.platforms[0] (line 15, column 48): {text}"),
        ]
    );
}

#[test]
fn extended_updates_that_do_not_exist_are_a_warning() {
    let found = warnings(
        "extended",
        &[
            "machines: { platforms: [Windows11, WindowsServer2022], tags: [a] }",
            "has: false, machines: { platforms: ['Windows11*', Windows8.1], tags: [b] }",
            "machines: { platforms: ['Windows1*', 'WindowsServer*', WindowsServer2012R2, '*'], tags: [c] }",
        ],
    );
    assert_eq!(found.len(), 4, "{found:#?}");
    for (place, found) in
        ["[0].machines.platforms[0]", "[0].machines.platforms[1]", "[1].machines.platforms[0]"]
            .iter()
            .zip(&found)
    {
        assert!(found.starts_with(&format!("servicing.extended{place} (line 1")), "{found}");
        assert!(
            found
                .contains("selects a platform for which the built-in table has no Extended Security Updates"),
            "{found}"
        );
    }
}

#[test]
fn platform_that_windows_does_not_have_is_a_warning() {
    for list in ["editions", "extended"] {
        let edition = if list == "editions" { "edition: pro, " } else { "" };
        for (platform, is_warned) in [
            ("Windows 10", true),
            ("Windows10 22H2", true),
            ("Win10*", true),
            ("macOS", true),
            ("windows10", false),
            ("Windows10WVD", false),
            ("*10", false),
        ] {
            let rule = format!("{edition}machines: {{ platforms: ['{platform}'] }}");
            let found = warnings(list, &[&rule]);
            assert_eq!(!found.is_empty(), is_warned, "{platform}: {found:?}");
            let text =
                "matches no known platform of Windows, so it selects no machine; the value is osPlatform";
            assert!(found.iter().all(|warning| warning.contains(text)), "{found:?}");
        }
    }
    assert_eq!(warnings("extended", &["machines: { platforms: [WindowsServer20H2] }"]), [""; 0]);
}

#[test]
fn rule_behind_one_that_selects_its_machines_is_a_warning() {
    let windows10 = "machines: { platforms: [Windows10] }";
    for (first, second, is_warned) in [
        ("has: false", windows10, true),
        ("has: false", "has: true", true),
        (windows10, "machines: { platforms: [windows10], tags: [esu] }", true),
        ("machines: { platforms: ['Windows1*'] }", windows10, true),
        ("machines: { platforms: ['*10', '*11'] }", "machines: { platforms: [Windows11, 'W*10'] }", true),
        ("machines: { tags: [a, b] }", "machines: { tags: [B], names: [x] }", true),
        ("machines: { ids: [a, b] }", "machines: { ids: [A] }", true),
        ("tenants: [contoso]", "tenants: [contoso], machines: { tags: [a] }", true),
        ("tenants: [contoso, fabrikam]", "tenants: [fabrikam]", true),
        ("has: true", "tenants: [fabrikam]", true),
        // The usual order: the narrower rule first.
        ("machines: { platforms: [Windows10], tags: [esu] }", windows10, false),
        (windows10, "machines: { platforms: ['Windows1*'] }", false),
        (windows10, "machines: { platforms: [Windows10, Windows7] }", false),
        (windows10, "machines: { names: [Windows10] }", false),
        (windows10, "has: true", false),
        ("machines: { tags: ['*'] }", "machines: { tags: [a] }", false),
        ("machines: { ids: [a] }", "machines: { ids: [a, b] }", false),
        ("tenants: [contoso]", "machines: { tags: [a] }", false),
        ("tenants: [contoso]", "tenants: [contoso, fabrikam]", false),
    ] {
        let found = warnings("extended", &[first, second]);
        let found: Vec<_> = found.iter().filter(|warning| warning.contains("is never used")).collect();
        assert_eq!(!found.is_empty(), is_warned, "{first} / {second}: {found:?}");
        let text = "servicing.extended[1] (line 15, column 7): is never used, because servicing.extended[0] (line 14) \
                    selects all of its machines; ";
        assert!(found.iter().all(|warning| warning.starts_with(text)), "{found:?}");
    }
}

#[test]
fn extended_updates_of_platforms_are_those_of_the_table() {
    let table = ServicingTable::default();
    for (platform, builds) in [
        ("Windows7", &[7_601][..]),
        ("Windows8.1", &[9_600]),
        ("Windows10", &[10_240, 10_586, 14_393, 17_763, 18_363, 19_041, 19_042, 19_043, 19_044, 19_045]),
        ("Windows11", &[22_000, 22_621, 22_631, 26_100, 26_200, 28_000]),
        ("WindowsServer2008", &[6_003]),
        ("WindowsServer2008R2", &[7_601]),
        ("WindowsServer2012", &[9_200]),
        ("WindowsServer2012R2", &[9_600]),
        ("WindowsServer2016", &[14_393]),
        ("WindowsServer2019", &[17_763]),
        ("WindowsServer2022", &[20_348]),
        ("WindowsServer2025", &[26_100]),
    ] {
        let versions = builds.iter().map(|build| table.version(platform, *build).expect(platform));
        let has_extended = versions.filter(|version| version.extended.is_some()).count() > 0;
        let rule = format!("machines: {{ platforms: [{platform}] }}");
        assert_eq!(warnings("extended", &[&rule]).is_empty(), has_extended, "{platform}");
    }
}

//! Policies as rules and presets, and the warnings about them.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Config, LoadedConfig, parse};
use crate::model::{
    CvssScore, DeadlineStart, MachineCondition, TextPattern, UpdateCondition, VendorSeverity,
};

const MINIMAL: &str = "\
tenants:
  - tenant_id: 11111111-2222-3333-4444-555555555555
    client_id: 66666666-7777-8888-9999-000000000000
    auth: { client_secret_file: secret.txt }
    machines: { all: true }
";

fn loaded(text: &str) -> LoadedConfig {
    parse(Path::new("f.yml"), text.as_bytes()).map_err(|error| error.to_string()).unwrap()
}

fn config(text: &str) -> Config {
    loaded(text).config
}

#[test]
fn policy_is_read_as_ordered_rules() {
    let policies = config(&format!(
        "{MINIMAL}policies:
- name: risk
  from: released
  rules:
  - {{ known_exploited: true, deadline: 3d, from: known_exploited }}
  - {{ tags: [x], from: known_exploited_due }}
  - {{ cvss_at_least: 7.05, not: {{ vendor_severity: [LOW] }}, or_unknown: true, deadline: 2d }}
  - {{ cvss_at_least: 0, deadline: none }}
- {{ name: due, from: known_exploited_due }}
- {{ name: kept, from: known_exploited_due, rules: [{{ deadline: none }}] }}
- {{ name: p, preset: pci-dss }}
"
    ))
    .policies;
    let within = |time: u64, from| RuleDeadline::Within { time: Duration::from_hours(24 * time), from };
    let rule = |conditions, deadline| PolicyRule { conditions, ..PolicyRule::unconditional(deadline) };
    let score = |score| UpdateCondition::CvssAtLeast(CvssScore::new(score).unwrap()).into();
    let listed = UpdateCondition::KnownExploited(true).into();
    let tagged = MachineCondition::Tags(vec![TextPattern::new("x")]).into();
    let low = UpdateCondition::VendorSeverity(vec![VendorSeverity::Low]).into();
    assert_eq!(
        policies[0].rules,
        [
            rule(vec![listed], within(3, DeadlineStart::KnownExploited)),
            rule(vec![tagged], RuleDeadline::KnownExploitedDue),
            PolicyRule {
                not: vec![low],
                or_unknown: true,
                ..rule(vec![score(7.1)], within(2, DeadlineStart::Released))
            },
            rule(vec![score(0.1)], RuleDeadline::Unlimited),
        ]
    );
    assert_eq!(policies[1].rules, [PolicyRule::unconditional(RuleDeadline::KnownExploitedDue)]);
    assert_eq!(policies[2].rules, [PolicyRule::unconditional(RuleDeadline::Unlimited)]);
    assert_eq!(policies[3], PolicyPreset::PciDss.policy("p".into()));
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = loaded(&format!("{MINIMAL}{text}"));
    loaded.warnings.iter().map(|warning| warning.to_string().replace("f.yml: ", "")).collect()
}

#[test]
fn rule_that_is_never_used_is_a_warning() {
    let found =
        warnings("policies:\n- name: a\n  rules:\n  - { deadline: 1d }\n  - { tags: [x], deadline: 2d }\n");
    assert_eq!(
        found,
        [
            "policies[0].rules[1] (line 10, column 5): is never used, because rule 1 matches every missing update; the \
          rule without conditions belongs at the end"
        ]
    );
    assert_eq!(
        warnings(
            "facts: {}\npolicies: [{ name: a, rules: [{ from: known_exploited_due }, { deadline: 1d }] }]\n"
        ),
        [""; 0],
        "an update without a due date does not match"
    );
}

#[test]
fn policy_that_needs_a_source_that_is_off_is_a_warning() {
    let needs = |facts: &str, condition: &str| {
        warnings(&format!("{facts}policies: [{{ name: a, rules: [{{ {condition}, deadline: 1d }}] }}]\n"))
    };
    let off = "facts: { sources: { kev: off, epss: off } }\n";
    assert_eq!(
        needs("", "exploited: true"),
        [
            "policies[0] (line 6, column 12): needs facts of msrc and kev, which facts: off leaves out: machines with \
          missing updates are unknown under it; facts: {} turns every source on"
        ]
    );
    assert!(needs(off, "exploited: true")[0].contains("needs facts of kev, which facts.sources leaves out"));
    assert_eq!(needs(off, "vendor_severity: [low]"), [""; 0]);
    assert_eq!(needs("", "products: [x], tags: [y]"), [""; 0]);
    assert_eq!(warnings("policies: [{ name: p, preset: cisa-bod-26-04 }]\n").len(), 1);
}

#[test]
fn default_policy_applies_until_others_are_given() {
    let policies = |text: &str| config(&format!("{MINIMAL}{text}")).policies;
    assert_eq!(policies(""), [Policy::default()]);
    assert_eq!(policies("policies: []\n"), []);
    let given = policies(
        "policies:
- { name: 7, deadline: 7d 12h, from: released }
- { name: 'ten \"years\"', deadline: 3650d }
- { name: second, deadline: 1s, from: first_seen }
",
    );
    let hours = Duration::from_hours;
    let policy = |name: &str, deadline, from| Policy::single(name, deadline, from);
    assert_eq!(
        given,
        [
            policy("7", hours(7 * 24 + 12), DeadlineStart::Released),
            policy("ten \"years\"", hours(3650 * 24), DeadlineStart::FirstSeen),
            policy("second", Duration::from_secs(1), DeadlineStart::FirstSeen),
        ]
    );
}

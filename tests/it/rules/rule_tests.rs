//! Tests of rules, for `promtool test rules`.

use std::collections::BTreeSet;

use crate::support::rules::{FILES, alerts, records, tests};

/// The suffixes of the names of the tests that every alert has. The first one always fires.
const KINDS: [&str; 5] =
    ["fires", "at its threshold", "before its time", "without its series", "with two tenants"];

/// The alert on absence: two of its tests expect the opposite.
const ABSENCE: &str = "MdeExporterAbsent";

#[test]
fn every_alert_has_a_test_of_each_kind() {
    let tests = tests();
    for name in alerts().keys() {
        for kind in KINDS {
            let wanted = format!("{name} {kind}");
            let matching: Vec<_> = tests.iter().filter(|test| test.name == wanted).collect();
            let [test] = matching[..] else { panic!("{} tests are called `{wanted}`", matching.len()) };
            let [check] = &test.alert_rule_test[..] else { panic!("`{wanted}` must evaluate once") };
            let is_absence = name == ABSENCE;
            let fires = match kind {
                "fires" => true,
                "without its series" => is_absence,
                "with two tenants" => !is_absence,
                _ => false,
            };
            assert_eq!(check.exp_alerts.len(), usize::from(fires), "`{wanted}`");
            if kind == "with two tenants" {
                let of = |test: &&str| test.contains("fabrikam") || test.contains("two:");
                let second = test.input_series.iter().map(|input| input.series.as_str()).filter(of).count();
                assert!(second > 0 && second < test.input_series.len(), "`{wanted}` has not two tenants");
            }
        }
    }
}

#[test]
fn rule_tests_expect_all_annotations_of_existing_alerts() {
    let alerts = alerts();
    for test in tests() {
        for check in test.alert_rule_test {
            let rule = alerts.get(&check.alertname).unwrap_or_else(|| panic!("no alert {}", check.alertname));
            let subject = test.name.split(' ').next();
            assert_eq!(subject, Some(check.alertname.as_str()), "`{}` is about another alert", test.name);
            for expected in check.exp_alerts {
                assert_eq!(expected.exp_labels["severity"], rule.labels["severity"], "{}", test.name);
                let keys: Vec<_> = expected.exp_annotations.keys().collect();
                assert_eq!(keys, rule.annotations.keys().collect::<Vec<_>>(), "{}", test.name);
            }
        }
    }
}

#[test]
fn every_recorded_series_is_tested() {
    let tested: BTreeSet<String> =
        tests().into_iter().flat_map(|test| test.promql_expr_test).map(|test| test.expr).collect();
    assert_eq!(tested, FILES.into_iter().flat_map(records).collect());
}

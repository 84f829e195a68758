//! Tests that panels change their colour at the thresholds of the alerts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::dashboards::bounds;
use crate::dashboards::queries::panels;

/// An alert, its threshold in the rule, and the bound of the panels that name the alert.
const THRESHOLDS: [(&str, &str, f64); 17] = [
    ("MdeComplianceLow", "< 0.90", bounds::WITHIN_LOW),
    ("MdeMachinesOverdue", "> 0.05", bounds::OVERDUE_SHARE),
    ("MdeCollectionIncomplete", "> 0.05", bounds::UNKNOWN_SHARE),
    ("MdeNothingInScope", "== 0", bounds::NO_MACHINES),
    ("MdeMachinesInactive", "> 0.10", bounds::INACTIVE_SHARE),
    ("MdeUpdateSpread", "> 0.25", bounds::SPREAD_SHARE),
    ("MdeDataStale", "3 * clamp_min", bounds::STALE_INTERVALS),
    ("MdeDataStaleLong", "> 86400", bounds::STALE_LONG_SECS),
    ("MdeExportSnapshotOld", "> 86400", bounds::STALE_LONG_SECS),
    ("MdeClientCertificateExpiring", "< 30 * 86400", bounds::CLIENT_CERTIFICATE_SECS),
    ("MdeExploitedUpdateMissing", "> 0", bounds::EXPLOITED_OVERDUE),
    ("MdeExceptionEnding", "< 14 * 86400", bounds::EXCEPTION_ENDING_SECS),
    ("MdeExceptionUnused", "== 0", bounds::EXCEPTION_UNUSED),
    ("MdeServicingEnded", "> 0", bounds::SERVICING_ENDED),
    ("MdeServicingEnding", "< 90 * 86400", bounds::SERVICING_ENDING_SECS),
    ("MdeFactsOld", "> 3 * 86400", bounds::FACTS_OLD_SECS),
    ("MdeWebCertificateExpiring", "< 14 * 86400", bounds::CERTIFICATE_SECS),
];

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    expr: String,
}

/// Every alert with its expression.
fn alerts() -> BTreeMap<String, String> {
    let folder = crate::generated::root().join("dashboards/rules");
    let mut alerts = BTreeMap::new();
    for file in ["fleet.yml", "machine.yml"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let rules: Rules = serde_saphyr::from_str(&text).unwrap();
        let rules = rules.groups.into_iter().flat_map(|group| group.rules);
        alerts.extend(rules.filter_map(|rule| Some((rule.alert?, rule.expr))));
    }
    alerts
}

/// The value of a threshold such as `< 14 * 86400`.
fn number(threshold: &str) -> f64 {
    let factors = threshold.split(['<', '>', '*', ' ']).filter_map(|word| word.parse::<f64>().ok());
    factors.product()
}

#[test]
fn bounds_are_the_thresholds_of_the_alerts() {
    let alerts = alerts();
    for (alert, threshold, bound) in THRESHOLDS {
        assert!(alerts[alert].contains(threshold), "{alert}: {}", alerts[alert]);
        assert!((number(threshold) - bound).abs() < 1e-9, "{alert}: {threshold} is not {bound}");
    }
}

/// The values at which a panel changes its colour, those of ages in seconds.
fn steps(panel: &Value) -> Vec<f64> {
    let config = &panel["fieldConfig"];
    let of_columns = config["overrides"].as_array().unwrap().iter().map(|of| {
        let properties = of["properties"].as_array().unwrap();
        let value =
            |id: &str| properties.iter().find(|property| property["id"] == id).map(|found| &found["value"]);
        (value("thresholds"), value("unit"))
    });
    let defaults = &config["defaults"];
    let all = of_columns.chain([(Some(&defaults["thresholds"]), Some(&defaults["unit"]))]);
    all.filter_map(|(thresholds, unit)| Some((thresholds?, unit)))
        .flat_map(|(thresholds, unit)| {
            let seconds = match unit.and_then(Value::as_str) {
                Some("suffix:d") => 86_400.0,
                Some("suffix:h") => 3_600.0,
                _ => 1.0,
            };
            let values =
                thresholds["steps"].as_array().unwrap().iter().filter_map(|step| step["value"].as_f64());
            values.map(move |value| value * seconds)
        })
        .collect()
}

#[test]
fn a_panel_changes_colour_where_its_alert_fires() {
    let alerts = alerts();
    let mut checked = 0;
    for (file, dashboard) in crate::dashboards::all() {
        for (_, panel) in panels(&dashboard.json()) {
            let description = panel["description"].as_str().unwrap_or_default();
            for alert in description.split('`').filter(|word| word.starts_with("Mde")) {
                assert!(alerts.contains_key(alert), "{file}: no alert {alert}");
                let threshold = THRESHOLDS.iter().find(|(name, ..)| *name == alert);
                let (_, _, bound) = threshold.unwrap_or_else(|| panic!("{file}: {alert} has no bound"));
                let steps = steps(&panel);
                let changes = steps.iter().any(|step| (step - bound).abs() < 1e-9);
                assert!(
                    changes,
                    "{file} / {}: {alert} fires at {bound}, colours at {steps:?}",
                    panel["title"]
                );
                checked += 1;
            }
        }
    }
    assert!(checked >= THRESHOLDS.len(), "{checked}");
}

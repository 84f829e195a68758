//! The style and the queries of alert rules.

use crate::support::rules::{FILES, KnownSeries, alerts, assert_exist, groups, rules, selectors};

#[test]
fn names_of_alerts_and_groups_follow_the_mixin_style() {
    for file in FILES {
        for group in groups(file) {
            assert!(group.rules.len() <= 20, "{} has {} rules", group.name, group.rules.len());
            assert!(group.name.len() <= 40 && group.name.starts_with("mde-"), "{}", group.name);
        }
    }
    for name in alerts().keys() {
        assert!(name.starts_with("Mde") && name.len() <= 40, "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic()), "{name}");
    }
}

#[test]
fn every_alert_has_a_severity_and_links() {
    for (name, rule) in alerts() {
        let labels: Vec<_> = rule.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert!(matches!(labels[..], [("severity", "critical" | "warning" | "info")]), "{name}: {labels:?}");
        assert!(rule.r#for.is_some(), "{name} has no `for`");
        let annotations: Vec<_> = rule.annotations.keys().collect();
        assert_eq!(annotations, ["dashboard_url", "description", "runbook_url", "summary"], "{name}");
        let summary = &rule.annotations["summary"];
        assert!(summary.starts_with(|first: char| first.is_ascii_uppercase()), "{name}: {summary}");
        assert!(summary.ends_with('.'), "{name}: {summary}");
        // A summary is a fixed text, except that it names the tenant of an alert about a tenant.
        let tenants = summary.matches("{{ $labels.tenant }}").count();
        let has_tenant = rule.annotations["description"].contains("$labels.tenant");
        assert_eq!(
            (tenants, summary.matches("{{").count()),
            (usize::from(has_tenant), tenants),
            "{name}: {summary}"
        );
        let description = &rule.annotations["description"];
        assert!(description.contains("{{") && description.ends_with('.'), "{name}: {description}");
        let runbook = format!("https://runbooks.example.com/mde_exporter/{name}.md");
        assert_eq!(rule.annotations["runbook_url"], runbook);
        let dashboard = rule.annotations["dashboard_url"].strip_prefix("https://grafana.example.com/d/");
        let dashboard = dashboard.unwrap_or_else(|| panic!("{name}")).split('?').next().unwrap();
        assert!(
            ["mde-fleet", "mde-machine", "mde-update", "mde-exporter"].contains(&dashboard),
            "{name}: {dashboard}"
        );
    }
}

#[test]
fn values_in_links_are_escaped() {
    for (name, rule) in alerts() {
        let url = &rule.annotations["dashboard_url"];
        assert_eq!(url.matches("{{").count(), url.matches("| urlquery }}").count(), "{name}: {url}");
    }
}

#[test]
fn rules_use_existing_metrics_of_their_level() {
    let is_deeper = |name: &str| name.starts_with("mde_machine_");
    for (file, recorded_by) in [("fleet", &FILES[..1]), ("machine", &FILES[..])] {
        let series = KnownSeries::with(recorded_by);
        let mut uses_machines = false;
        for rule in rules(file) {
            let place = rule.alert.or(rule.record).unwrap();
            assert_exist(&place, &rule.expr, &series);
            let used = selectors(&rule.expr).into_iter().filter_map(|selector| selector.name);
            uses_machines |= used.into_iter().any(|name| is_deeper(&name));
        }
        assert_eq!(uses_machines, file == "machine", "{file}.yml");
    }
}

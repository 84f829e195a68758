//! Files to copy: Prometheus, Alertmanager and Kubernetes.

use std::collections::BTreeSet;
use std::path::Path;

use mde_exporter::config;
use serde::Deserialize;

use crate::support::rules::{read, tests, yaml};

#[derive(Deserialize)]
struct Alertmanager {
    inhibit_rules: Vec<InhibitRule>,
}

#[derive(Deserialize)]
struct InhibitRule {
    source_matchers: Vec<String>,
    target_matchers: Vec<String>,
    equal: Vec<String>,
}

#[derive(Deserialize)]
struct Prometheus {
    scrape_configs: Vec<ScrapeConfig>,
}

#[derive(Deserialize)]
struct ScrapeConfig {
    job_name: String,
    sample_limit: u64,
}

/// The alerts that a matcher of the form `alertname = "A"` or `alertname =~ "A|B"` selects. Other matchers may select
/// from them.
fn alert_names(matchers: &[String]) -> Vec<&str> {
    let of_names: Vec<_> = matchers.iter().filter(|matcher| matcher.starts_with("alertname ")).collect();
    let [matcher] = of_names[..] else { panic!("expected one matcher of names: {matchers:?}") };
    let value = matcher.strip_prefix("alertname = ").or_else(|| matcher.strip_prefix("alertname =~ "));
    value.unwrap_or_else(|| panic!("{matcher}")).trim_matches('"').split('|').collect()
}

#[test]
fn inhibition_compares_labels_that_both_alerts_have() {
    let tests = tests();
    let labels = |alert: &str| -> BTreeSet<&String> {
        let fires = format!("{alert} fires");
        let test = tests.iter().find(|test| test.name == fires).unwrap_or_else(|| panic!("no {alert}"));
        test.alert_rule_test[0].exp_alerts[0].exp_labels.keys().collect()
    };
    for InhibitRule { source_matchers, target_matchers, equal } in
        yaml::<Alertmanager>("provisioning/alertmanager.yml").inhibit_rules
    {
        let (sources, targets) = (alert_names(&source_matchers), alert_names(&target_matchers));
        for alert in sources.iter().chain(&targets) {
            for label in &equal {
                assert!(labels(alert).contains(label), "{alert} has no {label}");
            }
        }
        // An alert that is source and target would never inhibit another one that is both.
        assert!(!sources.iter().any(|source| targets.contains(source)), "{sources:?} and {targets:?}");
    }
}

#[test]
fn sample_limit_exceeds_the_series_limit() {
    let example = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yml")).unwrap();
    let config = config::parse(Path::new("config.example.yml"), &example).unwrap().config;
    let jobs = yaml::<Prometheus>("provisioning/prometheus.yml").scrape_configs;
    let [job] = &jobs[..] else { panic!("expected one job") };
    assert_eq!(job.job_name, "mde_exporter");
    assert_eq!(job.sample_limit, config.metrics.series_limit + 5_000);
    let monitor = read("provisioning/kubernetes/servicemonitor.yaml");
    assert!(monitor.contains(&format!("sampleLimit: {}\n", job.sample_limit)));
}

//! The Prometheus rules as `PrometheusRule` resources of the Prometheus operator.

use std::io;

use crate::generated::{GeneratedFile, root};

/// Rule files in `dashboards/rules`.
const RULE_FILES: [&str; 2] = ["fleet", "machine"];

/// One resource for each rule file.
///
/// # Errors
/// When a rule file cannot be read.
pub(crate) fn files() -> io::Result<Vec<GeneratedFile>> {
    let file = |name: &str| {
        let rules = std::fs::read_to_string(root().join(format!("dashboards/rules/{name}.yml")))?;
        let path = format!("dashboards/provisioning/kubernetes/prometheusrule-{name}.yaml");
        Ok(GeneratedFile { path, text: prometheus_rule(name, &rules) })
    };
    RULE_FILES.into_iter().map(file).collect()
}

/// The groups of a rule file as a resource.
fn prometheus_rule(name: &str, rules: &str) -> String {
    let mut text = format!(
        "# Generated from ../../rules/{name}.yml: change that file, then run\n\
         # cargo xtask dashboards\n\
         apiVersion: monitoring.coreos.com/v1\n\
         kind: PrometheusRule\n\
         metadata:\n  \
           name: mde-exporter-{name}\n  \
           labels:\n    \
             # What your Prometheus selects by (ruleSelector).\n    \
             release: kube-prometheus-stack\n\
         spec:\n"
    );
    for line in rules.lines().skip_while(|line| *line != "groups:") {
        text.extend([if line.is_empty() { "" } else { "  " }, line, "\n"]);
    }
    text
}

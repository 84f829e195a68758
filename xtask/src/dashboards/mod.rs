//! The Grafana dashboards.
//!
//! `fleet`, `machine`, `update` and `exporter` describe one dashboard each with the types of `grafana`. `expression`
//! adds the filters to their queries, using the metric tables of the exporter: a panel cannot name a metric
//! or a label that does not exist.
//!
//! Tests: `invariants` checks every panel, and `thresholds` checks that a panel changes its colour at the
//! threshold of an alert; both parse the queries with `queries`. `.ci/dashboards` evaluates the queries with
//! a real Prometheus.

mod bounds;
mod exporter;
mod expression;
mod fleet;
#[cfg(test)]
mod fleets;
mod grafana;
#[cfg(test)]
mod invariants;
mod kubernetes;
mod links;
mod machine;
#[cfg(test)]
mod queries;
mod shared;
#[cfg(test)]
mod thresholds;
mod update;

use grafana::Dashboard;

use crate::generated::GeneratedFile;

/// The dashboards by file name.
fn all() -> [(&'static str, Dashboard); 4] {
    [
        ("fleet.json", fleet::dashboard()),
        ("machine.json", machine::dashboard()),
        ("update.json", update::dashboard()),
        ("exporter.json", exporter::dashboard()),
    ]
}

/// The dashboards as JSON files, and as `ConfigMap`s in one file.
pub(crate) fn files() -> Vec<GeneratedFile> {
    let config_maps = GeneratedFile {
        path: "dashboards/provisioning/kubernetes/dashboards.yaml".to_owned(),
        text: kubernetes::config_maps(),
    };
    let dashboard = |(name, dashboard): (&str, Dashboard)| GeneratedFile {
        path: format!("dashboards/{name}"),
        text: dashboard.text(),
    };
    all().into_iter().map(dashboard).chain([config_maps]).collect()
}

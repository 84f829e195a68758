//! The dashboards as `ConfigMap`s, labelled for the sidecar of Grafana's Helm chart.

use serde_json::Value;

use crate::dashboards::all;

const HEAD: &str = "\
# The dashboards for Grafana's sidecar, which takes every ConfigMap with this label:
#   kubectl apply --namespace monitoring --filename dashboards.yaml
";

/// One `ConfigMap` for each dashboard, because `kubectl apply` refuses an object above 256 KiB.
pub(crate) fn config_maps() -> String {
    let maps = all().map(|(file, dashboard)| config_map(file, &dashboard.json()));
    HEAD.to_owned() + &maps.concat()
}

fn config_map(file: &str, dashboard: &Value) -> String {
    let name = file.trim_end_matches(".json");
    format!(
        "---
apiVersion: v1
kind: ConfigMap
metadata:
  name: mde-exporter-dashboard-{name}
  labels:
    grafana_dashboard: \"1\"
data:
  {file}: |-
    {dashboard}
"
    )
}

#[test]
fn each_config_map_is_small_enough_to_be_applied() {
    for part in config_maps().split("\n---\n") {
        assert!(part.len() < 200 * 1024, "{} bytes", part.len());
    }
}

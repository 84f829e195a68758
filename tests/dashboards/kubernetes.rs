//! The dashboards as `ConfigMap`s, in the form that the sidecar of Grafana's chart looks for.

use std::fmt::Write as _;

use crate::all;

/// One for each dashboard: `kubectl apply` refuses an object above 256 KiB.
pub(crate) fn config_maps() -> String {
    let mut text = "\
# The dashboards for Grafana's sidecar, which takes every ConfigMap with this label:
#   kubectl apply --namespace monitoring --filename dashboards.yaml
"
    .to_owned();
    for (file, dashboard) in all() {
        let name = file.trim_end_matches(".json");
        write!(
            text,
            "---
apiVersion: v1
kind: ConfigMap
metadata:
  name: mde-exporter-dashboard-{name}
  labels:
    grafana_dashboard: \"1\"
data:
  {file}: |-
    {}
",
            dashboard.json()
        )
        .unwrap();
    }
    text
}

#[test]
fn each_config_map_is_small_enough_to_be_applied() {
    for part in config_maps().split("\n---\n") {
        assert!(part.len() < 200 * 1024, "{} bytes", part.len());
    }
}

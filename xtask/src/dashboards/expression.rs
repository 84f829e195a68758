//! Queries, written with the exporter's metric tables at hand.
//!
//! In a query of a dashboard `@mde_up` stands for the metric with every filter of the dashboard that its
//! labels allow: `mde_up{job=~"$job", instance=~"$instance", tenant=~"$tenant"}`. Matchers of its own follow
//! in braces, as in `@mde_assessed_machines{state="unknown"}`. With `#` in place of `@` it is the metric of
//! whole tenants: without the filters that pick some of their machines.

use mde_exporter::metrics::families::{FLEET, MACHINE, UPDATE};
use mde_exporter::self_metrics;

/// What a selector is filtered by.
pub(crate) type Filters = &'static [Filter];

/// A label that is matched with a variable of the dashboard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) label: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) picks: Picks,
}

/// What is left after filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picks {
    /// Whole tenants.
    Tenants,
    /// Some machines of a tenant.
    Machines,
    /// One policy.
    Policy,
}

/// Filters of every dashboard.
pub(crate) const JOB: Filter = Filter { label: "job", variable: "job", picks: Picks::Tenants };
pub(crate) const INSTANCE: Filter = Filter { label: "instance", variable: "instance", picks: Picks::Tenants };
pub(crate) const TENANT: Filter = Filter { label: "tenant", variable: "tenant", picks: Picks::Tenants };

/// Labels that Prometheus puts on every series of a target.
const OF_A_TARGET: [&str; 2] = ["job", "instance"];

/// What Prometheus itself and every process export for a target, with no label of their own.
const OF_PROMETHEUS: [&str; 10] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
];

/// A metric that can be queried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// The family's name.
    pub(crate) name: String,
    /// The family's own labels, without those of the target.
    pub(crate) labels: Vec<String>,
}

impl Metric {
    /// Whether its series have the label.
    pub(crate) fn carries(&self, label: &str) -> bool {
        OF_A_TARGET.contains(&label) || self.labels.iter().any(|own| own == label)
    }
}

/// Every family that the exporter serves, from its own tables.
pub(crate) fn exported() -> Vec<Metric> {
    let fleet = FLEET.iter().map(|family| family.header);
    let deeper = MACHINE.iter().chain(UPDATE).map(|family| family.header);
    let owned = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
    let data = fleet
        .chain(deeper)
        .map(|header| Metric { name: header.name.to_owned(), labels: owned(header.labels) });
    let own = self_metrics::families()
        .into_iter()
        .map(|family| Metric { name: family.name, labels: family.labels });
    data.chain(own).collect()
}

/// Those that a query may name: what is exported and what Prometheus adds.
pub(crate) fn known() -> Vec<Metric> {
    let added = OF_PROMETHEUS.iter().map(|&name| Metric { name: name.to_owned(), labels: Vec::new() });
    exported().into_iter().chain(added).collect()
}

/// The family of the series `name`: itself, or the histogram that the series is a part of.
pub(crate) fn family<'a>(known: &'a [Metric], name: &str) -> Option<&'a Metric> {
    let whole = known.iter().find(|metric| metric.name == name);
    whole.or_else(|| {
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| name.strip_suffix(part))?;
        known.iter().find(|metric| metric.name == histogram && !histogram.ends_with("_total"))
    })
}

/// Writes out every `@metric` and `#metric` of `query`.
///
/// # Panics
///
/// When a metric is not exported.
pub(crate) fn write_out(query: &str, filters: Filters) -> String {
    let known = known();
    let first = query.find(['@', '#']).unwrap_or(query.len());
    let mut written = query[..first].to_owned();
    let mut left = &query[first..];
    while let Some(mark) = left.chars().next() {
        let end = left[1..].find(['@', '#']).map_or(left.len(), |end| end + 1);
        let piece = &left[1..end];
        left = &left[end..];
        let end =
            piece.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(piece.len());
        let (name, rest) = piece.split_at(end);
        let metric = family(&known, name).unwrap_or_else(|| panic!("`{name}` is not exported"));
        let (own, rest) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((own, rest)) => (Some(own), rest),
            None => (None, rest),
        };
        let applied = filters.iter().filter(|filter| {
            metric.carries(filter.label) && (mark == '@' || filter.picks != Picks::Machines)
        });
        let matchers = applied.map(|Filter { label, variable, .. }| format!("{label}=~\"${variable}\""));
        let matchers: Vec<_> = matchers.chain(own.map(str::to_owned)).collect();
        written.extend([name, "{", &matchers.join(", "), "}", rest]);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Filter = Filter { label: "device_group", variable: "group", picks: Picks::Machines };
    const FILTERS: Filters = &[JOB, TENANT, GROUP];

    #[test]
    fn a_metric_gets_the_filters_that_its_labels_allow() {
        for (query, written) in [
            ("sum(@mde_up)", "sum(mde_up{job=~\"$job\", tenant=~\"$tenant\"})"),
            ("@mde_policy_deadline_seconds > 0", "mde_policy_deadline_seconds{job=~\"$job\"} > 0"),
            (
                "@mde_compliant_machines / @up",
                "mde_compliant_machines{job=~\"$job\", tenant=~\"$tenant\", device_group=~\"$group\"} / \
                 up{job=~\"$job\"}",
            ),
            (
                "rate(@mde_update_resolution_seconds_bucket{le=\"1\"}[5m])",
                "rate(mde_update_resolution_seconds_bucket{job=~\"$job\", tenant=~\"$tenant\", le=\"1\"}[5m])",
            ),
            ("#mde_compliant_machines", "mde_compliant_machines{job=~\"$job\", tenant=~\"$tenant\"}"),
            ("vector(1)", "vector(1)"),
        ] {
            assert_eq!(write_out(query, FILTERS), written);
        }
    }

    #[test]
    #[should_panic(expected = "`mde_machine_missing_kbs` is not exported")]
    fn a_metric_that_is_not_exported_is_refused() {
        write_out("sum(@mde_machine_missing_kbs)", FILTERS);
    }

    #[test]
    fn the_tables_hold_data_and_self_metrics() {
        let known = known();
        for name in ["mde_up", "mde_machine_info", "mde_exporter_poll_failures_total", "up"] {
            assert!(family(&known, name).is_some(), "{name}");
        }
        assert!(family(&known, "mde_missing_updates_detected_total_count").is_none());
        let requests = family(&known, "mde_exporter_api_requests_total").unwrap();
        assert_eq!(requests.labels, ["tenant", "endpoint", "code"]);
    }
}

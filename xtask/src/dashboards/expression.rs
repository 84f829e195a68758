//! Expansion of the shorthand in queries, checked against the exporter's metric tables.
//!
//! In the query of a panel, `@mde_up` stands for the metric with every filter of the dashboard that its labels
//! allow, such as `mde_up{job=~"$job", instance=~"$instance"}`. Further matchers follow in braces, as in
//! `@mde_assessed_machines{state="unknown"}`. `#` instead of `@` omits the filters that select machines, so
//! the metric covers whole tenants.

use mde_exporter::metrics::families::{FLEET, MACHINE, UPDATE};
use mde_exporter::self_metrics;

/// The filters of a dashboard.
pub(crate) type Filters = &'static [Filter];

/// A matcher of a label with a variable of the dashboard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) label: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) values: Values,
    pub(crate) picks: Picks,
}

/// The values that a variable may have. They decide how a query compares a label with the variable.
///
/// Names may contain any printable character. Without a format, Grafana escapes values for a string in double quotes
/// and misses some characters: quotes in each variable, and everything but backslashes in a variable of one value. A
/// format turns this off. In a string in backticks, PromQL escapes nothing, so only a backtick cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// Several names of targets, in the form that linters of dashboards require for `job` and `instance`.
    Targets,
    /// Several values, which the format joins to a regular expression, or the regular expression of "All".
    Several,
    /// One value as it is.
    One,
}

impl Filter {
    /// A filter of whole tenants by the label of the same name.
    const fn several(label: &'static str, values: Values) -> Self {
        Self { label, variable: label, values, picks: Picks::Tenants }
    }

    /// A filter of machines by the label of the same name.
    pub(crate) const fn machines(label: &'static str) -> Self {
        Self { label, variable: label, values: Values::Several, picks: Picks::Machines }
    }

    /// A filter that selects one value of a label.
    pub(crate) const fn one(label: &'static str, variable: &'static str, picks: Picks) -> Self {
        Self { label, variable, values: Values::One, picks }
    }

    /// The matcher in a selector.
    pub(crate) fn matcher(&self) -> String {
        let (label, value) = (self.label, self.value());
        match self.values {
            Values::Targets => format!("{label}=~\"{value}\""),
            Values::Several => format!("{label}=~`{value}`"),
            Values::One => format!("{label}=`{value}`"),
        }
    }

    /// The value that the label is compared with.
    pub(crate) fn value(&self) -> String {
        let variable = self.variable;
        match self.values {
            Values::Targets => format!("${variable}"),
            Values::Several => format!("${{{variable}:regex}}"),
            Values::One => format!("${{{variable}:raw}}"),
        }
    }
}

/// The objects that a filter selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picks {
    /// Whole tenants.
    Tenants,
    /// Some machines of a tenant.
    Machines,
    /// One policy.
    Policy,
    /// One update.
    Update,
}

/// Filters of every dashboard.
pub(crate) const JOB: Filter = Filter::several("job", Values::Targets);
pub(crate) const INSTANCE: Filter = Filter::several("instance", Values::Targets);
pub(crate) const TENANT: Filter = Filter::several("tenant", Values::Several);

/// Labels that Prometheus adds to every series of a target.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// Metrics of every target without labels of their own, from Prometheus and the process.
const TARGET_METRICS: [&str; 10] = [
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
    /// Returns whether the series of the metric have the label.
    pub(crate) fn has_label(&self, label: &str) -> bool {
        TARGET_LABELS.contains(&label) || self.labels.iter().any(|own| own == label)
    }
}

/// Every metric family that the exporter serves, from its own tables.
pub(crate) fn exported() -> Vec<Metric> {
    let fleet = FLEET.iter().map(|family| family.descriptor);
    let deeper = MACHINE.iter().chain(UPDATE).map(|family| family.descriptor);
    let owned = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
    let data = fleet
        .chain(deeper)
        .map(|header| Metric { name: header.name.to_owned(), labels: owned(header.labels) });
    let own = self_metrics::families()
        .into_iter()
        .map(|family| Metric { name: family.name, labels: family.labels });
    data.chain(own).collect()
}

/// The metrics that a query may use: those of the exporter and those of every target.
pub(crate) fn queryable() -> Vec<Metric> {
    let of_target = TARGET_METRICS.iter().map(|&name| Metric { name: name.to_owned(), labels: Vec::new() });
    exported().into_iter().chain(of_target).collect()
}

/// The metric with the series `name`: the metric of that name, or the histogram that the series belongs to.
pub(crate) fn family<'a>(metrics: &'a [Metric], name: &str) -> Option<&'a Metric> {
    let whole = metrics.iter().find(|metric| metric.name == name);
    whole.or_else(|| {
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| name.strip_suffix(part))?;
        metrics.iter().find(|metric| metric.name == histogram && !histogram.ends_with("_total"))
    })
}

/// Expands every `@metric` and `#metric` in `query`.
///
/// # Panics
///
/// When a metric is not exported.
pub(crate) fn expand(query: &str, filters: Filters) -> String {
    let metrics = queryable();
    let first = query.find(['@', '#']).unwrap_or(query.len());
    let mut expanded = query[..first].to_owned();
    let mut left = &query[first..];
    while let Some(mark) = left.chars().next() {
        let end = left[1..].find(['@', '#']).map_or(left.len(), |end| end + 1);
        let piece = &left[1..end];
        left = &left[end..];
        let end =
            piece.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').unwrap_or(piece.len());
        let (name, rest) = piece.split_at(end);
        let metric = family(&metrics, name).unwrap_or_else(|| panic!("`{name}` is not exported"));
        let (own, rest) = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((own, rest)) => (Some(own), rest),
            None => (None, rest),
        };
        let applied = filters.iter().filter(|filter| {
            metric.has_label(filter.label) && (mark == '@' || filter.picks != Picks::Machines)
        });
        let matchers: Vec<_> = applied.map(Filter::matcher).chain(own.map(str::to_owned)).collect();
        expanded.extend([name, "{", &matchers.join(", "), "}", rest]);
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Filter = Filter::machines("device_group");
    const POLICY: Filter = Filter::one("policy", "policy", Picks::Policy);
    const FILTERS: Filters = &[JOB, TENANT, GROUP, POLICY];

    #[test]
    fn a_metric_gets_the_filters_that_its_labels_allow() {
        for (query, expected) in [
            ("sum(@mde_up)", "sum(mde_up{job=~\"$job\", tenant=~`${tenant:regex}`})"),
            (
                "@mde_policy_deadline_seconds > 0",
                "mde_policy_deadline_seconds{job=~\"$job\", policy=`${policy:raw}`} > 0",
            ),
            (
                "@mde_compliant_machines / @up",
                "mde_compliant_machines{job=~\"$job\", tenant=~`${tenant:regex}`, device_group=~`${device_group:regex}`} / \
                 up{job=~\"$job\"}",
            ),
            (
                "rate(@mde_update_resolution_seconds_bucket{le=\"1\"}[5m])",
                "rate(mde_update_resolution_seconds_bucket{job=~\"$job\", tenant=~`${tenant:regex}`, le=\"1\"}[5m])",
            ),
            ("#mde_compliant_machines", "mde_compliant_machines{job=~\"$job\", tenant=~`${tenant:regex}`}"),
            ("vector(1)", "vector(1)"),
        ] {
            assert_eq!(expand(query, FILTERS), expected);
        }
    }

    #[test]
    #[should_panic(expected = "`mde_machine_missing_kbs` is not exported")]
    fn a_metric_that_is_not_exported_is_rejected() {
        expand("sum(@mde_machine_missing_kbs)", FILTERS);
    }

    #[test]
    fn the_tables_contain_data_and_self_metrics() {
        let metrics = queryable();
        for name in ["mde_up", "mde_machine_info", "mde_exporter_poll_failures_total", "up"] {
            assert!(family(&metrics, name).is_some(), "{name}");
        }
        assert!(family(&metrics, "mde_missing_updates_detected_total_count").is_none());
        let requests = family(&metrics, "mde_exporter_api_requests_total").unwrap();
        assert_eq!(requests.labels, ["tenant", "endpoint", "code"]);
    }
}

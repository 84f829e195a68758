//! The key `metrics.labels`: own labels, which take their values from machine tags.

#[cfg(test)]
mod tests;

use super::reader::ValueReader;
use super::values::pattern;
use crate::model::OwnLabel;

/// The largest number of own labels. Each multiplies the series of the fleet level.
const LIMIT: usize = 3;

const ALLOWED: &str =
    "a name of letters, digits and _ with a mapping such as { tag_prefix: \"team:\" } is allowed";

/// Labels of the metric families that have own labels.
const FAMILY_LABELS: [&str; 8] =
    ["tenant", "os_platform", "os_version", "device_group", "machine_id", "machine", "policy", "state"];

/// Parameters of the pages, which an own label adds one to.
const PAGE_PARAMETERS: [&str; 13] = [
    "q",
    "tenant",
    "state",
    "policy",
    "policy_state",
    "platform",
    "group",
    "tag",
    "kb",
    "sort",
    "page",
    "refresh",
    "reason",
];

/// Columns of the report and of the downloads, which an own label adds one to.
const COLUMNS: [&str; 28] = [
    "tenant",
    "machine",
    "machine_id",
    "os_platform",
    "os_version",
    "device_group",
    "kb",
    "title",
    "severity",
    "vendor_severity",
    "exploited",
    "released",
    "first_seen",
    "late_since",
    "policy",
    "rule",
    "deadline",
    "state",
    "exception",
    "exception_reason",
    "exception_until",
    "data_read_at",
    "servicing",
    "data_state",
    "missing_updates",
    "exploited_updates",
    "overdue_updates",
    "last_seen",
];

/// Labels that Prometheus sets itself.
const RESERVED: [&str; 4] = ["job", "instance", "le", "quantile"];

/// Reads the mapping of names to settings.
pub(super) fn read(field: &ValueReader<'_>) -> Option<Vec<OwnLabel>> {
    let section = field.section()?;
    let labels = section.names(ALLOWED, refuse);
    if labels.len() > LIMIT {
        field.problem(format!("holds {} labels", labels.len()));
    }
    // Collected first, so that the problems of every label are reported.
    let labels: Vec<_> = labels.iter().map(|(name, field)| label(name, field)).collect();
    labels.into_iter().collect()
}

fn label(name: &str, field: &ValueReader<'_>) -> Option<OwnLabel> {
    let section = field.section()?;
    let allowed = "the start of the tags that hold the value, such as \"team:\", is allowed";
    let prefix = section.required("tag_prefix", allowed).and_then(|field| field.text(pattern));
    section.finish();
    Some(OwnLabel::new(name.into(), prefix?.as_str()))
}

/// Returns why a label cannot have this name.
fn refuse(name: &str) -> Option<&'static str> {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_legal = name.bytes().next().is_some_and(is_start)
        && name.bytes().all(|byte| is_start(byte) || byte.is_ascii_digit());
    match name {
        _ if !is_legal => Some("is not a legal name of a label"),
        _ if name.starts_with("__") || RESERVED.contains(&name) => Some("is reserved by Prometheus"),
        _ if FAMILY_LABELS.contains(&name) => Some("is taken: the metrics have a label of this name"),
        _ if PAGE_PARAMETERS.contains(&name) => Some("is taken: the pages have a parameter of this name"),
        _ if COLUMNS.contains(&name) => Some("is taken: the report has a column of this name"),
        _ => None,
    }
}

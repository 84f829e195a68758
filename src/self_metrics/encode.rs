//! Writes the self metrics of a scrape, as text 0.0.4 or as `OpenMetrics` 1.0.
//!
//! It runs at each scrape, where for a small fleet it is most of the work: hence not the library's
//! encoder, which takes twice as long and knows no `OpenMetrics`. The formats differ in
//! little: in `OpenMetrics` a counter's family has no `_total`, quotes in help are escaped, and bounds
//! of buckets are floats.

use std::fmt::Display;
use std::io::Write as _;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use crate::model::ExpositionFormat;

/// Adds `families` to the end of `text`.
pub(super) fn encode(families: &[MetricFamily], format: ExpositionFormat, text: &mut Vec<u8>) {
    for family in families {
        let (name, is_counter) = (family.name(), family.get_field_type() == MetricType::COUNTER);
        let family_name = match format {
            ExpositionFormat::OpenMetrics if is_counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        put(text, &["# HELP ", family_name, " "]);
        let escaped: &[u8] = if format == ExpositionFormat::OpenMetrics { b"\\\n\"" } else { b"\\\n" };
        escape(family.help(), escaped, text);
        let is_histogram = family.get_field_type() == MetricType::HISTOGRAM;
        let kind = if is_counter {
            "counter"
        } else if is_histogram {
            "histogram"
        } else {
            "gauge"
        };
        put(text, &["\n# TYPE ", family_name, " ", kind, "\n"]);
        for metric in family.get_metric() {
            if is_histogram {
                histogram(name, metric, format, text);
            } else {
                let value = if is_counter {
                    metric.get_counter().get_value()
                } else {
                    metric.get_gauge().get_value()
                };
                sample(&[name], metric.get_label(), None, value, text);
            }
        }
    }
}

fn histogram(name: &str, metric: &Metric, format: ExpositionFormat, text: &mut Vec<u8>) {
    let (labels, histogram) = (metric.get_label(), metric.get_histogram());
    for bucket in histogram.get_bucket() {
        let bound = match format {
            ExpositionFormat::Text => format!("{}", bucket.upper_bound()),
            ExpositionFormat::OpenMetrics => format!("{:?}", bucket.upper_bound()),
        };
        sample(&[name, "_bucket"], labels, Some(&bound), bucket.cumulative_count(), text);
    }
    let count = histogram.get_sample_count();
    sample(&[name, "_bucket"], labels, Some("+Inf"), count, text);
    sample(&[name, "_sum"], labels, None, histogram.get_sample_sum(), text);
    sample(&[name, "_count"], labels, None, count, text);
}

fn sample(name: &[&str], labels: &[LabelPair], bound: Option<&str>, value: impl Display, text: &mut Vec<u8>) {
    put(text, name);
    let mut before = "{";
    for label in labels {
        put(text, &[before, label.name(), "=\""]);
        escape(label.value(), b"\\\n\"", text);
        text.push(b'"');
        before = ",";
    }
    if let Some(bound) = bound {
        put(text, &[before, "le=\"", bound, "\""]);
        before = ",";
    }
    if before == "," {
        text.push(b'}');
    }
    writeln!(text, " {value}").expect("Safe: writing to memory cannot fail");
}

fn put(text: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        text.extend_from_slice(piece.as_bytes());
    }
}

/// Writes `value` with a backslash before each of the `escaped`, which are ASCII.
fn escape(value: &str, escaped: &[u8], text: &mut Vec<u8>) {
    for byte in value.bytes() {
        if escaped.contains(&byte) {
            text.push(b'\\');
            text.push(if byte == b'\n' { b'n' } else { byte });
        } else {
            text.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounter, Registry};

    use super::*;

    #[test]
    fn help_is_escaped_as_each_format_wants() {
        let registry = Registry::new();
        registry.register(Box::new(IntCounter::new("a_total", "A \"\\\n").unwrap())).unwrap();
        let written = |format| {
            let mut text = Vec::new();
            encode(&registry.gather(), format, &mut text);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(
            written(ExpositionFormat::Text),
            "# HELP a_total A \"\\\\\\n\n# TYPE a_total counter\na_total 0\n"
        );
        assert_eq!(
            written(ExpositionFormat::OpenMetrics),
            "# HELP a A \\\"\\\\\\n\n# TYPE a counter\na_total 0\n"
        );
    }
}

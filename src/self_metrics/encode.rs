//! Writes collected self metrics with the writer of the exposition format.
//!
//! This runs at each scrape, where for a small fleet it is most of the work; the encoder of the library takes
//! twice as long and knows no `OpenMetrics`.

use prometheus::proto::{LabelPair, MetricFamily, MetricType as LibraryType};

use crate::exposition::{MetricType, SampleLine, write_header, write_histogram};
use crate::model::ExpositionFormat;

/// Appends `families` to `text`.
pub(super) fn encode(families: &[MetricFamily], format: ExpositionFormat, text: &mut Vec<u8>) {
    for family in families {
        let name = family.name();
        let metric_type = match family.get_field_type() {
            LibraryType::COUNTER => MetricType::Counter,
            LibraryType::HISTOGRAM => MetricType::Histogram,
            _ => MetricType::Gauge,
        };
        write_header(text, format, name, family.help(), metric_type);
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match metric_type {
                MetricType::Gauge => sample(text, name, labels, metric.get_gauge().get_value()),
                MetricType::Counter => sample(text, name, labels, metric.get_counter().get_value()),
                MetricType::Histogram => {
                    let histogram = metric.get_histogram();
                    let buckets = histogram.get_bucket().iter();
                    let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
                    let (sum, count) = (histogram.get_sample_sum(), histogram.get_sample_count());
                    write_histogram(text, format, name, |line| add(line, labels), buckets, sum, count);
                }
            }
        }
    }
}

fn sample(text: &mut Vec<u8>, name: &str, labels: &[LabelPair], value: f64) {
    let mut line = SampleLine::start(text, name, "");
    add(&mut line, labels);
    line.end(value);
}

fn add(line: &mut SampleLine<'_>, labels: &[LabelPair]) {
    for label in labels {
        line.text_label(label.name(), label.value());
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounter, Registry};

    use super::*;

    #[test]
    fn help_is_escaped_as_each_format_requires() {
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

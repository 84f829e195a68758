//! The text of families, line by line.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::model::ExpositionFormat;

const DESCRIPTOR: FamilyDescriptor = FamilyDescriptor {
    name: "m",
    help: "a\\b\nc",
    metric_type: MetricType::Gauge,
    labels: &["a", "b"],
    has_own_labels: false,
};

fn write(fill: impl FnOnce(&mut FamilyWriter<'_>)) -> (String, u64) {
    let (text, series) = DESCRIPTOR.family(ExpositionFormat::Text, fill);
    (String::from_utf8(text).unwrap(), series)
}

#[test]
fn labels_and_help_are_escaped() {
    let (text, series) = write(|writer| writer.sample(&[&"\\\"\n{},=é", &7], Value::Count(1)));
    assert_eq!(text, "# HELP m a\\\\b\\nc\n# TYPE m gauge\nm{a=\"\\\\\\\"\\n{},=é\",b=\"7\"} 1\n");
    assert_eq!(series, 1);
}

#[test]
fn family_without_samples_is_left_out() {
    assert_eq!(write(|_| ()), (String::new(), 0));
}

#[test]
fn first_of_two_samples_with_the_same_labels_stays() {
    let (text, series) = write(|writer| {
        writer.sample(&[&"y", &1], Value::Count(1));
        writer.sample(&[&"x", &1], Value::Count(2));
        writer.sample(&[&"y", &1], Value::Count(3));
        writer.sample(&[&"z", &1], Value::Count(4));
        writer.sample(&[&"z", &1], Value::Count(5));
    });
    let samples: Vec<&str> = text.lines().skip(2).collect();
    assert_eq!(samples, [r#"m{a="y",b="1"} 1"#, r#"m{a="x",b="1"} 2"#, r#"m{a="z",b="1"} 4"#]);
    assert_eq!(series, 3);
}

#[test]
fn family_without_labels_has_no_braces() {
    let descriptor = FamilyDescriptor { labels: &[], ..DESCRIPTOR };
    let (text, _) = descriptor.family(ExpositionFormat::Text, |writer| writer.sample(&[], Value::from(true)));
    assert!(text.ends_with(b"\nm 1\n"));
}

#[test]
#[should_panic(expected = "labels of m")]
fn sample_with_a_missing_label_panics() {
    write(|writer| writer.sample(&[&"x"], Value::Count(1)));
}

fn histogram(buckets: &[(u64, u64)], beyond: u64) -> Histogram {
    let bucket = |&(bound, count): &(u64, u64)| (Duration::from_millis(bound), count);
    let sum = Duration::from_millis(12_050);
    Histogram { buckets: buckets.iter().map(bucket).collect(), beyond, sum }
}

fn write_histogram(labels: &'static [&str], fill: impl FnOnce(&mut FamilyWriter<'_>)) -> (String, u64) {
    let descriptor = FamilyDescriptor { metric_type: MetricType::Histogram, labels, ..DESCRIPTOR };
    let (text, series) = descriptor.family(ExpositionFormat::Text, fill);
    let text = String::from_utf8(text).unwrap();
    (text[text.find("# TYPE").unwrap()..].to_owned(), series)
}

#[test]
fn histogram_is_cumulative_and_every_line_is_a_series() {
    let (text, series) = write_histogram(&["a"], |writer| {
        writer.histogram(&[&"\n"], &histogram(&[(500, 3), (1000, 0), (86_400_000, 2)], 4));
        writer.histogram(&[&"x"], &histogram(&[], 1));
    });
    let expected = r#"# TYPE m histogram
m_bucket{a="\n",le="0.5"} 3
m_bucket{a="\n",le="1"} 3
m_bucket{a="\n",le="86400"} 5
m_bucket{a="\n",le="+Inf"} 9
m_sum{a="\n"} 12.05
m_count{a="\n"} 9
m_bucket{a="x",le="+Inf"} 1
m_sum{a="x"} 12.05
m_count{a="x"} 1
"#;
    assert_eq!(text, expected);
    assert_eq!(series, 9);
}

#[test]
fn histogram_without_labels_has_no_empty_braces() {
    let (text, _) = write_histogram(&[], |writer| writer.histogram(&[], &histogram(&[(1000, 1)], 0)));
    let expected = "m_bucket{le=\"1\"} 1\nm_bucket{le=\"+Inf\"} 1\nm_sum 12.05\nm_count 1\n";
    assert_eq!(text, format!("# TYPE m histogram\n{expected}"));
}

#[test]
fn second_histogram_with_the_same_labels_is_dropped() {
    let (text, series) = write_histogram(&["a"], |writer| {
        writer.histogram(&[&"x"], &histogram(&[(2000, 1)], 0));
        writer.histogram(&[&"x"], &histogram(&[(3000, 1)], 0));
    });
    assert_eq!(text.matches("m_count").count(), 1, "{text}");
    assert_eq!(series, 4);
}

#[test]
#[should_panic(expected = "bounds of m")]
fn histogram_with_unordered_bounds_panics() {
    write_histogram(&[], |writer| writer.histogram(&[], &histogram(&[(1000, 0), (1000, 0)], 0)));
}

#[test]
#[should_panic(expected = "type of m")]
fn sample_in_a_histogram_panics() {
    write_histogram(&[], |writer| writer.sample(&[], Value::Count(1)));
}

#[test]
#[should_panic(expected = "type of m")]
fn histogram_in_a_gauge_panics() {
    write(|writer| writer.histogram(&[&1, &2], &histogram(&[], 0)));
}

#[test]
fn times_are_seconds_truncated_to_the_millisecond() {
    let written =
        |nanoseconds: i128| Value::Time(Timestamp::from_nanosecond(nanoseconds).unwrap()).to_string();
    assert_eq!(written(1_596_380_103_779_185_600), "1596380103.779");
    assert_eq!(written(1_596_380_103_070_000_000), "1596380103.07");
    assert_eq!(written(1_596_380_103_500_999_999), "1596380103.5");
    assert_eq!(written(1_596_380_103_000_999_999), "1596380103");
    assert_eq!(written(0), "0");
    assert_eq!(written(-500_000_000), "-0.5");
    assert_eq!(Value::Duration(Duration::from_micros(1_500_999)).to_string(), "1.5");
}

#[test]
fn prefix_labels_equal_sample_labels() {
    let both = write(|writer| writer.sample(&[&"\"x\n", &7], Value::Count(1)));
    let prefix = |names: &[&str], values: &[&str]| WrittenLabels::new(names, values);
    let first = write(|writer| writer.sample_with(&prefix(&["a"], &["\"x\n"]), &[&7], Value::Count(1)));
    let all = write(|writer| writer.sample_with(&prefix(&["a", "b"], &["\"x\n", "7"]), &[], Value::Count(1)));
    assert_eq!((&first, &all), (&both, &both));
}

#[test]
fn samples_are_counted_without_being_written() {
    let mut text = Vec::new();
    let mut writing = FamilyWriter::writing(&DESCRIPTOR, &mut text);
    let mut counting = FamilyWriter::counting(&DESCRIPTOR);
    for writer in [&mut writing, &mut counting] {
        writer.sample(&[&"x", &1], Value::Count(1));
        writer.sample(&[&"x", &2], Value::Count(1));
    }
    assert_eq!((writing.series(), counting.series()), (2, 2));
    assert_eq!(text, b"m{a=\"x\",b=\"1\"} 1\nm{a=\"x\",b=\"2\"} 1\n");
}

#[test]
fn openmetrics_differs_in_counters_quotes_and_bounds() {
    let counter = FamilyDescriptor {
        name: "c_total",
        help: "\"\\\n",
        metric_type: MetricType::Counter,
        labels: &[],
        has_own_labels: false,
    };
    let (text, _) =
        counter.family(ExpositionFormat::OpenMetrics, |writer| writer.sample(&[], Value::Count(7)));
    let expected = "# HELP c \\\"\\\\\\n\n# TYPE c counter\nc_total 7\n";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    let descriptor = FamilyDescriptor {
        name: "h",
        help: "Help.",
        metric_type: MetricType::Histogram,
        labels: &["a"],
        has_own_labels: false,
    };
    let (text, _) = descriptor.family(ExpositionFormat::OpenMetrics, |writer| {
        writer.histogram(&[&"x"], &histogram(&[(500, 3), (86_400_000, 2)], 4));
    });
    let expected = r#"# HELP h Help.
# TYPE h histogram
h_bucket{a="x",le="0.5"} 3
h_bucket{a="x",le="86400.0"} 5
h_bucket{a="x",le="+Inf"} 9
h_sum{a="x"} 12.05
h_count{a="x"} 9
"#;
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    let is_independent =
        |help, metric_type| FamilyDescriptor { help, metric_type, ..DESCRIPTOR }.is_format_independent();
    assert!(is_independent("Help.", MetricType::Gauge) && !is_independent("A \" quote.", MetricType::Gauge));
    assert!(!is_independent("Help.", MetricType::Counter) && !is_independent("Help.", MetricType::Histogram));
}

#[test]
fn long_label_values_are_cut_before_they_are_escaped() {
    let long = "\"".repeat(300);
    let cut = format!("{}…", "\\\"".repeat(253));
    let mut text = Vec::new();
    let mut line = SampleLine::start(&mut text, "a", "");
    line.label("b", &long);
    line.text_label("c", &long);
    line.written(&WrittenLabels::new(&["d"], &[&long]));
    line.end(1);
    assert_eq!(String::from_utf8(text).unwrap(), format!("a{{b=\"{cut}\",c=\"{cut}\",d=\"{cut}\"}} 1\n"));
}

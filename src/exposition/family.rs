//! Whole families, written from a descriptor.
//!
//! A family of the fleet level is written at once, each label set once
//! ([`FamilyDescriptor::family`]). A family of a deeper level is written in pieces:
//! [`FamilyDescriptor::header`], then a [`FamilyWriter`] for some machines at a time.

use std::fmt::Display;

use super::{Histogram, MetricType, SampleLine, Value, WrittenLabels, write_header, write_histogram};
use crate::model::ExpositionFormat;

/// Name, help, type and labels of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyDescriptor {
    /// Name, valid in the data model of Prometheus.
    pub name: &'static str,
    /// Meaning, in plain text.
    pub help: &'static str,
    /// Type.
    pub metric_type: MetricType,
    /// Names of the labels, in the order in which samples give their values.
    pub labels: &'static [&'static str],
    /// True if the own labels of the configuration follow them.
    pub has_own_labels: bool,
}

impl FamilyDescriptor {
    /// The lines `HELP` and `TYPE`.
    #[must_use]
    pub fn header(&self, format: ExpositionFormat) -> Vec<u8> {
        let mut text = Vec::new();
        write_header(&mut text, format, self.name, self.help, self.metric_type);
        text
    }

    /// Returns whether the family has the same bytes in every format.
    #[must_use]
    pub fn is_format_independent(&self) -> bool {
        self.metric_type == MetricType::Gauge && !self.help.contains('"')
    }

    /// Writes the whole family with the samples that `fill` adds and returns its text and number of series.
    /// Both are empty if `fill` adds none. Of two samples with the same labels the first one stays.
    pub fn family(
        &self,
        format: ExpositionFormat,
        fill: impl FnOnce(&mut FamilyWriter<'_>),
    ) -> (Vec<u8>, u64) {
        let mut text = self.header(format);
        let start = text.len();
        let mut writer = FamilyWriter {
            descriptor: self,
            format,
            text: Some(&mut text),
            series: 0,
            spans: Some(Vec::new()),
        };
        fill(&mut writer);
        let spans = writer.spans.take().unwrap_or_default();
        let mut series = writer.series;
        if let Some(distinct) = distinct(&text, spans) {
            let kept: Vec<u8> =
                distinct.iter().flat_map(|span| &text[span.start..span.end]).copied().collect();
            text.truncate(start);
            text.extend_from_slice(&kept);
            series = distinct.iter().map(|span| span.series).sum();
        }
        if series == 0 { (Vec::new(), 0) } else { (text, series) }
    }
}

/// Writes, or only counts, the samples of one family.
#[derive(Debug)]
pub struct FamilyWriter<'a> {
    descriptor: &'a FamilyDescriptor,
    format: ExpositionFormat,
    /// The output; none if samples are only counted.
    text: Option<&'a mut Vec<u8>>,
    /// Number of lines; a histogram has several.
    series: u64,
    /// Recorded if two entries may have the same labels.
    spans: Option<Vec<Span>>,
}

/// Position of an entry in the text: a sample, or a histogram with all its lines.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    /// End of the name and labels of the first line, without `le`. This text distinguishes entries.
    labels_end: usize,
    end: usize,
    series: u64,
}

impl<'a> FamilyWriter<'a> {
    /// A writer that appends the samples of a gauge to `text`, without the header. The caller makes sure that
    /// no two samples have the same labels.
    pub fn writing(descriptor: &'a FamilyDescriptor, text: &'a mut Vec<u8>) -> Self {
        Self { descriptor, format: ExpositionFormat::Text, text: Some(text), series: 0, spans: None }
    }

    /// A writer that only counts.
    #[must_use]
    pub fn counting(descriptor: &'a FamilyDescriptor) -> Self {
        Self { descriptor, format: ExpositionFormat::Text, text: None, series: 0, spans: None }
    }

    /// Number of series added.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Adds the sample with the label values `labels`, in the order of the descriptor's names.
    ///
    /// # Panics
    /// If the number of values is not the number of the descriptor's labels, or the family is a histogram:
    /// a mistake in the table of families, which its tests find.
    pub fn sample(&mut self, labels: &[&dyn Display], value: Value) {
        self.sample_with(&WrittenLabels::default(), labels, value);
    }

    /// Adds the sample whose first labels are `prefix` and whose other labels have the values `labels`.
    ///
    /// # Panics
    /// As [`sample`](Self::sample).
    pub fn sample_with(&mut self, prefix: &WrittenLabels, labels: &[&dyn Display], value: Value) {
        self.sample_of_owner(prefix, labels, &WrittenLabels::default(), value);
    }

    /// Adds a sample as [`sample_with`](Self::sample_with) does, with these own labels.
    ///
    /// # Panics
    /// As [`sample`](Self::sample), or if the family has no own labels.
    pub fn sample_of_owner(
        &mut self,
        prefix: &WrittenLabels,
        labels: &[&dyn Display],
        own_labels: &WrittenLabels,
        value: Value,
    ) {
        let FamilyDescriptor { name, metric_type, labels: names, .. } = self.descriptor;
        assert_ne!(*metric_type, MetricType::Histogram, "type of {name}");
        self.series += 1;
        let Some(text) = &mut self.text else { return };
        assert_eq!(names.len(), prefix.count + labels.len(), "labels of {name}");
        assert!(self.descriptor.has_own_labels || own_labels.count == 0, "own labels of {name}");
        let start = text.len();
        let mut line = SampleLine::start(text, name, "");
        line.written(prefix);
        for (name, value) in names[prefix.count..].iter().zip(labels) {
            line.label(name, value);
        }
        line.written(own_labels);
        let labels_end = line.position();
        line.end(value);
        self.record(start, labels_end, 1);
    }

    /// Adds the lines of a histogram (`_bucket`, `_sum`, `_count`) with the label values `labels`, without
    /// `le`.
    ///
    /// # Panics
    /// If the number of values is not the number of the descriptor's labels, the family is no histogram, or
    /// the bounds do not ascend: a mistake in the table of families, which its tests find.
    pub fn histogram(&mut self, labels: &[&dyn Display], histogram: &Histogram) {
        let FamilyDescriptor { name, metric_type, labels: names, .. } = self.descriptor;
        assert_eq!(*metric_type, MetricType::Histogram, "type of {name}");
        let Histogram { buckets, beyond, sum } = histogram;
        assert!(buckets.is_sorted_by(|(a, _), (b, _)| a < b), "bounds of {name}");
        let series = buckets.len() as u64 + 3;
        self.series += series;
        let Some(text) = &mut self.text else { return };
        assert_eq!(names.len(), labels.len(), "labels of {name}");
        let start = text.len();
        let count = buckets.iter().map(|(_, count)| count).sum::<u64>() + beyond;
        let cumulative = buckets.iter().scan(0, |total, (bound, count)| {
            *total += count;
            Some((bound.as_secs_f64(), *total))
        });
        let write_labels = |line: &mut SampleLine<'_>| {
            names.iter().zip(labels).for_each(|(name, value)| line.label(name, value));
        };
        let sum = Value::Duration(*sum);
        let labels_end = write_histogram(text, self.format, name, write_labels, cumulative, sum, count);
        self.record(start, labels_end, series);
    }

    /// Records the entry that starts at `start` and has just been written.
    fn record(&mut self, start: usize, labels_end: usize, series: u64) {
        let end = self.text.as_ref().map_or(0, |text| text.len());
        if let Some(spans) = &mut self.spans {
            spans.push(Span { start, labels_end, end, series });
        }
    }
}

/// The first entry of each label set, in their order; none if no entry has to be removed. Entries are mostly
/// in the order of their text, which shows in one pass that all are distinct.
fn distinct(text: &[u8], mut spans: Vec<Span>) -> Option<Vec<Span>> {
    let labels = |span: &Span| &text[span.start..span.labels_end];
    if spans.is_sorted_by(|a, b| labels(a) < labels(b)) {
        return None;
    }
    let entries = spans.len();
    spans.sort_by(|a, b| labels(a).cmp(labels(b)));
    spans.dedup_by(|later, earlier| labels(later) == labels(earlier));
    spans.sort_by_key(|span| span.start);
    (spans.len() < entries).then_some(spans)
}

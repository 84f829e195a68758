//! Single lines: the header of a family, a sample, the lines of a histogram.
//!
//! Self metrics are written at each scrape, so nothing here allocates beyond the output, except for a label value
//! that is cut or escaped. Every label value is cut here.

use std::fmt::Display;
use std::io::Write as _;

use memchr::memchr3;

use super::{BucketBound, MetricType};
use crate::model::{ExpositionFormat, MAX_LABEL_BYTES, bounded_label};

/// Writes the lines `HELP` and `TYPE` of the family `name`.
pub fn write_header(
    text: &mut Vec<u8>,
    format: ExpositionFormat,
    name: &str,
    help: &str,
    metric_type: MetricType,
) {
    let name = match (format, metric_type) {
        (ExpositionFormat::OpenMetrics, MetricType::Counter) => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    put(text, &["# HELP ", name, " "]);
    match format {
        ExpositionFormat::Text => escape::<false>(text, help),
        ExpositionFormat::OpenMetrics => escape::<true>(text, help),
    }
    put(text, &["\n# TYPE ", name, " ", metric_type.as_str(), "\n"]);
}

/// One line that is being written: name, labels, value.
#[derive(Debug)]
pub struct SampleLine<'a> {
    text: &'a mut Vec<u8>,
    labels_start: usize,
}

impl<'a> SampleLine<'a> {
    /// Starts a line at the end of `text` with a metric name and its suffix (`_bucket`, `_sum`, `_count` or
    /// none).
    pub fn start(text: &'a mut Vec<u8>, name: &str, suffix: &str) -> Self {
        put(text, &[name, suffix]);
        let labels_start = text.len();
        Self { text, labels_start }
    }

    /// Adds labels that are already written.
    pub fn written(&mut self, labels: &WrittenLabels) {
        self.text.extend_from_slice(&labels.text);
    }

    /// Adds a label.
    pub fn label(&mut self, name: &str, value: impl Display) {
        write_label(self.text, name, value);
    }

    /// Adds a label whose value is text; faster than [`label`](Self::label).
    pub fn text_label(&mut self, name: &str, value: &str) {
        put(self.text, &[",", name, "=\""]);
        escape::<true>(self.text, &bounded_label(value));
        self.text.push(b'"');
    }

    /// Position in the output at which the next label starts.
    #[must_use]
    pub fn position(&self) -> usize {
        self.text.len()
    }

    /// Ends the line with the value.
    pub fn end(self, value: impl Display) {
        let Self { text, labels_start } = self;
        // Each label is written with a comma before it; the first comma becomes the brace.
        if text.len() > labels_start {
            text[labels_start] = b'{';
            text.push(b'}');
        }
        writeln!(text, " {value}").expect("Safe: writing to memory cannot fail");
    }
}

/// Writes the lines of one histogram (`_bucket`, `_sum`, `_count`) and returns the position at which the
/// labels of its first line end, without `le`.
///
/// `labels` adds the labels to each line. `buckets` are upper bounds in seconds with cumulative counts,
/// without the infinite one.
pub fn write_histogram(
    text: &mut Vec<u8>,
    format: ExpositionFormat,
    name: &str,
    labels: impl Fn(&mut SampleLine<'_>),
    buckets: impl Iterator<Item = (f64, u64)>,
    sum: impl Display,
    count: u64,
) -> usize {
    let mut labels_end = None;
    for (seconds, cumulative) in buckets.chain([(f64::INFINITY, count)]) {
        let mut line = SampleLine::start(text, name, "_bucket");
        labels(&mut line);
        labels_end.get_or_insert(line.position());
        line.label("le", BucketBound { seconds, format });
        line.end(cumulative);
    }
    for (suffix, value) in [("_sum", &sum as &dyn Display), ("_count", &count)] {
        let mut line = SampleLine::start(text, name, suffix);
        labels(&mut line);
        line.end(value);
    }
    labels_end.unwrap_or_default()
}

/// Labels that many samples share, written once for all of them.
#[derive(Clone, Debug, Default)]
pub struct WrittenLabels {
    text: Vec<u8>,
    pub(super) count: usize,
}

impl WrittenLabels {
    /// The labels `names` with their `values`.
    ///
    /// # Panics
    /// If the numbers of values and names differ: a mistake in the table of families.
    #[must_use]
    pub fn new(names: &[&str], values: &[&str]) -> Self {
        assert_eq!(names.len(), values.len(), "values of {names:?}");
        let mut text = Vec::with_capacity(128);
        for (name, value) in names.iter().zip(values) {
            write_label(&mut text, name, value);
        }
        Self { text, count: names.len() }
    }
}

/// Writes `,name="value"`, cut and escaped.
fn write_label(text: &mut Vec<u8>, name: &str, value: impl Display) {
    put(text, &[",", name, "=\""]);
    let start = text.len();
    write!(text, "{value}").expect("Safe: writing to memory cannot fail");
    let written = &text[start..];
    if written.len() > MAX_LABEL_BYTES || memchr3(b'\\', b'\n', b'"', written).is_some() {
        let written = text.split_off(start);
        escape::<true>(text, &bounded_label(&String::from_utf8_lossy(&written)));
    }
    text.push(b'"');
}

fn put(text: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        text.extend_from_slice(piece.as_bytes());
    }
}

/// Writes `value` with backslashes, line ends and, if `QUOTES`, quotes escaped. Only ASCII is escaped, and no
/// byte of a longer character is ASCII.
fn escape<const QUOTES: bool>(text: &mut Vec<u8>, value: &str) {
    let mut rest = value.as_bytes();
    let special = |bytes: &[u8]| memchr3(b'\\', b'\n', if QUOTES { b'"' } else { b'\\' }, bytes);
    while let Some(place) = special(rest) {
        text.extend_from_slice(&rest[..place]);
        text.push(b'\\');
        text.push(if rest[place] == b'\n' { b'n' } else { rest[place] });
        rest = &rest[place + 1..];
    }
    text.extend_from_slice(rest);
}

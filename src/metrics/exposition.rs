//! Writer of the exposition formats: text 0.0.4 and `OpenMetrics` 1.0.
//!
//! The only place that writes a label, so escaping, grouping and the number of labels cannot be
//! wrong elsewhere. A family of the fleet level is written whole, each label set once. One of the deeper
//! levels is written in pieces: [`FamilyDescriptor::lines`], then [`FamilyWriter`] for some machines at a time. What a row
//! of a histogram stands for is written here too, so buckets always add up. Values are integers,
//! times or durations, so neither NaN nor an exponent can occur.
//!
//! The formats differ in few places: `OpenMetrics` names a counter's family without `_total`, escapes
//! quotes in help, and wants bounds of buckets as floats. A gauge whose help has no quote is the same
//! bytes in both ([`FamilyDescriptor::is_alike`]).
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::ExpositionFormat;

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows; its name ends in `_total`.
    Counter,
    /// Observed durations, counted by size; its rows are [`Histogram`]s.
    Histogram,
}

impl Kind {
    /// The word after `TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// What is said of a family before its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyDescriptor {
    /// Name, valid in the data model of Prometheus.
    pub name: &'static str,
    /// Meaning, in plain text.
    pub help: &'static str,
    /// Type.
    pub kind: Kind,
    /// Names of the labels, in the order in which rows give their values.
    pub labels: &'static [&'static str],
}

/// Value of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count.
    Count(u64),
    /// Seconds since the epoch, cut to the millisecond.
    Time(Timestamp),
    /// Seconds, cut to the millisecond.
    Duration(Duration),
}

/// Durations that were observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds, rising, each with the observations above the bound before it and up to it. Not
    /// cumulative: the writer adds up.
    pub buckets: Vec<(Duration, u64)>,
    /// Observations above every bound.
    pub beyond: u64,
    /// Sum of all observations.
    pub sum: Duration,
}

impl From<bool> for Value {
    fn from(holds: bool) -> Self {
        Self::Count(u64::from(holds))
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Time(time) => {
                let millis = time.as_millisecond();
                f.write_str(if millis < 0 { "-" } else { "" })?;
                seconds(f, millis.unsigned_abs().into())
            }
            Self::Duration(duration) => seconds(f, duration.as_millis()),
        }
    }
}

fn seconds(f: &mut fmt::Formatter<'_>, millis: u128) -> fmt::Result {
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    write!(f, "{seconds}")?;
    match fraction {
        0 => Ok(()),
        _ if fraction.is_multiple_of(100) => write!(f, ".{}", fraction / 100),
        _ if fraction.is_multiple_of(10) => write!(f, ".{:02}", fraction / 10),
        _ => write!(f, ".{fraction:03}"),
    }
}

impl FamilyDescriptor {
    /// The lines `HELP` and `TYPE`.
    #[must_use]
    pub fn lines(&self, format: ExpositionFormat) -> Vec<u8> {
        let Self { name, help, kind, .. } = self;
        let mut help = help.replace('\\', r"\\").replace('\n', r"\n");
        let mut name = *name;
        if format == ExpositionFormat::OpenMetrics {
            help = help.replace('"', "\\\"");
            name = name.strip_suffix("_total").filter(|_| *kind == Kind::Counter).unwrap_or(name);
        }
        format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()).into_bytes()
    }

    /// Whether the family is the same bytes in every format.
    #[must_use]
    pub fn is_alike(&self) -> bool {
        self.kind == Kind::Gauge && !self.help.contains('"')
    }

    /// Writes the whole family with the rows that `fill` pushes: its text and its series. Nothing when
    /// it pushes none. Of two rows with the same labels the first one stays.
    pub fn family(
        &self,
        format: ExpositionFormat,
        fill: impl FnOnce(&mut FamilyWriter<'_>),
    ) -> (Vec<u8>, u64) {
        let mut text = self.lines(format);
        let start = text.len();
        let mut rows =
            FamilyWriter { header: self, format, text: Some(&mut text), series: 0, spans: Some(Vec::new()) };
        fill(&mut rows);
        let (spans, mut series) = (rows.spans.take().unwrap_or_default(), rows.series);
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

/// Values of the labels that many rows start with, written once for all of them.
#[derive(Clone, Debug, Default)]
pub struct LabelPrefix {
    text: Vec<u8>,
    count: usize,
}

impl LabelPrefix {
    /// The labels `names` with their `values`.
    ///
    /// # Panics
    /// When there are not as many values as names: a mistake in the table of families.
    #[must_use]
    pub fn new(names: &[&str], values: &[&str]) -> Self {
        assert_eq!(names.len(), values.len(), "values of {names:?}");
        let mut text = Vec::with_capacity(128);
        for (name, value) in names.iter().zip(values) {
            label(&mut text, name, value);
        }
        Self { text, count: names.len() }
    }
}

/// The rows of one family, as they are pushed.
#[derive(Debug)]
pub struct FamilyWriter<'a> {
    header: &'a FamilyDescriptor,
    format: ExpositionFormat,
    /// Where they are written; nowhere when they are only counted.
    text: Option<&'a mut Vec<u8>>,
    /// Each is a line, and a histogram has many.
    series: u64,
    /// Kept where two rows may have the same labels.
    spans: Option<Vec<Span>>,
}

/// Where a row lies in the text; a histogram is one row of many lines.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    /// End of name and labels in the first line, `le` left out: what tells one row from another.
    labels_end: usize,
    end: usize,
    series: u64,
}

impl<'a> FamilyWriter<'a> {
    /// FamilyWriter of a gauge that are written to the end of `text`, below the header's lines. No two of them
    /// may have the same labels: the writer does not look.
    pub fn writing(header: &'a FamilyDescriptor, text: &'a mut Vec<u8>) -> Self {
        Self { header, format: ExpositionFormat::Text, text: Some(text), series: 0, spans: None }
    }

    /// FamilyWriter that are only counted.
    #[must_use]
    pub fn counting(header: &'a FamilyDescriptor) -> Self {
        Self { header, format: ExpositionFormat::Text, text: None, series: 0, spans: None }
    }

    /// Series in the rows that were pushed.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Adds the sample whose label values are `labels`, in the order of the header's names.
    ///
    /// # Panics
    /// When the number of values is not that of the header's labels, or the family is a histogram: a
    /// mistake in the table of families, which its tests would see.
    pub fn push(&mut self, labels: &[&dyn Display], value: Value) {
        self.push_after(&LabelPrefix::default(), labels, value);
    }

    /// Adds the sample whose first labels are `prefix`, and whose others have the values `labels`.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    pub fn push_after(&mut self, prefix: &LabelPrefix, labels: &[&dyn Display], value: Value) {
        assert_ne!(self.header.kind, Kind::Histogram, "kind of {}", self.header.name);
        let start = self.written();
        let labels_end = self.line("", prefix, labels, None, value);
        self.row_ends(start, labels_end, 1);
    }

    /// Adds the lines of a histogram (`_bucket`, `_sum`, `_count`), whose label values are `labels`
    /// without `le`.
    ///
    /// # Panics
    /// When the number of values is not that of the header's labels, the family is no histogram, or
    /// the bounds do not rise: a mistake in the table of families, which its tests would see.
    pub fn push_histogram(&mut self, labels: &[&dyn Display], histogram: &Histogram) {
        let name = self.header.name;
        assert_eq!(self.header.kind, Kind::Histogram, "kind of {name}");
        assert!(histogram.buckets.is_sorted_by(|(a, _), (b, _)| a < b), "bounds of {name}");
        let (none, start) = (LabelPrefix::default(), self.written());
        let mut labels_end = None;
        let mut count = 0;
        for (bound, within) in &histogram.buckets {
            count += within;
            let bound = Bound(*bound, self.format);
            let end = self.line("_bucket", &none, labels, Some(&bound), Value::Count(count));
            labels_end.get_or_insert(end);
        }
        count += histogram.beyond;
        let end = self.line("_bucket", &none, labels, Some(&"+Inf"), Value::Count(count));
        self.line("_sum", &none, labels, None, Value::Duration(histogram.sum));
        self.line("_count", &none, labels, None, Value::Count(count));
        self.row_ends(start, labels_end.unwrap_or(end), histogram.buckets.len() as u64 + 3);
    }

    fn written(&self) -> usize {
        self.text.as_ref().map_or(0, |text| text.len())
    }

    fn row_ends(&mut self, start: usize, labels_end: usize, series: u64) {
        let end = self.written();
        self.series += series;
        if let Some(spans) = &mut self.spans {
            spans.push(Span { start, labels_end, end, series });
        }
    }

    /// Writes one line and answers where its labels, `le` left out, end.
    fn line(
        &mut self,
        suffix: &str,
        prefix: &LabelPrefix,
        labels: &[&dyn Display],
        le: Option<&dyn Display>,
        value: Value,
    ) -> usize {
        let Some(text) = &mut self.text else {
            return 0;
        };
        let FamilyDescriptor { name, labels: names, .. } = self.header;
        assert_eq!(names.len(), prefix.count + labels.len(), "labels of {name}");
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(suffix.as_bytes());
        let brace = text.len();
        text.extend_from_slice(&prefix.text);
        for (name, value) in names[prefix.count..].iter().zip(labels) {
            label(text, name, value);
        }
        let labels_end = text.len();
        if let Some(bound) = le {
            label(text, "le", bound);
        }
        // Each label was written with a comma before it.
        if text.len() > brace {
            text[brace] = b'{';
            text.push(b'}');
        }
        writeln!(text, " {value}").expect("Safe: writing to memory cannot fail");
        labels_end
    }
}

/// Writes `,name="value"`.
fn label(text: &mut Vec<u8>, name: &str, value: impl Display) {
    text.push(b',');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"=\"");
    write!(Escaping(text), "{value}").expect("Safe: writing to memory cannot fail");
    text.push(b'"');
}

/// The first row of each label set, in their order; none when every row stays. FamilyWriter mostly come in the
/// order of their text, which shows in one pass that there is nothing to take out.
fn distinct(text: &[u8], mut spans: Vec<Span>) -> Option<Vec<Span>> {
    let labels = |span: &Span| &text[span.start..span.labels_end];
    if spans.is_sorted_by(|a, b| labels(a) < labels(b)) {
        return None;
    }
    let rows = spans.len();
    spans.sort_by(|a, b| labels(a).cmp(labels(b)));
    spans.dedup_by(|later, earlier| labels(later) == labels(earlier));
    spans.sort_by_key(|span| span.start);
    (spans.len() < rows).then_some(spans)
}

/// Upper bound of a bucket.
struct Bound(Duration, ExpositionFormat);

impl Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bound, format) = self;
        seconds(f, bound.as_millis())?;
        let is_whole = bound.as_millis().is_multiple_of(1000);
        f.write_str(if is_whole && *format == ExpositionFormat::OpenMetrics { ".0" } else { "" })
    }
}

/// Writes text with the escapes of a label value.
struct Escaping<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Only ASCII is escaped, and no byte of a longer character is ASCII.
        for piece in text.as_bytes().split_inclusive(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
            let (plain, escape): (&[u8], &[u8]) = match piece {
                [plain @ .., b'\\'] => (plain, br"\\"),
                [plain @ .., b'"'] => (plain, br#"\""#),
                [plain @ .., b'\n'] => (plain, br"\n"),
                plain => (plain, b""),
            };
            self.0.extend_from_slice(plain);
            self.0.extend_from_slice(escape);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Writer of the text exposition format 0.0.4.
//!
//! The only place that writes a label, so escaping, grouping and the number of labels cannot be
//! wrong elsewhere. A family is written whole: `HELP`, `TYPE`, then its rows, each label set once; what
//! a row of a histogram stands for is written here too, so buckets always add up.
//! Values are integers, times or durations, so neither NaN nor an exponent can occur.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;

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
pub struct Header {
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

/// Writes families one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    text: Vec<u8>,
    series: u64,
}

impl Writer {
    /// Writes the family with the rows that `fill` pushes; nothing when it pushes none.
    pub fn family(&mut self, header: &Header, fill: impl FnOnce(&mut Rows<'_>)) {
        let start = self.text.len();
        self.header(header);
        let mut rows = Rows { start: self.text.len(), text: &mut self.text, header, spans: Vec::new() };
        fill(&mut rows);
        rows.drop_duplicates();
        let series = rows.series();
        if series == 0 {
            self.text.truncate(start);
        }
        self.series += series;
    }

    /// The text and the number of series in it.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, u64) {
        (self.text, self.series)
    }

    fn header(&mut self, Header { name, help, kind, .. }: &Header) {
        let kind = kind.as_str();
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        let written = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        written.expect("Safe: writing to memory cannot fail");
    }
}

/// The rows of one family.
#[derive(Debug)]
pub struct Rows<'a> {
    text: &'a mut Vec<u8>,
    header: &'a Header,
    /// Where the rows start in the text.
    start: usize,
    spans: Vec<Span>,
}

/// Where a row lies in the text; a histogram is one row of many lines.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    /// End of name and labels in the first line, `le` left out: what tells one row from another.
    labels_end: usize,
    end: usize,
}

impl Rows<'_> {
    /// Adds the sample whose label values are `labels`, in the order of the header's names. Of two
    /// rows with the same label values the first one stays.
    ///
    /// # Panics
    /// When the number of values is not that of the header's labels, or the family is a histogram: a
    /// mistake in the table of families, which its tests would see.
    pub fn push(&mut self, labels: &[&dyn Display], value: Value) {
        assert_ne!(self.header.kind, Kind::Histogram, "kind of {}", self.header.name);
        let start = self.text.len();
        let labels_end = self.line("", labels, None, value);
        self.spans.push(Span { start, labels_end, end: self.text.len() });
    }

    /// Adds the lines of a histogram (`_bucket`, `_sum`, `_count`), whose label values are `labels`
    /// without `le`. Of two rows with the same label values the first one stays.
    ///
    /// # Panics
    /// When the number of values is not that of the header's labels, the family is no histogram, or
    /// the bounds do not rise: a mistake in the table of families, which its tests would see.
    pub fn push_histogram(&mut self, labels: &[&dyn Display], histogram: &Histogram) {
        let name = self.header.name;
        assert_eq!(self.header.kind, Kind::Histogram, "kind of {name}");
        assert!(histogram.buckets.is_sorted_by(|(a, _), (b, _)| a < b), "bounds of {name}");
        let start = self.text.len();
        let mut labels_end = None;
        let mut count = 0;
        for (bound, within) in &histogram.buckets {
            count += within;
            let end = self.line("_bucket", labels, Some(&Value::Duration(*bound)), Value::Count(count));
            labels_end.get_or_insert(end);
        }
        count += histogram.beyond;
        let end = self.line("_bucket", labels, Some(&"+Inf"), Value::Count(count));
        self.line("_sum", labels, None, Value::Duration(histogram.sum));
        self.line("_count", labels, None, Value::Count(count));
        self.spans.push(Span { start, labels_end: labels_end.unwrap_or(end), end: self.text.len() });
    }

    /// Writes one line and answers where its labels, `le` left out, end.
    fn line(
        &mut self,
        suffix: &str,
        labels: &[&dyn Display],
        le: Option<&dyn Display>,
        value: Value,
    ) -> usize {
        let names = self.header.labels;
        assert_eq!(names.len(), labels.len(), "labels of {}", self.header.name);
        self.text.extend_from_slice(self.header.name.as_bytes());
        self.text.extend_from_slice(suffix.as_bytes());
        let mut before = b'{';
        for (name, value) in names.iter().zip(labels) {
            self.label(before, name, value);
            before = b',';
        }
        let labels_end = self.text.len();
        if let Some(bound) = le {
            self.label(before, "le", bound);
            before = b',';
        }
        if before == b',' {
            self.text.push(b'}');
        }
        writeln!(self.text, " {value}").expect("Safe: writing to memory cannot fail");
        labels_end
    }

    fn label(&mut self, before: u8, name: &str, value: &dyn Display) {
        self.text.push(before);
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"=\"");
        write!(Escaping(self.text), "{value}").expect("Safe: writing to memory cannot fail");
        self.text.push(b'"');
    }

    /// Series in the rows: each is one line, and a histogram has many.
    fn series(&self) -> u64 {
        let series = match self.header.kind {
            Kind::Histogram => self.text[self.start..].split_inclusive(|&byte| byte == b'\n').count(),
            Kind::Gauge | Kind::Counter => self.spans.len(),
        };
        series as u64
    }

    /// Takes out every row whose labels an earlier row has. Rows mostly come in the order of their
    /// text, which shows in one pass that there is nothing to take out.
    fn drop_duplicates(&mut self) {
        let text = &*self.text;
        let labels = |span: &Span| &text[span.start..span.labels_end];
        if self.spans.is_sorted_by(|a, b| labels(a) < labels(b)) {
            return;
        }
        let mut distinct = self.spans.clone();
        distinct.sort_by(|a, b| labels(a).cmp(labels(b)));
        distinct.dedup_by(|later, earlier| labels(later) == labels(earlier));
        if distinct.len() == self.spans.len() {
            return;
        }
        distinct.sort_by_key(|span| span.start);
        let kept: Vec<u8> = distinct.iter().flat_map(|span| &text[span.start..span.end]).copied().collect();
        self.text.truncate(self.start);
        self.text.extend_from_slice(&kept);
        self.spans = distinct;
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

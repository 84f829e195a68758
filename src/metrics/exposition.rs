//! Writer of the text exposition format 0.0.4.
//!
//! The only place that writes a label, so escaping, grouping and the number of labels cannot be
//! wrong elsewhere. A family is written whole: `HELP`, `TYPE`, then its rows, each label set once.
//! Values are integers or times, so neither NaN nor an exponent can occur.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;

use jiff::Timestamp;

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows while the process lives; its name ends in `_total`.
    Counter,
}

impl Kind {
    /// The word after `TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
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
                let sign = if millis < 0 { "-" } else { "" };
                let (seconds, fraction) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
                write!(f, "{sign}{seconds}")?;
                match fraction {
                    0 => Ok(()),
                    _ if fraction % 100 == 0 => write!(f, ".{}", fraction / 100),
                    _ if fraction % 10 == 0 => write!(f, ".{:02}", fraction / 10),
                    _ => write!(f, ".{fraction:03}"),
                }
            }
        }
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
        let mut rows = Rows { text: &mut self.text, header, spans: Vec::new() };
        fill(&mut rows);
        rows.drop_duplicates();
        let count = rows.spans.len();
        if count == 0 {
            self.text.truncate(start);
        }
        self.series += count as u64;
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
    spans: Vec<Span>,
}

/// Where a row lies in the text.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    /// End of name and labels: what tells one series from another.
    labels_end: usize,
    end: usize,
}

impl Rows<'_> {
    /// Adds the sample whose label values are `labels`, in the order of the header's names. Of two
    /// rows with the same label values the first one stays.
    ///
    /// # Panics
    /// When the number of values is not that of the header's labels: a mistake in the table of
    /// families, which its tests would see.
    pub fn push(&mut self, labels: &[&dyn Display], value: Value) {
        let names = self.header.labels;
        assert_eq!(names.len(), labels.len(), "labels of {}", self.header.name);
        let start = self.text.len();
        self.text.extend_from_slice(self.header.name.as_bytes());
        let mut before = b'{';
        for (name, value) in names.iter().zip(labels) {
            self.text.push(before);
            self.text.extend_from_slice(name.as_bytes());
            self.text.extend_from_slice(b"=\"");
            write!(Escaping(self.text), "{value}").expect("Safe: writing to memory cannot fail");
            self.text.push(b'"');
            before = b',';
        }
        if !names.is_empty() {
            self.text.push(b'}');
        }
        let labels_end = self.text.len();
        writeln!(self.text, " {value}").expect("Safe: writing to memory cannot fail");
        let end = self.text.len();
        self.spans.push(Span { start, labels_end, end });
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
        let rows = self.spans[0].start;
        let kept: Vec<u8> = distinct.iter().flat_map(|span| &text[span.start..span.end]).copied().collect();
        self.text.truncate(rows);
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
mod tests {
    use super::*;

    const HEADER: Header = Header { name: "m", help: "a\\b\nc", kind: Kind::Gauge, labels: &["a", "b"] };

    fn write(fill: impl FnOnce(&mut Rows<'_>)) -> (String, u64) {
        let mut writer = Writer::default();
        writer.family(&HEADER, fill);
        let (text, series) = writer.finish();
        (String::from_utf8(text).unwrap(), series)
    }

    #[test]
    fn labels_and_help_are_escaped() {
        let (text, series) = write(|rows| rows.push(&[&"\\\"\n{},=é", &7], Value::Count(1)));
        assert_eq!(text, "# HELP m a\\\\b\\nc\n# TYPE m gauge\nm{a=\"\\\\\\\"\\n{},=é\",b=\"7\"} 1\n");
        assert_eq!(series, 1);
    }

    #[test]
    fn family_without_rows_is_left_out() {
        assert_eq!(write(|_| ()), (String::new(), 0));
    }

    #[test]
    fn first_of_two_rows_with_the_same_labels_stays() {
        let (text, series) = write(|rows| {
            rows.push(&[&"y", &1], Value::Count(1));
            rows.push(&[&"x", &1], Value::Count(2));
            rows.push(&[&"y", &1], Value::Count(3));
            rows.push(&[&"z", &1], Value::Count(4));
            rows.push(&[&"z", &1], Value::Count(5));
        });
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows, [r#"m{a="y",b="1"} 1"#, r#"m{a="x",b="1"} 2"#, r#"m{a="z",b="1"} 4"#]);
        assert_eq!(series, 3);
    }

    #[test]
    fn family_without_labels_has_no_braces() {
        let mut writer = Writer::default();
        writer.family(&Header { labels: &[], ..HEADER }, |rows| rows.push(&[], Value::from(true)));
        assert!(writer.finish().0.ends_with(b"\nm 1\n"));
    }

    #[test]
    #[should_panic(expected = "labels of m")]
    fn row_with_a_label_too_few_is_a_bug() {
        write(|rows| rows.push(&[&"x"], Value::Count(1)));
    }

    #[test]
    fn times_are_seconds_cut_to_the_millisecond() {
        let written =
            |nanoseconds: i128| Value::Time(Timestamp::from_nanosecond(nanoseconds).unwrap()).to_string();
        assert_eq!(written(1_596_380_103_779_185_600), "1596380103.779");
        assert_eq!(written(1_596_380_103_070_000_000), "1596380103.07");
        assert_eq!(written(1_596_380_103_500_999_999), "1596380103.5");
        assert_eq!(written(1_596_380_103_000_999_999), "1596380103");
        assert_eq!(written(0), "0");
        assert_eq!(written(-500_000_000), "-0.5");
    }
}

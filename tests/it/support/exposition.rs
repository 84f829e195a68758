//! An independent, strict parser of the text exposition format 0.0.4 and of `OpenMetrics` 1.0.
//!
//! Written from the specification, not from the writer, so that an error of the writer is not
//! repeated here. It also rejects what the format allows but this exporter never writes: samples
//! without `HELP` and `TYPE`, comments, blank lines, timestamps, NaN, space inside braces.
//!
//! Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use std::collections::{BTreeMap, BTreeSet};

/// A parsed scrape.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Exposition {
    pub(crate) families: Vec<Family>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    /// Name of the family, for histograms with `_bucket`, `_sum` or `_count`.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    /// The value of a label. It is empty without the label, which Prometheus treats as the same.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Exposition {
    /// Samples called `name`.
    pub(crate) fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        let samples = self.families.iter().flat_map(|family| &family.samples);
        samples.filter(move |sample| sample.name == name)
    }

    /// The value of the only sample of `name` that has these labels (it may have others too); none
    /// without such a sample.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has_labels = |sample: &&Sample| labels.iter().all(|(name, value)| sample.label(name) == *value);
        let matching: Vec<&Sample> = self.samples(name).filter(has_labels).collect();
        assert!(matching.len() <= 1, "{name}{labels:?} is ambiguous: {matching:?}");
        matching.first().map(|sample| sample.value)
    }

    /// Sum over all samples of `name`.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples(name).map(|sample| sample.value).sum()
    }

    /// The number of samples of `name`; a float, as in queries, so that it can be compared with sums.
    pub(crate) fn count(&self, name: &str) -> f64 {
        self.samples(name).map(|_| 1.0).sum()
    }

    /// Sum of `name` by the values of one label, as `sum by (label) (name)`.
    pub(crate) fn sum_by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        self.group_by(name, label, |sample| sample.value)
    }

    /// Number of samples by the values of one label, as `count by (label) (name)`.
    pub(crate) fn count_by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        self.group_by(name, label, |_| 1.0)
    }

    fn group_by(&self, name: &str, label: &str, add: impl Fn(&Sample) -> f64) -> BTreeMap<String, f64> {
        let mut groups = BTreeMap::new();
        for sample in self.samples(name) {
            *groups.entry(sample.label(label).to_owned()).or_default() += add(sample);
        }
        groups
    }
}

/// Reads a whole scrape; the error names the line.
pub(crate) fn parse(text: &str) -> Result<Exposition, String> {
    read(text, TEXT)
}

/// Reads a whole scrape in the format `OpenMetrics`. Families have the names of their samples, which
/// for counters end in `_total`, so that the result can be compared with that of [`parse`].
pub(crate) fn parse_openmetrics(text: &str) -> Result<Exposition, String> {
    let text = text.strip_suffix("# EOF\n").ok_or("no mark of the end")?;
    let mut exposition = read(text, OPENMETRICS)?;
    for family in &mut exposition.families {
        if family.kind == "counter" {
            family.name.push_str("_total");
        }
        for bound in family.samples.iter_mut().filter_map(|sample| sample.labels.get_mut("le")) {
            let value: f64 = bound.parse().map_err(|_| format!("bad bound {bound}"))?;
            if bound != "+Inf" && *bound != format!("{value:?}") {
                return Err(format!("{}: the bound {bound} is not written as a float", family.name));
            }
            *bound = if value.is_infinite() { "+Inf".to_owned() } else { value.to_string() };
        }
    }
    Ok(exposition)
}

/// The differences between the formats.
#[derive(Clone, Copy)]
struct FormatRules {
    help_escapes: &'static [(char, char)],
    /// The suffix of a counter's samples after the name of its family.
    counter_suffix: &'static str,
}

const TEXT: FormatRules = FormatRules { help_escapes: &[('\\', '\\'), ('n', '\n')], counter_suffix: "" };
const OPENMETRICS: FormatRules =
    FormatRules { help_escapes: &[('\\', '\\'), ('n', '\n'), ('"', '"')], counter_suffix: "_total" };

fn read(text: &str, rules: FormatRules) -> Result<Exposition, String> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no line feed".to_owned());
    }
    let mut families: Vec<Family> = Vec::new();
    let mut names = BTreeSet::new();
    let mut series = BTreeSet::new();
    let mut lines = text.split_terminator('\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let fail = |what: &str| Err(format!("line {}: {what}: {line}", index + 1));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = rest.split_once(' ') else {
                return fail("no help text");
            };
            let Some(help) = unescape(help, rules.help_escapes) else {
                return fail("bad escape");
            };
            if rules.help_escapes.len() == 3 && help.contains('"') && !line.contains("\\\"") {
                return fail("quote without an escape");
            }
            let kind = lines.next().and_then(|(_, next)| next.strip_prefix(&format!("# TYPE {name} ")));
            let Some(kind) = kind else {
                return fail("no TYPE line follows");
            };
            if !["counter", "gauge", "histogram"].contains(&kind) {
                return fail("unknown type");
            }
            if !is_metric_name(name) || !names.insert(name.to_owned()) {
                return fail("bad or repeated family");
            }
            let (name, kind) = (name.to_owned(), kind.to_owned());
            families.push(Family { name, help, kind, samples: Vec::new() });
            continue;
        }
        let sample = match sample(line) {
            Ok(sample) => sample,
            Err(what) => return fail(what),
        };
        let Some(family) = families.last_mut() else {
            return fail("sample before any family");
        };
        if !belongs(&sample.name, family, rules) {
            return fail("sample outside its family");
        }
        if family.kind == "counter" && sample.value < 0.0 {
            return fail("negative counter");
        }
        if !series.insert((sample.name.clone(), sample.labels.clone())) {
            return fail("duplicate series");
        }
        family.samples.push(sample);
    }
    match families.iter().find(|family| family.samples.is_empty()) {
        Some(empty) => Err(format!("family {} has no samples", empty.name)),
        None => Ok(Exposition { families }),
    }
}

fn belongs(sample: &str, family: &Family, rules: FormatRules) -> bool {
    let suffix = sample.strip_prefix(family.name.as_str());
    match family.kind.as_str() {
        "counter" => suffix == Some(rules.counter_suffix),
        "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
        _ => suffix == Some(""),
    }
}

/// `name{label="value",...} value`, or without braces.
fn sample(line: &str) -> Result<Sample, &'static str> {
    let name_end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(name_end);
    if !is_metric_name(name) {
        return Err("bad metric name");
    }
    let mut labels = BTreeMap::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inside.split_once("=\"").ok_or("label without value")?;
            let (value, after) = quoted(after)?;
            if !is_label_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return Err("bad or repeated label");
            }
            match after.split_at_checked(1) {
                Some((",", after)) => inside = after,
                Some(("}", after)) => {
                    rest = after;
                    break;
                }
                _ => return Err("braces not closed"),
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = match value {
        "+Inf" => return Err("infinite value"),
        _ if value.bytes().all(|byte| byte.is_ascii_digit() || b".-e".contains(&byte)) => {
            value.parse().map_err(|_| "bad value")?
        }
        _ => return Err("bad value"),
    };
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, and the rest after it.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            '"' if !escaped => {
                let value = unescape(&text[..index], &[('\\', '\\'), ('n', '\n'), ('"', '"')]);
                return Ok((value.ok_or("bad escape")?, &text[index + 1..]));
            }
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Err("quote not closed")
}

fn unescape(text: &str, escapes: &[(char, char)]) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => {
                let letter = characters.next()?;
                escapes.iter().find(|(escape, _)| *escape == letter)?.1
            }
            other => other,
        });
    }
    Some(plain)
}

fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte == b'_' || byte == b':')
}

fn is_label_name(name: &str) -> bool {
    is_name(name, |byte| byte == b'_')
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || also(byte);
    name.bytes().all(allowed) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

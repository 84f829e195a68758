//! Readers of a YAML tree, key by key, that report problems and continue.
//!
//! A [`MapReader`] records the keys that were read, so that [`MapReader::finish`] can report the others.
//! A [`ValueReader`] carries the sentence about its allowed values, which ends every problem of the value.
//! Every reading method returns `None` after it has reported a problem; callers read everything first
//! and unwrap last.

use std::cell::RefCell;
use std::time::Duration;

use jiff::Timestamp;

use super::document::{Entry, Node, NodeValue, Scalar, ScalarKind};
use super::problem::{InputPlace, NamedEnd, NamedInput, ProblemCollector, SourceLocation};

/// Reads the value of a key or an item of a list.
pub(super) struct ValueReader<'a> {
    node: &'a Node,
    path: String,
    location: SourceLocation,
    allowed: String,
    problems: &'a ProblemCollector,
}

impl<'a> ValueReader<'a> {
    /// Returns the reader of the whole document.
    pub(super) fn root(node: &'a Node, allowed: &str, problems: &'a ProblemCollector) -> Self {
        Self {
            node,
            path: String::new(),
            location: SourceLocation { line: 1, column: 1 },
            allowed: allowed.to_owned(),
            problems,
        }
    }

    /// Reports a problem of the value.
    pub(super) fn problem(&self, what: impl Into<String>) {
        self.problems.add_problem(&self.path, Some(self.location()), what, self.allowed.as_str());
    }

    /// Warns about the value.
    pub(super) fn warning(&self, what: impl Into<String>, advice: impl Into<String>) {
        self.problems.add_warning(&self.path, self.location(), what, advice);
    }

    /// The key path and the line, for messages that do not name the file.
    pub(super) fn place(&self) -> String {
        format!("{} (line {})", self.path, self.location().line)
    }

    /// Notes that the value names a file or a variable.
    pub(super) fn names_input(&self, place: InputPlace) {
        let (key, location) = (self.path.clone(), self.location());
        self.problems.add_input(NamedInput { key, location, place });
    }

    /// Notes that the value is an end.
    pub(super) fn names_end(&self, ends_at: Timestamp) {
        let (key, location) = (self.path.clone(), self.location());
        self.problems.add_end(NamedEnd { key, location, ends_at });
    }

    /// Returns whether the value is a single value, neither a list nor a mapping.
    pub(super) fn is_scalar(&self) -> bool {
        matches!(self.node.content, NodeValue::Scalar(_))
    }

    /// Returns whether the value is exactly `text`.
    pub(super) fn is_text(&self, text: &str) -> bool {
        matches!(&self.node.content, NodeValue::Scalar(scalar) if scalar.text == text)
    }

    /// Returns whether there is no value or only empty text.
    pub(super) fn is_blank(&self) -> bool {
        match &self.node.content {
            NodeValue::Nothing => true,
            NodeValue::Scalar(scalar) => scalar.text.is_empty(),
            NodeValue::List(_) | NodeValue::Map(_) => false,
        }
    }

    /// Returns the result of `check` for the source text of the value, whatever its YAML type. The error of
    /// `check` is the problem; empty text is a problem too.
    pub(super) fn text<T>(&self, check: impl FnOnce(&str) -> Result<T, &'static str>) -> Option<T> {
        self.scalar(|scalar| match scalar.text.as_str() {
            "" => Err("is empty"),
            text => check(text),
        })
    }

    /// Returns a duration in the format of the crate humantime, within `range`.
    pub(super) fn duration(&self, range: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
        self.scalar(|scalar| match humantime::parse_duration(&scalar.text) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => Err("is out of range"),
            Err(_) if scalar.kind == ScalarKind::Number => Err("is a number without a unit"),
            Err(_) => Err("is not a duration"),
        })
    }

    /// Returns the result of `check` for a number without quotes.
    pub(super) fn number<T>(&self, check: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.scalar(|scalar| match scalar.kind {
            ScalarKind::Number => check(&scalar.text).ok_or("is out of range"),
            ScalarKind::Boolean => Err("is a boolean"),
            ScalarKind::Text => Err("is text"),
        })
    }

    /// Returns the value of `true` or `false` without quotes.
    pub(super) fn boolean(&self) -> Option<bool> {
        self.scalar(|scalar| match scalar.kind {
            ScalarKind::Boolean => Ok(scalar.text.eq_ignore_ascii_case("true")),
            ScalarKind::Number => Err("is a number"),
            ScalarKind::Text => Err("is text"),
        })
    }

    /// Returns the items of a list; `item_allowed` is the sentence about their allowed values. No value is an
    /// empty list.
    pub(super) fn list(&self, item_allowed: &str) -> Option<Vec<ValueReader<'a>>> {
        let items = match &self.node.content {
            NodeValue::Nothing => &[][..],
            NodeValue::List(items) => items,
            other => {
                self.problem(kind_of(other));
                return None;
            }
        };
        let field = |(number, node): (usize, &'a Node)| ValueReader {
            node,
            path: format!("{}[{number}]", self.path),
            location: node.location,
            allowed: item_allowed.to_owned(),
            problems: self.problems,
        };
        Some(items.iter().enumerate().map(field).collect())
    }

    /// Returns the items of a list of at least one value, each parsed by `parse`, whose error is the problem of the
    /// item. `item_allowed` is the sentence about their allowed values.
    pub(super) fn values<T>(
        &self,
        item_allowed: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<Vec<T>> {
        let items = self.list(item_allowed)?;
        if items.is_empty() {
            self.problem("is empty");
            return None;
        }
        // Collected first, so that the problems of every item are reported.
        let values: Vec<_> = items.iter().map(|item| item.text(&parse)).collect();
        values.into_iter().collect()
    }

    /// Returns the reader of a mapping. No value is a mapping without keys.
    pub(super) fn section(&self) -> Option<MapReader<'a>> {
        let entries = match &self.node.content {
            NodeValue::Nothing => &[][..],
            NodeValue::Map(entries) => entries,
            other => {
                self.problem(kind_of(other));
                return None;
            }
        };
        Some(MapReader {
            entries,
            path: self.path.clone(),
            location: self.location,
            problems: self.problems,
            requested: RefCell::default(),
        })
    }

    fn scalar<T>(&self, check: impl FnOnce(&Scalar) -> Result<T, &'static str>) -> Option<T> {
        let outcome = match &self.node.content {
            NodeValue::Scalar(scalar) => check(scalar),
            other => Err(kind_of(other)),
        };
        outcome.map_err(|what| self.problem(what)).ok()
    }

    /// Returns the location of a scalar, or that of the key for other values: a block below a key starts far
    /// from the key that the operator looks for.
    fn location(&self) -> SourceLocation {
        match self.node.content {
            NodeValue::Scalar(_) => self.node.location,
            _ => self.location,
        }
    }
}

/// Reads the keys of a mapping one by one.
pub(super) struct MapReader<'a> {
    entries: &'a [Entry],
    path: String,
    location: SourceLocation,
    problems: &'a ProblemCollector,
    requested: RefCell<Vec<&'static str>>,
}

impl<'a> MapReader<'a> {
    /// Returns the value of `key`, or none if the key is not given.
    pub(super) fn optional(&self, key: &'static str, allowed: &str) -> Option<ValueReader<'a>> {
        self.requested.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key.as_deref() == Some(key))?;
        Some(ValueReader {
            node: &entry.node,
            path: self.path_of(key),
            location: entry.location,
            allowed: allowed.to_owned(),
            problems: self.problems,
        })
    }

    /// Returns the value of `key`; reports a problem if the key is not given.
    pub(super) fn required(&self, key: &'static str, allowed: &str) -> Option<ValueReader<'a>> {
        let field = self.optional(key, allowed);
        if field.is_none() {
            let path = self.path_of(key);
            self.problems.add_problem(&path, Some(self.location), "is missing", allowed);
        }
        field
    }

    /// Returns the result of `read` for the value of `key`, or `default` if the key is not given.
    pub(super) fn optional_or<T>(
        &self,
        key: &'static str,
        allowed: &str,
        default: T,
        read: impl FnOnce(&ValueReader<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.optional(key, allowed) {
            Some(field) => read(&field),
            None => Some(default),
        }
    }

    /// Returns every key and its value, for a mapping whose keys the operator chooses. The error of `check` is
    /// the problem of a key; `allowed` is the sentence about the allowed keys and values.
    pub(super) fn entries(
        &self,
        allowed: &str,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Vec<(&'a str, ValueReader<'a>)> {
        self.checked_entries(allowed, |key| printable(key).unwrap_or("?").to_owned(), |key| check(key).err())
    }

    /// Returns every key and its value, like [`entries`](Self::entries), for keys that are never a secret: problems
    /// name them.
    pub(super) fn names(
        &self,
        allowed: &str,
        refuse: impl Fn(&str) -> Option<&'static str>,
    ) -> Vec<(&'a str, ValueReader<'a>)> {
        /// Longest name in a problem, in characters.
        const SHOWN: usize = 100;
        let shown = |key: &str| key.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        self.checked_entries(allowed, shown, refuse)
    }

    fn checked_entries(
        &self,
        allowed: &str,
        shown: impl Fn(&str) -> String,
        refuse: impl Fn(&str) -> Option<&'static str>,
    ) -> Vec<(&'a str, ValueReader<'a>)> {
        let mut fields = Vec::new();
        for (number, entry) in self.entries.iter().enumerate() {
            let key = entry.key.as_deref();
            let path = self.path_of(&key.map_or_else(|| "?".to_owned(), &shown));
            let Some(key) = key else {
                self.problems.add_problem(
                    &path,
                    Some(entry.location),
                    "the key is no text",
                    "text is allowed as a key",
                );
                continue;
            };
            if let Some(what) = refuse(key) {
                self.problems.add_problem(&path, Some(entry.location), what, allowed);
            }
            self.check_repetition(number, entry, &path);
            let (node, location, allowed) = (&entry.node, entry.location, allowed.to_owned());
            fields.push((key, ValueReader { node, path, location, allowed, problems: self.problems }));
        }
        fields
    }

    /// Notes that `key`, given or not, names a file or a variable.
    pub(super) fn names_input(&self, key: &str, place: InputPlace) {
        let (key, location) = (self.path_of(key), self.location_of(key));
        self.problems.add_input(NamedInput { key, location, place });
    }

    /// Returns whether the mapping has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key.as_deref() == Some(key))
    }

    /// Returns whether the mapping has no key.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The key path of the section.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reports a problem of the section as a whole.
    pub(super) fn problem(&self, what: impl Into<String>, allowed: impl Into<String>) {
        self.problems.add_problem(&self.path, Some(self.location), what, allowed);
    }

    /// Reports a problem of `key`, given or not, in combination with another key.
    pub(super) fn problem_of(&self, key: &str, what: impl Into<String>, allowed: impl Into<String>) {
        self.problems.add_problem(&self.path_of(key), Some(self.location_of(key)), what, allowed);
    }

    /// Warns about `key`, given or not.
    pub(super) fn warning(&self, key: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.problems.add_warning(&self.path_of(key), self.location_of(key), what, advice);
    }

    /// Reports unknown keys and repeated keys.
    pub(super) fn finish(self) {
        let requested = self.requested.borrow();
        for (number, entry) in self.entries.iter().enumerate() {
            let matching = requested.iter().find(|&&key| entry.key.as_deref() == Some(key));
            let Some(key) = matching else {
                let path = self.path_of(entry.key.as_deref().and_then(printable).unwrap_or("?"));
                let allowed = format!("allowed here: {}", requested.join(", "));
                self.problems.add_problem(&path, Some(entry.location), "the key is unknown", allowed);
                continue;
            };
            self.check_repetition(number, entry, &self.path_of(key));
        }
    }

    fn check_repetition(&self, number: usize, entry: &Entry, path: &str) {
        let first = self.entries.iter().position(|other| other.key == entry.key);
        if let Some(first) = first.filter(|&first| first < number) {
            let line = self.entries[first].location.line;
            let what = format!("the key is given a second time, the first is in line {line}");
            self.problems.add_problem(path, Some(entry.location), what, "each key is allowed once");
        }
    }

    fn location_of(&self, key: &str) -> SourceLocation {
        let entry = self.entries.iter().find(|entry| entry.key.as_deref() == Some(key));
        entry.map_or(self.location, |entry| entry.location)
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

/// Returns an unknown key if it is safe to display. A secret can be parsed as a key
/// (`auth: {client_secret:abc}`), but hardly one of letters and underscores alone. Control characters never
/// reach the terminal.
fn printable(key: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    ((1..=30).contains(&key.len()) && key.bytes().all(plain)).then_some(key)
}

fn kind_of(content: &NodeValue) -> &'static str {
    match content {
        NodeValue::Nothing => "has no value",
        NodeValue::Scalar(_) => "is a single value",
        NodeValue::List(_) => "is a list",
        NodeValue::Map(_) => "is a mapping",
    }
}

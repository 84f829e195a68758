//! YAML text as a tree in which every node has a location and every scalar its source text.
//!
//! No other file uses the YAML crate. Its limits on depth, aliases and size apply, so a hostile file
//! results in a problem. Two things differ from the crate:
//!
//! - Repeated keys are kept: the crate would stop at the first one, and all of them are reported.
//! - Scalars that look like numbers keep their source text. As a number, the device id
//!   `0123456789012345678901234567890123456789` would lose digits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, Error, Location, MessageFormatter, NonFiniteFloatPolicy, Spanned,
    UserMessageFormatter,
};

use super::problem::SourceLocation;

/// A value and its location.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: NodeValue,
    pub(super) location: SourceLocation,
}

#[derive(Debug)]
pub(super) enum NodeValue {
    /// `null`, `~`, or no value at all.
    Nothing,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar as written in the file, without quotes.
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) kind: ScalarKind,
}

/// The type of an unquoted scalar in YAML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Boolean,
    Number,
    Text,
}

/// A key of a mapping and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// None if the key is not a scalar.
    pub(super) key: Option<String>,
    pub(super) location: SourceLocation,
    pub(super) node: Node,
}

/// A syntax error and its location.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) location: SourceLocation,
    pub(super) what: String,
}

/// Parses `text` as one YAML document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map(|root| resolve(root, text)).map_err(|error| {
        SyntaxError {
            location: error.location().map_or(SourceLocation { line: 1, column: 1 }, source_location),
            what: describe(&error),
        }
    })
}

/// Returns the message of the crate, unless it would repeat a part of the file.
fn describe(error: &Error) -> String {
    match error {
        Error::UnsupportedTag { .. } => "the tag is not supported".to_owned(),
        Error::InvalidScalar { .. } => "the value does not fit its tag".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

fn source_location(location: Location) -> SourceLocation {
    SourceLocation { line: location.line().max(1), column: location.column().max(1) }
}

/// A node as the YAML crate deserializes it: scalars other than text have lost their source text.
enum Raw {
    Nothing,
    Text(String),
    Typed(ScalarKind),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

/// Restores the source text of scalars. Aliases and merged keys get the location of their definition,
/// where an operator fixes a mistake.
fn resolve(raw: Spanned<Raw>, text: &str) -> Node {
    let location = raw.defined;
    let content = match raw.value {
        Raw::Nothing => NodeValue::Nothing,
        Raw::Text(text) => NodeValue::Scalar(Scalar { text, kind: ScalarKind::Text }),
        Raw::Typed(kind) => NodeValue::Scalar(Scalar { text: source_text(location, text).to_owned(), kind }),
        Raw::List(items) => NodeValue::List(items.into_iter().map(|item| resolve(item, text)).collect()),
        Raw::Map(entries) => {
            NodeValue::Map(entries.into_iter().map(|(key, value)| entry(key, value, text)).collect())
        }
    };
    Node { content, location: source_location(location) }
}

fn entry(key: Spanned<Raw>, value: Spanned<Raw>, text: &str) -> Entry {
    let key = resolve(key, text);
    Entry {
        key: match key.content {
            NodeValue::Scalar(scalar) => Some(scalar.text),
            _ => None,
        },
        location: key.location,
        node: resolve(value, text),
    }
}

fn source_text(location: Location, text: &str) -> &str {
    let span = location.span();
    let bytes = || {
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        text.get(start..start.checked_add(length)?)
    };
    bytes().unwrap_or_default()
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a mapping")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Boolean))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Number))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Number))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(ScalarKind::Number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_value(text: &str) -> Scalar {
        match parse(text).unwrap().content {
            NodeValue::Map(mut entries) => match entries.remove(0).node.content {
                NodeValue::Scalar(scalar) => scalar,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_source_text() {
        for spelled in [
            "0123456789012345678901234567890123456789",
            "12345678901234567890123456789012345678901",
            "1e5",
            "1e999",
            "0x1f",
            "1_000",
            ".inf",
            "-0",
            "True",
        ] {
            assert_eq!(only_value(&format!("é: {spelled} # ü")).text, spelled);
        }
        assert_eq!(only_value("a: '0x1f'").kind, ScalarKind::Text);
        assert_eq!(only_value("a: 0x1f").kind, ScalarKind::Number);
        assert_eq!(only_value("a: no").kind, ScalarKind::Text);
        assert_eq!(only_value("a: false").kind, ScalarKind::Boolean);
    }

    #[test]
    fn nodes_have_their_location() {
        let NodeValue::Map(entries) = parse("\n  ü: [ä, 7]\n").unwrap().content else { panic!("a map") };
        assert_eq!(entries[0].location, SourceLocation { line: 2, column: 3 });
        let NodeValue::List(items) = &entries[0].node.content else { panic!("a list") };
        assert_eq!(items[1].location, SourceLocation { line: 2, column: 10 });
    }

    #[test]
    fn an_alias_has_the_location_of_its_anchor() {
        let NodeValue::Map(entries) = parse("a: &x 5\nb: *x\n").unwrap().content else { panic!("a map") };
        assert_eq!(entries[1].node.location, SourceLocation { line: 1, column: 7 });
    }

    #[test]
    fn syntax_errors_repeat_no_content() {
        for text in [
            "a: !hunter2 b",
            "a: !<hunter2> b",
            "a: \"hunter2",
            "a: @hunter2",
            "a: *hunter2",
            "a: !!int hunter2",
            "a: !!binary hunter2",
            "a: \"\\qhunter2\"",
            "%hunter2 x",
            "a: 1\nhunter2\n",
            "<<: hunter2",
            "a: {b: hunter2",
            "a: 1\n---\nhunter2: 1",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.what.contains("hunter2"), "{text}: {}", error.what);
        }
    }

    #[test]
    fn alias_bombs_are_rejected() {
        let line = |(this, last): (char, char)| {
            format!("{this}: &{this} [*{last}, *{last}, *{last}, *{last}, *{last}]\n")
        };
        let lines: String = ('b'..='z').zip('a'..).map(line).collect();
        let bomb = format!("a: &a [x, x, x, x, x, x, x, x, x]\n{lines}");
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}

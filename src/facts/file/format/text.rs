//! Values that the facts file holds as text.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::facts::FixedBuild;
use crate::facts::msrc::{DocumentId, ProductId};
use crate::model::{CveId, Restart, VendorSeverity};

/// A value with a text form.
pub(super) trait Textual: Sized + Display {
    /// The value that displays as `text`.
    fn parse_text(text: &str) -> Option<Self>;
}

/// Reads and writes a value as its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<T>(pub(super) T);

impl<T: Textual> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: Textual> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData)).map(Self)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Textual> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text of the documented form")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::parse_text(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

macro_rules! textual {
    ($($type:ty => $parse:expr;)+) => {
        $(impl Textual for $type {
            fn parse_text(text: &str) -> Option<Self> {
                $parse(text)
            }
        })+
    };
}

textual! {
    CveId => CveId::parse;
    DocumentId => DocumentId::parse;
    ProductId => ProductId::parse;
    VendorSeverity => VendorSeverity::from_word;
    Restart => Restart::from_word;
    Timestamp => |text: &str| text.parse().ok();
    Date => |text: &str| text.parse().ok();
    FixedBuild => |text: &str| {
        let (build, revision) = text.split_once('.')?;
        Some(FixedBuild { build: build.parse().ok()?, revision: revision.parse().ok()? })
    };
}

/// Wraps each value.
pub(super) fn wrap<T>(values: impl IntoIterator<Item = T>) -> Vec<Text<T>> {
    values.into_iter().map(Text).collect()
}

/// Unwraps each value, sorted and without repetitions.
pub(super) fn unwrap<T: Ord>(values: Vec<Text<T>>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().map(|Text(value)| value).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Unwraps the keys of a map.
pub(super) fn unwrap_keys<K: Ord, V>(map: BTreeMap<Text<K>, V>) -> BTreeMap<K, V> {
    map.into_iter().map(|(Text(key), value)| (key, value)).collect()
}

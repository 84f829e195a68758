//! The index of the release documents.

use std::cmp::Reverse;
use std::io::Read;

use jiff::Timestamp;

use super::{DocumentId, is_early};
use crate::facts::lenient::{Lenient, Shape, object};
use crate::facts::{ParseError, date, input};

/// The largest size of the index in bytes. The index of ten years has 0.1 MiB.
const MAX_BYTES: u64 = 16 << 20;

/// The first month with documents that list updates; earlier ones are release notes of another kind.
const FIRST_MONTH: (u16, u8) = (2016, 4);

/// One document in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The id, as the index writes it.
    pub id: DocumentId,
    /// The title, such as `June 2026 Security Updates`.
    pub title: Box<str>,
    /// The time of the release of the updates; none before the release day.
    pub initial: Option<Timestamp>,
    /// The time of the last change of the document.
    pub current: Option<Timestamp>,
}

object! {
    struct IndexShape { value: Option<Vec<EntryShape>> = "value", }
}

object! {
    struct EntryShape {
        id: Option<Box<str>> = "ID",
        title: Option<Box<str>> = "DocumentTitle",
        initial: Option<Box<str>> = "InitialReleaseDate",
        current: Option<Box<str>> = "CurrentReleaseDate",
    }
}

impl Shape for Option<Vec<EntryShape>> {
    fn of_list<'de, A: serde::de::SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        Vec::of_list(list).map(Some)
    }
}

/// Reads the index of the release documents, from April 2016 on, the newest month first. Entries with another id are
/// skipped.
///
/// # Errors
/// Returns an error if `input` is no complete index.
pub fn read_index(input: impl Read) -> Result<Vec<IndexEntry>, ParseError> {
    let Lenient(index): Lenient<IndexShape> = input::json(input, MAX_BYTES)?;
    let entries = index.value.ok_or(ParseError::Shape("is no index of release documents: it has no list"))?;
    let mut entries: Vec<IndexEntry> = entries.into_iter().filter_map(EntryShape::entry).collect();
    entries.sort_by(|a, b| (Reverse(a.id.month()), &a.id).cmp(&(Reverse(b.id.month()), &b.id)));
    entries.dedup_by(|later, earlier| later.id == earlier.id);
    Ok(entries)
}

impl EntryShape {
    fn entry(self) -> Option<IndexEntry> {
        let id = DocumentId::parse(self.id?.trim()).filter(|id| id.month() >= Some(FIRST_MONTH))?;
        let title: Box<str> = self.title.unwrap_or_default();
        let initial = self.initial.and_then(|text| date::time(&text)).filter(|_| !is_early(&title));
        Some(IndexEntry { id, initial, current: self.current.and_then(|text| date::time(&text)), title })
    }
}

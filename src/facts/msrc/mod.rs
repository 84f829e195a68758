//! The release documents of the Microsoft Security Response Center, in the JSON form of CVRF 3.0.
//!
//! A document is a list of vulnerabilities, each with its remediations; the facts of a KB are spread over them.
//! `vulnerability` holds the shape of one vulnerability, `document` the facts by KB, `words` the texts inside.

mod builder;
mod document;
mod document_id;
mod index;
mod product_id;
mod vulnerability;
mod words;

use std::io::Read;

pub use document::{Document, DocumentCve, DocumentKb};
pub use document_id::DocumentId;
pub use index::{IndexEntry, read_index};
pub use product_id::ProductId;

use self::builder::DocumentBuilder;
use super::lenient::{Lenient, Valued, object};
use super::{ParseError, date, input};

/// The largest size of a document in bytes. The largest known one has 16 MiB.
const MAX_BYTES: u64 = 256 << 20;

object! {
    /// A release document in JSON.
    struct DocumentShape {
        title: Valued = "DocumentTitle",
        tracking: Tracking = "DocumentTracking",
        facts: DocumentBuilder = "Vulnerability",
    }
}

object! {
    struct Tracking {
        identification: Identification = "Identification",
        revisions: Vec<DocumentRevision> = "RevisionHistory",
        initial: Option<Box<str>> = "InitialReleaseDate",
        current: Option<Box<str>> = "CurrentReleaseDate",
    }
}

object! {
    struct Identification { id: Valued = "ID", }
}

object! {
    struct DocumentRevision { number: Valued = "Number", }
}

/// Reads the document `id`, one vulnerability at a time.
///
/// # Errors
/// Returns an error if `input` is no complete document, or another one.
pub fn read_document(input: impl Read, id: &DocumentId) -> Result<Document, ParseError> {
    let document = read_any_document(input)?;
    if document.id == *id {
        Ok(document)
    } else {
        Err(ParseError::OtherDocument { expected: id.as_str().into(), found: document.id.as_str().into() })
    }
}

/// Reads a document, whatever its id.
///
/// # Errors
/// Returns an error if `input` is no complete document.
pub fn read_any_document(input: impl Read) -> Result<Document, ParseError> {
    let Lenient(document): Lenient<DocumentShape> = input::json(input, MAX_BYTES)?;
    let tracking = document.tracking;
    let id = DocumentId::parse(tracking.identification.id.text());
    let time = |text: Option<Box<str>>| text.and_then(|text| date::time(&text));
    let title = document.title.text();
    let (cves, kbs) = document.facts.finish();
    Ok(Document {
        id: id.ok_or(ParseError::Shape("is no release document: it has no id"))?,
        title: title.into(),
        initial: time(tracking.initial).filter(|_| !is_early(title)),
        current: time(tracking.current),
        revision: tracking.revisions.iter().filter_map(DocumentRevision::number).max(),
        cves,
        kbs,
    })
}

impl DocumentRevision {
    /// The digits in front of a dot.
    fn number(&self) -> Option<u32> {
        self.number.text().split('.').next()?.parse().ok()
    }
}

/// Returns whether `title` names updates that are not released yet, such as `October 2026 Early Security Updates`.
/// The release date of such a document moves.
fn is_early(title: &str) -> bool {
    title.split_whitespace().any(|word| word.eq_ignore_ascii_case("early"))
}

#[cfg(test)]
mod tests;

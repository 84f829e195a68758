//! Failures to read the data of a source of facts.

use std::io;

use crate::model::FactsFailure;

/// The reason why the data of a source, or a facts file, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The data could not be read to its end.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The data is cut off, or is no JSON.
    #[error("is no complete JSON: {0}")]
    Json(serde_json::Error),
    /// The data lacks a part without which it says nothing.
    #[error("{0}")]
    Shape(&'static str),
    /// The document is another one than the one asked for.
    #[error("is the document `{found}` instead of `{expected}`")]
    OtherDocument {
        /// The id that was asked for.
        expected: Box<str>,
        /// The id in the document.
        found: Box<str>,
    },
    /// The data exceeds a limit on its size.
    #[error("is larger than the data of this source can be")]
    TooLarge,
    /// The facts file has the format of a later exporter.
    #[error("has version {found} of the format; this exporter reads versions up to {known}")]
    NewerVersion {
        /// The version in the file.
        found: u64,
        /// The latest known version.
        known: u64,
    },
}

impl ParseError {
    /// The reason as a label value.
    #[must_use]
    pub fn kind(&self) -> FactsFailure {
        match self {
            Self::NewerVersion { .. } => FactsFailure::Newer,
            Self::TooLarge => FactsFailure::TooLarge,
            Self::Read(error) if !is_about_content(error) => FactsFailure::Network,
            _ => FactsFailure::Decode,
        }
    }
}

/// Returns whether the bytes are wrong, not their transport: a cut or damaged gzip stream, for example.
fn is_about_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    )
}

impl From<serde_json::Error> for ParseError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { io::Error::from(error).into() } else { Self::Json(error) }
    }
}

impl From<io::Error> for ParseError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            _ => Self::Read(error),
        }
    }
}

//! The error of a damaged export file; a module of its own, because [`ApiError`](super::ApiError) contains it.

use std::io;

/// The reason that an export file is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportFileError {
    /// The gzip stream is truncated.
    #[error("its gzip stream ends early")]
    EndsEarly,
    /// The file is not gzip, or its checksum is wrong.
    #[error("it is not gzip, or damaged")]
    NotGzip,
    /// The decompressed file, or the whole export, is larger than plausible.
    #[error("it contains more than {limit_bytes} bytes")]
    TooLarge {
        /// The exceeded limit.
        limit_bytes: usize,
    },
}

impl From<io::Error> for ExportFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionAborted => Self::EndsEarly,
            _ => Self::NotGzip,
        }
    }
}

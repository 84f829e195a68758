//! What the store has to say: notices for the log, and errors.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Something an operator should read in the log; none stops the exporter.
#[derive(Debug)]
pub enum StoreEvent {
    /// A file could not be used and was renamed; a new one took its place.
    SetAside {
        /// What was wrong with it.
        reason: Reason,
        /// Where it is now.
        path: PathBuf,
    },
    /// Nothing is written for now; each save tries again.
    WithoutDisk(SaveError),
    /// Saves reach the disk again.
    OnDisk {
        /// The file.
        path: PathBuf,
    },
    /// Rows that make no sense were left out; the next save writes the file anew without them.
    Skipped {
        /// How many.
        rows: u64,
    },
}

impl fmt::Display for StoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { reason, path } => {
                write!(
                    f,
                    "the state file {reason}; it was renamed to `{}`, a new one is used",
                    path.display()
                )
            }
            Self::WithoutDisk(error) => {
                write!(f, "state is not kept on disk for now, saves try again: {error}")?;
                match std::error::Error::source(error) {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::OnDisk { path } => write!(f, "state is kept in `{}` from now on", path.display()),
            Self::Skipped { rows } => write!(f, "{rows} rows of the state make no sense and were left out"),
        }
    }
}

/// Why a file was set aside. Its word is part of the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is cut, garbled, or does not have the tables it should have.
    Damaged,
    /// Another program's file.
    Foreign,
    /// Written by a later release, with a schema that this one does not know.
    Newer,
    /// It came up after a start without it, so its contents were never taken in.
    Unread,
}

impl Reason {
    /// The word in the name of the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Foreign => "foreign",
            Self::Newer => "newer",
            Self::Unread => "unread",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "is damaged",
            Self::Foreign => "was not written by this exporter",
            Self::Newer => "was written by a later release",
            Self::Unread => "came up only after the start",
        })
    }
}

/// Why the state cannot be opened. Only this stops the exporter.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another instance holds the folder.
    #[error("another mde_exporter uses the state folder `{path}`; give each its own (--storage.path)")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

impl OpenError {
    /// A short word for the kind of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
        }
    }
}

/// Why a save did not reach the disk. The next save carries everything again.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The folder cannot be made or used.
    #[error("cannot use the state folder `{path}`")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be opened or written: the disk is full, read-only, failing.
    #[error("cannot write the state file `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// Another instance took the folder while this one could not use it.
    #[error("another mde_exporter uses the state folder `{path}`")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

impl SaveError {
    /// A short word for the kind of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::File { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => "full",
                Some(rusqlite::ErrorCode::ReadOnly) => "read_only",
                _ => "file",
            },
            Self::Locked { .. } => "locked",
        }
    }
}

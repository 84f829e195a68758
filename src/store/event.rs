//! The events of the store for the log, and its errors.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// An event for the log. None stops the exporter.
#[derive(Debug)]
pub enum StoreEvent {
    /// The state file could not be used and was renamed; a new one replaces it.
    SetAside {
        /// The defect of the file.
        reason: SetAsideReason,
        /// The new path of the file.
        path: PathBuf,
        /// True if the new file gets the data from memory, as after the start; otherwise it is empty.
        keeps_data: bool,
    },
    /// The state file was removed while the exporter used it. The data in memory is written to a new one.
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// The state file belongs to another user, and a copy with the same content replaces it.
    Copied {
        /// The file.
        path: PathBuf,
    },
    /// The state is not saved for now; each save tries again.
    WithoutDisk(SaveError),
    /// Saves reach the disk again.
    OnDisk {
        /// The file.
        path: PathBuf,
    },
    /// Invalid rows were skipped; the next save rewrites the file without them.
    Skipped {
        /// The number of skipped rows.
        rows: u64,
    },
}

impl fmt::Display for StoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { reason, path, keeps_data } => {
                let next =
                    if *keeps_data { "writing all data to a new one" } else { "starting with an empty one" };
                write!(f, "state file {reason}; set aside as `{}`, {next}", path.display())
            }
            Self::Copied { path } => write!(
                f,
                "state file `{}` cannot be written by this user; a copy with the same content replaces it",
                path.display()
            ),
            Self::Removed { path } => write!(
                f,
                "state file `{}` was removed while the exporter used it; no data is lost, all of it was written to a new file",
                path.display()
            ),
            Self::WithoutDisk(error) => {
                write!(f, "state is not saved to disk for now, each save tries again: {error}")?;
                match std::error::Error::source(error) {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::OnDisk { path } => write!(f, "state is saved to `{}` from now on", path.display()),
            Self::Skipped { rows } => {
                write!(f, "skipped {rows} invalid rows of the state file; the next save removes them")
            }
        }
    }
}

/// The reason for which a file was set aside. It is part of the new file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetAsideReason {
    /// Truncated, corrupt, or without the expected tables.
    Damaged,
    /// Written by another program.
    Foreign,
    /// Written by a later release, with a schema that this release does not support.
    Newer,
    /// Not readable at the start and readable later, so its data is not in memory.
    Unread,
    /// Removed, but not the log that SQLite keeps with it.
    Missing,
}

impl SetAsideReason {
    /// The word in the file name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Foreign => "foreign",
            Self::Newer => "newer",
            Self::Unread => "unread",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for SetAsideReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "is damaged",
            Self::Foreign => "was written by another program",
            Self::Newer => "was written by a later release",
            Self::Unread => "was not readable at the start",
            Self::Missing => "is missing but its log is left",
        })
    }
}

/// An error that prevents the start of the exporter.
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
    /// A short identifier of the kind of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
        }
    }
}

/// A failed save. The next save writes everything that this one did not.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The folder cannot be created or used.
    #[error("cannot use the state folder `{path}`")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file cannot be opened or written: the disk is full, read-only or failing.
    #[error("cannot write the state file `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// Another instance locked the folder while this one could not use it.
    #[error("another mde_exporter uses the state folder `{path}`")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

impl SaveError {
    /// A short identifier of the kind of failure.
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

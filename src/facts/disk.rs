//! The facts file on disk.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{FactsFile, ParseError};
use crate::group_access::share_with_group;
use crate::model::FactsFailure;

/// The reason for which a facts file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FactsFileError {
    /// There is no such file.
    #[error("there is no facts file `{}`", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened.
    #[error("cannot read the facts file `{}`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The content is not that of a facts file.
    #[error("the facts file `{}` {problem}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ParseError,
    },
}

impl FactsFileError {
    /// The reason for the metric.
    #[must_use]
    pub fn reason(&self) -> FactsFailure {
        match self {
            Self::Missing { .. } | Self::Unreadable { .. } => FactsFailure::Unreadable,
            Self::Content { problem, .. } => match problem.kind() {
                // Of a file, not of a connection.
                FactsFailure::Network => FactsFailure::Unreadable,
                reason => reason,
            },
        }
    }
}

/// Reads the facts file at `path`. Blocks.
///
/// # Errors
/// Fails if there is no such file, or if it cannot be used.
pub fn load(path: &Path) -> Result<FactsFile, FactsFileError> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FactsFileError::Missing { path: path.to_owned() },
        _ => FactsFileError::Unreadable { path: path.to_owned(), source },
    })?;
    let content = |problem| FactsFileError::Content { path: path.to_owned(), problem };
    FactsFile::read(BufReader::new(file)).map_err(content)
}

/// Replaces the facts file at `path` as a whole: readers see the old file or the new one. A symbolic link stays, and
/// the file that it leads to is replaced. Creates the folder if it is missing. Blocks.
///
/// # Errors
/// Fails if the folder cannot be written, or the disk is full.
pub fn save(path: &Path, file: &FactsFile) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut draft = tempfile::Builder::new();
    draft.prefix(".facts-").suffix(".tmp").permissions(Permissions::from_mode(0o666));
    let draft = draft.tempfile_in(folder)?;
    let mut writer = BufWriter::new(draft.as_file());
    file.write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    draft.as_file().sync_all()?;
    share_with_group(folder, draft.path());
    draft.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

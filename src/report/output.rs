//! The output of a report, which appears only when the report is complete.
//!
//! A report is read from a file that a daemon may change meanwhile, and is written again then. A file is written under
//! a temporary name beside its final name; anything else, such as stdout or a pipe, gets the text of a [`Spool`].

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::ReportMetadata;
use super::spool::Spool;

/// The suffix of the file with the metadata, as CSV on the Web names it.
const METADATA_SUFFIX: &str = "-metadata.json";

/// The place where a report appears.
#[derive(Clone, Debug)]
pub enum ReportOutput {
    /// Standard output; metadata goes to standard error.
    Stdout,
    /// A regular file, which may not exist yet.
    File(PathBuf),
    /// A device or a named pipe, which cannot be replaced; metadata goes to standard error.
    Stream(PathBuf),
}

/// A report that is being written.
#[derive(Debug)]
pub enum ReportDraft {
    /// In memory, for standard output or a stream.
    Spooled(Spool),
    /// In a temporary file, which is removed if it is dropped.
    Temporary(BufWriter<NamedTempFile>),
}

impl ReportOutput {
    /// The output for the value of `--output`. A symbolic link stays, and the file that it leads to is replaced.
    #[must_use]
    pub fn new(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::Stdout };
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_replaced =
            fs::metadata(&path).map_or(true, |metadata| metadata.is_file() || metadata.is_dir());
        if is_replaced { Self::File(path) } else { Self::Stream(path) }
    }

    /// Begins a report.
    ///
    /// # Errors
    /// Fails if the folder of the file cannot be written.
    pub fn draft(&self) -> io::Result<ReportDraft> {
        match self {
            Self::Stdout | Self::Stream(_) => Ok(ReportDraft::Spooled(Spool::default())),
            Self::File(path) if path.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Self::File(path) => {
                Ok(ReportDraft::Temporary(BufWriter::with_capacity(1 << 16, temporary(path)?)))
            }
        }
    }

    /// Makes a complete report visible, with `metadata` in a file of its own where that is given.
    ///
    /// # Errors
    /// Fails if the output cannot be written. Neither file is replaced then, or the metadata is.
    pub fn publish(&self, draft: ReportDraft, metadata: Option<&ReportMetadata>) -> io::Result<()> {
        let metadata = metadata.map(|metadata| metadata.to_json() + "\n");
        match (self, draft) {
            (Self::File(path), ReportDraft::Temporary(file)) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                if let Some(text) = metadata {
                    let path = metadata_path(path);
                    let mut file = temporary(&path)?;
                    file.write_all(text.as_bytes())?;
                    file.persist(path).map_err(|error| error.error)?;
                }
                file.persist(path).map_err(|error| error.error)?;
                Ok(())
            }
            (Self::Stream(path), ReportDraft::Spooled(spool)) => {
                spool.copy_to(&mut OpenOptions::new().write(true).open(path)?)?;
                write_to_stderr(metadata)
            }
            (_, ReportDraft::Spooled(spool)) => {
                spool.copy_to(&mut io::stdout().lock())?;
                write_to_stderr(metadata)
            }
            (Self::Stdout | Self::Stream(_), ReportDraft::Temporary(_)) => {
                unreachable!("Safe: only a file has a temporary file")
            }
        }
    }
}

impl Write for ReportDraft {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Self::Spooled(spool) => spool.write(text),
            Self::Temporary(file) => file.write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Spooled(spool) => spool.flush(),
            Self::Temporary(file) => file.flush(),
        }
    }
}

/// A temporary file in the folder of `path`, with the permissions of a new file.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new();
    draft.prefix(".report-").suffix(".tmp").permissions(Permissions::from_mode(0o666));
    draft.tempfile_in(folder)
}

fn metadata_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(METADATA_SUFFIX);
    PathBuf::from(name)
}

fn write_to_stderr(text: Option<String>) -> io::Result<()> {
    text.map_or(Ok(()), |text| io::stderr().lock().write_all(text.as_bytes()))
}

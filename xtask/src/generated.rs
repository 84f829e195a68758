//! Files that are generated and committed.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file of the repository with its generated content.
pub(crate) struct GeneratedFile {
    /// Relative to the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl GeneratedFile {
    /// Returns whether the committed file has the generated content.
    pub(crate) fn is_current(&self) -> bool {
        std::fs::read(root().join(&self.path)).is_ok_and(|committed| committed == self.text.as_bytes())
    }

    fn write(&self) -> io::Result<()> {
        File::create(root().join(&self.path))?.write_all(self.text.as_bytes())
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Writes the files that are out of date. With `check`, fails on them instead.
///
/// # Errors
/// When a file is out of date and `check` is set, or when a file cannot be written.
pub(crate) fn run(files: &[GeneratedFile], check: bool) -> io::Result<()> {
    let outdated: Vec<_> = files.iter().filter(|file| !file.is_current()).collect();
    for file in &outdated {
        if check {
            eprintln!("out of date: {}", file.path);
        } else {
            file.write().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.path)))?;
            eprintln!("written: {}", file.path);
        }
    }
    if check && !outdated.is_empty() {
        return Err(io::Error::other(format!(
            "{} of {} generated files are out of date",
            outdated.len(),
            files.len()
        )));
    }
    eprintln!("{} generated files are up to date", files.len());
    Ok(())
}

//! The check of the folder of the state file.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use super::messages;
use super::report::StepOutcome;

/// Writes a temporary file into `folder`, or into the closest existing folder above it. Does not touch the
/// state file, so it does not disturb a running exporter.
#[must_use]
pub fn storage(folder: &Path) -> (StepOutcome, String) {
    let existing = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let existing = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match write(existing) {
        Ok(()) => (StepOutcome::Ok, messages::storage_is_writable(folder, existing == folder)),
        Err(error) => (StepOutcome::Failed, messages::storage_failed(folder, &error)),
    }
}

fn write(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&[0; 4096])?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_must_be_writable_or_creatable() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("a/b");
        for path in [folder.path(), &missing, Path::new("not-there")] {
            assert_eq!(storage(path).0, StepOutcome::Ok, "{}", path.display());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::File::create(&file).unwrap();
        for path in [file.clone(), file.join("data")] {
            assert_eq!(storage(&path).0, StepOutcome::Failed, "{}", path.display());
        }
    }
}

//! The names of the state file and the files beside it.

use std::path::Path;
use std::{fs, io};

/// The name of the state file.
pub(super) const NAME: &str = "state.db";

/// The name of a state file that is not complete yet.
pub(super) const DRAFT: &str = "state.db.new";

/// The file name suffixes of a database and the files that SQLite keeps with it. They are always renamed
/// together: the newest transactions are in the `-wal`.
pub(super) const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];

/// Removes what an interrupted creation left.
pub(super) fn remove_draft(folder: &Path) -> io::Result<()> {
    ["", "-journal", "-wal", "-shm"]
        .into_iter()
        .try_for_each(|end| remove_if_present(&folder.join(format!("{DRAFT}{end}"))))
}

/// Removes a file that need not exist.
pub(super) fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

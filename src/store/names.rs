//! The names of the state file and the files beside it.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The name of the state file.
pub(super) const NAME: &str = "state.db";

/// The name of the file whose lock keeps other exporters out of the folder.
pub(super) const LOCK: &str = "lock";

/// The name of a state file that is not complete yet.
pub(super) const DRAFT: &str = "state.db.new";

/// The file name suffixes of a database and the files that SQLite keeps with it. They are always renamed
/// together: the newest transactions are in the `-wal`.
pub(super) const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];

/// A file that SQLite keeps beside the database at `path`. Its name ends in `end`.
pub(super) fn companion(path: &Path, end: &str) -> PathBuf {
    let mut companion = path.to_owned().into_os_string();
    companion.push(end);
    companion.into()
}

/// Returns whether `path` is one of the files that the exporter keeps in `folder`, whether it exists or not.
#[must_use]
pub fn is_state_file(folder: &Path, path: &Path) -> bool {
    let folder_of = |path: &Path| {
        path.parent().map(|folder| if folder == Path::new("") { ".".into() } else { folder.to_owned() })
    };
    let is_in_folder = folder_of(path)
        .and_then(|parent| fs::canonicalize(parent).ok())
        .is_some_and(|parent| fs::canonicalize(folder).is_ok_and(|folder| folder == parent));
    let is_named =
        |name: &str| name == LOCK || name.strip_prefix(NAME).is_some_and(|end| COMPANIONS.contains(&end));
    is_in_folder && path.file_name().and_then(|name| name.to_str()).is_some_and(is_named)
}

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

//! Access for other users of the folder's group. A container platform may start the exporter as another
//! user each time, with the group of the volume; each of them has to continue with the same state.
//!
//! The files are [shared with the group](crate::group_access). A file that this user cannot write, in a
//! folder that it can write, is replaced by a copy.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::names::{COMPANIONS, DRAFT, NAME, remove_draft, remove_if_present};
use crate::group_access::share_with_group;

/// Shares the file and its log, which exist once the connection has read from the database.
pub(super) fn share_database(folder: &Path, connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    for end in COMPANIONS {
        share_with_group(folder, &folder.join(format!("{NAME}{end}")));
    }
    Ok(())
}

/// Returns whether the system denies this user to write the state file or its log.
fn is_denied(folder: &Path) -> bool {
    COMPANIONS.iter().any(|end| {
        let opened = File::options().write(true).open(folder.join(format!("{NAME}{end}")));
        opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// Replaces a state file that this user cannot write by a copy of it. Returns whether it did. A file that
/// cannot be copied stays as it is.
pub(super) fn replace_by_copy(folder: &Path) -> bool {
    let replaced = is_denied(folder) && copy(folder).is_ok();
    if !replaced {
        // What is left of a copy only takes space; the next one removes it.
        remove_draft(folder).ok();
    }
    replaced
}

fn copy(folder: &Path) -> io::Result<()> {
    remove_draft(folder)?;
    // Not `fs::copy`, which copies the permissions too. The `-shm` is made from the log.
    for end in ["", "-wal"] {
        let mut original = match File::open(folder.join(format!("{NAME}{end}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !end.is_empty() => continue,
            opened => opened?,
        };
        let mut draft = File::create_new(folder.join(format!("{DRAFT}{end}")))?;
        io::copy(&mut original, &mut draft)?;
        draft.sync_all()?;
    }
    include_log(&folder.join(DRAFT))?;
    fs::rename(folder.join(DRAFT), folder.join(NAME))?;
    remove_draft(folder)?;
    // After a crash here, SQLite repeats the log of the original, which changes nothing.
    for end in ["-wal", "-shm"] {
        remove_if_present(&folder.join(format!("{NAME}{end}")))?;
    }
    Ok(())
}

/// Moves the log into the file, so that one rename replaces the whole database.
fn include_log(draft: &Path) -> io::Result<()> {
    let checkpoint = || -> rusqlite::Result<bool> {
        let connection = Connection::open(draft)?;
        let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(is_busy)
    };
    match checkpoint() {
        Ok(false) => Ok(()),
        Ok(true) => Err(io::ErrorKind::ResourceBusy.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

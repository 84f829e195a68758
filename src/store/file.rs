//! The state folder: its lock, opening and creating the file, and setting aside a file that cannot be used.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::event::{SaveError, SetAsideReason, StoreEvent};
use super::load::{LoadedState, load};
use super::names::{COMPANIONS, DRAFT, LOCK, NAME, companion, remove_draft};
use super::permissions;
use super::schema::{self, Origin};
use crate::group_access::share_with_group;

/// The time that a save waits while another tool reads the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Locks the folder until the returned file is dropped or the process ends in any way. Creates the folder if
/// it is missing.
pub(super) fn lock(folder: &Path) -> Result<File, SaveError> {
    let failed = |source| SaveError::Folder { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join(LOCK);
    let writable = File::options().create(true).truncate(false).write(true).open(&path);
    let file = writable.or_else(|error| File::open(&path).map_err(|_| error)).map_err(failed)?;
    share_with_group(folder, &path);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SaveError::Locked { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The reason for which a file could not be read.
pub(super) enum Unusable {
    /// The content is at fault: the file has to be replaced.
    Content(SetAsideReason),
    /// The disk is at fault: the content may be fine.
    Disk(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Content(SetAsideReason::Foreign),
            _ if matches!(error, rusqlite::Error::InvalidPath(_)) => Self::Disk(error),
            _ if is_disk_error(&error) => Self::Disk(error),
            _ => Self::Content(SetAsideReason::Damaged),
        }
    }
}

/// Returns whether an error comes from the disk or the system, and not from the content of the file.
pub(super) fn is_disk_error(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        AuthorizationForStatementDenied, CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull,
        FileLockingProtocolFailed, NoLargeFileSupport, OperationInterrupted, OutOfMemory, PermissionDenied,
        ReadOnly, SystemIoFailure,
    };
    matches!(
        error.sqlite_error_code(),
        Some(
            AuthorizationForStatementDenied
                | CannotOpen
                | DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | FileLockingProtocolFailed
                | NoLargeFileSupport
                | OperationInterrupted
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure
        )
    )
}

/// Opens the file in `folder` for writing and reads it. Creates a new one if there is none, or if it cannot
/// be used.
pub(super) fn open_or_create(
    folder: &Path,
    now: Timestamp,
    events: &mut Vec<StoreEvent>,
) -> Result<(Connection, LoadedState), SaveError> {
    let path = folder.join(NAME);
    let exists = path.try_exists().map_err(|source| SaveError::Folder { path: folder.to_owned(), source })?;
    if !exists {
        return Ok((create(folder, now, events)?, LoadedState::default()));
    }
    if permissions::replace_by_copy(folder) {
        events.push(StoreEvent::Copied { path: path.clone() });
    }
    match open(folder, now) {
        Ok(opened) => Ok(opened),
        Err(Unusable::Disk(source)) => Err(SaveError::File { path, source }),
        Err(Unusable::Content(reason)) => {
            set_aside(folder, reason, now, events)?;
            Ok((create(folder, now, events)?, LoadedState::default()))
        }
    }
}

fn open(folder: &Path, now: Timestamp) -> Result<(Connection, LoadedState), Unusable> {
    let path = &folder.join(NAME);
    if !path.is_file() {
        return Err(Unusable::Content(SetAsideReason::Foreign));
    }
    if is_misleading(path) {
        return Err(Unusable::Content(SetAsideReason::Damaged));
    }
    let mut connection = connect(path)?;
    let is_writable = !connection.is_readonly(MAIN_DB)?;
    match check_file(&connection)? {
        SchemaAge::Current => {}
        SchemaAge::Older if is_writable => schema::migrate(&mut connection)?,
        SchemaAge::Older => schema::view_as_current(&connection)?,
    }
    let loaded = load(&connection, now)?;
    if !is_writable {
        let read_only = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
        return Err(Unusable::Disk(rusqlite::Error::SqliteFailure(read_only, None)));
    }
    configure_for_saves(folder, &connection)?;
    Ok((connection, loaded))
}

/// Returns whether SQLite would mistake a damaged file for something else: an empty file for a new database,
/// whose log it drops, and a file with a write version other than 1 and 2 for one that must not be written
/// (<https://sqlite.org/fileformat2.html#file_format_version_numbers>).
fn is_misleading(path: &Path) -> bool {
    let mut header = [0; 19];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) => !matches!(header[18], 1 | 2) && header.starts_with(b"SQLite format 3\0"),
        Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
    }
}

/// Reads a file that cannot be written, without any change on the disk. So the exporter keeps its state on a
/// disk that is full or was remounted read-only.
pub(super) fn read_without_writing(folder: &Path, now: Timestamp) -> Option<LoadedState> {
    let connection = open_without_writing(&folder.join(NAME)).ok()?;
    match check_file(&connection).ok()? {
        SchemaAge::Current => load(&connection, now).ok(),
        SchemaAge::Older => {
            schema::view_as_current(&connection).ok()?;
            let loaded = load(&connection, now).ok()?;
            let is_complete = schema::has_complete_lists(&connection).ok()?;
            Some(if is_complete { loaded } else { loaded.without_lists() })
        }
    }
}

/// Opens the file at `path` for reading, without any change on the disk.
fn open_without_writing(path: &Path) -> rusqlite::Result<Connection> {
    let has_index = companion(path, "-shm").exists();
    // With a log, as after a crash, SQLite reads the log through the existing `-shm`. Without a log it would
    // create both files, unless the database is declared immutable. A copy of the folder may lack the `-shm`: SQLite
    // makes that in memory if no other process can use the file, which it is told by the absence of locks
    // (<https://sqlite.org/wal.html#use_of_wal_without_shared_memory>).
    let mode = match (has_log(path), has_index) {
        (false, _) => "immutable=1",
        (true, true) => "readonly_shm=1",
        (true, false) => "vfs=unix-none",
    };
    let path = uri_path(path).ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{path}?mode=ro&{mode}"), flags)?;
    keep_log_on_close(&connection)?;
    if !has_index {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    Ok(connection)
}

/// Opens the file at `path` for reading and checks it. The connection is in a transaction, in which every query sees the same
/// state, and shows the tables of this release.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, Unusable> {
    if !path.is_file() {
        return Err(Unusable::Content(SetAsideReason::Foreign));
    }
    if is_misleading(path) {
        return Err(Unusable::Content(SetAsideReason::Damaged));
    }
    let connection = open_without_writing(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A cache of 32 MiB: machines are read in the order of their names, and so the pages in any order.
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768; BEGIN")?;
    if let SchemaAge::Older = check_file(&connection)? {
        schema::view_as_current(&connection)?;
    }
    Ok(connection)
}

/// Returns whether a log with changes is beside the file at `path`.
pub(super) fn has_log(path: &Path) -> bool {
    companion(path, "-wal").metadata().is_ok_and(|log| log.len() > 0)
}

/// The path, escaped for a URI (<https://sqlite.org/uri.html>). None unless it is UTF-8.
fn uri_path(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let escape = |path: String, (from, to): (&str, &str)| path.replace(from, to);
    Some([("%", "%25"), ("?", "%3f"), ("#", "%23")].into_iter().fold(path.to_str()?.to_owned(), escape))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_log_on_close(&connection)?;
    Ok(connection)
}

/// Prevents SQLite from moving the log into the file and deleting it when the connection is closed: a file
/// that is set aside must stay unchanged.
pub(super) fn keep_log_on_close(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// The schema of a usable file, relative to this release.
enum SchemaAge {
    Current,
    Older,
}

/// Checks the header and the pages of the file.
fn check_file(connection: &Connection) -> Result<SchemaAge, Unusable> {
    let age = match schema::identify(connection)? {
        Origin::Current => SchemaAge::Current,
        Origin::Older => SchemaAge::Older,
        Origin::Foreign => return Err(Unusable::Content(SetAsideReason::Foreign)),
        Origin::Newer => return Err(Unusable::Content(SetAsideReason::Newer)),
        Origin::Damaged => return Err(Unusable::Content(SetAsideReason::Damaged)),
    };
    // A pass over all pages. Reading every row, which follows, detects broken rows but no pages that a tree
    // lost: their missing updates would disappear silently. The check costs a fraction of the reading, once
    // per start.
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Unusable::Content(SetAsideReason::Damaged));
    }
    Ok(age)
}

/// Sets the journal and cache options of the connection, and the permissions of the files.
fn configure_for_saves(folder: &Path, connection: &Connection) -> rusqlite::Result<()> {
    // NORMAL: in WAL mode a crash of the process loses nothing, and a crash of the host at most the newest
    // saves, never the file. The size limit returns the space of a large save to the disk.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216; \
         PRAGMA cache_size = -8000; PRAGMA temp_store = MEMORY;",
    )?;
    permissions::share_database(folder, connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

/// Creates a new file. It gets its name when it is complete, so an incomplete file is never visible.
pub(super) fn create(
    folder: &Path,
    now: Timestamp,
    events: &mut Vec<StoreEvent>,
) -> Result<Connection, SaveError> {
    let folder_failed = |source| SaveError::Folder { path: folder.to_owned(), source };
    // SQLite would take a log without its file for the log of the new one.
    if COMPANIONS.iter().any(|end| folder.join(format!("{NAME}{end}")).exists()) {
        set_aside(folder, SetAsideReason::Missing, now, events)?;
    }
    let (path, draft) = (folder.join(NAME), folder.join(DRAFT));
    remove_draft(folder).map_err(folder_failed)?;
    let file_failed = |source| SaveError::File { path: path.clone(), source };
    let connection = Connection::open(&draft).map_err(file_failed)?;
    schema::create(&connection).map_err(file_failed)?;
    connection.close().map_err(|(_, error)| file_failed(error))?;
    fs::rename(&draft, &path).map_err(folder_failed)?;
    let connection = connect(&path).map_err(file_failed)?;
    configure_for_saves(folder, &connection).map_err(file_failed)?;
    Ok(connection)
}

/// Renames the file and its companions, never onto another file. No connection may be open.
pub(super) fn set_aside(
    folder: &Path,
    reason: SetAsideReason,
    now: Timestamp,
    events: &mut Vec<StoreEvent>,
) -> Result<(), SaveError> {
    let failed = |source| SaveError::Folder { path: folder.to_owned(), source };
    let name = format!("{NAME}.{}-{}", reason.as_str(), now.strftime("%Y%m%dT%H%M%SZ"));
    let is_free = |name: &String| COMPANIONS.iter().all(|end| !folder.join(format!("{name}{end}")).exists());
    let names = std::iter::once(name.clone()).chain((2..1000).map(|number| format!("{name}-{number}")));
    let Some(name) = names.into_iter().find(is_free) else {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    };
    for end in COMPANIONS {
        match fs::rename(folder.join(format!("{NAME}{end}")), folder.join(format!("{name}{end}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    events.push(StoreEvent::SetAside { reason, path: folder.join(name), keeps_data: false });
    Ok(())
}

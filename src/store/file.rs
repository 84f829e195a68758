//! The folder: its lock, the file in it, and what happens to a file that cannot be used.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::event::{Reason, SaveError, StoreEvent};
use super::load::{Loaded, load};
use super::schema::{self, Origin};

/// Name of the state file.
pub(super) const NAME: &str = "state.db";

/// What SQLite keeps beside a file, by the end of the name. A file goes nowhere without them: the
/// newest transactions are in the `-wal`.
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];

/// How long a save waits for somebody who looks into the file with another tool.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes the folder for this process, until the file is dropped or the process ends in any way.
/// Makes the folder when it is missing.
pub(super) fn lock(folder: &Path) -> Result<File, SaveError> {
    let failed = |source| SaveError::Folder { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join("lock");
    let writable = File::options().create(true).truncate(false).write(true).open(&path);
    let file = writable.or_else(|error| File::open(&path).map_err(|_| error)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SaveError::Locked { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Why a file could not be read.
enum Unusable {
    /// Its contents are at fault: another file must take its place.
    PersistedState(Reason),
    /// The disk is; the contents may be fine.
    Disk(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::PersistedState(Reason::Foreign),
            _ if is_of_the_disk(&error) => Self::Disk(error),
            _ => Self::PersistedState(Reason::Damaged),
        }
    }
}

/// Whether an error says something of the disk or the system, not of what is in the file.
pub(super) fn is_of_the_disk(error: &rusqlite::Error) -> bool {
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

/// Opens the file in `folder` for writing and reads it; makes a new one when there is none, or when it
/// cannot be used.
pub(super) fn open_or_create(
    folder: &Path,
    now: Timestamp,
    notices: &mut Vec<StoreEvent>,
) -> Result<(Connection, Loaded), SaveError> {
    let path = folder.join(NAME);
    let found = path.try_exists().map_err(|source| SaveError::Folder { path: folder.to_owned(), source })?;
    if !found {
        return Ok((create(folder, now, notices)?, Loaded::default()));
    }
    match open(&path, now) {
        Ok(opened) => Ok(opened),
        Err(Unusable::Disk(source)) => Err(SaveError::File { path, source }),
        Err(Unusable::PersistedState(reason)) => {
            set_aside(folder, reason, now, notices)?;
            Ok((create(folder, now, notices)?, Loaded::default()))
        }
    }
}

fn open(path: &Path, now: Timestamp) -> Result<(Connection, Loaded), Unusable> {
    if !path.is_file() {
        return Err(Unusable::PersistedState(Reason::Foreign));
    }
    if is_misleading(path) {
        return Err(Unusable::PersistedState(Reason::Damaged));
    }
    let mut connection = connect(path)?;
    let is_writable = !connection.is_readonly(MAIN_DB)?;
    match examine(&connection)? {
        Age::Newest => {}
        Age::Older if is_writable => schema::bring_up(&mut connection)?,
        Age::Older => schema::view_as_newest(&connection)?,
    }
    let loaded = load(&connection, now)?;
    if !is_writable {
        let read_only = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
        return Err(Unusable::Disk(rusqlite::Error::SqliteFailure(read_only, None)));
    }
    ready_for_saves(&connection)?;
    Ok((connection, loaded))
}

/// Whether SQLite would take a damaged file for something else: an empty one for a new one, dropping
/// its log, and one whose write version is not 1 or 2 for one that must not be written
/// (<https://sqlite.org/fileformat2.html#file_format_version_numbers>).
fn is_misleading(path: &Path) -> bool {
    let mut header = [0; 19];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) => !matches!(header[18], 1 | 2) && header.starts_with(b"SQLite format 3\0"),
        Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
    }
}

/// Reads a file that may not be written, without a trace on the disk: a disk that is full or was
/// remounted read-only does not make the exporter forget.
pub(super) fn read_without_writing(folder: &Path, now: Timestamp) -> Option<Loaded> {
    let path = folder.join(NAME);
    let has_log = folder.join(format!("{NAME}-wal")).metadata().is_ok_and(|wal| wal.len() > 0);
    // With a log, as after a crash, SQLite reads it through the `-shm` that lies there too. Without one
    // it would insist on making both, unless the file is said to be immutable.
    let mode = if has_log { "readonly_shm=1" } else { "immutable=1" };
    let uri = format!("file:{}?mode=ro&{mode}", uri_path(&path)?);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags).ok()?;
    match examine(&connection).ok()? {
        Age::Newest => {}
        Age::Older => schema::view_as_newest(&connection).ok()?,
    }
    load(&connection, now).ok()
}

/// The path as it stands in a URI (<https://sqlite.org/uri.html>). None unless it is UTF-8.
fn uri_path(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let escape = |path: String, (from, to): (&str, &str)| path.replace(from, to);
    Some([("%", "%25"), ("?", "%3f"), ("#", "%23")].into_iter().fold(path.to_str()?.to_owned(), escape))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    leave_as_it_is(&connection)?;
    Ok(connection)
}

/// Keeps SQLite from working the log into the file and deleting it when the connection is closed: a
/// file that is set aside shall stay what it was.
pub(super) fn leave_as_it_is(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// Whether a file of ours can be read as it is.
enum Age {
    Newest,
    Older,
}

fn examine(connection: &Connection) -> Result<Age, Unusable> {
    let age = match schema::recognise(connection)? {
        Origin::Ours => Age::Newest,
        Origin::Older => Age::Older,
        Origin::Foreign => return Err(Unusable::PersistedState(Reason::Foreign)),
        Origin::Newer => return Err(Unusable::PersistedState(Reason::Newer)),
        Origin::Damaged => return Err(Unusable::PersistedState(Reason::Damaged)),
    };
    // A pass over all pages. Assessment every row, which follows, sees rows that are broken, but not
    // pages that were lost from a tree: these gaps would be forgotten without a word. It costs a
    // fraction of the reading, and once per start.
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Unusable::PersistedState(Reason::Damaged));
    }
    Ok(age)
}

fn ready_for_saves(connection: &Connection) -> rusqlite::Result<()> {
    // NORMAL: in WAL mode a crash of the process loses nothing, one of the whole machine at most the
    // newest saves, never the file. The limit gives the room of a large save back to the disk.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 16777216; \
         PRAGMA cache_size = -8000; PRAGMA temp_store = MEMORY;",
    )?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

/// Makes a new file. It gets its name when it is complete, so that nobody ever finds half of one.
pub(super) fn create(
    folder: &Path,
    now: Timestamp,
    notices: &mut Vec<StoreEvent>,
) -> Result<Connection, SaveError> {
    let folder_failed = |source| SaveError::Folder { path: folder.to_owned(), source };
    // A log without its file would be taken for that of the new one.
    if COMPANIONS.iter().any(|end| folder.join(format!("{NAME}{end}")).exists()) {
        set_aside(folder, Reason::Damaged, now, notices)?;
    }
    let (path, draft) = (folder.join(NAME), folder.join(format!("{NAME}.new")));
    for end in ["", "-journal"] {
        match fs::remove_file(folder.join(format!("{NAME}.new{end}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(folder_failed(error)),
            _ => {}
        }
    }
    let file_failed = |source| SaveError::File { path: path.clone(), source };
    let connection = Connection::open(&draft).map_err(file_failed)?;
    schema::create(&connection).map_err(file_failed)?;
    connection.close().map_err(|(_, error)| file_failed(error))?;
    fs::rename(&draft, &path).map_err(folder_failed)?;
    let connection = connect(&path).map_err(file_failed)?;
    ready_for_saves(&connection).map_err(file_failed)?;
    Ok(connection)
}

/// Renames the file and its companions; never over another file. No connection may be open.
pub(super) fn set_aside(
    folder: &Path,
    reason: Reason,
    now: Timestamp,
    notices: &mut Vec<StoreEvent>,
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
    notices.push(StoreEvent::SetAside { reason, path: folder.join(name) });
    Ok(())
}

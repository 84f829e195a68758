//! Reads the state file beside a running exporter, one machine at a time.
//!
//! Nothing in the folder is created, changed or deleted, and nothing prevents an exporter from starting. While the
//! exporter runs, or after it crashed, the newest changes are in the log beside the file, and SQLite shows the state
//! at the beginning of the read. Without a log, SQLite takes no locks at all, so a reader has to find out afterwards
//! whether an exporter started meanwhile, and to read again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Statement};

use super::event::SetAsideReason;
use super::file::{self, Unusable};
use super::machine_row::{
    SELECT_FACTS, SELECT_MACHINE, SELECT_MISSING_UPDATE, machine, missing_update, update_facts,
};
use super::names::{NAME, companion};
use super::row::{at, each, integer, text};
use super::unreadable;
use crate::fleet::{Machine, UpdateFacts};

/// The number of times that a file which changes is read.
pub(super) const READS: u32 = 10;

/// The pause after the first read; it grows with each read.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// The state file, opened for reading.
#[derive(Debug)]
pub struct StateReader {
    folder: PathBuf,
    /// Times after it are set back to it.
    now: Timestamp,
    connection: Connection,
    /// True if the newest changes are in a log.
    has_log: bool,
    before: FileStamps,
    /// The number of reads, this one included.
    reads: u32,
    saved_at: Option<Timestamp>,
    machines: BTreeMap<Arc<str>, Vec<MachineKey>>,
    facts: HashMap<i64, Arc<UpdateFacts>>,
    skipped: u64,
}

/// The place of a machine in the file. The order is that of reports: by name in lower case, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineKey {
    lower_name: Box<str>,
    id: Box<str>,
    row: i64,
}

/// The reason for which the state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no file.
    #[error("there is no state file `{}`; an exporter writes it after its first poll", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or comes from another program or a later release.
    #[error("state file `{}` {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The defect.
        reason: SetAsideReason,
    },
    /// The system does not let this user read the file, or the disk fails.
    #[error("cannot read state file `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of SQLite or of the system.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file changed each time while it was read.
    #[error("state file `{}` changed {READS} times while it was read; try again", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
}

impl StateReader {
    /// Opens the file in `folder`, checks it, and reads which machines are in scope. Times after `now`, from a clock
    /// that was ahead, are set back to it.
    ///
    /// # Errors
    /// If the file is missing, cannot be read or is not usable, see [`ReadError`].
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, ReadError> {
        Self::read(folder, now, 1)
    }

    /// Opens the file again, after it changed.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if the file changed each time.
    pub fn open_again(self) -> Result<Self, ReadError> {
        let Self { folder, now, connection, reads, .. } = self;
        drop(connection);
        if reads >= READS {
            return Err(ReadError::Changing { path: folder.join(NAME) });
        }
        thread::sleep(PAUSE * reads);
        Self::read(&folder, now, reads + 1)
    }

    fn read(folder: &Path, now: Timestamp, mut reads: u32) -> Result<Self, ReadError> {
        let path = folder.join(NAME);
        let failed = |source| ReadError::File { path: path.clone(), source };
        if !path.try_exists().map_err(|source| failed(source.into()))? {
            return Err(ReadError::Missing { path });
        }
        loop {
            let before = FileStamps::of(&path).map_err(|source| failed(source.into()))?;
            let unusable = match Self::read_once(folder, now, &before, reads) {
                Ok(reader) => return Ok(reader),
                Err(unusable) => unusable,
            };
            // An exporter that ends removes the log, which may have been there a moment ago.
            if reads < READS && FileStamps::of(&path).is_ok_and(|now| now != before) {
                thread::sleep(PAUSE * reads);
                reads += 1;
                continue;
            }
            return Err(match unusable {
                Unusable::Content(reason) => ReadError::Unusable { path, reason },
                Unusable::Disk(source) => failed(source.into()),
            });
        }
    }

    fn read_once(folder: &Path, now: Timestamp, before: &FileStamps, reads: u32) -> Result<Self, Unusable> {
        let path = folder.join(NAME);
        let has_log = file::has_log(&path);
        let connection = file::open_for_reading(&path)?;
        let mut skipped = 0;
        let saved_at = saved_at(&connection)?;
        let machines = machines_in_scope(&connection, &mut skipped)?;
        let facts = facts(&connection, &mut skipped)?;
        let (folder, before) = (folder.to_owned(), before.clone());
        Ok(Self { folder, now, connection, has_log, before, reads, saved_at, machines, facts, skipped })
    }

    /// The time of the newest save; none if an earlier release wrote the file.
    #[must_use]
    pub fn saved_at(&self) -> Option<Timestamp> {
        self.saved_at
    }

    /// The names of the tenants in the file.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<str>> {
        self.machines.keys()
    }

    /// The machines of a tenant that are in scope, sorted.
    #[must_use]
    pub fn machines(&self, tenant: &str) -> &[MachineKey] {
        self.machines.get(tenant).map_or(&[], Vec::as_slice)
    }

    /// The machines of [`machines`](Self::machines) in the order of the file, in which they are read fastest.
    #[must_use]
    pub fn machines_by_place(&self, tenant: &str) -> Vec<&MachineKey> {
        let mut machines: Vec<_> = self.machines(tenant).iter().collect();
        machines.sort_unstable_by_key(|machine| machine.row);
        machines
    }

    /// Prepares the reading of machines.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn machine_reader(&self) -> Result<MachineReader<'_>, ReadError> {
        let prepare = |select: &str, end: &str| self.connection.prepare(&format!("{select} {end}"));
        let prepared = || {
            Ok(MachineReader {
                reader: self,
                machine: prepare(SELECT_MACHINE, "WHERE machine.key = ?1")?,
                missing_updates: prepare(SELECT_MISSING_UPDATE, "WHERE machine = ?1 ORDER BY kb")?,
                unreadable: if self.has_unreadable_ids()? {
                    Some(prepare(unreadable::SELECT, "WHERE machine = ?1")?)
                } else {
                    None
                },
                unreadable_ids: HashSet::new(),
                skipped: self.skipped,
            })
        };
        prepared().map_err(|source| self.failed(source))
    }

    fn has_unreadable_ids(&self) -> rusqlite::Result<bool> {
        self.connection.query_row("SELECT EXISTS (SELECT 1 FROM unreadable)", [], |row| row.get(0))
    }

    fn failed(&self, source: rusqlite::Error) -> ReadError {
        ReadError::File { path: self.folder.join(NAME), source: source.into() }
    }

    /// Returns whether everything that was read belongs together. Otherwise the file changed meanwhile, and has to be
    /// [opened again](Self::open_again).
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.before.is_consistent(&self.folder.join(NAME), self.has_log, self.reads)
    }
}

/// Reads machines one after another.
#[derive(Debug)]
pub struct MachineReader<'a> {
    reader: &'a StateReader,
    machine: Statement<'a>,
    missing_updates: Statement<'a>,
    /// None if no machine has unreadable ids.
    unreadable: Option<Statement<'a>>,
    /// Most machines have the same ids.
    unreadable_ids: HashSet<Arc<str>>,
    skipped: u64,
}

impl MachineReader<'_> {
    /// Reads a machine. None if its row is invalid, which [`skipped_rows`](Self::skipped_rows) counts. A machine that lost
    /// another row has expired data.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(&mut self, key: &MachineKey) -> Result<Option<Machine>, ReadError> {
        self.row(key.row).map_err(|source| self.reader.failed(source))
    }

    fn row(&mut self, key: i64) -> rusqlite::Result<Option<Machine>> {
        let row = self.machine.query_row([key], |row| Ok(machine(row))).optional()?.flatten();
        let Some(mut machine) = row.map(|row| row.machine) else {
            self.skipped += 1;
            return Ok(None);
        };
        let skipped_before = self.skipped;
        if let Some(assessment) = &mut machine.assessment {
            let mut rows = self.missing_updates.query([key])?;
            while let Some(row) = rows.next()? {
                match missing_update(row, |facts| self.reader.facts.get(&facts).cloned()) {
                    Some(missing) => assessment.missing_updates.push(missing),
                    None => self.skipped += 1,
                }
            }
            if let Some(unreadable) = &mut self.unreadable {
                let mut rows = unreadable.query([key])?;
                while let Some(row) = rows.next()? {
                    match unreadable::read(row, assessment, &mut self.unreadable_ids) {
                        Some(ids) => assessment.unreadable = Some(Box::new(ids)),
                        None => self.skipped += 1,
                    }
                }
            }
            if self.skipped > skipped_before {
                assessment.expire();
            }
        }
        machine.set_back_times(self.reader.now);
        Ok(Some(machine))
    }

    /// The number of invalid rows of the file that were left out so far.
    #[must_use]
    pub fn skipped_rows(&self) -> u64 {
        self.skipped
    }
}

fn saved_at(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let saved_at =
        connection.query_row("SELECT max(at) FROM saved", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(saved_at.and_then(at))
}

fn machines_in_scope(
    connection: &Connection,
    skipped: &mut u64,
) -> rusqlite::Result<BTreeMap<Arc<str>, Vec<MachineKey>>> {
    let mut tenants = HashMap::new();
    each(connection, "SELECT key, name FROM tenant", skipped, |row| {
        tenants.insert(integer(row, 0)?, (Arc::from(text(row, 1)?), Vec::new()));
        Some(())
    })?;
    let query = "SELECT key, tenant, name, id FROM machine WHERE departed_at IS NULL";
    each(connection, query, skipped, |row| {
        let (_, machines) = tenants.get_mut(&integer(row, 1)?)?;
        let (lower_name, id) = (text(row, 2)?.to_lowercase().into(), text(row, 3)?.into());
        machines.push(MachineKey { lower_name, id, row: integer(row, 0)? });
        Some(())
    })?;
    for (_, machines) in tenants.values_mut() {
        machines.sort_unstable();
        machines.shrink_to_fit();
    }
    Ok(tenants.into_values().collect())
}

fn facts(connection: &Connection, skipped: &mut u64) -> rusqlite::Result<HashMap<i64, Arc<UpdateFacts>>> {
    let mut facts = HashMap::new();
    each(connection, SELECT_FACTS, skipped, |row| {
        facts.extend([update_facts(row)?]);
        Some(())
    })?;
    Ok(facts)
}

/// What differs after a change of the file: its identity, length and time, and the beginning of the log, which
/// changes when the log starts over (<https://sqlite.org/fileformat2.html#the_write_ahead_log>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStamps {
    file: (u64, u64, u64, i64, i64),
    log: Vec<u8>,
}

impl FileStamps {
    /// The stamps of the file at `path`.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let file = path.metadata()?;
        let mut log = Vec::new();
        if let Ok(opened) = File::open(companion(path, "-wal")) {
            opened.take(32).read_to_end(&mut log)?;
        }
        Ok(Self { file: (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()), log })
    }

    /// Returns whether everything that was read from the file at `path` since these stamps belongs together. `reads` is
    /// the number of reads, and `has_log` is true if there was a log before this one.
    ///
    /// With a log, SQLite protects a reader from the exporter, if that ran when the reader began. The reader cannot
    /// know that, but after one change there is an exporter.
    pub(super) fn is_consistent(&self, path: &Path, has_log: bool, reads: u32) -> bool {
        has_log && reads > 1 || Self::of(path).is_ok_and(|now| now == *self)
    }
}

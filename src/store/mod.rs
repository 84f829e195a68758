//! The memory: what must survive a restart, in one SQLite file.
//!
//! Owns the folder of the state. A [`Store`] holds the lock on it, so that two exporters never share
//! one, and the connection to `state.db`. [`Store::open`] reads everything; [`Store::save`] writes the
//! difference to what the file holds, in one transaction, so that a crash at any moment leaves the old
//! state or the new one. Blocking: it belongs on a thread of its own. Knows nothing of polls and pages.
//!
//! Only a second instance on the folder is an error at the start. A file of an earlier release is
//! brought up in one transaction, or read as it is where it cannot be written. A file that cannot be
//! used is renamed to `state.db.<reason>-<time>` and a new one is begun; a disk that cannot be written
//! leaves the exporter without memory until a later save succeeds. [`StoreEvent`]s tell what happened.
//! SQLite keeps no checksums, so a value that rotted into another valid value goes unseen.
//!
//! The tables, for those who look into the file with `sqlite3` (`application_id` `mdeX`, schema number
//! in `user_version`; every time is in milliseconds since 1970 UTC; NULL means unknown):
//!
//! - `tenant`: per tenant the digest of the selectors and the time of the newest machine list, the times of the polls,
//!   the counts of pairs detected, resolved and dropped, the sum of the times to resolution, and when
//!   the newest bulk export was made and last found to be the newest.
//! - `resolution`: its histogram; resolved pairs by the first bound in days that holds them.
//! - `machine`: what the machine list said; `departed_at` is set while a machine is out of scope.
//! - `times`: per machine Defender's last report, the newest attempt, the newest good answer with its
//!   source (`machines` or `export`) and the time of which it speaks (`as_of`; NULL is when it was read).
//! - `gap`: per machine and missing KB when it was first seen, and what the newest answer said;
//!   `severity` is 1 for low to 4 for critical.
//! - `update_facts`: title and products (a JSON array) of updates, shared by gaps.
//! - `call`: the API calls of the last hour, with their endpoint (NULL in those of schema 1).
//! - `machines` and `open_gaps`: views with names and readable times.

mod event;
mod file;
mod load;
mod persisted_state;
mod schema;
mod shared;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

pub use self::event::{OpenError, Reason, SaveError, StoreEvent};
pub use self::shared::SharedStore;

use self::persisted_state::{Calls, PersistedState};
use crate::clock::Clock;
use crate::fleet::TenantFleet;
use crate::model::ApiOperation;

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Restored {
    /// Every tenant in the file, by name; of their polls only the times are known.
    pub fleets: Vec<TenantFleet>,
    /// The API calls of the last hour by tenant, oldest first.
    pub calls: BTreeMap<String, Vec<(Timestamp, ApiOperation)>>,
    /// What an operator should know.
    pub notices: Vec<StoreEvent>,
    /// Whether an earlier state was taken over.
    pub restored: bool,
}

/// What a save did.
#[derive(Debug, Default)]
pub struct Saved {
    /// Whether there was anything to write.
    pub changed: bool,
    /// What an operator should know.
    pub notices: Vec<StoreEvent>,
}

/// The state on disk.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    clock: Clock,
    disk: Option<Disk>,
    /// What shall be in the file: the newest fleets, and tenants that only the file knew.
    fleets: BTreeMap<Arc<str>, Arc<TenantFleet>>,
    calls: Calls,
    /// Whether the contents of the file that lies in the folder were taken in.
    is_read: bool,
}

/// The open file.
#[derive(Debug)]
struct Disk {
    connection: Connection,
    contents: PersistedState,
    /// Whether the file holds all calls that memory does.
    holds_calls: bool,
    /// Dropped last.
    lock: File,
}

impl Store {
    /// Opens the state in `folder` and reads it. Takes seconds for a large fleet.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another instance uses the folder. Whatever else is wrong is told by
    /// [`Restored::notices`].
    pub fn open(folder: &Path, clock: Clock) -> Result<(Self, Restored), OpenError> {
        let mut store = Self {
            folder: folder.to_owned(),
            clock,
            disk: None,
            fleets: BTreeMap::new(),
            calls: Calls::default(),
            is_read: true,
        };
        let mut notices = Vec::new();
        match store.connect(&mut notices) {
            Ok(()) => {}
            Err(SaveError::Locked { path }) => return Err(OpenError::Locked { path }),
            Err(error) => {
                let loaded = file::read_without_writing(folder, store.clock.now());
                store.is_read = loaded.is_some();
                if let Some(loaded) = loaded {
                    store.fleets = loaded.fleets();
                    store.calls = loaded.calls;
                }
                notices.push(StoreEvent::WithoutDisk(error));
            }
        }
        let fleets: Vec<_> = store.fleets.values().map(|fleet| TenantFleet::clone(fleet)).collect();
        let restored = !fleets.is_empty();
        let calls = store.calls.0.clone();
        Ok((store, Restored { fleets, calls, notices, restored }))
    }

    /// Whether the file is open for writing.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Brings the file to `fleets`. Tenants that are not among them stay as they are. What is the
    /// same `Arc` as at the last save costs nothing.
    ///
    /// # Errors
    /// When the disk cannot be written; the next save carries everything.
    pub fn save(&mut self, fleets: &[Arc<TenantFleet>]) -> Result<Saved, SaveError> {
        let named = fleets.iter().map(|fleet| (Arc::clone(&fleet.tenant), Arc::clone(fleet)));
        self.fleets.extend(named);
        let mut notices = Vec::new();
        self.reopen_if_removed();
        if self.disk.is_none() {
            self.connect(&mut notices)?;
            notices.push(StoreEvent::OnDisk { path: self.path() });
        }
        let changed = match self.write() {
            Err(error) if self.is_damaged(&error) => {
                self.recreate(&mut notices)?;
                self.write()
            }
            other => other,
        };
        let changed = changed.map_err(|source| SaveError::File { path: self.path(), source })?;
        Ok(Saved { changed, notices })
    }

    /// Notes calls to the API of `tenant`, so that they count after a restart. They are kept for an
    /// hour.
    ///
    /// # Errors
    /// When the disk cannot be written; the next save carries them.
    pub fn record_calls(
        &mut self,
        tenant: &str,
        made: &[(Timestamp, ApiOperation)],
    ) -> Result<(), SaveError> {
        let horizon = Calls::horizon(self.clock.now());
        self.calls.add(tenant, made);
        self.calls.forget(horizon);
        let path = self.path();
        let Some(disk) = self.disk.as_mut().filter(|disk| disk.holds_calls) else {
            return Ok(());
        };
        let added = write::add_calls(&mut disk.connection, tenant, made, horizon);
        disk.holds_calls = added.is_ok();
        added.map_err(|source| SaveError::File { path, source })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(file::NAME)
    }

    /// Opens the file, and takes in what it holds if memory holds nothing newer.
    fn connect(&mut self, notices: &mut Vec<StoreEvent>) -> Result<(), SaveError> {
        let now = self.clock.now();
        let lock = file::lock(&self.folder)?;
        let (mut connection, mut loaded) = file::open_or_create(&self.folder, now, notices)?;
        let holds_something = !loaded.contents.tenants.is_empty() || !loaded.calls.0.is_empty();
        if !self.is_read && holds_something {
            file::leave_as_it_is(&connection)
                .map_err(|source| SaveError::File { path: self.path(), source })?;
            drop(connection);
            file::set_aside(&self.folder, Reason::Unread, now, notices)?;
            (connection, loaded) = file::open_or_create(&self.folder, now, notices)?;
        }
        self.is_read = true;
        for (name, fleet) in loaded.fleets() {
            self.fleets.entry(name).or_insert(fleet);
        }
        let holds_calls = self.calls.0.is_empty();
        if holds_calls {
            self.calls = loaded.calls;
        }
        if loaded.skipped > 0 {
            notices.push(StoreEvent::Skipped { rows: loaded.skipped });
            loaded.contents = PersistedState { needs_rewrite: true, ..PersistedState::default() };
        }
        self.disk = Some(Disk { connection, contents: loaded.contents, holds_calls, lock });
        Ok(())
    }

    /// Forgets a file that somebody removed: SQLite would go on writing to what no path leads to.
    fn reopen_if_removed(&mut self) {
        if self.disk.is_some() && !self.path().exists() {
            self.disk = None;
        }
    }

    fn write(&mut self) -> rusqlite::Result<bool> {
        let Some(disk) = &mut self.disk else {
            return Ok(false);
        };
        if !disk.holds_calls {
            write::replace_calls(&mut disk.connection, &self.calls)?;
            disk.holds_calls = true;
        }
        write::write(&mut disk.connection, &mut disk.contents, self.fleets.values())
    }

    /// Whether an error of a save tells that the file is no longer what it was. A file that was never
    /// written to is not worth setting aside: the fault is elsewhere.
    fn is_damaged(&self, error: &rusqlite::Error) -> bool {
        let was_good = self.disk.as_ref().is_some_and(|disk| !disk.contents.tenants.is_empty());
        was_good && !file::is_of_the_disk(error)
    }

    /// Sets the file aside and begins one that holds nothing yet.
    fn recreate(&mut self, notices: &mut Vec<StoreEvent>) -> Result<(), SaveError> {
        let Some(Disk { connection, lock, .. }) = self.disk.take() else {
            return Ok(());
        };
        let now = self.clock.now();
        file::leave_as_it_is(&connection).map_err(|source| SaveError::File { path: self.path(), source })?;
        drop(connection);
        file::set_aside(&self.folder, Reason::Damaged, now, notices)?;
        let connection = file::create(&self.folder, now, notices)?;
        self.disk = Some(Disk { connection, contents: PersistedState::default(), holds_calls: false, lock });
        Ok(())
    }
}

#[cfg(test)]
mod tests;

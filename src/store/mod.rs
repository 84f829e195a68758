//! The state file: one SQLite database with everything that must survive a restart.
//!
//! Owns the state folder. A [`Store`] holds the lock on the folder, so that two exporters never share one,
//! and the connection to `state.db`. [`Store::open`] reads everything. [`Store::save`] writes the changes
//! since the last save in one transaction, so that a crash at any time leaves the old state or the new one.
//! All calls block, so they belong on a thread of their own. Independent of polls and pages.
//!
//! Only a second instance on the same folder is an error at the start. A file of an earlier release is
//! migrated in one transaction, or read as it is if it cannot be written. A file that cannot be used is set
//! aside (renamed to `state.db.<reason>-<time>`) and replaced by a new one. If the disk cannot be written,
//! the state stays in memory until a later save succeeds. The files can be written by the group of the folder if
//! the folder can. [`StoreEvent`]s report all of this. SQLite keeps no
//! checksums, so corruption that turns one valid value into another is not detected.
//!
//! The tables, for inspection with `sqlite3` (`application_id` is `mdeX`, the schema number is in
//! `user_version`, times are in milliseconds since 1970 UTC, NULL means unknown):
//!
//! - `tenant`: per tenant the digest of the selectors and the time of the newest machine list, the times of
//!   the polls, the counts of missing updates that were detected, resolved, superseded and dropped, the sum of the times
//!   to resolution, and the times at which the newest export version was generated and last checked; `snapshot_unreadable` is
//!   1 if it has lines of which not even the machine can be read, plus 2 if the version before it has such lines.
//! - `resolution`: the histogram of resolved updates (`pairs`), by the first bound in days that is not
//!   exceeded.
//! - `machine`: the facts from the machine list; `departed_at` is set while a machine is out of scope;
//!   `onboarded` is 1 for onboarded, -1 for not onboarded, and 0 where no list has shown a status; `tags` is a JSON
//!   array, NULL where no list has shown any.
//! - `times`: per machine the last report to Defender, the newest attempt (`attempt_succeeded` is 1, 0, or -1
//!   if the API did not find the machine), and the assessment with its source (`machines` or `export`), the
//!   time at which it was fetched (`read_at`) and the time that it describes (`as_of`; NULL if it equals
//!   `read_at`).
//! - `gap`: the missing updates, by machine and KB, with their first-seen time and the data of the newest
//!   assessment; `severity` is 1 for low to 4 for critical, `cvss` is in tenths; `links` are the updates that it
//!   superseded on the machine, as a JSON array of KB and first-seen time.
//! - `unreadable`: per machine the ids that are no KBs, and the missing updates that they hold, both as JSON.
//! - `update_facts`: titles and products (a JSON array) of updates, shared by missing updates.
//! - `burn_down`: per tenant and KB the numbers of machines that missed it at the end of each day from `first_day` (00:00
//!   UTC) on, as a JSON array with null for a day on which nothing was known, and the earliest first-seen time.
//! - `saved`: the time of the newest save, in one row.
//! - `call`: the API calls of the last hour, with their endpoint (NULL in calls of schema 1).
//! - `machines`, `open_gaps` and `burn_down_days`: views of the machines and of the missing updates in scope, with names
//!   and readable times, and of the daily numbers.

mod burn_down;
mod call_rows;
mod chain;
mod event;
mod file;
mod import;
mod load;
mod machine_row;
mod names;
mod permissions;
mod persisted_state;
mod reader;
mod row;
mod schema;
mod shared;
mod statements;
mod unreadable;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

pub use self::event::{OpenError, SaveError, SetAsideReason, StoreEvent};
pub use self::import::ImportedTenant;
pub use self::names::is_state_file;
pub use self::reader::{MachineKey, MachineReader, ReadError, StateReader};
pub use self::shared::SharedStore;

use self::import::{Imports, TenantState};
use self::persisted_state::{PersistedState, RecordedCalls};
use crate::clock::Clock;
use crate::fleet::{BurnDown, TenantFleet};
use crate::model::ApiOperation;

/// The state that was read at the start.
#[derive(Debug, Default)]
pub struct Restored {
    /// Every tenant in the file, by name. Of the poll status only `up` and the times are stored.
    pub fleets: Vec<TenantFleet>,
    /// The API calls of the last hour by tenant, oldest first.
    pub calls: BTreeMap<String, Vec<(Timestamp, ApiOperation)>>,
    /// Events for the log.
    pub events: Vec<StoreEvent>,
    /// True if the file held a tenant.
    pub restored: bool,
}

/// The result of a save.
#[derive(Debug, Default)]
pub struct Saved {
    /// True if a row was written.
    pub changed: bool,
    /// Events for the log.
    pub events: Vec<StoreEvent>,
}

/// The state on disk.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    clock: Clock,
    disk: Option<Disk>,
    /// The fleets that the file should hold: the newest ones, and those of tenants that are only in the file.
    fleets: BTreeMap<Arc<str>, Arc<TenantFleet>>,
    /// The burn-downs that the file should hold, of the same tenants.
    burn_downs: BTreeMap<Arc<str>, Arc<BurnDown>>,
    calls: RecordedCalls,
    /// True if the data of the file in the folder is part of the fields above.
    is_read: bool,
}

/// The open file.
#[derive(Debug)]
struct Disk {
    connection: Connection,
    persisted: PersistedState,
    /// True if the file holds all calls that memory holds.
    has_calls: bool,
    /// Declared last, so that it is released last.
    lock: File,
}

impl Store {
    /// Opens the state in `folder` and reads it. Takes seconds for a large fleet.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another instance uses the folder. All other problems are reported in
    /// [`Restored::events`].
    pub fn open(folder: &Path, clock: Clock) -> Result<(Self, Restored), OpenError> {
        let mut store = Self {
            folder: folder.to_owned(),
            clock,
            disk: None,
            fleets: BTreeMap::new(),
            burn_downs: BTreeMap::new(),
            calls: RecordedCalls::default(),
            is_read: true,
        };
        let mut events = Vec::new();
        match store.connect(&mut events) {
            Ok(()) => {}
            Err(SaveError::Locked { path }) => return Err(OpenError::Locked { path }),
            Err(error) => {
                let loaded = file::read_without_writing(folder, store.clock.now());
                store.is_read = loaded.is_some();
                if let Some(loaded) = loaded {
                    store.fleets = loaded.fleets();
                    store.burn_downs = loaded.burn_downs().collect();
                    store.calls = loaded.calls;
                }
                events.push(StoreEvent::WithoutDisk(error));
            }
        }
        let fleets: Vec<_> = store.fleets.values().map(|fleet| TenantFleet::clone(fleet)).collect();
        let restored = !fleets.is_empty();
        let calls = store.calls.0.clone();
        Ok((store, Restored { fleets, calls, events, restored }))
    }

    /// Takes the tenants of `tenants` of which the state has no data from the state files of other exporters. Of a tenant
    /// in several files, the newest data is taken. The next save writes them in one transaction. The files are not read
    /// if no tenant lacks data, and never changed.
    ///
    /// # Errors
    /// If a tenant lacks data and a file cannot be read, see [`ReadError`]. Nothing is taken then.
    pub fn import(
        &mut self,
        tenants: &[Arc<str>],
        files: &[PathBuf],
    ) -> Result<Vec<ImportedTenant>, ReadError> {
        let lacks = |tenant: &str| !self.fleets.contains_key(tenant);
        let lacking: BTreeSet<&str> =
            tenants.iter().map(|tenant| &**tenant).filter(|name| lacks(name)).collect();
        let mut imports = Imports::default();
        if !lacking.is_empty() {
            // The own file has none of them; and closing another connection to it would drop the locks of this one.
            let own = fs::canonicalize(self.path()).ok();
            let is_own = |file: &PathBuf| own.is_some() && fs::canonicalize(file).ok() == own;
            for file in files.iter().filter(|file| !is_own(file)) {
                imports.add_file(file, self.clock.now(), |tenant| lacking.contains(tenant))?;
            }
        }
        Ok(imports
            .tenants
            .into_values()
            .map(|(imported, state)| self.add_imported(imported, state))
            .collect())
    }

    fn add_imported(&mut self, imported: ImportedTenant, state: TenantState) -> ImportedTenant {
        let TenantState { fleet, burn_down, calls } = state;
        self.fleets.insert(Arc::clone(&imported.tenant), fleet);
        self.burn_downs.insert(Arc::clone(&imported.tenant), burn_down);
        // An import that was interrupted may have saved the calls.
        let known = self.calls.0.get(&*imported.tenant).cloned().unwrap_or_default();
        let new: Vec<_> = calls.into_iter().filter(|call| !known.contains(call)).collect();
        if let Some(disk) = self.disk.as_mut().filter(|_| !new.is_empty()) {
            disk.has_calls = false;
        }
        self.calls.add(&imported.tenant, &new);
        imported
    }

    /// Returns whether the file is open for writing.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Saves `fleets`. Other tenants in the file stay as they are. A fleet or machine that is the same `Arc`
    /// as at the last save costs nothing.
    ///
    /// # Errors
    /// If the disk cannot be written. The next save writes everything that this one did not.
    pub fn save(&mut self, fleets: &[Arc<TenantFleet>]) -> Result<Saved, SaveError> {
        let named = fleets.iter().map(|fleet| (Arc::clone(&fleet.tenant), Arc::clone(fleet)));
        self.fleets.extend(named);
        self.save_changes()
    }

    /// Saves the burn-downs of tenants, of which only those cost anything that are another `Arc` than before.
    ///
    /// # Errors
    /// If the disk cannot be written. The next save writes everything that this one did not.
    pub fn save_burn_downs(
        &mut self,
        burn_downs: &BTreeMap<Arc<str>, Arc<BurnDown>>,
    ) -> Result<Saved, SaveError> {
        let is_kept = |(name, new): (&Arc<str>, &Arc<BurnDown>)| {
            self.burn_downs.get(name).is_some_and(|old| Arc::ptr_eq(old, new))
        };
        if burn_downs.iter().all(is_kept) {
            return Ok(Saved::default());
        }
        let named = burn_downs.iter().map(|(name, burn_down)| (Arc::clone(name), Arc::clone(burn_down)));
        self.burn_downs.extend(named);
        self.save_changes()
    }

    /// The daily counts of a tenant, saved or not.
    #[must_use]
    pub fn burn_down(&self, tenant: &str) -> Option<&Arc<BurnDown>> {
        self.burn_downs.get(tenant)
    }

    fn save_changes(&mut self) -> Result<Saved, SaveError> {
        let mut events = Vec::new();
        let was_removed = self.close_if_removed();
        if self.disk.is_none() {
            self.connect(&mut events)?;
            let path = self.path();
            events.push(if was_removed { StoreEvent::Removed { path } } else { StoreEvent::OnDisk { path } });
        }
        let changed = match self.write() {
            Err(error) if self.is_damaged(&error) => {
                self.recreate(&mut events)?;
                self.write()
            }
            other => other,
        };
        let changed = changed.map_err(|source| SaveError::File { path: self.path(), source })?;
        for event in &mut events {
            if let StoreEvent::SetAside { keeps_data, .. } = event {
                *keeps_data = true;
            }
        }
        Ok(Saved { changed, events })
    }

    /// Records calls to the API of `tenant`, so that they count against the quota after a restart. They are
    /// kept for an hour.
    ///
    /// # Errors
    /// If the disk cannot be written. The next save writes them.
    pub fn record_calls(
        &mut self,
        tenant: &str,
        made: &[(Timestamp, ApiOperation)],
    ) -> Result<(), SaveError> {
        let horizon = RecordedCalls::horizon(self.clock.now());
        self.calls.add(tenant, made);
        self.calls.drop_until(horizon);
        let path = self.path();
        let Some(disk) = self.disk.as_mut().filter(|disk| disk.has_calls) else {
            return Ok(());
        };
        let added = call_rows::add_calls(&mut disk.connection, tenant, made, horizon);
        disk.has_calls = added.is_ok();
        added.map_err(|source| SaveError::File { path, source })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(names::NAME)
    }

    /// Opens the file, and adds its data to memory where memory holds nothing newer.
    fn connect(&mut self, events: &mut Vec<StoreEvent>) -> Result<(), SaveError> {
        let now = self.clock.now();
        let lock = file::lock(&self.folder)?;
        let (mut connection, mut loaded) = file::open_or_create(&self.folder, now, events)?;
        let has_data = !loaded.persisted.tenants.is_empty() || !loaded.calls.0.is_empty();
        if !self.is_read && has_data {
            file::keep_log_on_close(&connection)
                .map_err(|source| SaveError::File { path: self.path(), source })?;
            drop(connection);
            file::set_aside(&self.folder, SetAsideReason::Unread, now, events)?;
            (connection, loaded) = file::open_or_create(&self.folder, now, events)?;
        }
        self.is_read = true;
        for (name, fleet) in loaded.fleets() {
            self.fleets.entry(name).or_insert(fleet);
        }
        for (name, burn_down) in loaded.burn_downs() {
            self.burn_downs.entry(name).or_insert(burn_down);
        }
        let is_empty = self.calls.0.is_empty();
        // Calls that were in the future would be so in each later run.
        let has_calls = is_empty && !loaded.has_changed_calls;
        if is_empty {
            self.calls = loaded.calls;
        }
        if loaded.skipped > 0 {
            events.push(StoreEvent::Skipped { rows: loaded.skipped });
            loaded.persisted = PersistedState { needs_rewrite: true, ..PersistedState::default() };
        }
        self.disk = Some(Disk { connection, persisted: loaded.persisted, has_calls, lock });
        Ok(())
    }

    /// Closes a file that was removed: SQLite would keep writing to a file without a path. Returns whether it
    /// was.
    fn close_if_removed(&mut self) -> bool {
        let was_removed = self.disk.is_some() && !self.path().exists();
        if was_removed {
            self.disk = None;
        }
        was_removed
    }

    fn write(&mut self) -> rusqlite::Result<bool> {
        let Some(disk) = &mut self.disk else {
            return Ok(false);
        };
        if !disk.has_calls {
            call_rows::replace_calls(&mut disk.connection, &self.calls)?;
            disk.has_calls = true;
        }
        let now = self.clock.now();
        let tenants = self
            .fleets
            .iter()
            .map(|(name, fleet)| (fleet, self.burn_downs.get(name).cloned().unwrap_or_default()));
        write::write(&mut disk.connection, &mut disk.persisted, tenants, now)
    }

    /// Returns whether a failed save shows that the file is damaged. A file without a tenant is not set
    /// aside: the fault is elsewhere then.
    fn is_damaged(&self, error: &rusqlite::Error) -> bool {
        let has_tenants = self.disk.as_ref().is_some_and(|disk| !disk.persisted.tenants.is_empty());
        has_tenants && !file::is_disk_error(error)
    }

    /// Sets the file aside and creates an empty one.
    fn recreate(&mut self, events: &mut Vec<StoreEvent>) -> Result<(), SaveError> {
        let Some(Disk { connection, lock, .. }) = self.disk.take() else {
            return Ok(());
        };
        let now = self.clock.now();
        file::keep_log_on_close(&connection)
            .map_err(|source| SaveError::File { path: self.path(), source })?;
        drop(connection);
        file::set_aside(&self.folder, SetAsideReason::Damaged, now, events)?;
        let connection = file::create(&self.folder, now, events)?;
        self.disk = Some(Disk { connection, persisted: PersistedState::default(), has_calls: false, lock });
        Ok(())
    }
}

#[cfg(test)]
mod tests;

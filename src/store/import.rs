//! Reads tenants from the state file of another exporter, which may run.
//!
//! The file is read as by [`StateReader`](super::StateReader): nothing in its folder is created, changed or deleted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;

use super::event::SetAsideReason;
use super::file::{self, Unusable};
use super::load::{LoadedState, load};
use super::persisted_state::machines;
use super::reader::{FileStamps, PAUSE, READS, ReadError};
use super::schema;
use crate::fleet::{BurnDown, TenantFleet};
use crate::model::ApiOperation;

/// A tenant of which the state has had no data until it was imported from another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedTenant {
    /// The name.
    pub tenant: Arc<str>,
    /// The file.
    pub file: PathBuf,
    /// The number of machines, in scope or not.
    pub machines: usize,
    /// The time of the newest data; none if nothing was read yet.
    pub newest: Option<Timestamp>,
    /// The other files that have the tenant, with older data.
    pub older_files: Vec<PathBuf>,
    /// The number of invalid rows of the file, of all its tenants.
    pub skipped_rows: u64,
}

/// Everything that a state file has about a tenant.
#[derive(Debug)]
pub(super) struct TenantState {
    pub(super) fleet: Arc<TenantFleet>,
    pub(super) burn_down: Arc<BurnDown>,
    pub(super) calls: Vec<(Timestamp, ApiOperation)>,
}

/// The newest data of each tenant in several files.
#[derive(Debug, Default)]
pub(super) struct Imports {
    pub(super) tenants: BTreeMap<Arc<str>, (ImportedTenant, TenantState)>,
}

impl Imports {
    /// Adds the tenants of the file at `path` that `wants` accepts. If a file before has the same tenant, the newer data
    /// stays.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        now: Timestamp,
        wants: impl Fn(&str) -> bool,
    ) -> Result<(), ReadError> {
        let LoadedState { persisted, mut calls, skipped, .. } = read(path, now)?;
        for (tenant, persisted) in persisted.tenants.into_iter().filter(|(tenant, _)| wants(tenant)) {
            let calls = calls.0.remove(&*tenant).unwrap_or_default();
            let state = TenantState { fleet: persisted.fleet, burn_down: persisted.burn_down, calls };
            let mut imported = ImportedTenant {
                tenant: Arc::clone(&tenant),
                file: path.to_owned(),
                machines: machines(&state.fleet).count(),
                newest: newest(&state.fleet, now),
                older_files: Vec::new(),
                skipped_rows: skipped,
            };
            match self.tenants.get_mut(&tenant) {
                Some((other, _)) if other.newest >= imported.newest => other.older_files.push(imported.file),
                Some(other) => {
                    imported.older_files.clone_from(&other.0.older_files);
                    imported.older_files.push(other.0.file.clone());
                    *other = (imported, state);
                }
                None => drop(self.tenants.insert(tenant, (imported, state))),
            }
        }
        Ok(())
    }
}

/// The time of the newest data of a tenant. Times in the future, from a clock that was ahead, count as `now`.
fn newest(fleet: &TenantFleet, now: Timestamp) -> Option<Timestamp> {
    let of_machine = |machine: &crate::fleet::Machine| {
        let fetched_at = machine.assessment.as_ref().map(|assessment| assessment.fetched_at);
        fetched_at.max(machine.attempt.map(|attempt| attempt.at))
    };
    let of_machines = machines(fleet).map(|(_, entry)| of_machine(entry.machine)).max().flatten();
    let times = [of_machines, fleet.listed_at, fleet.status.last_poll, fleet.status.last_success];
    times.into_iter().max().flatten().map(|newest| newest.min(now))
}

/// Reads the whole file, again if it changed meanwhile.
fn read(path: &Path, now: Timestamp) -> Result<LoadedState, ReadError> {
    let failed = |source| ReadError::File { path: path.to_owned(), source };
    if !path.try_exists().map_err(|source| failed(source.into()))? {
        return Err(ReadError::Missing { path: path.to_owned() });
    }
    if !path.is_file() {
        let reason = SetAsideReason::Foreign;
        return Err(ReadError::Unusable { path: path.to_owned(), reason });
    }
    for reads in 1..=READS {
        let before = FileStamps::of(path).map_err(|source| failed(source.into()))?;
        let has_log = file::has_log(path);
        let outcome = read_once(path, now);
        if before.is_consistent(path, has_log, reads) {
            return outcome.map_err(|unusable| match unusable {
                Unusable::Content(reason) => ReadError::Unusable { path: path.to_owned(), reason },
                Unusable::Disk(source) => failed(source.into()),
            });
        }
        thread::sleep(PAUSE * reads);
    }
    Err(ReadError::Changing { path: path.to_owned() })
}

fn read_once(path: &Path, now: Timestamp) -> Result<LoadedState, Unusable> {
    let connection = file::open_for_reading(path)?;
    let loaded = load(&connection, now)?;
    Ok(if schema::has_complete_lists(&connection)? { loaded } else { loaded.without_lists() })
}

//! Reads the whole state file.
//!
//! No value is trusted: an invalid row is skipped and counted, and the next save rewrites the file without
//! it. An error means that the file as a whole cannot be read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use super::machine_row::{
    MachineRow, SELECT_FACTS, SELECT_MACHINE, SELECT_MISSING_UPDATE, machine, missing_update, update_facts,
};
use super::persisted_state::{PersistedState, PersistedTenant, RecordedCalls, resolution_bounds};
use super::row::{at, count, each, integer, optional, text, time};
use super::{burn_down, unreadable};
use crate::fleet::{
    BurnDown, ExportVersion, MissingUpdate, OutOfScope, PollStatus, ResolutionHistogram, TenantFleet, Totals,
    UpdateFacts,
};
use crate::model::{ApiOperation, MachineId};

/// The data of a file.
#[derive(Debug, Default)]
pub(super) struct LoadedState {
    pub(super) persisted: PersistedState,
    pub(super) calls: RecordedCalls,
    /// True if the times of calls differ from those in the file.
    pub(super) has_changed_calls: bool,
    /// The number of invalid rows.
    pub(super) skipped: u64,
}

impl LoadedState {
    /// The fleets by tenant name.
    pub(super) fn fleets(&self) -> BTreeMap<Arc<str>, Arc<TenantFleet>> {
        let tenants = self.persisted.tenants.iter();
        tenants.map(|(name, tenant)| (Arc::clone(name), Arc::clone(&tenant.fleet))).collect()
    }

    /// The burn-downs by tenant name.
    pub(super) fn burn_downs(&self) -> impl Iterator<Item = (Arc<str>, Arc<BurnDown>)> {
        let tenants = self.persisted.tenants.iter();
        tenants.map(|(name, tenant)| (Arc::clone(name), Arc::clone(&tenant.burn_down)))
    }

    /// The same data without the times of the machine lists, as a migration leaves it.
    pub(super) fn without_lists(mut self) -> Self {
        for tenant in self.persisted.tenants.values_mut() {
            Arc::make_mut(&mut tenant.fleet).listed_at = None;
        }
        self
    }
}

/// Reads everything. Calls that no longer count at `now` are left out. Calls in the future, from a clock that
/// was ahead, are set back.
pub(super) fn load(connection: &Connection, now: Timestamp) -> rusqlite::Result<LoadedState> {
    let mut skipped = 0;
    let mut tenants = tenants(connection, &mut skipped)?;
    resolution(connection, &mut tenants, &mut skipped)?;
    let mut facts = facts(connection, &mut skipped)?;
    let mut machines = machines(connection, &mut skipped)?;
    missing_updates(connection, &mut machines, &mut facts, &mut skipped)?;
    unreadable::load(connection, &mut machines, &mut skipped)?;
    for row in machines {
        add_to_tenant(row, &mut tenants, &mut skipped);
    }
    let mut burn_downs = burn_down::load(connection, |tenant| tenants.contains_key(&tenant), &mut skipped)?;
    let (calls, has_changed_calls) = calls(connection, now, &mut skipped)?;
    let unused_facts = facts.iter().filter(|(_, facts)| !facts.is_used).map(|(key, _)| *key).collect();
    let used = facts.into_iter().filter(|(_, facts)| facts.is_used);
    let persisted = PersistedState {
        tenants: tenants
            .into_iter()
            .map(|(key, (fleet, machines))| {
                let burn_down = Arc::new(burn_downs.remove(&key).unwrap_or_default());
                let name = Arc::clone(&fleet.tenant);
                (name, PersistedTenant { key, fleet: Arc::new(fleet), burn_down, machines })
            })
            .collect(),
        facts: used.map(|(key, facts)| (UpdateFacts::clone(&facts.facts), key)).collect(),
        unused_facts,
        needs_rewrite: false,
    };
    Ok(LoadedState { persisted, calls, has_changed_calls, skipped })
}

/// The tenants by row key, each with the row keys of its machines.
type TenantRows = BTreeMap<i64, (TenantFleet, HashMap<MachineId, i64>)>;

struct SharedFacts {
    facts: Arc<UpdateFacts>,
    is_used: bool,
}

fn tenants(connection: &Connection, skipped: &mut u64) -> rusqlite::Result<TenantRows> {
    let mut tenants = TenantRows::new();
    let query = "SELECT key, name, selectors, listed_at, last_poll, last_success, detected, resolved, \
                 dropped, resolution_millis, snapshot_generated_at, snapshot_checked_at, \
                 snapshot_unreadable, up, superseded FROM tenant";
    each(connection, query, skipped, |row| {
        let mut fleet = TenantFleet::new(text(row, 1)?.into());
        fleet.selectors = text(row, 2)?.into();
        fleet.listed_at = optional(row, 3, at)?;
        fleet.status = PollStatus {
            last_poll: optional(row, 4, at)?,
            last_success: optional(row, 5, at)?,
            ..PollStatus::default()
        };
        // Earlier schemas lack the value; they recorded both times at the end of a successful poll.
        let PollStatus { last_poll, last_success, .. } = fleet.status;
        let is_up = || last_success.is_some() && last_success == last_poll;
        fleet.status.up = optional(row, 13, Some)?.map_or_else(is_up, |up| up != 0);
        fleet.totals = Totals {
            detected: count(row, 6)?,
            resolved: count(row, 7)?,
            superseded: count(row, 14)?,
            dropped: count(row, 8)?,
            resolution: ResolutionHistogram { sum_millis: count(row, 9)?, ..ResolutionHistogram::default() },
        };
        let version = optional(row, 10, at)?.zip(optional(row, 11, at)?);
        let unreadable_lines = integer(row, 12)?;
        fleet.export_version = version.map(|(generated_at, checked_at)| ExportVersion {
            generated_at,
            checked_at,
            has_unreadable_lines: unreadable_lines & 1 != 0,
            follows_unreadable_lines: unreadable_lines & 2 != 0,
        });
        if tenants.values().any(|(other, _)| other.tenant == fleet.tenant) {
            return None;
        }
        tenants.insert(integer(row, 0)?, (fleet, HashMap::new()));
        Some(())
    })?;
    Ok(tenants)
}

fn resolution(connection: &Connection, tenants: &mut TenantRows, skipped: &mut u64) -> rusqlite::Result<()> {
    let bounds: Vec<_> = resolution_bounds().collect();
    each(connection, "SELECT tenant, within_days, pairs FROM resolution", skipped, |row| {
        let (fleet, _) = tenants.get_mut(&integer(row, 0)?)?;
        let name = text(row, 1)?;
        let bucket = bounds.iter().position(|bound| bound == name)?;
        fleet.totals.resolution.buckets[bucket] = count(row, 2)?;
        Some(())
    })
}

fn facts(connection: &Connection, skipped: &mut u64) -> rusqlite::Result<HashMap<i64, SharedFacts>> {
    let mut all = HashMap::new();
    each(connection, SELECT_FACTS, skipped, |row| {
        let (key, facts) = update_facts(row)?;
        all.insert(key, SharedFacts { facts, is_used: false });
        Some(())
    })?;
    Ok(all)
}

/// The machines without their missing updates, by ascending key.
fn machines(connection: &Connection, skipped: &mut u64) -> rusqlite::Result<Vec<MachineRow>> {
    let mut machines = Vec::new();
    let query = format!("{SELECT_MACHINE} ORDER BY machine.key");
    each(connection, &query, skipped, |row| {
        machines.push(machine(row)?);
        Some(())
    })?;
    Ok(machines)
}

/// Assigns the missing updates to their machines. Both are sorted by key, so one pass over both is enough.
fn missing_updates(
    connection: &Connection,
    machines: &mut [MachineRow],
    facts: &mut HashMap<i64, SharedFacts>,
    skipped: &mut u64,
) -> rusqlite::Result<()> {
    let mut machines = machines.iter_mut().peekable();
    // Collected per machine and then copied, so that the lists in memory have no spare capacity.
    let mut collected: Vec<MissingUpdate> = Vec::new();
    let query = format!("{SELECT_MISSING_UPDATE} ORDER BY machine, kb");
    each(connection, &query, skipped, |row| {
        let owner = integer(row, 0)?;
        while let Some(done) = machines.next_if(|machine| machine.key < owner) {
            assign(done, &mut collected);
        }
        machines.peek().filter(|machine| machine.key == owner && machine.machine.assessment.is_some())?;
        let missing = missing_update(row, |key| {
            let shared = facts.get_mut(&key)?;
            shared.is_used = true;
            Some(Arc::clone(&shared.facts))
        });
        if missing.is_none() {
            machines.peek_mut()?.machine.assessment.as_mut()?.expire();
        }
        let missing = missing?;
        collected.last().is_none_or(|last| last.update.kb < missing.update.kb).then_some(())?;
        collected.push(missing);
        Some(())
    })?;
    if let Some(last) = machines.next() {
        assign(last, &mut collected);
    }
    Ok(())
}

fn assign(row: &mut MachineRow, collected: &mut Vec<MissingUpdate>) {
    if let Some(assessment) = &mut row.machine.assessment {
        assessment.missing_updates = collected.as_slice().to_vec();
    }
    collected.clear();
}

/// Adds a machine to its tenant, in or out of scope.
fn add_to_tenant(row: MachineRow, tenants: &mut TenantRows, skipped: &mut u64) {
    let id = row.machine.facts.id.clone();
    let Some((fleet, keys)) = tenants.get_mut(&row.tenant).filter(|(_, keys)| !keys.contains_key(&id)) else {
        *skipped += 1;
        return;
    };
    keys.insert(id.clone(), row.key);
    let machine = Arc::new(row.machine);
    match row.departed_at {
        None => drop(fleet.machines.insert(id, machine)),
        Some(since) => drop(fleet.out_of_scope.insert(id, OutOfScope { machine, since })),
    }
}

/// The calls, and whether their times were set back.
fn calls(
    connection: &Connection,
    now: Timestamp,
    skipped: &mut u64,
) -> rusqlite::Result<(RecordedCalls, bool)> {
    let mut calls = RecordedCalls::default();
    each(connection, "SELECT tenant, at, endpoint FROM call ORDER BY at", skipped, |row| {
        let (at, operation) = (time(row, 1)?, operation(row, 2)?);
        calls.0.entry(text(row, 0)?.to_owned()).or_default().push((at, operation));
        Some(())
    })?;
    let were_set_back = calls.set_back_times(now);
    calls.drop_until(RecordedCalls::horizon(now));
    Ok((calls, were_set_back))
}

/// Schema 1 did not record the operation. It used none with a quota of its own.
fn operation(row: &Row<'_>, column: usize) -> Option<ApiOperation> {
    match row.get_ref(column).ok()?.as_str_or_null().ok()? {
        None => Some(ApiOperation::MissingKbs),
        Some(name) => ApiOperation::ALL.into_iter().find(|operation| operation.as_str() == name),
    }
}

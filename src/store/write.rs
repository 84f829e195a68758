//! Writing what changed, in one transaction.
//!
//! A machine that is the same `Arc` as at the last save is passed over. Of the others only the rows
//! that differ are written: facts and times apart, since the times of every machine change with every
//! poll, and gap by gap.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Statement, Transaction, params};

use super::persisted_state::{
    Calls, Known, PersistedState, PersistedTenant, machines, merge_join, resolution_slots, severity_number,
    source_name,
};
use crate::fleet::{Machine, MissingUpdate, TenantFleet, Totals, UpdateFacts};
use crate::model::{ApiOperation, KbId, MachineId};

/// Brings the file from `contents` to `fleets`; tenants that are not among them stay as they are.
/// `contents` follows when the transaction is done, and only then. Tells whether a row was written.
pub(super) fn write<'a>(
    connection: &mut Connection,
    contents: &mut PersistedState,
    fleets: impl IntoIterator<Item = &'a Arc<TenantFleet>>,
) -> rusqlite::Result<bool> {
    // Deferred: without a row to write it touches no file.
    let transaction = connection.transaction()?;
    if contents.needs_rewrite {
        let tables = "DELETE FROM gap; DELETE FROM times; DELETE FROM machine; DELETE FROM resolution; \
                      DELETE FROM tenant; DELETE FROM update_facts";
        transaction.execute_batch(tables)?;
    }
    let (changes, new_facts, rows) = {
        let mut writer = Writer::new(&transaction, contents)?;
        for key in &contents.unused_facts {
            writer.rows += transaction.execute("DELETE FROM update_facts WHERE key = ?1", [key])?;
        }
        let changes = fleets.into_iter().filter_map(|fleet| writer.tenant(fleet).transpose());
        let changes = changes.collect::<rusqlite::Result<Vec<_>>>()?;
        (changes, writer.new_facts, writer.rows)
    };
    transaction.commit()?;
    contents.unused_facts.clear();
    contents.needs_rewrite = false;
    contents.facts.extend(new_facts);
    for change in changes {
        change.apply(contents);
    }
    Ok(rows > 0)
}

/// Writes calls of `tenant` and deletes those that are not later than `horizon`.
pub(super) fn add_calls(
    connection: &mut Connection,
    tenant: &str,
    made: &[(Timestamp, ApiOperation)],
    horizon: Timestamp,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM call WHERE at <= ?1", [horizon.as_millisecond()])?;
    insert_calls(&transaction, tenant, made)?;
    transaction.commit()
}

/// Makes `calls` all the calls in the file.
pub(super) fn replace_calls(connection: &mut Connection, calls: &Calls) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM call", [])?;
    for (tenant, made) in &calls.0 {
        insert_calls(&transaction, tenant, made)?;
    }
    transaction.commit()
}

fn insert_calls(
    transaction: &Transaction<'_>,
    tenant: &str,
    made: &[(Timestamp, ApiOperation)],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare("INSERT INTO call (tenant, at, endpoint) VALUES (?1, ?2, ?3)")?;
    let mut insert = |at: Timestamp, endpoint: ApiOperation| {
        insert.execute(params![tenant, at.as_millisecond(), endpoint.as_str()]).map(drop)
    };
    made.iter().try_for_each(|(at, endpoint)| insert(*at, *endpoint))
}

/// What a written tenant changes in [`PersistedState`].
struct Change {
    fleet: Arc<TenantFleet>,
    key: i64,
    added: Vec<(MachineId, i64)>,
    removed: Vec<MachineId>,
}

impl Change {
    fn apply(self, contents: &mut PersistedState) {
        let Self { fleet, key, added, removed } = self;
        let name = Arc::clone(&fleet.tenant);
        let held = contents.tenants.entry(name).or_insert_with(|| PersistedTenant {
            key,
            fleet: Arc::clone(&fleet),
            machines: HashMap::new(),
        });
        held.fleet = fleet;
        for id in removed {
            held.machines.remove(&id);
        }
        held.machines.extend(added);
    }
}

struct Writer<'a> {
    statements: Statements<'a>,
    transaction: &'a Transaction<'a>,
    contents: &'a PersistedState,
    new_facts: HashMap<UpdateFacts, i64>,
    rows: usize,
}

struct Statements<'a> {
    insert_machine: Statement<'a>,
    update_machine: Statement<'a>,
    delete_machine: Statement<'a>,
    put_times: Statement<'a>,
    delete_times: Statement<'a>,
    put_missing_update: Statement<'a>,
    delete_missing_update: Statement<'a>,
    delete_missing_updates: Statement<'a>,
    insert_facts: Statement<'a>,
}

impl<'a> Statements<'a> {
    fn new(transaction: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        Ok(Self {
            insert_machine: transaction.prepare(
                "INSERT INTO machine (tenant, id, name, os_platform, os_version, device_group, departed_at, \
                 onboarded) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            update_machine: transaction.prepare(
                "UPDATE machine SET name = ?2, os_platform = ?3, os_version = ?4, device_group = ?5, \
                 departed_at = ?6, onboarded = ?7 WHERE key = ?1",
            )?,
            delete_machine: transaction.prepare("DELETE FROM machine WHERE key = ?1")?,
            put_times: transaction.prepare(
                "INSERT OR REPLACE INTO times (machine, last_seen, read_at, attempt_at, attempt_succeeded, \
                 as_of, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            delete_times: transaction.prepare("DELETE FROM times WHERE machine = ?1")?,
            put_missing_update: transaction.prepare(
                "INSERT OR REPLACE INTO gap (machine, kb, first_seen, facts, cves, reported_machines, severity) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            delete_missing_update: transaction.prepare("DELETE FROM gap WHERE machine = ?1 AND kb = ?2")?,
            delete_missing_updates: transaction.prepare("DELETE FROM gap WHERE machine = ?1")?,
            insert_facts: transaction
                .prepare("INSERT INTO update_facts (title, products) VALUES (?1, ?2)")?,
        })
    }
}

impl<'a> Writer<'a> {
    fn new(transaction: &'a Transaction<'a>, contents: &'a PersistedState) -> rusqlite::Result<Self> {
        let statements = Statements::new(transaction)?;
        Ok(Self { statements, transaction, contents, new_facts: HashMap::new(), rows: 0 })
    }

    /// Writes what is new of a tenant; none when it is the very fleet of the last save.
    fn tenant(&mut self, fleet: &Arc<TenantFleet>) -> rusqlite::Result<Option<Change>> {
        let held = self.contents.tenants.get(&fleet.tenant);
        if held.is_some_and(|held| Arc::ptr_eq(&held.fleet, fleet)) {
            return Ok(None);
        }
        let key = self.tenant_row(fleet, held)?;
        let mut change = Change { fleet: Arc::clone(fleet), key, added: Vec::new(), removed: Vec::new() };
        let before = held.into_iter().flat_map(|held| machines(&held.fleet));
        for (id, old, new) in merge_join(before, machines(fleet)) {
            let row = held.and_then(|held| held.machines.get(id));
            match (old.zip(row), new) {
                (Some((old, row)), Some(new)) => self.changed_machine(*row, old, new)?,
                (Some((_, row)), None) => {
                    self.gone_machine(*row)?;
                    change.removed.push(id.clone());
                }
                (None, Some(new)) => change.added.push((id.clone(), self.new_machine(key, new)?)),
                (None, None) => {}
            }
        }
        Ok(Some(change))
    }

    fn tenant_row(&mut self, fleet: &TenantFleet, held: Option<&PersistedTenant>) -> rusqlite::Result<i64> {
        if let Some(held) = held.filter(|held| tenant_fields(&held.fleet) == tenant_fields(fleet)) {
            return Ok(held.key);
        }
        let ([listed_at, last_poll, last_success, generated_at, checked_at], totals, selectors) =
            tenant_fields(fleet);
        self.rows += self.transaction.execute(
            "INSERT OR REPLACE INTO tenant (key, name, selectors, listed_at, last_poll, last_success, \
             detected, resolved, dropped, resolution_millis, snapshot_generated_at, snapshot_checked_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                held.map(|held| held.key),
                &*fleet.tenant,
                selectors,
                listed_at,
                last_poll,
                last_success,
                whole(totals.detected),
                whole(totals.resolved),
                whole(totals.dropped),
                whole(totals.resolution.sum_millis),
                generated_at,
                checked_at
            ],
        )?;
        let key = held.map_or_else(|| self.transaction.last_insert_rowid(), |held| held.key);
        let put = "INSERT OR REPLACE INTO resolution (tenant, within_days, pairs) VALUES (?1, ?2, ?3)";
        let mut put = self.transaction.prepare(put)?;
        for (name, pairs) in resolution_slots().zip(totals.resolution.slots) {
            self.rows += put.execute(params![key, name, whole(pairs)])?;
        }
        Ok(key)
    }

    fn new_machine(&mut self, tenant: i64, known: Known<'_>) -> rusqlite::Result<i64> {
        let facts = &known.machine.facts;
        self.rows += self.statements.insert_machine.execute(params![
            tenant,
            facts.id.as_str(),
            facts.name,
            facts.os_platform,
            facts.os_version,
            facts.device_group,
            known.departed_at.map(Timestamp::as_millisecond),
            facts.onboarded
        ])?;
        let key = self.transaction.last_insert_rowid();
        self.times(key, known.machine)?;
        self.missing_updates(key, &[], missing_updates_of(known.machine))?;
        Ok(key)
    }

    fn changed_machine(&mut self, key: i64, old: Known<'_>, new: Known<'_>) -> rusqlite::Result<()> {
        if machine_fields(old) != machine_fields(new) {
            let facts = &new.machine.facts;
            self.rows += self.statements.update_machine.execute(params![
                key,
                facts.name,
                facts.os_platform,
                facts.os_version,
                facts.device_group,
                new.departed_at.map(Timestamp::as_millisecond),
                facts.onboarded
            ])?;
        }
        if Arc::ptr_eq(old.machine, new.machine) {
            return Ok(());
        }
        if times_of(old.machine) != times_of(new.machine) {
            self.times(key, new.machine)?;
        }
        self.missing_updates(key, missing_updates_of(old.machine), missing_updates_of(new.machine))
    }

    fn gone_machine(&mut self, key: i64) -> rusqlite::Result<()> {
        self.rows += self.statements.delete_machine.execute([key])?;
        self.rows += self.statements.delete_times.execute([key])?;
        self.rows += self.statements.delete_missing_updates.execute([key])?;
        Ok(())
    }

    fn times(&mut self, key: i64, machine: &Machine) -> rusqlite::Result<()> {
        let ([last_seen, read_at, attempt_at, succeeded, as_of], source) = times_of(machine);
        let row = params![key, last_seen, read_at, attempt_at, succeeded, as_of, source];
        self.rows += self.statements.put_times.execute(row)?;
        Ok(())
    }

    fn missing_updates(
        &mut self,
        machine: i64,
        old: &[MissingUpdate],
        new: &[MissingUpdate],
    ) -> rusqlite::Result<()> {
        for (kb, old, new) in merge_join(old.iter().map(by_kb), new.iter().map(by_kb)) {
            match (old, new) {
                (Some(old), Some(new)) if old == new => {}
                (_, Some(new)) => {
                    let facts = self.facts_key(&new.update.facts)?;
                    self.rows += self.statements.put_missing_update.execute(params![
                        machine,
                        kb.number(),
                        new.first_seen.as_millisecond(),
                        facts,
                        new.update.cves,
                        new.update.reported_machines,
                        new.update.severity.map(severity_number)
                    ])?;
                }
                (_, None) => {
                    self.rows +=
                        self.statements.delete_missing_update.execute([machine, kb.number().into()])?;
                }
            }
        }
        Ok(())
    }

    fn facts_key(&mut self, facts: &UpdateFacts) -> rusqlite::Result<i64> {
        if let Some(key) = self.contents.facts.get(facts).or_else(|| self.new_facts.get(facts)) {
            return Ok(*key);
        }
        let products = serde_json::to_string(&facts.products).expect("Safe: text is always JSON");
        self.rows += self.statements.insert_facts.execute(params![facts.title, products])?;
        let key = self.transaction.last_insert_rowid();
        self.new_facts.insert(facts.clone(), key);
        Ok(key)
    }
}

/// The columns of a tenant's row, to compare and to write.
fn tenant_fields(fleet: &TenantFleet) -> ([Option<i64>; 5], Totals, &str) {
    let (status, snapshot) = (&fleet.status, fleet.snapshot);
    let generated_at = snapshot.map(|snapshot| snapshot.generated_at);
    let checked_at = snapshot.map(|snapshot| snapshot.checked_at);
    let times = [fleet.listed_at, status.last_poll, status.last_success, generated_at, checked_at];
    (times.map(|at| at.map(Timestamp::as_millisecond)), fleet.totals, &fleet.selectors)
}

/// The columns of a machine's row that can change, to compare.
fn machine_fields(known: Known<'_>) -> ([&str; 4], Option<i64>, bool) {
    let facts = &known.machine.facts;
    let texts = [&facts.name, &facts.os_platform, &facts.os_version, &facts.device_group];
    let departed_at = known.departed_at.map(Timestamp::as_millisecond);
    (texts.map(String::as_str), departed_at, facts.onboarded)
}

/// The columns of a row of times, to compare and to write.
fn times_of(machine: &Machine) -> ([Option<i64>; 5], &'static str) {
    let (assessment, attempt) = (machine.assessment.as_ref(), machine.attempt);
    let times = [
        machine.facts.last_seen,
        assessment.map(|assessment| assessment.at),
        attempt.map(|attempt| attempt.at),
        assessment.map(|assessment| assessment.as_of),
    ];
    let [last_seen, read_at, attempt_at, as_of] = times.map(|at| at.map(Timestamp::as_millisecond));
    let succeeded = attempt.map(|attempt| attempt.succeeded.into());
    // Mostly the same time, which NULL says in less room.
    let as_of = as_of.filter(|as_of| Some(*as_of) != read_at);
    let source = assessment.map(|assessment| assessment.source).unwrap_or_default();
    ([last_seen, read_at, attempt_at, succeeded, as_of], source_name(source))
}

fn missing_updates_of(machine: &Machine) -> &[MissingUpdate] {
    machine.assessment.as_ref().map_or(&[], |assessment| &assessment.missing_updates)
}

fn by_kb(missing: &MissingUpdate) -> (KbId, &MissingUpdate) {
    (missing.update.kb, missing)
}

/// SQLite's integers are signed; no count gets that far.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

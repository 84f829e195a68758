//! Writes the changes since the last save, in one transaction.
//!
//! A machine that is the same `Arc` as at the last save is skipped. Of the others, only rows that differ are
//! written. Facts and times are in separate rows because the times of every machine change with every poll.
//! Each missing update is a row.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::persisted_state::{
    MachineEntry, PersistedState, PersistedTenant, machines, merge_join, onboarding_number,
    resolution_bounds, severity_number, source_name,
};
use super::statements::Statements;
use super::{burn_down, chain, unreadable};
use crate::fleet::unreadable::UnreadableIds;
use crate::fleet::{BurnDown, Machine, MachineFacts, MissingUpdate, TenantFleet, Totals, UpdateFacts};
use crate::model::{CvssScore, KbId, MachineId};

/// Writes the difference between `persisted` and `tenants`; other tenants stay as they are. Updates
/// `persisted` after the commit, which is at `now`. Returns whether a row was written.
pub(super) fn write<'a>(
    connection: &mut Connection,
    persisted: &mut PersistedState,
    tenants: impl IntoIterator<Item = (&'a Arc<TenantFleet>, Arc<BurnDown>)>,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    // A deferred transaction: it touches no file unless a row is written.
    let transaction = connection.transaction()?;
    if persisted.needs_rewrite {
        let tables = "DELETE FROM gap; DELETE FROM times; DELETE FROM machine; DELETE FROM resolution; \
                      DELETE FROM tenant; DELETE FROM update_facts; DELETE FROM unreadable; \
                      DELETE FROM burn_down";
        transaction.execute_batch(tables)?;
    }
    let (changes, new_facts, rows) = {
        let mut writer = Writer::new(&transaction, persisted)?;
        for key in &persisted.unused_facts {
            writer.rows += transaction.execute("DELETE FROM update_facts WHERE key = ?1", [key])?;
        }
        let changes =
            tenants.into_iter().filter_map(|(fleet, burn_down)| writer.tenant(fleet, burn_down).transpose());
        let changes = changes.collect::<rusqlite::Result<Vec<_>>>()?;
        (changes, writer.new_facts, writer.rows)
    };
    if rows > 0 {
        transaction
            .execute("INSERT OR REPLACE INTO saved (key, at) VALUES (1, ?1)", [now.as_millisecond()])?;
    }
    transaction.commit()?;
    persisted.unused_facts.clear();
    persisted.needs_rewrite = false;
    persisted.facts.extend(new_facts);
    for change in changes {
        change.apply(persisted);
    }
    Ok(rows > 0)
}

/// The changes of [`PersistedState`] after a tenant was written.
struct WrittenTenant {
    fleet: Arc<TenantFleet>,
    burn_down: Arc<BurnDown>,
    key: i64,
    added: Vec<(MachineId, i64)>,
    removed: Vec<MachineId>,
}

impl WrittenTenant {
    fn apply(self, persisted: &mut PersistedState) {
        let Self { fleet, burn_down, key, added, removed } = self;
        let name = Arc::clone(&fleet.tenant);
        let tenant = persisted.tenants.entry(name).or_insert_with(|| PersistedTenant {
            key,
            fleet: Arc::clone(&fleet),
            burn_down: Arc::default(),
            machines: HashMap::new(),
        });
        (tenant.fleet, tenant.burn_down) = (fleet, burn_down);
        for id in removed {
            tenant.machines.remove(&id);
        }
        tenant.machines.extend(added);
    }
}

struct Writer<'a> {
    statements: Statements<'a>,
    transaction: &'a Transaction<'a>,
    persisted: &'a PersistedState,
    new_facts: HashMap<UpdateFacts, i64>,
    rows: usize,
}

impl<'a> Writer<'a> {
    fn new(transaction: &'a Transaction<'a>, persisted: &'a PersistedState) -> rusqlite::Result<Self> {
        let statements = Statements::new(transaction)?;
        Ok(Self { statements, transaction, persisted, new_facts: HashMap::new(), rows: 0 })
    }

    /// Writes the changes of a tenant; none if both values are the same `Arc` as at the last save.
    fn tenant(
        &mut self,
        fleet: &Arc<TenantFleet>,
        burn_down: Arc<BurnDown>,
    ) -> rusqlite::Result<Option<WrittenTenant>> {
        let persisted = self.persisted.tenants.get(&fleet.tenant);
        let has_same_fleet = persisted.is_some_and(|persisted| Arc::ptr_eq(&persisted.fleet, fleet));
        if has_same_fleet && persisted.is_some_and(|tenant| Arc::ptr_eq(&tenant.burn_down, &burn_down)) {
            return Ok(None);
        }
        let key = self.tenant_row(fleet, persisted)?;
        let saved = persisted.map(|persisted| &*persisted.burn_down);
        self.rows += burn_down::write(&mut self.statements, key, saved, &burn_down)?;
        let (added, removed) = (Vec::new(), Vec::new());
        let mut written = WrittenTenant { fleet: Arc::clone(fleet), burn_down, key, added, removed };
        if has_same_fleet {
            return Ok(Some(written));
        }
        let before = persisted.into_iter().flat_map(|persisted| machines(&persisted.fleet));
        for (id, old, new) in merge_join(before, machines(fleet)) {
            let row = persisted.and_then(|persisted| persisted.machines.get(id));
            match (old.zip(row), new) {
                (Some((old, row)), Some(new)) => self.changed_machine(*row, old, new)?,
                (Some((_, row)), None) => {
                    self.removed_machine(*row)?;
                    written.removed.push(id.clone());
                }
                (None, Some(new)) => written.added.push((id.clone(), self.new_machine(key, new)?)),
                (None, None) => {}
            }
        }
        Ok(Some(written))
    }

    /// Writes the row of a tenant and its histogram if they have changed. Returns the key of the row.
    fn tenant_row(
        &mut self,
        fleet: &TenantFleet,
        persisted: Option<&PersistedTenant>,
    ) -> rusqlite::Result<i64> {
        let is_current = |tenant: &&PersistedTenant| tenant_fields(&tenant.fleet) == tenant_fields(fleet);
        if let Some(unchanged) = persisted.filter(is_current) {
            return Ok(unchanged.key);
        }
        let key = persisted.map(|persisted| persisted.key);
        let (
            [listed_at, last_poll, last_success, generated_at, checked_at, up],
            unreadable_lines,
            totals,
            selectors,
        ) = tenant_fields(fleet);
        self.rows += self.transaction.execute(
            "INSERT OR REPLACE INTO tenant (key, name, selectors, listed_at, last_poll, last_success, \
             detected, resolved, dropped, resolution_millis, snapshot_generated_at, snapshot_checked_at, \
             snapshot_unreadable, up, superseded) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            params![
                key,
                &*fleet.tenant,
                selectors,
                listed_at,
                last_poll,
                last_success,
                integer(totals.detected),
                integer(totals.resolved),
                integer(totals.dropped),
                integer(totals.resolution.sum_millis),
                generated_at,
                checked_at,
                unreadable_lines,
                up,
                integer(totals.superseded)
            ],
        )?;
        let key = key.unwrap_or_else(|| self.transaction.last_insert_rowid());
        let put = "INSERT OR REPLACE INTO resolution (tenant, within_days, pairs) VALUES (?1, ?2, ?3)";
        let mut put = self.transaction.prepare(put)?;
        for (bound, count) in resolution_bounds().zip(totals.resolution.buckets) {
            self.rows += put.execute(params![key, bound, integer(count)])?;
        }
        Ok(key)
    }

    fn new_machine(&mut self, tenant: i64, new: MachineEntry<'_>) -> rusqlite::Result<i64> {
        let facts = &new.machine.facts;
        self.rows += self.statements.insert_machine.execute(params![
            tenant,
            facts.id.as_str(),
            facts.name,
            facts.os_platform,
            facts.os_version,
            facts.device_group,
            new.departed_at.map(Timestamp::as_millisecond),
            onboarding_number(facts.onboarding),
            tags_text(facts),
            facts.os_build
        ])?;
        let key = self.transaction.last_insert_rowid();
        self.times(key, new.machine)?;
        self.missing_updates(key, &[], new.machine.missing_updates())?;
        self.unreadable(key, None, unreadable::of(new.machine))?;
        Ok(key)
    }

    fn changed_machine(
        &mut self,
        key: i64,
        old: MachineEntry<'_>,
        new: MachineEntry<'_>,
    ) -> rusqlite::Result<()> {
        if machine_fields(old) != machine_fields(new) {
            let facts = &new.machine.facts;
            self.rows += self.statements.update_machine.execute(params![
                key,
                facts.name,
                facts.os_platform,
                facts.os_version,
                facts.device_group,
                new.departed_at.map(Timestamp::as_millisecond),
                onboarding_number(facts.onboarding),
                tags_text(facts),
                facts.os_build
            ])?;
        }
        if Arc::ptr_eq(old.machine, new.machine) {
            return Ok(());
        }
        if times_of(old.machine) != times_of(new.machine) {
            self.times(key, new.machine)?;
        }
        self.missing_updates(key, old.machine.missing_updates(), new.machine.missing_updates())?;
        self.unreadable(key, unreadable::of(old.machine), unreadable::of(new.machine))
    }

    fn removed_machine(&mut self, key: i64) -> rusqlite::Result<()> {
        self.rows += self.statements.delete_machine.execute([key])?;
        self.rows += self.statements.delete_times.execute([key])?;
        self.rows += self.statements.delete_missing_updates.execute([key])?;
        self.rows += self.statements.delete_unreadable.execute([key])?;
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
                        new.update.severity.map(severity_number),
                        new.update.cvss.map(CvssScore::tenths),
                        new.chain.as_deref().map(chain::encode)
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

    fn unreadable(
        &mut self,
        machine: i64,
        old: Option<&UnreadableIds>,
        new: Option<&UnreadableIds>,
    ) -> rusqlite::Result<()> {
        match new {
            _ if old == new => {}
            None => self.rows += self.statements.delete_unreadable.execute([machine])?,
            Some(new) => {
                let (ids, held) = unreadable::encode(new);
                self.rows += self.statements.put_unreadable.execute(params![machine, ids, held])?;
            }
        }
        Ok(())
    }

    fn facts_key(&mut self, facts: &UpdateFacts) -> rusqlite::Result<i64> {
        if let Some(key) = self.persisted.facts.get(facts).or_else(|| self.new_facts.get(facts)) {
            return Ok(*key);
        }
        let products = serde_json::to_string(&facts.products).expect("Safe: text is always JSON");
        self.rows += self.statements.insert_facts.execute(params![facts.title, products])?;
        let key = self.transaction.last_insert_rowid();
        self.new_facts.insert(facts.clone(), key);
        Ok(key)
    }
}

/// The columns of the row of a tenant, to compare and to write.
fn tenant_fields(fleet: &TenantFleet) -> ([Option<i64>; 6], u8, Totals, &str) {
    let status = &fleet.status;
    let generated_at = fleet.export_version.map(|version| version.generated_at);
    let checked_at = fleet.export_version.map(|version| version.checked_at);
    let times = [fleet.listed_at, status.last_poll, status.last_success, generated_at, checked_at];
    let unreadable_lines = fleet.export_version.map_or(0, |version| {
        u8::from(version.has_unreadable_lines) | u8::from(version.follows_unreadable_lines) << 1
    });
    let [listed_at, last_poll, last_success, generated_at, checked_at] =
        times.map(|at| at.map(Timestamp::as_millisecond));
    let up = Some(status.up.into());
    let columns = [listed_at, last_poll, last_success, generated_at, checked_at, up];
    (columns, unreadable_lines, fleet.totals, &fleet.selectors)
}

/// The columns of the row of a machine that can change, to compare.
type MachineFields<'a> = ([&'a str; 4], Option<i64>, i64, Option<&'a [String]>, Option<u32>);

fn machine_fields(entry: MachineEntry<'_>) -> MachineFields<'_> {
    let facts = &entry.machine.facts;
    let texts = [&facts.name, &facts.os_platform, &facts.os_version, &facts.device_group];
    let departed_at = entry.departed_at.map(Timestamp::as_millisecond);
    let onboarding = onboarding_number(facts.onboarding);
    (texts.map(String::as_str), departed_at, onboarding, facts.tags.as_deref(), facts.os_build)
}

/// The column of the tags.
fn tags_text(facts: &MachineFacts) -> Option<String> {
    facts.tags.as_deref().map(|tags| serde_json::to_string(tags).expect("Safe: text is always JSON"))
}

/// The columns of a row of times, to compare and to write.
fn times_of(machine: &Machine) -> ([Option<i64>; 5], &'static str) {
    let assessment = machine.assessment.as_ref();
    let attempt = machine.attempt;
    let times = [
        machine.facts.last_seen,
        assessment.map(|assessment| assessment.fetched_at),
        attempt.map(|attempt| attempt.at),
        assessment.map(|assessment| assessment.as_of),
    ];
    let [last_seen, read_at, attempt_at, as_of] = times.map(|at| at.map(Timestamp::as_millisecond));
    let succeeded = attempt.map(|attempt| if attempt.not_found { -1 } else { i64::from(attempt.succeeded) });
    // Mostly the same time; NULL takes less space.
    let as_of = as_of.filter(|as_of| Some(*as_of) != read_at);
    let source = assessment.map(|assessment| assessment.source).unwrap_or_default();
    ([last_seen, read_at, attempt_at, succeeded, as_of], source_name(source))
}

fn by_kb(missing: &MissingUpdate) -> (KbId, &MissingUpdate) {
    (missing.update.kb, missing)
}

/// Converts a count to the signed integer of SQLite. No count reaches the limit.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

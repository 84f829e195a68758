//! The prepared statements of a save.

use rusqlite::{Statement, Transaction};

/// Statements that write the rows of machines and burn-downs.
pub(super) struct Statements<'a> {
    pub(super) insert_machine: Statement<'a>,
    pub(super) update_machine: Statement<'a>,
    pub(super) delete_machine: Statement<'a>,
    pub(super) put_times: Statement<'a>,
    pub(super) delete_times: Statement<'a>,
    pub(super) put_missing_update: Statement<'a>,
    pub(super) delete_missing_update: Statement<'a>,
    pub(super) delete_missing_updates: Statement<'a>,
    pub(super) insert_facts: Statement<'a>,
    pub(super) put_unreadable: Statement<'a>,
    pub(super) delete_unreadable: Statement<'a>,
    pub(super) put_burn_down: Statement<'a>,
    pub(super) delete_burn_down: Statement<'a>,
}

impl<'a> Statements<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        Ok(Self {
            insert_machine: transaction.prepare(
                "INSERT INTO machine (tenant, id, name, os_platform, os_version, device_group, departed_at, \
                 onboarded, tags, os_build) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
            update_machine: transaction.prepare(
                "UPDATE machine SET name = ?2, os_platform = ?3, os_version = ?4, device_group = ?5, \
                 departed_at = ?6, onboarded = ?7, tags = ?8, os_build = ?9 WHERE key = ?1",
            )?,
            delete_machine: transaction.prepare("DELETE FROM machine WHERE key = ?1")?,
            put_times: transaction.prepare(
                "INSERT OR REPLACE INTO times (machine, last_seen, read_at, attempt_at, attempt_succeeded, \
                 as_of, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            delete_times: transaction.prepare("DELETE FROM times WHERE machine = ?1")?,
            put_missing_update: transaction.prepare(
                "INSERT OR REPLACE INTO gap (machine, kb, first_seen, facts, cves, reported_machines, severity, \
                 cvss, links) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            delete_missing_update: transaction.prepare("DELETE FROM gap WHERE machine = ?1 AND kb = ?2")?,
            delete_missing_updates: transaction.prepare("DELETE FROM gap WHERE machine = ?1")?,
            insert_facts: transaction
                .prepare("INSERT INTO update_facts (title, products) VALUES (?1, ?2)")?,
            put_unreadable: transaction
                .prepare("INSERT OR REPLACE INTO unreadable (machine, ids, held) VALUES (?1, ?2, ?3)")?,
            delete_unreadable: transaction.prepare("DELETE FROM unreadable WHERE machine = ?1")?,
            put_burn_down: transaction.prepare(
                "INSERT OR REPLACE INTO burn_down (tenant, kb, first_seen, released, first_day, machines) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            delete_burn_down: transaction.prepare("DELETE FROM burn_down WHERE tenant = ?1 AND kb = ?2")?,
        })
    }
}

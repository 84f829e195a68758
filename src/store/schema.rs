//! The tables, and how a file is told to be ours.

use rusqlite::Connection;

/// Marks a SQLite file as ours: `mdeX` in ASCII (<https://sqlite.org/pragma.html#pragma_application_id>).
pub(super) const APPLICATION_ID: i64 = 0x6d64_6558;

/// Number of the schema below, kept as `user_version`. A change of the tables raises it and adds a
/// step to [`recognise`] that brings older files up.
pub(super) const VERSION: i64 = 1;

/// The tables. No foreign keys and no index beside the keys: the exporter is the only writer, knows
/// every key, and checks each row when it reads. Text is text, times are milliseconds since 1970 UTC.
pub(super) const TABLES: &str = "
CREATE TABLE tenant (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    selectors TEXT NOT NULL,
    listed_at INTEGER,
    last_poll INTEGER,
    last_success INTEGER,
    detected INTEGER NOT NULL,
    resolved INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    resolution_millis INTEGER NOT NULL
) STRICT;
CREATE TABLE resolution (
    tenant INTEGER NOT NULL,
    within_days TEXT NOT NULL,
    pairs INTEGER NOT NULL,
    PRIMARY KEY (tenant, within_days)
) STRICT, WITHOUT ROWID;
CREATE TABLE machine (
    key INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    os_platform TEXT NOT NULL,
    os_version TEXT NOT NULL,
    device_group TEXT NOT NULL,
    departed_at INTEGER
) STRICT;
CREATE TABLE times (
    machine INTEGER PRIMARY KEY,
    last_seen INTEGER,
    read_at INTEGER,
    attempt_at INTEGER,
    attempt_succeeded INTEGER
) STRICT;
CREATE TABLE update_facts (
    key INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    products TEXT NOT NULL
) STRICT;
CREATE TABLE gap (
    machine INTEGER NOT NULL,
    kb INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    facts INTEGER NOT NULL,
    cves INTEGER,
    reported_machines INTEGER,
    PRIMARY KEY (machine, kb)
) STRICT, WITHOUT ROWID;
CREATE TABLE call (
    tenant TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX call_at ON call (at);
CREATE VIEW open_gaps AS
    SELECT tenant.name AS tenant, machine.id AS machine_id, machine.name AS machine, gap.kb AS kb,
        strftime('%Y-%m-%dT%H:%M:%fZ', gap.first_seen / 1000.0, 'unixepoch') AS first_seen,
        update_facts.title AS title, update_facts.products AS products, gap.cves AS cves
    FROM gap
        JOIN machine ON machine.key = gap.machine
        JOIN tenant ON tenant.key = machine.tenant
        JOIN update_facts ON update_facts.key = gap.facts
    WHERE machine.departed_at IS NULL;
CREATE VIEW machines AS
    SELECT tenant.name AS tenant, machine.id AS machine_id, machine.name AS machine,
        os_platform, os_version, device_group,
        strftime('%Y-%m-%dT%H:%M:%fZ', last_seen / 1000.0, 'unixepoch') AS last_seen,
        strftime('%Y-%m-%dT%H:%M:%fZ', read_at / 1000.0, 'unixepoch') AS read_at,
        strftime('%Y-%m-%dT%H:%M:%fZ', departed_at / 1000.0, 'unixepoch') AS departed_at,
        (SELECT count(*) FROM gap WHERE gap.machine = machine.key) AS gaps
    FROM machine
        JOIN tenant ON tenant.key = machine.tenant
        LEFT JOIN times ON times.machine = machine.key;
";

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of this schema.
    Ours,
    /// Of a later release.
    Newer,
    /// Of another program.
    Foreign,
    /// Of ours, with a number that no release has written.
    Damaged,
}

/// Tells whose file it is, by its header alone.
pub(super) fn recognise(connection: &Connection) -> rusqlite::Result<Origin> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION_ID {
        return Ok(Origin::Foreign);
    }
    Ok(match number("user_version")? {
        VERSION => Origin::Ours,
        later if later > VERSION => Origin::Newer,
        _ => Origin::Damaged,
    })
}

/// Makes the tables in an empty file.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

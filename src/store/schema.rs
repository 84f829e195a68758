//! The tables, the identification of a file, and the migration of older files.

use rusqlite::{Connection, Transaction};

/// Marks a SQLite file as a state file of this exporter: `mdeX` in ASCII
/// (<https://sqlite.org/pragma.html#pragma_application_id>).
pub(super) const APPLICATION_ID: i64 = 0x6d64_6558;

/// The number of the schema below, stored as `user_version`. A change of the tables raises it, and extends
/// [`migrate`] for older files.
///
/// - 1: the first release.
/// - 2: columns of [`ADDED`].
/// - 3: `tenant.selectors` holds a digest. SQL cannot compute it from the older text, so a migrated file
///   keeps that text; the poller recognises it and replaces it with the digest
///   ([`Selectors::is_stored_as`](crate::config::Selectors::is_stored_as)).
/// - 4: columns of [`ADDED`], the tables of [`ADDED_TABLES`], and the value -1 of `machine.onboarded`: earlier
///   releases wrote 0 both for a machine that is not onboarded and for an unknown status. A migrated file has
///   no machine list, so that the list is read at once.
/// - 5: columns of [`ADDED`]. A migrated file has no machine list, so that the list shows tags and builds at once.
/// - 6: the table `saved`.
/// - 7: the table `burn_down`.
pub(super) const VERSION: i64 = 7;

/// The first schema with everything that a machine list shows. A file of an earlier one gets a new list at once.
const COMPLETE_LISTS: i64 = 5;

/// The tables. `gap` holds the missing updates, and `pairs` counts them. There are no foreign keys and no
/// other indexes than the keys: the exporter is the only writer, knows every key, and checks each row when it
/// reads. Times are milliseconds since 1970 UTC.
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
    resolution_millis INTEGER NOT NULL,
    snapshot_generated_at INTEGER,
    snapshot_checked_at INTEGER,
    snapshot_unreadable INTEGER NOT NULL,
    up INTEGER,
    superseded INTEGER NOT NULL
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
    departed_at INTEGER,
    onboarded INTEGER NOT NULL,
    tags TEXT,
    os_build INTEGER
) STRICT;
CREATE TABLE times (
    machine INTEGER PRIMARY KEY,
    last_seen INTEGER,
    read_at INTEGER,
    attempt_at INTEGER,
    attempt_succeeded INTEGER,
    as_of INTEGER,
    source TEXT NOT NULL
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
    severity INTEGER,
    cvss INTEGER,
    links TEXT,
    PRIMARY KEY (machine, kb)
) STRICT, WITHOUT ROWID;
CREATE TABLE call (
    tenant TEXT NOT NULL,
    at INTEGER NOT NULL,
    endpoint TEXT
) STRICT;
CREATE INDEX call_at ON call (at);
";

/// The tables that schemas 4, 6 and 7 added, by name.
const ADDED_TABLES: [(&str, &str); 3] = [
    ("unreadable", "machine INTEGER PRIMARY KEY, ids TEXT NOT NULL, held TEXT NOT NULL"),
    ("saved", "key INTEGER PRIMARY KEY, at INTEGER NOT NULL"),
    (
        "burn_down",
        "tenant INTEGER NOT NULL, kb INTEGER NOT NULL, first_seen INTEGER NOT NULL, released INTEGER, \
         first_day INTEGER NOT NULL, machines TEXT NOT NULL, PRIMARY KEY (tenant, kb)",
    ),
];

/// Views for people. The exporter does not read them.
const VIEWS: &str = "
CREATE VIEW open_gaps AS
    SELECT tenant.name AS tenant, machine.id AS machine_id, machine.name AS machine, gap.kb AS kb,
        strftime('%Y-%m-%dT%H:%M:%fZ', gap.first_seen / 1000.0, 'unixepoch') AS first_seen,
        update_facts.title AS title, update_facts.products AS products, gap.cves AS cves,
        CASE gap.severity WHEN 4 THEN 'critical' WHEN 3 THEN 'high' WHEN 2 THEN 'medium' WHEN 1 THEN 'low' END
            AS severity, gap.cvss / 10.0 AS cvss,
        (SELECT group_concat(value ->> 0, ' ') FROM json_each(gap.links)) AS supersedes
    FROM gap
        JOIN machine ON machine.key = gap.machine
        JOIN tenant ON tenant.key = machine.tenant
        JOIN update_facts ON update_facts.key = gap.facts
    WHERE machine.departed_at IS NULL;
CREATE VIEW machines AS
    SELECT tenant.name AS tenant, machine.id AS machine_id, machine.name AS machine,
        os_platform, os_version, os_build, device_group, onboarded, tags,
        strftime('%Y-%m-%dT%H:%M:%fZ', last_seen / 1000.0, 'unixepoch') AS last_seen,
        strftime('%Y-%m-%dT%H:%M:%fZ', read_at / 1000.0, 'unixepoch') AS read_at,
        strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(as_of, read_at) / 1000.0, 'unixepoch') AS as_of,
        iif(read_at IS NULL, NULL, source) AS source,
        strftime('%Y-%m-%dT%H:%M:%fZ', departed_at / 1000.0, 'unixepoch') AS departed_at,
        (SELECT count(*) FROM gap WHERE gap.machine = machine.key) AS gaps
    FROM machine
        JOIN tenant ON tenant.key = machine.tenant
        LEFT JOIN times ON times.machine = machine.key;
CREATE VIEW burn_down_days AS
    SELECT tenant.name AS tenant, burn_down.kb AS kb,
        strftime('%Y-%m-%d', burn_down.first_day / 1000 + count.key * 86400, 'unixepoch') AS day,
        count.value AS machines
    FROM burn_down
        JOIN tenant ON tenant.key = burn_down.tenant
        JOIN json_each(burn_down.machines) AS count
    WHERE count.value IS NOT NULL;
";

/// The columns that later schemas added, with their values in older rows. The calls of schema 1 went to
/// endpoints without a quota of their own, and its assessments came from one call per machine.
const ADDED: [(&str, &[Column]); 5] = [
    (
        "tenant",
        &[
            Column::unknown("snapshot_generated_at"),
            Column::unknown("snapshot_checked_at"),
            Column { name: "snapshot_unreadable", kind: "INTEGER NOT NULL", old: "0" },
            Column::unknown("up"),
            Column { name: "superseded", kind: "INTEGER NOT NULL", old: "0" },
        ],
    ),
    (
        "machine",
        &[
            Column { name: "onboarded", kind: "INTEGER NOT NULL", old: "0" },
            Column::unknown_text("tags"),
            Column::unknown("os_build"),
        ],
    ),
    (
        "times",
        &[Column::unknown("as_of"), Column { name: "source", kind: "TEXT NOT NULL", old: "'machines'" }],
    ),
    ("gap", &[Column::unknown("severity"), Column::unknown("cvss"), Column::unknown_text("links")]),
    ("call", &[Column::unknown_text("endpoint")]),
];

struct Column {
    name: &'static str,
    kind: &'static str,
    /// The value in rows that are older than the column.
    old: &'static str,
}

impl Column {
    const fn unknown(name: &'static str) -> Self {
        Self { name, kind: "INTEGER", old: "NULL" }
    }

    const fn unknown_text(name: &'static str) -> Self {
        Self { name, kind: "TEXT", old: "NULL" }
    }
}

/// The origin of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Written with this schema.
    Current,
    /// Written by an earlier release; [`migrate`] or [`view_as_current`] makes it readable.
    Older,
    /// Written by a later release.
    Newer,
    /// Written by another program.
    Foreign,
    /// Marked as a state file, with a schema number that no release has written.
    Damaged,
}

/// Identifies a file by its header alone.
pub(super) fn identify(connection: &Connection) -> rusqlite::Result<Origin> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION_ID {
        return Ok(Origin::Foreign);
    }
    Ok(match number("user_version")? {
        VERSION => Origin::Current,
        1..VERSION => Origin::Older,
        later if later > VERSION => Origin::Newer,
        _ => Origin::Damaged,
    })
}

/// Creates the tables in an empty file.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; {TABLES} {} {VIEWS} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; \
         COMMIT;",
        added_tables("CREATE TABLE", &ADDED_TABLES)
    ))
}

/// Statements that create `tables`, each beginning with `create`.
fn added_tables<'a>(
    create: &str,
    tables: impl IntoIterator<Item = &'a (&'static str, &'static str)>,
) -> String {
    let statement = |(name, columns): &(&str, &str)| format!("{create} {name} ({columns}) STRICT;");
    tables.into_iter().map(statement).collect::<Vec<_>>().join(" ")
}

/// Migrates an older file in one transaction. Rows are not rewritten: SQLite stores the value of a new column
/// in old rows once, in the table definition.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (table, columns) in ADDED {
        for Column { name, kind, old } in missing_columns(&transaction, table, columns)? {
            let column = format!("ALTER TABLE {table} ADD COLUMN {name} {kind} DEFAULT {old}");
            transaction.execute_batch(&column)?;
        }
    }
    transaction.execute_batch(&added_tables("CREATE TABLE IF NOT EXISTS", &ADDED_TABLES))?;
    if !has_complete_lists(&transaction)? {
        transaction.execute_batch("UPDATE tenant SET listed_at = NULL")?;
    }
    replace_views(&transaction)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Returns whether the machines of a file have everything that a machine list shows.
pub(super) fn has_complete_lists(connection: &Connection) -> rusqlite::Result<bool> {
    connection.pragma_query_value(None, "user_version", |row| Ok(row.get::<_, i64>(0)? >= COMPLETE_LISTS))
}

fn replace_views(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let drop = "DROP VIEW IF EXISTS open_gaps; DROP VIEW IF EXISTS machines; \
                DROP VIEW IF EXISTS burn_down_days;";
    transaction.execute_batch(&format!("{drop} {VIEWS}"))
}

/// Makes an older file look migrated for `connection` alone. For files that cannot be written.
pub(super) fn view_as_current(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    for (table, columns) in ADDED {
        let columns = missing_columns(connection, table, columns)?;
        let mut shown = vec!["*".to_owned()];
        shown.extend(columns.map(|Column { name, old, .. }| format!("{old} AS {name}")));
        let shown = shown.join(", ");
        connection.execute_batch(&format!("CREATE TEMP VIEW {table} AS SELECT {shown} FROM main.{table}"))?;
    }
    for table in &ADDED_TABLES {
        let is_table = "SELECT count(*) FROM main.sqlite_schema WHERE name = ?1";
        if connection.query_row(is_table, [table.0], |row| row.get::<_, i64>(0))? == 0 {
            connection.execute_batch(&added_tables("CREATE TEMP TABLE", [table]))?;
        }
    }
    Ok(())
}

/// The elements of `columns` that `table` lacks. A file whose schema number was set back by hand has them
/// already, and stays usable.
fn missing_columns<'a>(
    connection: &Connection,
    table: &str,
    columns: &'a [Column],
) -> rusqlite::Result<impl Iterator<Item = &'a Column>> {
    let mut names = connection.prepare("SELECT name FROM pragma_table_info(?1, 'main')")?;
    let names = names.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(columns.iter().filter(move |column| !names.iter().any(|name| name == column.name)))
}

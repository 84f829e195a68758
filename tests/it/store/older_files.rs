//! Files of earlier releases: their data is kept.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::fleet::{Chain, Link, MissingUpdate, Onboarding, TenantFleet};
use mde_exporter::model::{ApiOperation, CvssScore, KbId, MachineId, Severity, Source};
use mde_exporter::store::{Restored, SetAsideReason, StateReader, Store, StoreEvent};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::store::{NOW, at, daily_counts, open, plain_fleet, remembered, save};

/// The tables of version 1, as its release created them.
const VERSION_1: &str = "
CREATE TABLE tenant (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, selectors TEXT NOT NULL,
    listed_at INTEGER, last_poll INTEGER, last_success INTEGER, detected INTEGER NOT NULL,
    resolved INTEGER NOT NULL, dropped INTEGER NOT NULL, resolution_millis INTEGER NOT NULL) STRICT;
CREATE TABLE resolution (tenant INTEGER NOT NULL, within_days TEXT NOT NULL, pairs INTEGER NOT NULL,
    PRIMARY KEY (tenant, within_days)) STRICT, WITHOUT ROWID;
CREATE TABLE machine (key INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
    os_platform TEXT NOT NULL, os_version TEXT NOT NULL, device_group TEXT NOT NULL,
    departed_at INTEGER) STRICT;
CREATE TABLE times (machine INTEGER PRIMARY KEY, last_seen INTEGER, read_at INTEGER, attempt_at INTEGER,
    attempt_succeeded INTEGER) STRICT;
CREATE TABLE update_facts (key INTEGER PRIMARY KEY, title TEXT NOT NULL, products TEXT NOT NULL) STRICT;
CREATE TABLE gap (machine INTEGER NOT NULL, kb INTEGER NOT NULL, first_seen INTEGER NOT NULL,
    facts INTEGER NOT NULL, cves INTEGER, reported_machines INTEGER,
    PRIMARY KEY (machine, kb)) STRICT, WITHOUT ROWID;
CREATE TABLE call (tenant TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE INDEX call_at ON call (at);
CREATE VIEW open_gaps AS SELECT tenant.name AS tenant, machine.id AS machine_id, machine.name AS machine,
        gap.kb AS kb, gap.first_seen AS first_seen, update_facts.title AS title,
        update_facts.products AS products, gap.cves AS cves
    FROM gap JOIN machine ON machine.key = gap.machine JOIN tenant ON tenant.key = machine.tenant
        JOIN update_facts ON update_facts.key = gap.facts WHERE machine.departed_at IS NULL;
CREATE VIEW machines AS SELECT tenant.name AS tenant, machine.id AS machine_id, os_platform, read_at
    FROM machine JOIN tenant ON tenant.key = machine.tenant LEFT JOIN times ON times.machine = machine.key;
PRAGMA application_id = 0x6d646558;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
";

/// One machine with two missing updates, one without an assessment, one out of scope; a call a minute ago.
pub(super) fn write_version_1(folder: &Path) {
    let connection = Connection::open(folder.join("state.db")).unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    let (now, read, seen) = (NOW * 1000, (NOW - 600) * 1000, (NOW - 86_400) * 1000);
    connection
        .execute_batch(&format!(
            "INSERT INTO tenant VALUES (1, 'one', 'all', {read}, {now}, {now}, 5, 2, 1, 99);
             INSERT INTO resolution VALUES (1, '7', 2);
             INSERT INTO machine VALUES (1, 1, 'a', 'a.example', 'Windows11', '23H2', 'g', NULL),
                 (2, 1, 'b', '', '', '', '', NULL), (3, 1, 'c', 'c.example', '', '', '', {now});
             INSERT INTO times VALUES (1, {seen}, {read}, {read}, 1), (2, NULL, NULL, {read}, 0),
                 (3, {seen}, {read}, {read}, 1);
             INSERT INTO update_facts VALUES (1, 'March 2020 Security Updates', '[\"windows_10\"]');
             INSERT INTO gap VALUES (1, 4540673, {seen}, 1, 97, 1), (1, 5000000, {read}, 1, NULL, NULL),
                 (3, 4540673, {seen}, 1, 97, 1);
             INSERT INTO call VALUES ('one', {now} - 60000);"
        ))
        .unwrap();
}

/// The schema number of this release.
const CURRENT: i64 = 7;

fn version(folder: &Path) -> i64 {
    let connection = Connection::open(folder.join("state.db")).unwrap();
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn id(text: &str) -> MachineId {
    MachineId::parse(text).unwrap()
}

fn assert_nothing_is_lost(restored: &Restored) {
    let [fleet] = &restored.fleets[..] else { panic!("{restored:?}") };
    assert_eq!((fleet.listed_at, fleet.status.last_success), (None, Some(at(NOW))), "the list is due");
    assert_eq!((fleet.totals.detected, fleet.totals.resolved, fleet.totals.dropped), (5, 2, 1));
    assert_eq!(fleet.totals.superseded, 0);
    assert_eq!((fleet.totals.resolution.buckets[2], fleet.totals.resolution.sum_millis), (2, 99));
    assert_eq!(fleet.export_version, None);
    let machine = &fleet.machines[&id("a")];
    assert_eq!((&*machine.facts.name, machine.facts.onboarding), ("a.example", Onboarding::Unreported));
    assert_eq!(machine.facts.last_seen, Some(at(NOW - 86_400)));
    assert_eq!((&machine.facts.tags, machine.facts.os_build), (&None, None), "no list has shown them");
    let assessment = machine.assessment.as_ref().unwrap();
    assert_eq!(
        (assessment.fetched_at, assessment.as_of, assessment.source),
        (at(NOW - 600), at(NOW - 600), Source::Machines)
    );
    let missing_updates: Vec<_> = assessment
        .missing_updates
        .iter()
        .map(|missing| (missing.update.kb.number(), missing.first_seen, missing.update.severity))
        .collect();
    let has_new_data = |missing: &MissingUpdate| missing.update.cvss.is_some() || !missing.links().is_empty();
    assert!(!assessment.missing_updates.iter().any(has_new_data));
    assert_eq!(missing_updates, [(4_540_673, at(NOW - 86_400), None), (5_000_000, at(NOW - 600), None)]);
    assert_eq!(fleet.machines[&id("b")].assessment, None);
    assert_eq!(fleet.out_of_scope[&id("c")].machine.missing_updates().len(), 1);
    assert_eq!(restored.calls["one"], [(at(NOW - 60), ApiOperation::MissingKbs)]);
}

#[test]
fn version_1_is_migrated_with_its_updates_and_times() {
    let folder = TempDir::new().unwrap();
    write_version_1(folder.path());
    let (mut store, restored) = open(folder.path());
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    assert_nothing_is_lost(&restored);
    assert_eq!(version(folder.path()), CURRENT);

    let mut fleet = restored.fleets[0].clone();
    let machine = Arc::make_mut(fleet.machines.get_mut(&id("a")).unwrap());
    let missing = &mut machine.assessment.as_mut().unwrap().missing_updates[0];
    (missing.update.severity, missing.update.cvss) = (Some(Severity::High), CvssScore::new(8.8));
    missing.chain = Chain::of(vec![Link { kb: KbId::new(4_540_672).unwrap(), first_seen: at(NOW - 90_000) }]);
    machine.facts.onboarding = Onboarding::Onboarded;
    (machine.facts.tags, machine.facts.os_build) = (Some(["a".to_owned()].into()), Some(22_631));
    fleet.totals.superseded = 1;
    store.save(&[Arc::new(fleet.clone())]).unwrap();
    drop(store);
    let (_, restored) = open(folder.path());
    assert!(restored.events.is_empty());
    assert_eq!(remembered(&restored.fleets), remembered(&[fleet]));
}

/// Name, type, NOT NULL and position in the key of every column of every table and view.
fn columns(folder: &Path) -> Vec<String> {
    let connection = Connection::open(folder.join("state.db")).unwrap();
    let query =
        "SELECT concat_ws(' ', object.type, object.name, field.name, field.type, field.\"notnull\", field.pk)
                 FROM sqlite_schema AS object, pragma_table_info(object.name) AS field ORDER BY 1";
    let mut rows = connection.prepare(query).unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn migrated_file_has_the_tables_of_a_new_file() {
    let [old, new] = [(); 2].map(|()| TempDir::new().unwrap());
    write_version_1(old.path());
    drop((open(old.path()), open(new.path())));
    assert_eq!(columns(old.path()), columns(new.path()));
}

#[test]
fn read_only_file_of_version_1_is_read() {
    let folder = TempDir::new().unwrap();
    write_version_1(folder.path());
    // A folder that cannot be locked, as on a disk that was remounted read-only.
    let lock = folder.path().join("lock");
    symlink(folder.path().join("no folder/lock"), &lock).unwrap();
    let before = fs::read(folder.path().join("state.db")).unwrap();
    let (mut store, restored) = open(folder.path());
    assert!(!store.is_on_disk() && matches!(restored.events[..], [StoreEvent::WithoutDisk(_)]));
    assert_nothing_is_lost(&restored);
    assert_eq!(fs::read(folder.path().join("state.db")).unwrap(), before);

    fs::remove_file(&lock).unwrap();
    let fleet = TenantFleet { listed_at: Some(at(NOW)), ..restored.fleets[0].clone() };
    let saved = store.save(&[Arc::new(fleet.clone())]).unwrap();
    assert!(matches!(saved.events[..], [StoreEvent::OnDisk { .. }]), "{:?}", saved.events);
    drop(store);
    assert_eq!(version(folder.path()), CURRENT);
    assert_eq!(remembered(&open(folder.path()).1.fleets), remembered(&[fleet]));
}

#[test]
fn manually_lowered_schema_number_loses_no_data() {
    let folder = TempDir::new().unwrap();
    let fleet = plain_fleet("one", 3, NOW);
    save(folder.path(), std::slice::from_ref(&fleet));
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 1; DROP VIEW machines;").unwrap();
    drop(connection);
    let (_, restored) = open(folder.path());
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    assert_eq!(remembered(&restored.fleets), remembered(&[fleet]));
    assert_eq!(version(folder.path()), CURRENT);
}

#[test]
fn selectors_of_a_version_2_file_are_kept_for_the_poller() {
    let folder = TempDir::new().unwrap();
    let fleet = TenantFleet { selectors: "Selectors { all: true }".into(), ..plain_fleet("one", 3, NOW) };
    save(folder.path(), std::slice::from_ref(&fleet));
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(connection);
    let (mut store, restored) = open(folder.path());
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    assert_eq!(remembered(&restored.fleets), remembered(std::slice::from_ref(&fleet)));
    assert_eq!(restored.fleets[0].selectors, fleet.selectors);
    assert_eq!(version(folder.path()), CURRENT);

    let replaced = TenantFleet { selectors: "a digest".into(), ..fleet };
    store.save(&[Arc::new(replaced)]).unwrap();
    drop(store);
    assert_eq!(&*open(folder.path()).1.fleets[0].selectors, "a digest");
}

#[test]
fn list_is_due_after_a_migration_from_version_4() {
    let folder = TempDir::new().unwrap();
    let fleet = TenantFleet { listed_at: Some(at(NOW)), ..plain_fleet("one", 3, NOW) };
    save(folder.path(), std::slice::from_ref(&fleet));
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    connection
        .execute_batch(
            "DROP VIEW machines; DROP VIEW open_gaps; ALTER TABLE machine DROP COLUMN tags;
             ALTER TABLE machine DROP COLUMN os_build; ALTER TABLE gap DROP COLUMN cvss;
             ALTER TABLE gap DROP COLUMN links; ALTER TABLE tenant DROP COLUMN superseded;
             DROP TABLE saved; DROP VIEW burn_down_days; DROP TABLE burn_down; PRAGMA user_version = 4",
        )
        .unwrap();
    drop(connection);
    let (_, restored) = open(folder.path());
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    assert_eq!(restored.fleets[0].listed_at, None);
    assert_eq!(remembered(&restored.fleets), remembered(&[TenantFleet { listed_at: None, ..fleet }]));
    assert_eq!(version(folder.path()), CURRENT);
}

/// A state file as the release with schema 5 wrote it, of six machines with five missing updates.
const VERSION_5: &[u8] = include_bytes!("../../fixtures/state/schema-5.db.gz");

#[test]
fn file_of_version_5_is_continued_with_its_list() {
    let folder = TempDir::new().unwrap();
    let mut file = File::create(folder.path().join("state.db")).unwrap();
    io::copy(&mut GzDecoder::new(VERSION_5), &mut file).unwrap();
    drop(file);
    let reader = StateReader::open(folder.path(), Timestamp::now()).unwrap();
    assert_eq!((reader.machines("demo").len(), reader.saved_at()), (6, None));
    drop(reader);
    assert_eq!(version(folder.path()), 5, "reading does not migrate it");

    let (store, restored) = Store::open(folder.path(), Clock::system()).unwrap();
    assert!(store.is_on_disk() && restored.events.is_empty(), "{:?}", restored.events);
    let [fleet] = &restored.fleets[..] else { panic!("{} tenants", restored.fleets.len()) };
    let first_seen: Vec<_> =
        fleet.machines.values().flat_map(|m| m.missing_updates()).map(|missing| missing.first_seen).collect();
    assert_eq!((fleet.machines.len(), first_seen.len()), (6, 5));
    let written = "2026-11-30T10:39:50Z".parse().unwrap()..="2026-11-30T10:40:15Z".parse().unwrap();
    assert!(first_seen.iter().all(|at| written.contains(at)), "{first_seen:?}");
    assert!(fleet.machines.values().all(|machine| machine.facts.tags.is_some()));
    assert!(fleet.listed_at.is_some_and(|at| written.contains(&at)), "no field of the list is new");
    assert_eq!(fleet.totals.detected, 5);
    assert_eq!(version(folder.path()), CURRENT);
}

/// A state file as the release with schema 6 wrote it, of six machines that miss four updates.
const VERSION_6: &[u8] = include_bytes!("../../fixtures/state/schema-6.db.gz");

#[test]
fn file_of_version_6_gets_daily_counts() {
    let folder = TempDir::new().unwrap();
    let mut file = File::create(folder.path().join("state.db")).unwrap();
    io::copy(&mut GzDecoder::new(VERSION_6), &mut file).unwrap();
    drop(file);
    let saved_at = Some("2026-11-30T18:04:12.654Z".parse().unwrap());
    let assert_is_read = |version_read: i64| {
        let reader = StateReader::open(folder.path(), Timestamp::now()).unwrap();
        assert_eq!((reader.machines("demo").len(), reader.saved_at()), (6, saved_at));
        assert_eq!(version(folder.path()), version_read);
    };
    assert_is_read(6);

    let (mut store, restored) = Store::open(folder.path(), Clock::system()).unwrap();
    assert!(store.is_on_disk() && restored.events.is_empty(), "{:?}", restored.events);
    let [fleet] = &restored.fleets[..] else { panic!("{} tenants", restored.fleets.len()) };
    let missing_updates =
        fleet.machines.values().map(|machine| machine.missing_updates().len()).sum::<usize>();
    assert_eq!((fleet.machines.len(), missing_updates, fleet.totals.detected), (6, 4, 5));
    assert!(fleet.listed_at.is_some(), "no field of the list is new");
    assert_eq!(store.burn_down("demo").map(|burn_down| burn_down.updates().count()), Some(0));
    assert_is_read(CURRENT);

    let counts = daily_counts(5_082_580, &[2]);
    store.save_burn_downs(&[("demo".into(), Arc::clone(&counts))].into()).unwrap();
    drop(store);
    let (store, restored) = Store::open(folder.path(), Clock::system()).unwrap();
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    assert_eq!(store.burn_down("demo"), Some(&counts));
}

#[test]
fn failed_migration_leaves_the_file_unchanged() {
    let folder = TempDir::new().unwrap();
    write_version_1(folder.path());
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    connection.execute_batch("DROP TABLE call").unwrap();
    drop(connection);
    let before = columns(folder.path());
    let (store, restored) = open(folder.path());
    let [StoreEvent::SetAside { reason: SetAsideReason::Damaged, path, .. }] = &restored.events[..] else {
        panic!("{:?}", restored.events);
    };
    drop(store);
    for end in ["", "-wal", "-shm"] {
        let from = path.with_file_name(format!("{}{end}", path.file_name().unwrap().display()));
        if from.exists() {
            fs::rename(from, folder.path().join(format!("state.db{end}"))).unwrap();
        }
    }
    assert_eq!((version(folder.path()), columns(folder.path())), (1, before));
}

//! Files and folders that cannot be used.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mde_exporter::fleet::TenantFleet;
use mde_exporter::model::ApiOperation;
use mde_exporter::store::{SetAsideReason, StoreEvent};
use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::store::{NOW, at, open, plain_fleet, remembered, save};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_bytes_never_stop_the_store(
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..30),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let folder = TempDir::new().unwrap();
        let fleet = plain_fleet("one", 300, NOW - 1000);
        save(folder.path(), std::slice::from_ref(&fleet));
        let path = folder.path().join("state.db");
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        for (position, byte) in flips {
            file.seek(SeekFrom::Start(position.index(length) as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        }
        if let Some(cut) = cut {
            file.set_len(cut.index(length) as u64).unwrap();
        }
        let (mut store, restored) = open(folder.path());
        let set_aside = restored.events.iter().any(|notice| matches!(notice, StoreEvent::SetAside { .. }));
        prop_assert!(set_aside != restored.restored && store.is_on_disk(), "{:?}", restored.events);
        let fleet = plain_fleet("one", 301, NOW);
        store.save(&[Arc::new(fleet.clone())]).unwrap();
        drop(store);
        let (_, restored) = open(folder.path());
        prop_assert_eq!(restored.events.len(), 0);
        let one: Vec<_> = restored.fleets.into_iter().filter(|fleet| &*fleet.tenant == "one").collect();
        prop_assert_eq!(remembered(&one), remembered(&[fleet]));
    }
}

/// The first hundred bytes decide how SQLite reads the rest; some of them mark the file as read-only.
#[test]
fn damaged_header_never_stops_saves() {
    let folder = TempDir::new().unwrap();
    let fleet = plain_fleet("one", 3, NOW);
    save(folder.path(), std::slice::from_ref(&fleet));
    let good = fs::read(folder.path().join("state.db")).unwrap();
    for place in 0..100 {
        let mut bytes = good.clone();
        bytes[place] ^= 0x55;
        put(&folder.path().join("state.db"), &bytes);
        let (mut store, _) = open(folder.path());
        assert!(store.is_on_disk(), "byte {place}");
        let newer = plain_fleet("one", 4, NOW);
        store.save(&[Arc::new(newer.clone())]).unwrap();
        drop(store);
        assert_eq!(remembered(&open(folder.path()).1.fleets), remembered(&[newer]));
    }
}

/// The files that were set aside, without their log files.
fn set_aside(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("state.db.") && !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

pub(super) fn put(path: &Path, bytes: &[u8]) {
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Opens a folder with an unusable file, and asserts that it is renamed unchanged and a new one is used.
fn assert_is_set_aside(folder: &Path, reason: SetAsideReason) -> PathBuf {
    let bytes = fs::read(folder.join("state.db")).unwrap();
    let (mut store, restored) = open(folder);
    assert!(!restored.restored && store.is_on_disk());
    let [StoreEvent::SetAside { reason: found, path, .. }] = &restored.events[..] else {
        panic!("{:?}", restored.events);
    };
    assert_eq!(*found, reason);
    assert!(path.display().to_string().contains(&format!("state.db.{}-20231114T221320Z", reason.as_str())));
    assert_eq!(fs::read(path).unwrap(), bytes, "the file is unchanged");
    let fleet = plain_fleet("new", 2, NOW);
    store.save(&[Arc::new(fleet.clone())]).unwrap();
    drop(store);
    assert_eq!(remembered(&open(folder).1.fleets), remembered(&[fleet]));
    path.clone()
}

#[test]
fn file_that_is_not_sqlite_is_set_aside() {
    let folder = TempDir::new().unwrap();
    put(&folder.path().join("state.db"), &b"no database, but long enough to look at. ".repeat(50));
    assert_is_set_aside(folder.path(), SetAsideReason::Foreign);
}

#[test]
fn empty_file_is_set_aside() {
    let folder = TempDir::new().unwrap();
    put(&folder.path().join("state.db"), b"");
    assert_is_set_aside(folder.path(), SetAsideReason::Damaged);
}

#[test]
fn database_of_another_program_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let other = Connection::open(folder.path().join("state.db")).unwrap();
    other.execute_batch("CREATE TABLE tenant (x); PRAGMA user_version = 1;").unwrap();
    drop(other);
    let path = assert_is_set_aside(folder.path(), SetAsideReason::Foreign);
    let other = Connection::open(path).unwrap();
    assert_eq!(other.query_row("SELECT count(*) FROM tenant", [], |row| row.get::<_, i64>(0)), Ok(0));
}

fn change(folder: &Path, sql: &str) {
    let connection = Connection::open(folder.join("state.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn file_of_a_later_release_is_set_aside() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW)]);
    change(folder.path(), "PRAGMA user_version = 8; ALTER TABLE gap ADD COLUMN more TEXT;");
    assert_is_set_aside(folder.path(), SetAsideReason::Newer);
}

#[test]
fn file_without_a_table_is_set_aside() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW)]);
    change(folder.path(), "DROP TABLE gap;");
    assert_is_set_aside(folder.path(), SetAsideReason::Damaged);
}

#[test]
fn truncated_file_is_set_aside() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 300, NOW)]);
    let file = fs::File::options().write(true).open(folder.path().join("state.db")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    assert_is_set_aside(folder.path(), SetAsideReason::Damaged);
}

#[test]
fn files_set_aside_within_a_second_do_not_overwrite_each_other() {
    let folder = TempDir::new().unwrap();
    for text in ["first", "second"] {
        put(&folder.path().join("state.db"), text.as_bytes());
        drop(open(folder.path()));
        fs::remove_file(folder.path().join("state.db")).unwrap();
    }
    let names = set_aside(folder.path());
    assert_eq!(names, ["state.db.damaged-20231114T221320Z", "state.db.damaged-20231114T221320Z-2"]);
    assert_eq!(fs::read_to_string(folder.path().join(&names[0])).unwrap(), "first");
    assert_eq!(fs::read_to_string(folder.path().join(&names[1])).unwrap(), "second");
}

#[test]
fn invalid_rows_are_ignored_and_deleted() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW)]);
    change(
        folder.path(),
        "INSERT INTO gap (machine, kb, first_seen, facts, severity, cvss, links)
             VALUES (77, 1, 0, 1, 1, 1, NULL), (1, 4294967296, 0, 1, 1, 1, NULL), (1, 12, 0, 99, 1, 1, NULL),
                 (1, 13, 0, 1, 5, 1, NULL), (1, 14, 0, 1, 1, 101, NULL), (1, 15, 0, 1, 1, 1, '[[15,0]]');
         INSERT INTO machine (key, tenant, id, name, os_platform, os_version, device_group, onboarded, tags, os_build)
             VALUES (50, 1, 'not an id', '', '', '', '', 0, NULL, NULL), (51, 9, 'x', '', '', '', '', 0, NULL, NULL),
                 (52, 1, 'machine-00001', '', '', '', '', 0, NULL, NULL), (53, 1, 'y', '', '', '', '', 0, '7', NULL),
                 (54, 1, 'z', '', '', '', '', 0, '[]', -1);",
    );
    let (mut store, restored) = open(folder.path());
    assert!(matches!(restored.events[..], [StoreEvent::Skipped { rows: 11 }]), "{:?}", restored.events);
    let mut expected = plain_fleet("one", 3, NOW);
    let first = expected.machines.values_mut().next().unwrap();
    Arc::make_mut(first).assessment.as_mut().unwrap().expire();
    let expected = remembered(&[expected]);
    assert_eq!(remembered(&restored.fleets), expected, "the first machine lost rows, so it is not judged");
    store.save(&[]).unwrap();
    drop(store);
    let (_, restored) = open(folder.path());
    assert!(restored.events.is_empty(), "the next save deleted them");
    assert_eq!(remembered(&restored.fleets), expected);
}

#[test]
fn failed_folder_creation_is_retried() {
    let outer = TempDir::new().unwrap();
    let blocker = outer.path().join("file");
    put(&blocker, b"");
    let folder = blocker.join("state");
    let (mut store, restored) = open(&folder);
    assert!(!store.is_on_disk());
    assert!(matches!(restored.events[..], [StoreEvent::WithoutDisk(_)]));
    assert!(restored.events[0].to_string().contains(&folder.display().to_string()));
    let fleet = Arc::new(plain_fleet("one", 2, NOW));
    assert_eq!(store.save(&[Arc::clone(&fleet)]).unwrap_err().kind(), "folder");
    store.record_calls("one", &[(at(NOW), ApiOperation::Export)]).unwrap();
    fs::remove_file(&blocker).unwrap();
    let saved = store.save(&[Arc::clone(&fleet)]).unwrap();
    assert!(matches!(saved.events[..], [StoreEvent::OnDisk { .. }]));
    drop(store);
    let (_, restored) = open(&folder);
    assert_eq!(remembered(&restored.fleets), remembered(&[TenantFleet::clone(&fleet)]));
    assert_eq!(restored.calls["one"], [(at(NOW), ApiOperation::Export)]);
}

#[test]
fn state_file_that_appears_later_is_set_aside() {
    let outer = TempDir::new().unwrap();
    let earlier = TempDir::new().unwrap();
    save(earlier.path(), &[plain_fleet("one", 3, NOW - 9)]);
    let folder = outer.path().join("state");
    put(&folder, b"");
    let (mut store, _) = open(&folder);
    fs::remove_file(&folder).unwrap();
    fs::rename(earlier.path(), &folder).unwrap();
    let fleet = Arc::new(plain_fleet("one", 2, NOW));
    let saved = store.save(&[Arc::clone(&fleet)]).unwrap();
    assert!(matches!(
        saved.events[..],
        [StoreEvent::SetAside { reason: SetAsideReason::Unread, .. }, StoreEvent::OnDisk { .. }]
    ));
    drop(store);
    assert_eq!(remembered(&open(&folder).1.fleets), remembered(&[TenantFleet::clone(&fleet)]));
    fs::rename(folder.join(&set_aside(&folder)[0]), folder.join("state.db")).unwrap();
    assert_eq!(remembered(&open(&folder).1.fleets), remembered(&[plain_fleet("one", 3, NOW - 9)]));
}

#[test]
fn removed_file_is_written_again() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    let fleet = Arc::new(plain_fleet("one", 2, NOW));
    store.save(&[Arc::clone(&fleet)]).unwrap();
    fs::remove_file(folder.path().join("state.db")).unwrap();
    let events = store.save(&[Arc::clone(&fleet)]).unwrap().events;
    let log: Vec<_> = events.iter().map(ToString::to_string).collect();
    let [log_left, removed] = &log[..] else { panic!("{log:#?}") };
    assert!(log_left.starts_with("state file is missing but its log is left; set aside as"), "{log_left}");
    assert!(log_left.ends_with("writing all data to a new one"), "{log_left}");
    assert!(removed.contains("was removed while the exporter used it; no data is lost"), "{removed}");
    drop(store);
    assert_eq!(remembered(&open(folder.path()).1.fleets), remembered(&[TenantFleet::clone(&fleet)]));
}

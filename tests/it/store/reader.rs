//! Reading the state file beside a running exporter.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use mde_exporter::fleet::{Machine, MachineState, TenantFleet};
use mde_exporter::model::Freshness;
use mde_exporter::store::{ReadError, SetAsideReason, StateReader};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::bad_files::put;
use super::older_files::write_version_1;
use crate::support::any_fleets::fleets;
use crate::support::store::{NOW, at, open, plain_fleet, save};

fn reader(folder: &Path) -> StateReader {
    StateReader::open(folder, at(NOW)).unwrap()
}

/// The machines of a tenant in the order of reports.
fn machines(reader: &StateReader, tenant: &str) -> Vec<Machine> {
    let mut machines = reader.machine_reader().unwrap();
    let keys = reader.machines(tenant).iter();
    let read = keys.map(|key| machines.read(key).unwrap().unwrap()).collect();
    assert_eq!(machines.skipped_rows(), 0);
    read
}

/// Name, length, content time and permissions of every file.
fn files(folder: &Path) -> BTreeMap<String, (u64, SystemTime, u32)> {
    let stamp = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        let stamp = (metadata.len(), metadata.modified().unwrap(), metadata.permissions().mode());
        (entry.file_name().into_string().unwrap(), stamp)
    };
    fs::read_dir(folder).unwrap().map(|entry| stamp(entry.unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// While the exporter runs, and after it.
    #[test]
    fn machines_are_read_as_the_exporter_saved_them(fleet in fleets("one")) {
        let folder = TempDir::new().unwrap();
        let (mut store, _) = open(folder.path());
        store.save(&[Arc::new(fleet.clone())]).unwrap();
        let mut expected: Vec<_> = fleet.machines.into_values().map(Arc::unwrap_or_clone).collect();
        for machine in &mut expected {
            machine.set_back_times(at(NOW));
        }
        expected.sort_by_key(|machine| (machine.facts.name.to_lowercase(), machine.facts.id.clone()));
        prop_assert_eq!(&machines(&reader(folder.path()), "one"), &expected);
        drop(store);
        prop_assert_eq!(&machines(&reader(folder.path()), "one"), &expected);
    }
}

#[test]
fn reading_changes_nothing_in_the_folder() {
    let folder = TempDir::new().unwrap();
    let assert_unchanged = |has_log: bool| {
        let before = files(folder.path());
        let reader = reader(folder.path());
        assert_eq!(machines(&reader, "one").len(), 3);
        assert!(reader.is_consistent());
        drop(reader);
        assert_eq!(files(folder.path()), before);
        assert_eq!(before.contains_key("state.db-wal"), has_log);
    };
    let (mut store, _) = open(folder.path());
    store.save(&[plain_fleet("one", 3, NOW).into()]).unwrap();
    assert_unchanged(true);
    drop(store);
    assert_unchanged(false);
}

#[test]
fn reader_sees_one_state_while_the_exporter_saves() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[plain_fleet("one", 2, NOW).into()]).unwrap();
    let reader = reader(folder.path());
    for count in [40, 1] {
        store.save(&[plain_fleet("one", count, NOW - 60).into()]).unwrap();
        let first_seen = machines(&reader, "one").iter().map(|m| m.missing_updates()[0].first_seen).max();
        assert_eq!((machines(&reader, "one").len(), first_seen), (2, Some(at(NOW))));
    }
    assert!(reader.is_consistent(), "the log protects it");
}

#[test]
fn copy_of_the_file_and_its_log_is_read_without_a_change() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[plain_fleet("one", 3, NOW).into()]).unwrap();
    let copy = TempDir::new().unwrap();
    for name in ["state.db", "state.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let before = files(copy.path());
    let reader = reader(copy.path());
    assert_eq!(machines(&reader, "one").len(), 3);
    assert!(reader.is_consistent());
    drop(reader);
    assert_eq!(files(copy.path()), before);
}

#[test]
fn change_of_a_file_without_a_log_is_noticed() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 2, NOW)]);
    let first = reader(folder.path());
    save(folder.path(), &[plain_fleet("one", 40, NOW)]);
    assert!(!first.is_consistent());
    let second = first.open_again().unwrap();
    assert!(second.is_consistent());
    assert_eq!(second.machines("one").len(), 40);
    let mut reader = second;
    let error = loop {
        match reader.open_again() {
            Ok(again) => reader = again,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::Changing { .. }), "{error}");
}

#[test]
fn reader_does_not_keep_an_exporter_from_starting() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 2, NOW)]);
    for _ in 0..2 {
        let reader = reader(folder.path());
        let (mut store, restored) = open(folder.path());
        assert!(store.is_on_disk() && restored.events.is_empty(), "{:?}", restored.events);
        store.save(&[plain_fleet("one", 3, NOW).into()]).unwrap();
        drop(store);
        drop(reader);
    }
}

#[test]
fn machines_out_of_scope_are_left_out() {
    let folder = TempDir::new().unwrap();
    write_version_1(folder.path());
    let reader = reader(folder.path());
    let ids: Vec<_> = machines(&reader, "one").iter().map(|m| m.facts.id.as_str().to_owned()).collect();
    assert_eq!(ids, ["b", "a"], "a machine without a name comes first");
    assert_eq!(reader.saved_at(), None, "version 1 does not tell");
    assert_eq!(reader.tenants().map(|name| &**name).collect::<Vec<_>>(), ["one"]);
    assert!(reader.machines("two").is_empty());
}

#[test]
fn time_of_the_newest_save_is_read() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 2, NOW)]);
    assert_eq!(reader(folder.path()).saved_at(), Some(at(NOW)));
}

#[test]
fn invalid_rows_are_counted() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 2, NOW)]);
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    connection.execute_batch("UPDATE gap SET facts = 999 WHERE machine = 1 AND kb = 3").unwrap();
    connection.execute_batch("UPDATE machine SET onboarded = 7 WHERE key = 2").unwrap();
    drop(connection);
    let reader = reader(folder.path());
    let mut machines = reader.machine_reader().unwrap();
    let read: Vec<_> = reader.machines("one").iter().map(|key| machines.read(key).unwrap()).collect();
    let missing: Vec<_> = read.iter().map(|m| m.as_ref().map(|m| m.missing_updates().len())).collect();
    assert_eq!((missing, machines.skipped_rows()), (vec![Some(9), None], 2));
    let lacking = read[0].as_ref().unwrap();
    assert_eq!(lacking.state(at(NOW), &Freshness::DEFAULT), MachineState::Unknown, "it cannot be judged");
    let restored = open(folder.path()).1.fleets;
    let [lacking] = &restored[0].machines.values().collect::<Vec<_>>()[..] else { panic!("{restored:?}") };
    assert_eq!(lacking.state(at(NOW), &Freshness::DEFAULT), MachineState::Unknown);
    assert_eq!(lacking.missing_updates().len(), 9, "their first-seen times are kept for the next answer");
}

#[test]
fn unusable_file_is_named_with_its_defect() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let error = |folder: &Path| StateReader::open(folder, at(NOW)).unwrap_err();
    assert!(matches!(error(folder.path()), ReadError::Missing { .. }));
    assert!(matches!(error(&folder.path().join("nowhere")), ReadError::Missing { .. }));
    save(folder.path(), &[TenantFleet::new("one".into())]);
    let good = fs::read(&path).unwrap();
    let cases: [(&dyn Fn(), SetAsideReason); 4] = [
        (&|| put(&path, b""), SetAsideReason::Damaged),
        (&|| put(&path, &[b'x'; 5000]), SetAsideReason::Foreign),
        (&|| put(&path, &good[..good.len() - 4096]), SetAsideReason::Damaged),
        (&|| change(&path, &good, "PRAGMA user_version = 99"), SetAsideReason::Newer),
    ];
    for (spoil, expected) in cases {
        spoil();
        match error(folder.path()) {
            ReadError::Unusable { reason, .. } => assert_eq!(reason, expected),
            other => panic!("{other:?} instead of {expected:?}"),
        }
    }
    change(&path, &good, "PRAGMA application_id = 1");
    assert_eq!(
        error(folder.path()).to_string(),
        format!("state file `{}` was written by another program", path.display())
    );
}

fn change(path: &Path, good: &[u8], sql: &str) {
    put(path, good);
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

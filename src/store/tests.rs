//! Failures that need access to the open file: a disk that fills up, a file that breaks while it is open.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::fleet::{Assessment, Machine, MachineFacts, MissingUpdate, ReportedUpdate, UpdateFacts};
use crate::model::{KbId, MachineId};

fn clock() -> Clock {
    Clock::new(|| Timestamp::from_second(1_700_000_000).unwrap())
}

fn open(folder: &Path) -> (Store, Restored) {
    Store::open(folder, clock()).unwrap()
}

fn fleet(tenant: &str, machines: u32) -> Arc<TenantFleet> {
    let mut fleet = TenantFleet::new(tenant.into());
    let at = clock().now();
    for number in 0..machines {
        let facts = Arc::new(UpdateFacts::default());
        let update = ReportedUpdate {
            kb: KbId::new(number).unwrap(),
            facts,
            cves: None,
            reported_machines: None,
            severity: None,
            cvss: None,
        };
        let assessment =
            Some(Assessment::of_now(at, vec![MissingUpdate { update, first_seen: at, chain: None }]));
        let id = MachineId::parse(&format!("machine-{number:05}")).unwrap();
        let facts = MachineFacts { name: "name".repeat(20), ..MachineFacts::unlisted(id.clone()) };
        fleet.machines.insert(id, Arc::new(Machine { facts, assessment, attempt: None }));
    }
    Arc::new(fleet)
}

/// The number of machines per tenant in the file.
fn machines_per_tenant(folder: &Path) -> Vec<(String, usize)> {
    let fleets = open(folder).1.fleets;
    fleets.iter().map(|fleet| (fleet.tenant.to_string(), fleet.machines.len())).collect()
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_full_disk_fails_saves_until_there_is_space() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[fleet("one", 3)]).unwrap();
    let limit_pages = |store: &Store, pages: i64| {
        let connection = &store.disk.as_ref().unwrap().connection;
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit_pages(&store, 20);
    for machines in [3000, 3001] {
        let error = store.save(&[fleet("one", machines)]).unwrap_err();
        assert_eq!(error.kind(), "full");
    }
    assert!(store.is_on_disk());
    limit_pages(&store, 1_000_000);
    assert!(store.save(&[fleet("other", 1)]).unwrap().changed);
    drop(store);
    assert_eq!(machines_per_tenant(folder.path()), [("one".to_owned(), 3001), ("other".to_owned(), 1)]);
}

#[test]
fn a_full_disk_keeps_the_saved_state() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[fleet("one", 3)]).unwrap();
    let connection = &store.disk.as_ref().unwrap().connection;
    connection.pragma_update_and_check(None, "max_page_count", 20, |_| Ok(())).unwrap();
    store.save(&[fleet("one", 3000)]).unwrap_err();
    drop(store);
    assert_eq!(machines_per_tenant(folder.path()), [("one".to_owned(), 3)]);
}

/// Saves two tenants, damages the file, and saves a change of one tenant.
fn assert_damage_is_repaired(damage: impl FnOnce(&Path, &Store)) {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[fleet("one", 500), fleet("other", 2)]).unwrap();
    store.record_calls("one", &[(clock().now(), ApiOperation::Machines)]).unwrap();
    drop(store);
    let (mut store, _) = open(folder.path());
    damage(folder.path(), &store);
    let saved = store.save(&[fleet("one", 400)]).unwrap();
    let [StoreEvent::SetAside { reason: SetAsideReason::Damaged, path, .. }] = &saved.events[..] else {
        panic!("{:?}", saved.events);
    };
    assert!(path.exists());
    assert!(store.save(&[fleet("one", 401)]).unwrap().events.is_empty());
    drop(store);
    assert_eq!(machines_per_tenant(folder.path()), [("one".to_owned(), 401), ("other".to_owned(), 2)]);
    assert_eq!(open(folder.path()).1.calls["one"], [(clock().now(), ApiOperation::Machines)]);
}

#[test]
fn a_file_that_breaks_while_it_is_open_is_recreated() {
    assert_damage_is_repaired(|folder, store| {
        let mut file = fs::File::options().write(true).open(folder.join(names::NAME)).unwrap();
        let length = file.metadata().unwrap().len();
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(&vec![0xa5; usize::try_from(length).unwrap() - 4096]).unwrap();
        store.disk.as_ref().unwrap().connection.release_memory().unwrap();
    });
}

#[test]
fn a_file_that_loses_a_table_while_it_is_open_is_recreated() {
    assert_damage_is_repaired(|folder, _| {
        let other = Connection::open(folder.join(names::NAME)).unwrap();
        other.execute_batch("DROP TABLE gap").unwrap();
    });
}

#[test]
fn a_state_that_cannot_be_written_is_still_served() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[fleet("one", 3)]).unwrap();
    store.record_calls("one", &[(clock().now(), ApiOperation::Machines)]).unwrap();
    drop(store);
    let lock = folder.path().join("lock");
    fs::remove_file(&lock).unwrap();
    symlink(folder.path().join("no folder/lock"), &lock).unwrap();
    let (mut store, restored) = open(folder.path());
    assert!(restored.restored && !store.is_on_disk());
    assert!(matches!(restored.events[..], [StoreEvent::WithoutDisk(_)]));
    assert_eq!(restored.calls["one"].len(), 1);
    store.save(&[fleet("one", 4)]).unwrap_err();
    fs::remove_file(&lock).unwrap();
    let saved = store.save(&[fleet("other", 1)]).unwrap();
    assert!(matches!(saved.events[..], [StoreEvent::OnDisk { .. }]), "{:?}", saved.events);
    drop(store);
    assert_eq!(machines_per_tenant(folder.path()), [("one".to_owned(), 4), ("other".to_owned(), 1)]);
}

/// Includes the state after a crash, when the newest saves are only in the log.
#[test]
fn reading_without_writing_changes_no_file() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[fleet("one", 3)]).unwrap();
    let crashed = TempDir::with_prefix("odd?name#50%").unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    drop(store);
    for folder in [&folder, &crashed] {
        let before = names(folder.path());
        let loaded = file::read_without_writing(folder.path(), clock().now()).unwrap();
        assert_eq!(loaded.fleets()["one"].machines.len(), 3);
        assert_eq!(names(folder.path()), before);
    }
}

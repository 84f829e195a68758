//! Tenants that move to the state of another exporter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mde_exporter::fleet::TenantFleet;
use mde_exporter::model::{ApiOperation, Shard};
use mde_exporter::store::{ImportedTenant, ReadError, SetAsideReason, Store};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::older_files::write_version_1;
use crate::support::any_fleets::fleets;
use crate::support::fleets::text_of;
use crate::support::store::{NOW, at, daily_counts, open, plain_fleet, remembered, save};

/// The names of tenants, which are their tenant ids as well.
const TENANTS: [&str; 6] = [
    "11111111-2222-3333-4444-555555555555",
    "22222222-2222-3333-4444-555555555555",
    "44444444-2222-3333-4444-555555555555",
    "55555555-2222-3333-4444-555555555555",
    "77777777-2222-3333-4444-555555555555",
    "contoso.onmicrosoft.com",
];

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("state.db")
}

fn names(tenants: &[&str]) -> Vec<Arc<str>> {
    tenants.iter().map(|tenant| Arc::from(*tenant)).collect()
}

/// The tenants of shard `number` of `shards`.
fn tenants_of(number: usize, shards: usize) -> Vec<&'static str> {
    let shard: Shard = format!("{number}/{shards}").parse().unwrap();
    TENANTS.into_iter().filter(|tenant| shard.contains(tenant)).collect()
}

/// A new exporter of these tenants, which imports from the state in `folders`.
fn import(tenants: &[&str], folders: &[TempDir]) -> (TempDir, Vec<ImportedTenant>) {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    let imported = store.import(&names(tenants), &folders.iter().map(file).collect::<Vec<_>>()).unwrap();
    assert!(store.save(&[]).unwrap().changed || imported.is_empty());
    (folder, imported)
}

/// The exporters of all shards, which import from the state in `folders`.
fn split(shards: usize, folders: &[TempDir]) -> Vec<TempDir> {
    (1..=shards).map(|number| import(&tenants_of(number, shards), folders).0).collect()
}

/// Everything that the state in `folder` holds, by tenant: the fleet, the calls and the daily counts.
fn content(folder: &Path) -> BTreeMap<String, (String, String)> {
    let (store, restored) = open(folder);
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    let of_tenant = |fleet: &TenantFleet| {
        let rest = (restored.calls.get(&*fleet.tenant), store.burn_down(&fleet.tenant));
        (fleet.tenant.to_string(), (remembered(std::slice::from_ref(fleet)).concat(), format!("{rest:?}")))
    };
    restored.fleets.iter().map(of_tenant).collect()
}

/// The series of the fleets in `folder` by tenant, as lines.
fn series(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let fleets: Vec<_> = open(folder).1.fleets.into_iter().map(Arc::new).collect();
    let mut series = BTreeMap::<String, BTreeSet<String>>::new();
    for line in text_of(&fleets).lines() {
        if let Some((_, rest)) = line.split_once("tenant=\"") {
            let tenant = rest.split_once('"').unwrap().0;
            series.entry(tenant.to_owned()).or_default().insert(line.to_owned());
        }
    }
    series
}

/// The union, of which no tenant may be in two shards.
fn union<T>(shards: &[TempDir], of: impl Fn(&Path) -> BTreeMap<String, T>) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    for (tenant, value) in shards.iter().flat_map(|folder| of(folder.path())) {
        assert!(all.insert(tenant.clone(), value).is_none(), "{tenant} is in two shards");
    }
    all
}

fn all_fleets() -> impl Strategy<Value = Vec<TenantFleet>> {
    Vec::from(TENANTS.map(fleets))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn other_number_of_shards_changes_no_series_of_a_tenant(fleets in all_fleets()) {
        let folder = TempDir::new().unwrap();
        save(folder.path(), &fleets);
        let (mut store, _) = open(folder.path());
        for (second, tenant) in (1..).zip(TENANTS) {
            store.record_calls(tenant, &[(at(NOW - second), ApiOperation::Machines)]).unwrap();
        }
        let counts = TENANTS.map(|tenant| (tenant.into(), daily_counts(7, &[3, 2])));
        store.save_burn_downs(&counts.into()).unwrap();
        drop(store);
        let (before, shown_before) = (content(folder.path()), series(folder.path()));
        prop_assert_eq!(before.len(), TENANTS.len());

        let two = split(2, &[folder]);
        prop_assert_eq!(&union(&two, content), &before);
        prop_assert_eq!(&union(&two, series), &shown_before);
        let three = split(3, &two);
        prop_assert_eq!(&union(&three, content), &before);
        prop_assert_eq!(&union(&three, series), &shown_before);
        prop_assert_eq!(&union(&split(1, &three), content), &before);
    }
}

#[test]
fn tenants_are_in_more_than_one_shard() {
    for shards in 2..4 {
        assert!((1..=shards).all(|number| !tenants_of(number, shards).is_empty()), "{shards}");
    }
}

#[test]
fn newest_data_of_several_files_is_imported() {
    let folders: Vec<_> = [NOW - 7200, NOW - 60, NOW - 3600].map(|read| state(&[("one", 2, read)])).into();
    let (folder, imported) = import(&["one"], &folders);
    let [ImportedTenant { tenant, file: from, machines, newest, older_files, skipped_rows }] = &imported[..]
    else {
        panic!("{imported:?}")
    };
    assert_eq!((&**tenant, from, *machines, *skipped_rows), ("one", &file(&folders[1]), 2, 0));
    assert_eq!(*newest, Some(at(NOW - 60)));
    assert_eq!(older_files, &[file(&folders[0]), file(&folders[2])]);
    assert_eq!(content(folder.path()), content(folders[1].path()));
}

/// A state of fleets by name, number of machines, and the time at which their data was read.
fn state(tenants: &[(&str, u32, i64)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let fleets: Vec<_> = tenants.iter().map(|(name, count, read)| plain_fleet(name, *count, *read)).collect();
    save(folder.path(), &fleets);
    folder
}

#[test]
fn data_of_the_future_counts_as_read_now() {
    let folders = vec![state(&[("one", 1, NOW)]), state(&[("one", 2, NOW + 99_000)])];
    let (_, imported) = import(&["one"], &folders);
    assert_eq!((imported[0].machines, imported[0].newest), (1, Some(at(NOW))), "the first of the same time");
}

#[test]
fn own_data_of_a_tenant_is_never_replaced() {
    let other = state(&[("one", 5, NOW), ("two", 6, NOW)]);
    let own = state(&[("one", 1, NOW - 90_000)]);
    let (mut store, _) = open(own.path());
    let imported = store.import(&names(&["one", "two"]), &[file(&other)]).unwrap();
    assert_eq!(imported.iter().map(|imported| &*imported.tenant).collect::<Vec<_>>(), ["two"]);
    store.save(&[]).unwrap();
    // Again, as at each restart.
    assert_eq!(store.import(&names(&["one", "two"]), &[file(&other)]).unwrap(), []);
    drop(store);
    let (own, other) = (content(own.path()), content(other.path()));
    assert_eq!(own["two"], other["two"]);
    assert_ne!(own["one"], other["one"]);
}

#[test]
fn tenants_of_other_shards_are_not_imported() {
    let other = state(&[("one", 2, NOW), ("two", 2, NOW)]);
    let (folder, _) = import(&["two", "three"], &[other]);
    assert_eq!(content(folder.path()).into_keys().collect::<Vec<_>>(), ["two"]);
}

/// Everything in the folder, byte by byte, except for the index of the log: its marks of readers change when a reader is
/// in the same process as the writer.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    let mut files: BTreeMap<_, _> = fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect();
    files.retain(|name, _| !name.ends_with("-shm"));
    files
}

#[test]
fn imported_file_is_not_changed_even_while_it_is_used() {
    let used = TempDir::new().unwrap();
    let (mut store, _) = open(used.path());
    store.save(&[plain_fleet("one", 3, NOW).into()]).unwrap();
    let stopped = state(&[("two", 3, NOW)]);
    let before = [bytes(used.path()), bytes(stopped.path())];
    assert!(before[0].contains_key("state.db-wal"), "the newest data is in the log");
    let folders = [used, stopped];
    let (folder, imported) = import(&["one", "two"], &folders);
    assert_eq!(imported.len(), 2);
    assert_eq!(content(folder.path()).len(), 2);
    let [used, stopped] = folders;
    assert_eq!([bytes(used.path()), bytes(stopped.path())], before);
    // The exporter of that state continues.
    store.save(&[plain_fleet("one", 4, NOW).into()]).unwrap();
    drop(store);
    assert_eq!(open(used.path()).1.fleets[0].machines.len(), 4);
}

#[test]
fn copy_under_another_name_is_imported() {
    let other = state(&[("one", 3, NOW)]);
    let copy = other.path().join("shard 1?#%.backup");
    fs::copy(file(&other), &copy).unwrap();
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    assert_eq!(store.import(&names(&["one"]), &[copy]).unwrap()[0].machines, 3);
}

#[test]
fn file_of_an_older_release_is_imported_and_stays_as_it_is() {
    let old = TempDir::new().unwrap();
    write_version_1(old.path());
    let before = bytes(old.path());
    let folders = [old];
    let (folder, imported) = import(&["one"], &folders);
    assert_eq!((imported.len(), imported[0].machines), (1, 3));
    assert_eq!(bytes(folders[0].path()), before);
    let restored = open(folder.path()).1;
    assert_eq!(restored.fleets[0].listed_at, None, "the list is due at once: the file lacks fields of it");
    let migrated = open(folders[0].path()).1;
    assert_eq!(remembered(&restored.fleets), remembered(&migrated.fleets));
    assert_eq!(restored.calls, migrated.calls);
}

#[test]
fn file_that_cannot_be_read_is_an_error_only_if_a_tenant_lacks() {
    let other = state(&[("two", 2, NOW)]);
    let put = |name: &str, content: &[u8]| {
        let path = other.path().join(name);
        crate::support::tenant::write_file(&path, content);
        path
    };
    let (foreign, empty) = (put("foreign", b"not a database at all"), put("empty", b""));
    let (cut, newer) = (put("cut", &fs::read(file(&other)).unwrap()[..9000]), other.path().join("newer"));
    fs::copy(file(&other), &newer).unwrap();
    Connection::open(&newer)
        .unwrap()
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99")
        .unwrap();
    let own = state(&[("one", 1, NOW)]);
    let (mut store, _) = open(own.path());
    for (path, reason) in [
        (foreign, Some(SetAsideReason::Foreign)),
        (empty, Some(SetAsideReason::Damaged)),
        (cut, Some(SetAsideReason::Damaged)),
        (newer, Some(SetAsideReason::Newer)),
        (other.path().to_owned(), Some(SetAsideReason::Foreign)),
        (other.path().join("missing"), None),
    ] {
        assert_eq!(store.import(&names(&["one"]), std::slice::from_ref(&path)).unwrap(), [], "{path:?}");
        // Whether another file has the tenant or not: this one may have newer data.
        let error = store.import(&names(&["one", "two"]), &[file(&other), path.clone()]).unwrap_err();
        match (reason, error) {
            (None, ReadError::Missing { path: named }) => assert_eq!(named, path),
            (Some(reason), ReadError::Unusable { path: named, reason: found }) => {
                assert_eq!((found, named), (reason, path));
            }
            (_, other) => panic!("{path:?}: {other:?}"),
        }
        assert_eq!(store.burn_down("two"), None, "nothing is imported");
    }
}

#[test]
fn own_file_is_not_imported() {
    let own = state(&[("one", 1, NOW)]);
    let (mut store, _) = open(own.path());
    let dotted = own.path().join(".").join("state.db");
    assert_eq!(store.import(&names(&["two"]), &[file(&own), dotted]).unwrap(), []);
    store.save(&[plain_fleet("one", 2, NOW).into()]).unwrap();
    assert!(Store::open(own.path(), crate::support::store::clock()).is_err(), "its lock is still held");
}

/// A kill between the calls and the fleets, which are saved one after the other.
#[test]
fn interrupted_import_is_repeated_without_duplicate_calls() {
    let other = state(&[("one", 2, NOW)]);
    let calls: Vec<(Timestamp, ApiOperation)> =
        [5, 3, 3, 1].map(|second| (at(NOW - second), ApiOperation::MissingKbs)).into();
    open(other.path()).0.record_calls("one", &calls).unwrap();
    let folder = TempDir::new().unwrap();
    open(folder.path()).0.record_calls("one", &calls).unwrap();
    let (mut store, _) = open(folder.path());
    assert_eq!(store.import(&names(&["one"]), &[file(&other)]).unwrap().len(), 1);
    store.save(&[]).unwrap();
    drop(store);
    assert_eq!(open(folder.path()).1.calls["one"].len(), calls.len());
    assert_eq!(content(folder.path()), content(other.path()));
}

/// The way back after a start without the import, from the documentation.
#[test]
fn tenant_removed_from_the_state_by_hand_is_imported() {
    let other = state(&[("one", 2, NOW - 90_000)]);
    let own = state(&[("one", 2, NOW), ("two", 3, NOW)]);
    let connection = Connection::open(file(&own)).unwrap();
    connection.execute_batch("DELETE FROM tenant WHERE name = 'one'").unwrap();
    drop(connection);
    let (mut store, _) = open(own.path());
    assert_eq!(store.import(&names(&["one", "two"]), &[file(&other)]).unwrap().len(), 1);
    store.save(&[]).unwrap();
    drop(store);
    let (own, other) = (content(own.path()), content(other.path()));
    assert_eq!((&own["one"], own.len()), (&other["one"], 2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A process that is killed leaves a write-ahead log that may end at any byte.
    #[test]
    fn killed_import_leaves_all_tenants_or_none(cut in any::<prop::sample::Index>()) {
        let other = state(&[("one", 20, NOW), ("two", 30, NOW)]);
        let folder = TempDir::new().unwrap();
        let (mut store, _) = open(folder.path());
        store.import(&names(&["one", "two"]), &[file(&other)]).unwrap();
        store.save(&[]).unwrap();
        let killed = TempDir::new().unwrap();
        for name in ["state.db", "state.db-wal"] {
            fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
        }
        let log = fs::File::options().write(true).open(killed.path().join("state.db-wal")).unwrap();
        log.set_len(cut.index(usize::try_from(log.metadata().unwrap().len()).unwrap() + 1) as u64).unwrap();
        let tenants = content(killed.path()).len();
        prop_assert!([0, 2].contains(&tenants), "{tenants}");
        let (mut store, _) = open(killed.path());
        prop_assert_eq!(store.import(&names(&["one", "two"]), &[file(&other)]).unwrap().len(), 2 - tenants);
        store.save(&[]).unwrap();
        drop(store);
        prop_assert_eq!(content(killed.path()), content(other.path()));
    }
}

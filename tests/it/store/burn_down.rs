//! Daily counts in the state file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mde_exporter::fleet::BurnDown;
use mde_exporter::fleet::burn_down::{UpdateBurnDown, day_of};
use mde_exporter::model::KbId;
use mde_exporter::store::{Store, StoreEvent};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::store::{NOW, at, daily_counts, open, plain_fleet, save};

fn burn_downs() -> impl Strategy<Value = BTreeMap<u32, UpdateBurnDown>> {
    let update = (vec(proptest::option::of(any::<u32>()), 0..41), any::<u32>(), any::<bool>(), -99_i64..1)
        .prop_map(|(mut machines, last, is_released, days)| {
            machines.insert(0, Some(last / 2));
            machines.push(Some(last));
            let first_seen = at(NOW + 86_400 * days);
            let released = is_released.then(|| at(NOW - 9_000_000));
            UpdateBurnDown::new(first_seen, released, day_of(first_seen), machines).unwrap()
        });
    btree_map(1_u32..6, update, 0..5)
}

fn of_updates(updates: BTreeMap<u32, UpdateBurnDown>) -> Arc<BurnDown> {
    Arc::new(updates.into_iter().map(|(number, update)| (KbId::new(number).unwrap(), update)).collect())
}

fn save_counts(store: &mut Store, tenant: &str, counts: &Arc<BurnDown>) -> bool {
    store.save_burn_downs(&[(tenant.into(), Arc::clone(counts))].into()).unwrap().changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn counts_survive_restarts(one in vec(burn_downs(), 1..4), other in burn_downs()) {
        let folder = TempDir::new().unwrap();
        save(folder.path(), &["one", "other"].map(|tenant| plain_fleet(tenant, 1, NOW)));
        let other = of_updates(other);
        save_counts(&mut open(folder.path()).0, "other", &other);
        for one in one {
            let one = of_updates(one);
            save_counts(&mut open(folder.path()).0, "one", &one);
            let (store, restored) = open(folder.path());
            prop_assert_eq!(restored.events.len(), 0);
            prop_assert_eq!(store.burn_down("one"), Some(&one));
            prop_assert_eq!(store.burn_down("other"), Some(&other));
        }
    }
}

fn change(folder: &Path, sql: &str) {
    Connection::open(folder.join("state.db")).unwrap().execute_batch(sql).unwrap();
}

/// The columns of the view, as text.
fn shown(folder: &Path) -> Vec<String> {
    let connection = Connection::open(folder.join("state.db")).unwrap();
    let query = "SELECT concat_ws(' ', tenant, kb, day, machines) FROM burn_down_days ORDER BY kb, day";
    let mut rows = connection.prepare(query).unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn only_updates_with_another_number_are_written() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 1, NOW)]);
    let two = |first: &[u32]| {
        let both = [daily_counts(1, first), daily_counts(2, &[4, 4])];
        let updates =
            both.iter().flat_map(|counts| counts.updates()).map(|(kb, update)| (kb, update.clone()));
        Arc::new(updates.collect::<BurnDown>())
    };
    let (mut store, _) = open(folder.path());
    let counts = two(&[7]);
    assert!(save_counts(&mut store, "one", &counts));
    assert!(!save_counts(&mut store, "one", &counts));
    assert!(!save_counts(&mut store, "one", &two(&[7])), "another value with the same numbers");
    change(folder.path(), "UPDATE burn_down SET machines = '[9]' WHERE kb = 2");
    assert!(save_counts(&mut store, "one", &two(&[7, 6])));
    assert_eq!(shown(folder.path()), ["one 1 2023-11-14 7", "one 1 2023-11-15 6", "one 2 2023-11-14 9"]);
    assert!(save_counts(&mut store, "one", &daily_counts(2, &[4, 4])));
    assert_eq!(shown(folder.path()), ["one 2 2023-11-14 9"], "the other one is over");
}

/// The newest saves are only in the log after a kill.
#[test]
fn killed_exporter_loses_no_saved_count() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[plain_fleet("one", 1, NOW).into()]).unwrap();
    save_counts(&mut store, "one", &daily_counts(1, &[7, 6]));
    let killed = TempDir::new().unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    save_counts(&mut store, "one", &daily_counts(1, &[7, 5]));
    let (store, restored) = open(killed.path());
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    assert_eq!(store.burn_down("one"), Some(&daily_counts(1, &[7, 6])));
}

#[test]
fn invalid_rows_are_dropped_with_a_warning() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 1, NOW)]);
    let good = daily_counts(1, &[7, 6]);
    save_counts(&mut open(folder.path()).0, "one", &good);
    let (seen, day) = (NOW * 1000, 1_699_920_000_000_i64);
    let bad = [
        format!("9, 2, {seen}, NULL, {day}, '[1]'"),
        format!("1, -2, {seen}, NULL, {day}, '[1]'"),
        format!("1, 3, 9223372036854775807, NULL, {day}, '[1]'"),
        format!("1, 4, {seen}, -9223372036854775807, {day}, '[1]'"),
        format!("1, 5, {seen}, NULL, {day} + 1, '[1]'"),
        format!("1, 6, {seen}, NULL, {day}, ''"),
        format!("1, 7, {seen}, NULL, {day}, '[]'"),
        format!("1, 8, {seen}, NULL, {day}, '[-1]'"),
        format!("1, 9, {seen}, NULL, {day}, '[1, null]'"),
        format!("1, 10, {seen}, NULL, {day} - 86400000, '[1]'"),
        format!("1, 11, {seen}, NULL, {day} + 43 * 86400000, '[1]'"),
        format!("1, 12, {seen}, NULL, {day}, '{{}}'"),
    ];
    for row in &bad {
        change(folder.path(), &format!("INSERT INTO burn_down VALUES ({row})"));
    }
    let (mut store, restored) = open(folder.path());
    let [StoreEvent::Skipped { rows }] = restored.events[..] else { panic!("{:?}", restored.events) };
    assert_eq!(rows, bad.len() as u64);
    assert_eq!(store.burn_down("one"), Some(&good));
    store.save(&[]).unwrap();
    drop(store);
    let (store, restored) = open(folder.path());
    assert!(restored.events.is_empty(), "{:?}", restored.events);
    assert_eq!(store.burn_down("one"), Some(&good));
}

#[test]
fn counts_return_after_the_file_is_removed_or_damaged() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.save(&[plain_fleet("one", 1, NOW).into()]).unwrap();
    save_counts(&mut store, "one", &daily_counts(1, &[7]));
    fs::remove_file(folder.path().join("state.db")).unwrap();
    save_counts(&mut store, "one", &daily_counts(1, &[7, 6]));
    assert_eq!(shown(folder.path()), ["one 1 2023-11-14 7", "one 1 2023-11-15 6"]);
    change(folder.path(), "DROP TABLE burn_down");
    let changed = store.save_burn_downs(&[("one".into(), daily_counts(1, &[7, 5]))].into()).unwrap();
    assert!(matches!(changed.events[..], [StoreEvent::SetAside { .. }]), "{:?}", changed.events);
    assert_eq!(shown(folder.path()), ["one 1 2023-11-14 7", "one 1 2023-11-15 5"]);
}

//! Fleets and calls that are saved and restored.

use std::fs;
use std::sync::Arc;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::fleet::{Chain, Link, TenantFleet};
use mde_exporter::model::{ApiOperation, CvssScore, KbId, Severity, Source};
use mde_exporter::store::{OpenError, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::any_fleets::fleets;
use crate::support::store::{NOW, at, clock, open, plain_fleet, remembered, save};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn saved_fleets_are_restored(one in fleets("one"), other in fleets("other")) {
        let folder = TempDir::new().unwrap();
        save(folder.path(), &[one.clone(), other.clone()]);
        let (_, restored) = open(folder.path());
        prop_assert!(restored.restored && restored.events.is_empty());
        prop_assert_eq!(remembered(&restored.fleets), remembered(&[one, other]));
    }

    /// Each save writes only changes; together they must equal one save of the last state.
    #[test]
    fn incremental_saves_equal_one_full_save(steps in vec(fleets("one"), 2..6)) {
        let folder = TempDir::new().unwrap();
        let (mut store, _) = open(folder.path());
        for step in &steps {
            store.save(&[Arc::new(step.clone())]).unwrap();
        }
        drop(store);
        prop_assert_eq!(remembered(&open(folder.path()).1.fleets), remembered(&steps[steps.len() - 1..]));
    }

    /// A process that is killed leaves a write-ahead log that may end at any byte.
    #[test]
    fn truncated_log_restores_one_complete_state(cut in any::<prop::sample::Index>()) {
        let folder = TempDir::new().unwrap();
        let (mut store, _) = open(folder.path());
        let steps: Vec<_> = (0..4).map(|step| plain_fleet("one", 20 + step, NOW - i64::from(step))).collect();
        for step in &steps {
            store.save(&[Arc::new(step.clone())]).unwrap();
        }
        let copy = TempDir::new().unwrap();
        for name in ["state.db", "state.db-wal"] {
            fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let log = fs::File::options().write(true).open(copy.path().join("state.db-wal")).unwrap();
        let length = usize::try_from(log.metadata().unwrap().len()).unwrap();
        log.set_len(cut.index(length + 1) as u64).unwrap();
        let (_, restored) = open(copy.path());
        prop_assert!(restored.events.is_empty());
        let restored = remembered(&restored.fleets);
        let possible = steps.iter().any(|step| remembered(std::slice::from_ref(step)) == restored);
        prop_assert!(possible || restored.is_empty());
    }
}

#[test]
fn copy_of_an_open_store_holds_the_last_save() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    let fleet = plain_fleet("one", 50, NOW);
    store.save(&[Arc::new(fleet.clone())]).unwrap();
    store.record_calls("one", &[(at(NOW), ApiOperation::Machines)]).unwrap();
    let copy = TempDir::new().unwrap();
    for name in ["state.db", "state.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let (_, restored) = open(copy.path());
    assert_eq!(remembered(&restored.fleets), remembered(&[fleet]));
    assert_eq!(restored.calls["one"], [(at(NOW), ApiOperation::Machines)]);
}

#[test]
fn times_are_truncated_to_milliseconds() {
    let folder = TempDir::new().unwrap();
    let fine = Timestamp::new(NOW, 123_456_789).unwrap();
    let mut fleet = plain_fleet("one", 0, NOW);
    fleet.listed_at = Some(fine);
    save(folder.path(), &[fleet]);
    let restored = open(folder.path()).1.fleets[0].listed_at.unwrap();
    assert_eq!(restored, Timestamp::new(NOW, 123_000_000).unwrap());
    assert_eq!(restored.as_millisecond(), fine.as_millisecond());
}

#[test]
fn update_facts_are_shared_after_a_restart() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 2, NOW)]);
    let restored = open(folder.path()).1;
    let missing_updates: Vec<_> = restored.fleets[0]
        .machines
        .values()
        .flat_map(|machine| &machine.assessment.as_ref().unwrap().missing_updates)
        .collect();
    assert_eq!(missing_updates.len(), 20);
    assert!(
        missing_updates
            .iter()
            .all(|missing| Arc::ptr_eq(&missing.update.facts, &missing_updates[0].update.facts))
    );
}

#[test]
fn save_without_a_change_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    let fleet = Arc::new(plain_fleet("one", 5, NOW));
    assert!(store.save(&[Arc::clone(&fleet)]).unwrap().changed);
    let log = fs::metadata(folder.path().join("state.db-wal")).unwrap().len();
    assert!(!store.save(&[Arc::clone(&fleet)]).unwrap().changed);
    assert!(!store.save(&[Arc::new(TenantFleet::clone(&fleet))]).unwrap().changed);
    assert_eq!(fs::metadata(folder.path().join("state.db-wal")).unwrap().len(), log);
}

#[test]
fn tenants_absent_from_a_save_are_kept() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW), plain_fleet("other", 4, NOW)]);
    save(folder.path(), &[plain_fleet("one", 2, NOW)]);
    let restored = remembered(&open(folder.path()).1.fleets);
    assert_eq!(restored, remembered(&[plain_fleet("one", 2, NOW), plain_fleet("other", 4, NOW)]));
}

#[test]
fn calls_of_the_last_hour_are_restored() {
    let folder = TempDir::new().unwrap();
    let [old, recent, now, later] = [NOW - 3611, NOW - 3601, NOW, NOW + 50].map(at);
    let (list, export) = (ApiOperation::Machines, ApiOperation::Export);
    let (mut store, _) = open(folder.path());
    store.record_calls("one", &[(old, list), (recent, export)]).unwrap();
    store.record_calls("one", &[(now, list), (now, export)]).unwrap();
    store.record_calls("other", &[(later, list)]).unwrap();
    drop(store);
    let (store, restored) = open(folder.path());
    assert_eq!(restored.calls["one"], [(recent, export), (now, list), (now, export)]);
    assert_eq!(restored.calls["other"], [(now, list)], "a clock that was ahead must not block for longer");
    drop(store);
    let clock = Clock::new(|| at(NOW + 3599));
    let (mut store, restored) = Store::open(folder.path(), clock).unwrap();
    assert_eq!(restored.calls["one"], [(now, list), (now, export)]);
    store.record_calls("one", &[(at(NOW + 3599), list)]).unwrap();
    drop(store);
    let rows = Connection::open(folder.path().join("state.db")).unwrap();
    let rows: i64 = rows.query_row("SELECT count(*) FROM call", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 4, "older calls are deleted");
}

#[test]
fn second_store_on_a_folder_is_rejected() {
    let folder = TempDir::new().unwrap();
    let first = open(folder.path());
    let error = Store::open(folder.path(), clock()).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { path } if path == folder.path()));
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    drop(first);
    open(folder.path());
}

#[test]
fn views_are_readable() {
    let folder = TempDir::new().unwrap();
    let mut fleet = plain_fleet("one", 1, NOW);
    let machine = Arc::make_mut(fleet.machines.values_mut().next().unwrap());
    (machine.facts.tags, machine.facts.os_build) = (Some(["lab".to_owned()].into()), Some(22_631));
    let assessment = machine.assessment.as_mut().unwrap();
    assessment.missing_updates[0].update.severity = Some(Severity::Critical);
    assessment.missing_updates[0].update.cvss = CvssScore::new(9.8);
    let link = |kb| Link { kb: KbId::new(kb).unwrap(), first_seen: at(NOW) };
    assessment.missing_updates[0].chain = Chain::of(vec![link(102), link(101)]);
    (assessment.as_of, assessment.source) = (at(NOW - 3600), Source::Export);
    save(folder.path(), &[fleet]);
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    let missing = "SELECT concat_ws(' ', tenant, machine_id, kb, first_seen, severity, cvss, supersedes) FROM open_gaps ORDER BY kb LIMIT 1";
    let missing: String = connection.query_row(missing, [], |row| row.get(0)).unwrap();
    assert_eq!(missing, "one machine-00000 1 2023-11-14T22:13:20.000Z critical 9.8 101 102");
    let machine = "SELECT concat_ws(' ', machine_id, onboarded, read_at, as_of, source, gaps, tags, os_build) FROM machines";
    let machine: String = connection.query_row(machine, [], |row| row.get(0)).unwrap();
    assert_eq!(
        machine,
        "machine-00000 0 2023-11-14T22:13:20.000Z 2023-11-14T21:13:20.000Z export 10 [\"lab\"] 22631"
    );
}

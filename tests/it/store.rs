//! What is remembered on disk, and what happens to files that cannot be used.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::fleet::{
    Attempt, Departed, Gap, KbId, Machine, MachineFacts, MachineId, PollStatus, Reading, ReportedUpdate,
    Resolution, TenantFleet, Totals, UpdateFacts,
};
use mde_exporter::store::{Notice, OpenError, Reason, Restored, Store};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

const NOW: i64 = 1_700_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn clock() -> Clock {
    Clock::new(|| at(NOW))
}

fn open(folder: &Path) -> (Store, Restored) {
    Store::open(folder, clock()).unwrap()
}

fn save(folder: &Path, fleets: &[TenantFleet]) {
    let fleets: Vec<_> = fleets.iter().cloned().map(Arc::new).collect();
    open(folder).0.save(&fleets).unwrap();
}

/// All that is remembered of fleets, to compare.
fn remembered(fleets: &[TenantFleet]) -> Vec<String> {
    let plain = |fleet: &TenantFleet| {
        let PollStatus { last_poll, last_success, .. } = fleet.status.clone();
        let status = PollStatus { last_poll, last_success, ..PollStatus::default() };
        format!("{:#?}", TenantFleet { status, ..fleet.clone() })
    };
    let mut all: Vec<_> = fleets.iter().map(plain).collect();
    all.sort();
    all
}

fn times() -> impl Strategy<Value = Timestamp> {
    prop_oneof![(1_600_000_000_000..1_800_000_000_000i64), (-377_705_023_201_000..=253_402_207_200_999i64),]
        .prop_map(|millis| Timestamp::from_millisecond(millis).unwrap())
}

fn gaps() -> impl Strategy<Value = Vec<Gap>> {
    let facts = (0..4usize, vec("[a-z',\"]{0,4}", 0..3));
    let gap = (times(), facts, any::<Option<u32>>(), any::<Option<u32>>());
    btree_map(prop_oneof![1..40u32, 999_999_990..=999_999_999u32], gap, 0..8).prop_map(|gaps| {
        let gap =
            |(kb, (first_seen, (title, products), cves, reported_machines)): (u32, (_, (usize, _), _, _))| {
                let title = ["", "March 2020 Security Updates", "Ü\u{0}\n", "x"][title].to_owned();
                let facts = Arc::new(UpdateFacts { title, products });
                let kb = KbId::new(kb).unwrap();
                Gap { update: ReportedUpdate { kb, facts, cves, reported_machines }, first_seen }
            };
        gaps.into_iter().map(gap).collect()
    })
}

fn machines() -> impl Strategy<Value = Machine> {
    let reading = proptest::option::of((times(), gaps()).prop_map(|(at, gaps)| Reading { at, gaps }));
    let attempt = proptest::option::of((times(), any::<bool>()));
    let attempt = attempt.prop_map(|some| some.map(|(at, succeeded)| Attempt { at, succeeded }));
    (vec("\\PC{0,6}", 4), proptest::option::of(times()), reading, attempt).prop_map(
        |(texts, last_seen, reading, attempt)| {
            let [name, os_platform, os_version, device_group] = texts.try_into().unwrap();
            let id = MachineId::parse("unset").unwrap();
            let facts = MachineFacts { id, name, os_platform, os_version, device_group, last_seen };
            Machine { facts, reading, attempt }
        },
    )
}

fn totals() -> impl Strategy<Value = Totals> {
    (any::<[u32; 3]>(), any::<[u32; 9]>(), 0..=i64::MAX as u64).prop_map(|(counts, slots, sum_millis)| {
        let [detected, resolved, dropped] = counts.map(u64::from);
        let resolution = Resolution { slots: slots.map(u64::from), sum_millis };
        Totals { detected, resolved, dropped, resolution }
    })
}

fn fleets(tenant: &'static str) -> impl Strategy<Value = TenantFleet> {
    let machine = (proptest::option::weighted(0.2, times()), machines());
    let machines = btree_map("machine-[0-9]", machine, 0..8);
    (machines, totals(), vec(proptest::option::of(times()), 3), "\\PC{0,6}").prop_map(
        move |(machines, totals, times, selectors)| {
            let mut fleet = TenantFleet::new(tenant.into());
            for (id, (departed, mut machine)) in machines {
                let id = MachineId::parse(&id).unwrap();
                machine.facts.id = id.clone();
                let machine = Arc::new(machine);
                match departed {
                    None => drop(fleet.machines.insert(id, machine)),
                    Some(since) => drop(fleet.departed.insert(id, Departed { machine, since })),
                }
            }
            fleet.totals = totals;
            fleet.selectors = selectors.into();
            fleet.listed_at = times[0];
            fleet.status.last_poll = times[1];
            fleet.status.last_success = times[2];
            fleet
        },
    )
}

/// A fleet of `count` machines with ten gaps each, first seen at `first_seen`.
fn plain_fleet(tenant: &str, count: u32, first_seen: i64) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    let facts = Arc::new(UpdateFacts { title: "title".to_owned(), products: vec!["product".to_owned()] });
    for number in 0..count {
        let gap = |kb| {
            let kb = KbId::new(kb).unwrap();
            let facts = Arc::clone(&facts);
            let update = ReportedUpdate { kb, facts, cves: Some(3), reported_machines: None };
            Gap { update, first_seen: at(first_seen) }
        };
        let id = MachineId::parse(&format!("machine-{number:05}")).unwrap();
        let reading = Some(Reading { at: at(first_seen), gaps: (1..=10).map(gap).collect() });
        let machine = Machine { facts: MachineFacts::unlisted(id.clone()), reading, attempt: None };
        fleet.machines.insert(id, Arc::new(machine));
    }
    fleet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_saved_is_restored(one in fleets("one"), other in fleets("other")) {
        let folder = TempDir::new().unwrap();
        save(folder.path(), &[one.clone(), other.clone()]);
        let (_, restored) = open(folder.path());
        prop_assert!(restored.restored && restored.notices.is_empty());
        prop_assert_eq!(remembered(&restored.fleets), remembered(&[one, other]));
    }

    /// Each save writes a difference; the sum of them must be what one save of the last state gives.
    #[test]
    fn differences_add_up_to_the_whole(steps in vec(fleets("one"), 2..6)) {
        let folder = TempDir::new().unwrap();
        let (mut store, _) = open(folder.path());
        for step in &steps {
            store.save(&[Arc::new(step.clone())]).unwrap();
        }
        drop(store);
        prop_assert_eq!(remembered(&open(folder.path()).1.fleets), remembered(&steps[steps.len() - 1..]));
    }

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
        for (place, byte) in flips {
            file.seek(SeekFrom::Start(place.index(length) as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        }
        if let Some(cut) = cut {
            file.set_len(cut.index(length) as u64).unwrap();
        }
        let (mut store, restored) = open(folder.path());
        let set_aside = restored.notices.iter().any(|notice| matches!(notice, Notice::SetAside { .. }));
        prop_assert!(set_aside != restored.restored, "{:?}", restored.notices);
        store.save(&[Arc::new(fleet.clone())]).unwrap();
        drop(store);
        let (_, restored) = open(folder.path());
        prop_assert_eq!(restored.notices.len(), 0);
        let one: Vec<_> = restored.fleets.into_iter().filter(|fleet| &*fleet.tenant == "one").collect();
        prop_assert_eq!(remembered(&one), remembered(&[fleet]));
    }

    /// A process that is killed leaves the file and a log that ends anywhere.
    #[test]
    fn a_log_cut_anywhere_leaves_one_whole_state(cut in any::<prop::sample::Index>()) {
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
        prop_assert!(restored.notices.is_empty());
        let found = remembered(&restored.fleets);
        let possible = steps.iter().any(|step| remembered(std::slice::from_ref(step)) == found);
        prop_assert!(possible || found.is_empty());
    }
}

/// The first hundred bytes decide how SQLite sees everything else, some of them by saying that the file
/// must not be written.
#[test]
fn a_header_damaged_anywhere_never_stops_saves() {
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
        store.save(&[Arc::new(fleet.clone())]).unwrap();
        drop(store);
        assert_eq!(remembered(&open(folder.path()).1.fleets), remembered(std::slice::from_ref(&fleet)));
    }
}

#[test]
fn a_copy_taken_while_the_store_is_open_holds_the_newest_save() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    let fleet = plain_fleet("one", 50, NOW);
    store.save(&[Arc::new(fleet.clone())]).unwrap();
    store.record_calls("one", &[at(NOW)]).unwrap();
    let copy = TempDir::new().unwrap();
    for name in ["state.db", "state.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let (_, restored) = open(copy.path());
    assert_eq!(remembered(&restored.fleets), remembered(&[fleet]));
    assert_eq!(restored.calls["one"], [at(NOW)]);
}

#[test]
fn finer_times_are_cut_as_they_are_when_served() {
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
    let gaps: Vec<_> = restored.fleets[0]
        .machines
        .values()
        .flat_map(|machine| &machine.reading.as_ref().unwrap().gaps)
        .collect();
    assert_eq!(gaps.len(), 20);
    assert!(gaps.iter().all(|gap| Arc::ptr_eq(&gap.update.facts, &gaps[0].update.facts)));
}

#[test]
fn a_save_without_a_change_writes_nothing() {
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
fn tenants_that_are_not_saved_stay() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW), plain_fleet("other", 4, NOW)]);
    save(folder.path(), &[plain_fleet("one", 2, NOW)]);
    let found = remembered(&open(folder.path()).1.fleets);
    assert_eq!(found, remembered(&[plain_fleet("one", 2, NOW), plain_fleet("other", 4, NOW)]));
}

#[test]
fn calls_of_the_last_hour_are_restored() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    store.record_calls("one", &[at(NOW - 3601), at(NOW - 3599)]).unwrap();
    store.record_calls("one", &[at(NOW), at(NOW)]).unwrap();
    store.record_calls("other", &[at(NOW + 50)]).unwrap();
    drop(store);
    let (store, restored) = open(folder.path());
    assert_eq!(restored.calls["one"], [at(NOW - 3599), at(NOW), at(NOW)]);
    assert_eq!(restored.calls["other"], [at(NOW)], "a clock that was ahead must not block for longer");
    drop(store);
    let later = Clock::new(|| at(NOW + 3599));
    let (mut store, restored) = Store::open(folder.path(), later).unwrap();
    assert_eq!(restored.calls["one"], [at(NOW), at(NOW)]);
    store.record_calls("one", &[at(NOW + 3599)]).unwrap();
    drop(store);
    let rows = Connection::open(folder.path().join("state.db")).unwrap();
    let rows: i64 = rows.query_row("SELECT count(*) FROM call", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 4, "older calls are deleted along the way");
}

#[test]
fn a_second_store_on_the_folder_is_refused() {
    let folder = TempDir::new().unwrap();
    let first = open(folder.path());
    let error = Store::open(folder.path(), clock()).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { path } if path == folder.path()));
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    drop(first);
    open(folder.path());
}

/// The files that were set aside, without their companions.
fn set_aside(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("state.db.") && !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    names.sort();
    names
}

fn put(path: &Path, bytes: &[u8]) {
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Opens a folder whose file cannot be used: it is renamed with its bytes, and a new one works.
fn assert_is_set_aside(folder: &Path, reason: Reason) -> PathBuf {
    let bytes = fs::read(folder.join("state.db")).unwrap();
    let (mut store, restored) = open(folder);
    assert!(!restored.restored && store.is_on_disk());
    let [Notice::SetAside { reason: found, path }] = &restored.notices[..] else {
        panic!("{:?}", restored.notices);
    };
    assert_eq!(*found, reason);
    assert!(path.display().to_string().contains(&format!("state.db.{}-20231114T221320Z", reason.as_str())));
    assert_eq!(fs::read(path).unwrap(), bytes, "nothing of it is lost");
    let fleet = plain_fleet("new", 2, NOW);
    store.save(&[Arc::new(fleet.clone())]).unwrap();
    drop(store);
    assert_eq!(remembered(&open(folder).1.fleets), remembered(&[fleet]));
    path.clone()
}

#[test]
fn a_file_that_is_not_sqlite_is_set_aside() {
    let folder = TempDir::new().unwrap();
    put(&folder.path().join("state.db"), &b"no database, but long enough to look at. ".repeat(50));
    assert_is_set_aside(folder.path(), Reason::Foreign);
}

#[test]
fn an_empty_file_is_set_aside() {
    let folder = TempDir::new().unwrap();
    put(&folder.path().join("state.db"), b"");
    assert_is_set_aside(folder.path(), Reason::Damaged);
}

#[test]
fn the_database_of_another_program_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let other = Connection::open(folder.path().join("state.db")).unwrap();
    other.execute_batch("CREATE TABLE tenant (x); PRAGMA user_version = 1;").unwrap();
    drop(other);
    let path = assert_is_set_aside(folder.path(), Reason::Foreign);
    let other = Connection::open(path).unwrap();
    assert_eq!(other.query_row("SELECT count(*) FROM tenant", [], |row| row.get::<_, i64>(0)), Ok(0));
}

fn change(folder: &Path, sql: &str) {
    let connection = Connection::open(folder.join("state.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn a_file_of_a_later_release_is_set_aside() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW)]);
    change(folder.path(), "PRAGMA user_version = 2; ALTER TABLE gap ADD COLUMN more TEXT;");
    assert_is_set_aside(folder.path(), Reason::Newer);
}

#[test]
fn a_file_with_a_table_missing_is_set_aside() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW)]);
    change(folder.path(), "DROP TABLE gap;");
    assert_is_set_aside(folder.path(), Reason::Damaged);
}

#[test]
fn a_cut_file_is_set_aside() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 300, NOW)]);
    let file = fs::File::options().write(true).open(folder.path().join("state.db")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    assert_is_set_aside(folder.path(), Reason::Damaged);
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
    assert_eq!(names, ["state.db.foreign-20231114T221320Z", "state.db.foreign-20231114T221320Z-2"]);
    assert_eq!(fs::read_to_string(folder.path().join(&names[0])).unwrap(), "first");
    assert_eq!(fs::read_to_string(folder.path().join(&names[1])).unwrap(), "second");
}

#[test]
fn rows_that_make_no_sense_are_left_out_and_cleared_away() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 3, NOW)]);
    change(
        folder.path(),
        "INSERT INTO gap VALUES (77, 1, 0, 1, 0, 0), (1, 4294967296, 0, 1, 0, 0), (1, 12, 0, 99, 0, 0);
         INSERT INTO machine VALUES (50, 1, 'not an id', '', '', '', '', NULL), (51, 9, 'x', '', '', '', '', NULL);
         INSERT INTO machine VALUES (52, 1, 'machine-00001', '', '', '', '', NULL);",
    );
    let (mut store, restored) = open(folder.path());
    assert!(matches!(restored.notices[..], [Notice::Skipped { rows: 6 }]), "{:?}", restored.notices);
    assert_eq!(remembered(&restored.fleets), remembered(&[plain_fleet("one", 3, NOW)]));
    store.save(&[]).unwrap();
    drop(store);
    let (_, restored) = open(folder.path());
    assert!(restored.notices.is_empty(), "the next save cleared them away");
    assert_eq!(remembered(&restored.fleets), remembered(&[plain_fleet("one", 3, NOW)]));
}

#[test]
fn a_folder_that_cannot_be_made_is_tried_again() {
    let outer = TempDir::new().unwrap();
    let blocker = outer.path().join("file");
    put(&blocker, b"");
    let folder = blocker.join("state");
    let (mut store, restored) = open(&folder);
    assert!(!store.is_on_disk());
    assert!(matches!(restored.notices[..], [Notice::WithoutDisk(_)]));
    assert!(restored.notices[0].to_string().contains(&folder.display().to_string()));
    let fleet = Arc::new(plain_fleet("one", 2, NOW));
    assert_eq!(store.save(&[Arc::clone(&fleet)]).unwrap_err().kind(), "folder");
    store.record_calls("one", &[at(NOW)]).unwrap();
    fs::remove_file(&blocker).unwrap();
    let saved = store.save(&[fleet.clone()]).unwrap();
    assert!(matches!(saved.notices[..], [Notice::OnDisk { .. }]));
    drop(store);
    let (_, restored) = open(&folder);
    assert_eq!(remembered(&restored.fleets), remembered(&[TenantFleet::clone(&fleet)]));
    assert_eq!(restored.calls["one"], [at(NOW)]);
}

#[test]
fn a_state_that_turns_up_late_is_kept_beside() {
    let outer = TempDir::new().unwrap();
    let earlier = TempDir::new().unwrap();
    save(earlier.path(), &[plain_fleet("one", 3, NOW - 9)]);
    let folder = outer.path().join("state");
    put(&folder, b"");
    let (mut store, _) = open(&folder);
    fs::remove_file(&folder).unwrap();
    fs::rename(earlier.path(), &folder).unwrap();
    let fleet = Arc::new(plain_fleet("one", 2, NOW));
    let saved = store.save(&[fleet.clone()]).unwrap();
    assert!(matches!(
        saved.notices[..],
        [Notice::SetAside { reason: Reason::Unread, .. }, Notice::OnDisk { .. }]
    ));
    drop(store);
    assert_eq!(remembered(&open(&folder).1.fleets), remembered(&[TenantFleet::clone(&fleet)]));
    fs::rename(folder.join(&set_aside(&folder)[0]), folder.join("state.db")).unwrap();
    assert_eq!(remembered(&open(&folder).1.fleets), remembered(&[plain_fleet("one", 3, NOW - 9)]));
}

#[test]
fn a_file_that_was_removed_is_written_again() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(folder.path());
    let fleet = Arc::new(plain_fleet("one", 2, NOW));
    store.save(&[Arc::clone(&fleet)]).unwrap();
    fs::remove_file(folder.path().join("state.db")).unwrap();
    store.save(&[Arc::clone(&fleet)]).unwrap();
    drop(store);
    assert_eq!(remembered(&open(folder.path()).1.fleets), remembered(&[TenantFleet::clone(&fleet)]));
}

#[test]
fn the_views_can_be_read_by_people() {
    let folder = TempDir::new().unwrap();
    save(folder.path(), &[plain_fleet("one", 1, NOW)]);
    let connection = Connection::open(folder.path().join("state.db")).unwrap();
    let gap = "SELECT tenant || ' ' || machine_id || ' ' || kb || ' ' || first_seen FROM open_gaps LIMIT 1";
    let gap: String = connection.query_row(gap, [], |row| row.get(0)).unwrap();
    assert_eq!(gap, "one machine-00000 1 2023-11-14T22:13:20.000Z");
    let machine = "SELECT machine_id || ' ' || read_at || ' ' || gaps FROM machines";
    let machine: String = connection.query_row(machine, [], |row| row.get(0)).unwrap();
    assert_eq!(machine, "machine-00000 2023-11-14T22:13:20.000Z 10");
}

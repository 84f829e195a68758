//! The cost of a large state file: a full save, a load in a new process, and a save after a change of 2 % of the
//! missing updates. 100,000 machines with ten missing updates each by default.
//!
//! The load runs in a separate process, so that its memory is the memory of an exporter after a restart.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::fleet::{
    Assessment, Attempt, Machine, MachineFacts, MissingUpdate, Onboarding, ReportedUpdate, TenantFleet,
    UpdateFacts,
};
use mde_exporter::model::{KbId, MachineId};
use mde_exporter::store::Store;

pub(crate) const MISSING_UPDATES: u32 = 10;
const NOW: i64 = 1_700_000_000;

pub(crate) fn run(machines: Option<u32>) {
    whole(machines.unwrap_or(100_000));
}

/// Saves a new state file, then starts the process that loads it.
fn whole(machines: u32) {
    println!("{machines} machines, {} missing updates", machines * MISSING_UPDATES);
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = Arc::new(fleet(machines));
    let (mut store, _) = Store::open(folder.path(), clock()).expect("an unused folder");
    timed("whole save", || store.save(&[fleet]).expect("a disk"));
    timed("close", || drop(store));
    let bytes = folder.path().join("state.db").metadata().expect("a file").len();
    println!("{:<40} {:>8.1} MiB", "file", mebibytes(bytes));
    let program = std::env::current_exe().expect("this program");
    let status = Command::new(program).arg("load-state").arg(folder.path()).status().expect("a process");
    assert!(status.success());
}

pub(crate) fn load_and_change(folder: &Path) {
    resident("fresh process");
    let (mut store, restored) = timed("load", || Store::open(folder, clock()).expect("an unused folder"));
    resident("state loaded");
    let before = Arc::new(restored.fleets.into_iter().next().expect("the tenant"));
    assert!(restored.events.is_empty());
    let changed = Arc::new(after_a_poll(&before));
    drop(before);
    let saved = timed("save: all machines read, 2 % of pairs new", || store.save(&[Arc::clone(&changed)]));
    assert!(saved.expect("a disk").changed);
    let again = Arc::new(TenantFleet::clone(&changed));
    timed("save: nothing new", || store.save(&[again])).expect("a disk");
    let all = Arc::new(with_new_counts(&changed));
    drop(changed);
    timed("save: every missing update reported again", || store.save(&[Arc::clone(&all)])).expect("a disk");
    resident("all saved");
    timed("close", || drop(store));
}

pub(crate) fn fleet(machines: u32) -> TenantFleet {
    let facts: Vec<_> = (0..500u32).map(facts).collect();
    let mut fleet = TenantFleet::new("contoso".into());
    for number in 0..machines {
        let missing = |index| {
            let kb = 5_000_000 + index * 50 + number % 50;
            let facts = Arc::clone(&facts[(kb % 500) as usize]);
            let first_seen = at(NOW - i64::from(number % 10_000));
            let kb = KbId::new(kb).expect("seven digits");
            MissingUpdate {
                update: ReportedUpdate {
                    kb,
                    facts,
                    cves: Some(index),
                    reported_machines: Some(number),
                    severity: None,
                    cvss: None,
                },
                first_seen,
                chain: None,
            }
        };
        let id = format!("{:08x}{:032x}", number.wrapping_mul(0x9e37_79b9), number);
        let facts = MachineFacts {
            id: MachineId::parse(&id).expect("40 digits"),
            name: format!("workstation-{number:06}.corp.example"),
            os_platform: "Windows11".to_owned(),
            os_version: "23H2".to_owned(),
            device_group: format!("group {}", number % 40),
            onboarding: Onboarding::Onboarded,
            last_seen: Some(at(NOW)),
            tags: None,
            os_build: None,
        };
        let assessment = Some(Assessment::of_now(at(NOW), (0..MISSING_UPDATES).map(missing).collect()));
        let machine = Machine { facts, assessment, attempt: Some(Attempt::ended(at(NOW), true)) };
        fleet.machines.insert(machine.facts.id.clone(), Arc::new(machine));
    }
    fleet
}

fn facts(number: u32) -> Arc<UpdateFacts> {
    let products = (0..3).map(|product| format!("Windows 11 version {number} edition {product}")).collect();
    Arc::new(UpdateFacts { title: format!("Security Updates {number}"), products })
}

/// Every machine was read again; every tenth one has two changes: one update fixed, one new.
fn after_a_poll(fleet: &TenantFleet) -> TenantFleet {
    let mut number = 0;
    every_reading(fleet, |assessment| {
        assessment.fetched_at = at(NOW + 3600);
        number += 1;
        if number % 10 == 0 {
            let mut missing = assessment.missing_updates.remove(0);
            missing.update.kb = KbId::new(6_000_000).expect("seven digits");
            missing.first_seen = assessment.fetched_at;
            assessment.missing_updates.push(missing);
        }
    })
}

fn with_new_counts(fleet: &TenantFleet) -> TenantFleet {
    every_reading(fleet, |assessment| {
        for missing in &mut assessment.missing_updates {
            missing.update.reported_machines = Some(1);
        }
    })
}

pub(crate) fn every_reading(fleet: &TenantFleet, mut change: impl FnMut(&mut Assessment)) -> TenantFleet {
    let mut fleet = fleet.clone();
    for machine in fleet.machines.values_mut() {
        let machine = Arc::make_mut(machine);
        change(machine.assessment.as_mut().expect("every machine was read"));
        let at = machine.assessment.as_ref().expect("every machine was read").fetched_at;
        machine.attempt = Some(Attempt::ended(at, true));
    }
    fleet
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time of this century")
}

fn clock() -> Clock {
    Clock::new(|| at(NOW))
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what:<40} {:>8.3} s", start.elapsed().as_secs_f64());
    result
}

/// Prints the current and the peak memory of this process (`proc_pid_status(5)`).
fn resident(what: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default()
    };
    let (now, peak) = (kibibytes("VmRSS:"), kibibytes("VmHWM:"));
    println!("{what:<40} {:>8.1} MiB resident, peak {:.1}", mebibytes(now * 1024), mebibytes(peak * 1024));
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

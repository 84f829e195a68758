//! A large fleet without an API behind it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::fleet::{
    Assessment, Attempt, Machine, MachineFacts, MissingUpdate, Onboarding, ReportedUpdate, TenantFleet,
    UpdateFacts,
};
use mde_exporter::model::{Freshness, KbId, MachineId, Severity};

/// Missing updates of each machine.
pub(crate) const MISSING_UPDATES: u32 = 10;

/// Lines of a machine at machine and update level.
pub(crate) const LINES_PER_MACHINE: u32 = 8 + MISSING_UPDATES;

pub(crate) const FRESHNESS: Freshness = Freshness::DEFAULT;

const NOW: i64 = 1_764_000_000;

/// A fleet with this number of machines, all read just now, in forty device groups.
pub(crate) fn fleet(machines: u32) -> TenantFleet {
    let facts: Vec<_> = (0..MISSING_UPDATES).map(batch).collect();
    let mut fleet = TenantFleet::new("contoso".into());
    for number in 0..machines {
        let machine = machine(number, &facts);
        fleet.machines.insert(machine.facts.id.clone(), Arc::new(machine));
    }
    fleet.listed_at = Some(now());
    fleet.status.up = true;
    fleet
}

fn machine(number: u32, facts: &[Arc<UpdateFacts>]) -> Machine {
    let missing = |index: u32| MissingUpdate {
        update: ReportedUpdate {
            kb: KbId::new(5_000_000 + index * 1_000 + number % 6).expect("seven digits"),
            facts: Arc::clone(&facts[index as usize]),
            cves: Some(index * 7),
            reported_machines: None,
            severity: Some(Severity::High),
            cvss: None,
        },
        first_seen: Timestamp::from_second(NOW - i64::from(index) * 2_600_000 - i64::from(number % 40_000))
            .expect("a time of this century"),
        chain: None,
    };
    // Real ids are hexadecimal digits without an order.
    let mixed = (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Machine {
        facts: MachineFacts {
            id: MachineId::parse(&format!("{mixed:032x}{number:08x}")).expect("40 digits"),
            name: format!("workstation-{number:06}.corp.example"),
            os_platform: "Windows11".to_owned(),
            os_version: "23H2".to_owned(),
            device_group: format!("group {}", number % 40),
            last_seen: Some(now()),
            onboarding: Onboarding::Onboarded,
            tags: None,
            os_build: None,
        },
        assessment: Some(Assessment::of_now(now(), (0..MISSING_UPDATES).map(missing).collect())),
        attempt: Some(Attempt::ended(now(), true)),
    }
}

fn batch(number: u32) -> Arc<UpdateFacts> {
    let title = format!("Batch {number} Security Updates");
    Arc::new(UpdateFacts { title, products: vec!["windows_11".to_owned()] })
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time of this century")
}

/// A clock that does not advance.
pub(crate) fn clock() -> Clock {
    Clock::new(now)
}

/// Changes every line of the machine.
pub(crate) fn change(machine: &mut Machine, round: u32) {
    let moved = Duration::from_secs(u64::from(round) + 1);
    machine.facts.os_version = format!("23H2.{round}");
    machine.facts.last_seen = machine.facts.last_seen.map(|at| at - moved);
    if let Some(assessment) = &mut machine.assessment {
        assessment.fetched_at -= moved;
        for missing in &mut assessment.missing_updates {
            missing.first_seen -= moved;
            missing.update.cves = missing.update.cves.map(|cves| cves + 1);
        }
    }
}

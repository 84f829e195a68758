//! A state file in a temporary folder, and fleets to save in it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use mde_exporter::clock::Clock;
use mde_exporter::fleet::burn_down::{UpdateBurnDown, day_of};
use mde_exporter::fleet::{
    Assessment, BurnDown, Machine, MachineFacts, MissingUpdate, PollStatus, ReportedUpdate, TenantFleet,
    UpdateFacts,
};
use mde_exporter::model::{KbId, MachineId};
use mde_exporter::store::{Restored, Store};

pub(crate) const NOW: i64 = 1_700_000_000;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn clock() -> Clock {
    Clock::new(|| at(NOW))
}

pub(crate) fn open(folder: &Path) -> (Store, Restored) {
    Store::open(folder, clock()).unwrap()
}

pub(crate) fn save(folder: &Path, fleets: &[TenantFleet]) {
    let fleets: Vec<_> = fleets.iter().cloned().map(Arc::new).collect();
    open(folder).0.save(&fleets).unwrap();
}

/// The persisted part of fleets, for comparisons.
pub(crate) fn remembered(fleets: &[TenantFleet]) -> Vec<String> {
    let plain = |fleet: &TenantFleet| {
        let PollStatus { up, last_poll, last_success, .. } = fleet.status.clone();
        let status = PollStatus { up, last_poll, last_success, ..PollStatus::default() };
        format!("{:#?}", TenantFleet { status, ..fleet.clone() })
    };
    let mut all: Vec<_> = fleets.iter().map(plain).collect();
    all.sort();
    all
}

/// The daily counts of one update, from the day of [`NOW`] on.
pub(crate) fn daily_counts(kb: u32, machines: &[u32]) -> Arc<BurnDown> {
    let numbers = machines.iter().map(|machines| Some(*machines)).collect();
    let update = UpdateBurnDown::new(at(NOW), Some(at(NOW - 9000)), day_of(at(NOW)), numbers).unwrap();
    Arc::new([(KbId::new(kb).unwrap(), update)].into_iter().collect())
}

/// A fleet of `count` machines with ten missing updates each, first seen at `first_seen`.
pub(crate) fn plain_fleet(tenant: &str, count: u32, first_seen: i64) -> TenantFleet {
    let mut fleet = TenantFleet::new(tenant.into());
    let facts = Arc::new(UpdateFacts { title: "title".to_owned(), products: vec!["product".to_owned()] });
    for number in 0..count {
        let missing = |kb| {
            let kb = KbId::new(kb).unwrap();
            let facts = Arc::clone(&facts);
            let update = ReportedUpdate {
                kb,
                facts,
                cves: Some(3),
                reported_machines: None,
                severity: None,
                cvss: None,
            };
            MissingUpdate { update, first_seen: at(first_seen), chain: None }
        };
        let id = MachineId::parse(&format!("machine-{number:05}")).unwrap();
        let assessment = Some(Assessment::of_now(at(first_seen), (1..=10).map(missing).collect()));
        let machine = Machine { facts: MachineFacts::unlisted(id.clone()), assessment, attempt: None };
        fleet.machines.insert(id, Arc::new(machine));
    }
    fleet
}

//! Restarts between any events of a fleet: they change nothing.

use std::path::Path;
use std::sync::Arc;

use mde_exporter::facts::Facts;
use mde_exporter::fleet::{MachineFacts, ReportedUpdate, TenantFleet, Totals, UpdateFacts};
use mde_exporter::model::{Freshness, KbId, MachineId};
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::store::{NOW, at, open, remembered};

const FRESHNESS: Freshness = Freshness::DEFAULT;

#[derive(Clone, Debug)]
enum FleetEvent {
    List(Vec<u8>),
    Answer(u8, Vec<u32>),
    Failure(u8),
    Wait(i64),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<FleetEvent>> {
    let event = prop_oneof![
        2 => vec(0_u8..5, 0..7).prop_map(FleetEvent::List),
        5 => (0_u8..5, vec(1_u32..6, 0..6)).prop_map(|(machine, kbs)| FleetEvent::Answer(machine, kbs)),
        1 => (0_u8..5).prop_map(FleetEvent::Failure),
        2 => (1_i64..100_000).prop_map(FleetEvent::Wait),
        2 => Just(FleetEvent::Restart),
    ];
    vec(event, 1..30)
}

fn id(number: u8) -> MachineId {
    MachineId::parse(&format!("machine-{number}")).unwrap()
}

fn missing(kbs: &[u32]) -> Vec<ReportedUpdate> {
    let update = |kb: &u32| ReportedUpdate {
        kb: KbId::new(*kb).unwrap(),
        facts: Arc::new(UpdateFacts::default()),
        cves: Some(*kb),
        reported_machines: None,
        severity: None,
        cvss: None,
    };
    kbs.iter().map(update).collect()
}

/// The fleet after a save and a restart.
fn restarted(folder: &Path, fleet: TenantFleet) -> TenantFleet {
    open(folder).0.save(&[Arc::new(fleet)]).unwrap();
    open(folder).1.fleets.pop().unwrap()
}

fn open_missing_updates(fleet: &TenantFleet) -> u64 {
    let machines =
        fleet.machines.values().chain(fleet.out_of_scope.values().map(|out_of_scope| &out_of_scope.machine));
    machines.map(|machine| machine.missing_updates().len() as u64).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn restarts_change_nothing(events in events()) {
        let folder = TempDir::new().unwrap();
        let mut without = TenantFleet::new("contoso".into());
        let mut with = without.clone();
        let mut now = NOW - 10_000_000;
        for event in events {
            let Totals { detected, resolved, dropped, .. } = with.totals;
            for fleet in [&mut without, &mut with] {
                match &event {
                    FleetEvent::List(machines) => {
                        let listed = machines.iter().map(|number| MachineFacts::unlisted(id(*number)));
                        fleet.apply_list(listed.collect(), at(now), &FRESHNESS);
                    }
                    FleetEvent::Answer(machine, kbs) => {
                        fleet.apply_answer(&id(*machine), at(now), missing(kbs), &FRESHNESS, &Facts::default());
                    }
                    FleetEvent::Failure(machine) => fleet.apply_failure(&id(*machine), at(now)),
                    FleetEvent::Wait(_) | FleetEvent::Restart => {}
                }
            }
            match event {
                FleetEvent::Wait(seconds) => now += seconds,
                FleetEvent::Restart => with = restarted(folder.path(), with),
                _ => {}
            }
            let totals = with.totals;
            prop_assert_eq!(totals.detected - totals.resolved - totals.dropped, open_missing_updates(&with));
            prop_assert!(totals.detected >= detected && totals.resolved >= resolved && totals.dropped >= dropped);
        }
        prop_assert_eq!(remembered(&[with]), remembered(&[without]));
    }
}

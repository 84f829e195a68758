//! Machines under policies, and the lists that pages need.

mod missing_index;

use std::time::Duration;

use super::*;
use crate::fleet::{Assessment, MachineFacts, MissingUpdate, ReportedUpdate};
use crate::model::{DeadlineStart, KbId, MachineId};

const FRESHNESS: Freshness = Freshness::DEFAULT;

fn now() -> Timestamp {
    "2026-03-10T12:00:00Z".parse().unwrap()
}

fn hours_ago(hours: u64) -> Timestamp {
    now() - Duration::from_hours(hours)
}

fn kb(number: u32) -> KbId {
    KbId::new(number).unwrap()
}

/// A machine whose assessment and missing updates are that many hours old.
fn machine(name: &str, assessment: Option<(u64, &[u64])>) -> Machine {
    let missing = |(number, hours): (u32, &u64)| MissingUpdate {
        update: ReportedUpdate {
            kb: kb(number),
            facts: Arc::default(),
            cves: None,
            reported_machines: None,
            severity: None,
            cvss: None,
        },
        first_seen: hours_ago(*hours),
        chain: None,
    };
    let assessment = assessment.map(|(hours, missing_updates)| {
        Assessment::of_now(hours_ago(hours), (0..).zip(missing_updates).map(missing).collect())
    });
    let facts =
        MachineFacts { name: name.to_owned(), ..MachineFacts::unlisted(MachineId::parse("x").unwrap()) };
    Machine { facts, assessment, attempt: None }
}

/// A fleet whose ids are in the order of `machines`.
fn fleet(tenant: &str, machines: Vec<Machine>) -> Arc<TenantFleet> {
    let mut fleet = TenantFleet::new(tenant.into());
    for (number, mut machine) in machines.into_iter().enumerate() {
        machine.facts.id = MachineId::parse(&format!("{number:04}")).unwrap();
        fleet.machines.insert(machine.facts.id.clone(), Arc::new(machine));
    }
    Arc::new(fleet)
}

fn overview(fleets: &[Arc<TenantFleet>], policies: &[Policy]) -> Overview {
    let terms = OverviewTerms {
        now: now(),
        freshness: &FRESHNESS,
        policies,
        exceptions: &[],
        servicing: &ServicingSettings::default(),
        labels: &[],
        facts: &Facts::default(),
    };
    Overview::of(fleets, terms)
}

#[test]
fn machine_is_judged_under_each_policy() {
    let policy = |hours| Policy::single("p", Duration::from_hours(hours), DeadlineStart::FirstSeen);
    let fleet = fleet("t", vec![machine("a", Some((1, &[25, 5, 15]))), machine("b", None)]);
    let overview = overview(&[fleet], &[policy(20), policy(10)]);
    let [first, second] = [0, 1].map(|policy| overview.policies[policy].machines[0]);
    assert_eq!((first.overdue, second.overdue), (Some(1), Some(2)));
    assert_eq!((first.state, second.state), (PolicyState::Overdue, PolicyState::Overdue));
    assert_eq!((first.overdue_since, second.overdue_since), (Some(hours_ago(5)), Some(hours_ago(15))));
    assert_eq!(first.next_deadline, Some(now() + Duration::from_hours(5)));
    assert_eq!(first.late_since, Some(hours_ago(25)));
    let is_overdue = |policy: usize| {
        [0, 1, 2].map(|number| overview.tenants[0].missing.overdue_machines(kb(number), policy) == 1)
    };
    assert_eq!((is_overdue(0), is_overdue(1)), ([true, false, false], [true, false, true]));
    let unread = overview.policies[0].machines[1];
    assert_eq!((unread.state, unread.overdue), (PolicyState::Unknown, None));
    assert_eq!(overview.not_judged(1, 0), Some(NotJudged::NeverRead));
    assert_eq!(overview.not_judged(0, 0), None);
}

#[test]
fn machines_are_found_by_id_in_each_tenant() {
    let of = |tenant| fleet(tenant, vec![machine("B", Some((1, &[]))), machine("a", None)]);
    let overview = overview(&[of("one"), of("two")], &[]);
    let found: Vec<_> = overview.machines_with_id(&MachineId::parse("0001").unwrap()).collect();
    assert_eq!(found, [1, 3]);
    assert_eq!(overview.machines_with_id(&MachineId::parse("9").unwrap()).count(), 0);
    let ranks: Vec<_> = overview.machines.iter().map(|summary| summary.name_rank).collect();
    assert_eq!(ranks, [2, 0, 3, 1]);
    assert_eq!(overview.searched(&overview.machines[0]), "b\n0000\n\n ");
}

#[test]
fn oldest_data_is_that_of_assessed_machines() {
    let served = fleet(
        "a",
        vec![machine("", Some((3, &[]))), machine("", Some((20, &[]))), machine("", Some((49, &[])))],
    );
    let unknown = fleet("b", vec![machine("", None), machine("", Some((49, &[])))]);
    let overview = overview(&[served, unknown], &[]);
    let oldest: Vec<_> = overview.tenants.iter().map(|tenant| tenant.data).collect();
    assert_eq!(oldest, [Some((hours_ago(20), hours_ago(3))), None]);
    assert_eq!(overview.tenants[0].summary.machines(MachineState::Unknown), 1);
}

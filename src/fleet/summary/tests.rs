//! Counts over fleets.

use std::sync::Arc;

use super::*;
use crate::facts::Facts;
use crate::fleet::{Assessment, MachineFacts, Onboarding, ReportedUpdate};
use crate::model::MachineId;

const FRESHNESS: Freshness = Freshness::DEFAULT;

fn hour(hour: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
}

fn id(name: &str) -> MachineId {
    MachineId::parse(name).unwrap()
}

fn machine(name: &str, group: &str, last_seen: Option<Timestamp>) -> MachineFacts {
    MachineFacts {
        os_platform: "Windows11".to_owned(),
        device_group: group.to_owned(),
        last_seen,
        ..MachineFacts::unlisted(id(name))
    }
}

fn update(kb: &str, title: &str, products: &[&str], cves: Option<u32>) -> ReportedUpdate {
    ReportedUpdate {
        kb: KbId::new(kb.parse().unwrap()).unwrap(),
        facts: Arc::new(UpdateFacts {
            title: title.to_owned(),
            products: products.iter().map(|&product| product.to_owned()).collect(),
        }),
        cves,
        reported_machines: cves,
        severity: None,
        cvss: None,
    }
}

fn fleet(machines: Vec<MachineFacts>) -> TenantFleet {
    let mut fleet = TenantFleet::new("t".into());
    fleet.apply_list(machines, hour(0), &FRESHNESS);
    fleet
}

#[test]
fn only_assessed_machines_contribute_missing_updates() {
    let mut fleet = fleet(vec![
        machine("fresh", "a", None),
        machine("stale", "a", None),
        machine("expired", "a", None),
        machine("inactive", "b", Some(hour(-1000))),
        machine("never-read", "b", None),
        machine("clean", "a", Some(hour(0))),
        MachineFacts { onboarding: Onboarding::NotOnboarded, ..machine("discovered", "a", None) },
    ]);
    let discovered = Arc::make_mut(fleet.machines.get_mut(&id("discovered")).unwrap());
    discovered.assessment = Some(Assessment::of_now(hour(0), vec![]));
    let missing = || vec![update("1", "x", &["edge"], Some(7))];
    fleet.apply_answer(&id("fresh"), hour(0), missing(), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id("stale"), hour(-20), missing(), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id("expired"), hour(-60), missing(), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id("inactive"), hour(0), vec![], &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id("clean"), hour(0), vec![], &FRESHNESS, &Facts::default());

    let summary = Summary::of(&fleet, hour(1), &FRESHNESS, &Facts::default());
    let states = |group: &str| {
        let key = MachineGroup::from(("Windows11", group));
        MachineState::ALL.map(|state| summary.groups[&key].machines(state))
    };
    assert_eq!(states("a"), [2, 1, 0, 1, 1]);
    assert_eq!(states("b"), [0, 0, 1, 1, 0]);
    let compliant: Vec<u64> = summary.groups.values().map(|group| group.compliant).collect();
    assert_eq!(compliant, [1, 0], "the zero of an inactive machine is not trusted");
    assert_eq!(summary.missing_updates(None), 2);
    assert_eq!(summary.addressed_cves, Some(14));
    assert_eq!(summary.oldest_first_seen, Some(hour(-20)));
    assert_eq!(summary.machines(MachineState::Unknown), 2);
}

#[test]
fn facts_of_an_update_do_not_depend_on_the_machine_order() {
    let reports = [
        update("5", "", &["windows_10"], None),
        update("5", "March 2020 Security Updates", &["edge"], Some(3)),
        update("5", "April 2020 Security Updates", &["edge", "windows_10"], Some(9)),
    ];
    for turn in 0..3 {
        let mut fleet = fleet(["a", "b", "c"].map(|name| machine(name, "", None)).to_vec());
        for (index, name) in ["a", "b", "c"].iter().enumerate() {
            let at = hour(i64::try_from(index).unwrap());
            fleet.apply_answer(
                &id(name),
                at,
                vec![reports[(index + turn) % 3].clone()],
                &FRESHNESS,
                &Facts::default(),
            );
        }
        let summary = Summary::of(&fleet, hour(3), &FRESHNESS, &Facts::default());
        let update = &summary.updates[&KbId::new(5).unwrap()];
        assert_eq!(update.facts.title, "March 2020 Security Updates");
        assert_eq!(update.facts.products, ["edge", "windows_10"]);
        assert_eq!(update.missing_machines, 3);
        assert_eq!(update.reported_machines, Some(9));
        assert_eq!(update.addressed_cves, Some(9));
        assert_eq!(update.first_seen, hour(0));
        assert_eq!(update.released, Some("2020-03-10T17:00:00Z".parse().unwrap()));
    }
}

#[test]
fn release_is_not_later_than_first_seen() {
    // Released on 2023-11-14 at 17:00; the hour 0 is 22:13 of that day.
    for (first_seen, released) in [(-48, hour(-48)), (0, "2023-11-14T17:00:00Z".parse().unwrap())] {
        let mut fleet = fleet(["a", "b"].map(|name| machine(name, "", None)).to_vec());
        let november = || vec![update("5", "November 2023 Security Updates", &[], None)];
        fleet.apply_answer(&id("a"), hour(first_seen), november(), &FRESHNESS, &Facts::default());
        fleet.apply_answer(&id("b"), hour(1), november(), &FRESHNESS, &Facts::default());
        let summary = Summary::of(&fleet, hour(-24), &FRESHNESS, &Facts::default());
        assert_eq!(summary.updates[&KbId::new(5).unwrap()].released, Some(released));
    }
}

#[test]
fn missing_updates_are_counted_by_severity() {
    let mut fleet = fleet(vec![machine("a", "", None), machine("b", "", None)]);
    let with = |kb, severity| ReportedUpdate { severity, ..update(kb, "", &[], None) };
    let (critical, low) = (Some(Severity::Critical), Some(Severity::Low));
    fleet.apply_answer(
        &id("a"),
        hour(0),
        vec![with("1", critical), with("2", None)],
        &FRESHNESS,
        &Facts::default(),
    );
    fleet.apply_answer(
        &id("b"),
        hour(0),
        vec![with("1", critical), with("3", low)],
        &FRESHNESS,
        &Facts::default(),
    );
    let summary = Summary::of(&fleet, hour(0), &FRESHNESS, &Facts::default());
    assert_eq!(Severity::WORST_FIRST.map(|severity| summary.missing_updates(Some(severity))), [2, 0, 0, 1]);
    assert_eq!(summary.missing_updates(None), 1);
}

#[test]
fn small_groups_are_folded_without_losing_a_machine() {
    let sizes = [("other", 1), ("a", 2), ("b", 5), ("c", 2), ("d", 3)];
    let machines = sizes.iter().flat_map(|(group, size)| {
        let named = move |number| MachineFacts {
            os_platform: if *group == "other" { "other" } else { "Windows11" }.to_owned(),
            ..machine(&format!("{group}{number}"), group, None)
        };
        (0..*size).map(named)
    });
    let mut fleet = fleet(machines.collect());
    fleet.apply_answer(&id("c0"), hour(0), vec![], &FRESHNESS, &Facts::default());
    let folded = |bound| {
        let mut summary = Summary::of(&fleet, hour(0), &FRESHNESS, &Facts::default());
        summary.fold_groups(bound);
        // The platform `other` is not Windows.
        assert_eq!(summary.machines(MachineState::Unsupported), 1);
        assert_eq!(summary.machines(MachineState::Unknown), 11);
        assert_eq!(summary.machines(MachineState::Fresh), 1);
        assert_eq!(summary.groups.values().map(|group| group.compliant).sum::<u64>(), 1);
        let names = summary.groups.keys().map(|key| key.device_group.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(folded(5), ["a", "b", "c", "d", "other"]);
    assert_eq!(folded(4), ["a", "b", "d", "other"], "the real group of that name is the same");
    assert_eq!(folded(2), ["b", "other"]);
    assert_eq!(folded(1), ["other"]);
    assert_eq!(folded(0), ["other"]);
}

#[test]
fn unreported_cves_are_unknown_not_zero() {
    let mut fleet = fleet(vec![machine("a", "", None), machine("b", "", None)]);
    let cves =
        |fleet: &TenantFleet| Summary::of(fleet, hour(0), &FRESHNESS, &Facts::default()).addressed_cves;
    assert_eq!(cves(&fleet), None, "nothing was read yet");
    fleet.apply_answer(&id("a"), hour(0), vec![], &FRESHNESS, &Facts::default());
    assert_eq!(cves(&fleet), Some(0), "nothing is missing");
    fleet.apply_answer(&id("b"), hour(0), vec![update("1", "", &[], None)], &FRESHNESS, &Facts::default());
    assert_eq!(cves(&fleet), None, "the only missing update does not report it");
    fleet.apply_answer(&id("a"), hour(0), vec![update("1", "", &[], Some(4))], &FRESHNESS, &Facts::default());
    assert_eq!(cves(&fleet), Some(4), "reported counts are summed");
}

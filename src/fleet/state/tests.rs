//! Machine lists, replies and exports, and the fleet that results from them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::facts::Facts;
use crate::fleet::{MachineState, Onboarding, ReportedUpdate, UpdateFacts};
use crate::model::KbId;

mod supersedence;
mod unreadable;
mod unsupported;

const FRESHNESS: Freshness = Freshness::DEFAULT;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn id(number: u8) -> MachineId {
    MachineId::parse(&format!("machine-{number}")).unwrap()
}

fn named(number: u8, name: &str) -> MachineFacts {
    MachineFacts { name: name.to_owned(), ..MachineFacts::unlisted(id(number)) }
}

fn missing(kbs: &[u32]) -> Vec<ReportedUpdate> {
    let update = |kb: &u32| ReportedUpdate {
        kb: KbId::new(*kb).unwrap(),
        facts: Arc::new(UpdateFacts::default()),
        cves: None,
        reported_machines: None,
        severity: None,
        cvss: None,
    };
    kbs.iter().map(update).collect()
}

fn fleet_of(machines: &[MachineFacts]) -> TenantFleet {
    let mut fleet = TenantFleet::new("t".into());
    fleet.apply_list(machines.to_vec(), second(0), &FRESHNESS);
    fleet
}

/// The first-seen times of the missing updates in scope, by machine and KB.
fn open(fleet: &TenantFleet) -> BTreeMap<(MachineId, KbId), Timestamp> {
    let missing_updates = fleet.machines.iter().flat_map(|(id, machine)| {
        let assessment = machine.assessment.iter();
        assessment
            .flat_map(|assessment| &assessment.missing_updates)
            .map(move |missing| ((id.clone(), missing.update.kb), missing.first_seen))
    });
    let mut open = BTreeMap::new();
    for (key, first_seen) in missing_updates {
        assert!(open.insert(key, first_seen).is_none(), "the missing update is there twice");
    }
    open
}

/// The first-seen times of the missing updates in and out of scope.
fn kept(fleet: &TenantFleet) -> BTreeMap<(MachineId, KbId), Timestamp> {
    let out_of_scope = fleet.out_of_scope.iter().flat_map(|(id, out_of_scope)| {
        out_of_scope
            .machine
            .missing_updates()
            .iter()
            .map(move |missing| ((id.clone(), missing.update.kb), missing.first_seen))
    });
    open(fleet).into_iter().chain(out_of_scope).collect()
}

/// The first-seen times of the links in and out of scope, by machine and KB.
fn linked(fleet: &TenantFleet) -> BTreeMap<(MachineId, KbId), Timestamp> {
    let out_of_scope = fleet.out_of_scope.values().map(|out_of_scope| &out_of_scope.machine);
    let mut linked = BTreeMap::new();
    for machine in fleet.machines.values().chain(out_of_scope) {
        for link in machine.missing_updates().iter().flat_map(MissingUpdate::links) {
            let earliest = linked.entry((machine.facts.id.clone(), link.kb)).or_insert(link.first_seen);
            *earliest = link.first_seen.min(*earliest);
        }
    }
    linked
}

#[test]
fn missing_update_that_comes_back_is_first_seen_again() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    let key = (id(1), KbId::new(7).unwrap());
    for (at, kbs, first_seen) in
        [(0, &[7, 8][..], Some(0)), (10, &[8, 7], Some(0)), (20, &[8], None), (30, &[7, 8], Some(30))]
    {
        fleet.apply_answer(&id(1), second(at), missing(kbs), &FRESHNESS, &Facts::default());
        assert_eq!(open(&fleet).get(&key).copied(), first_seen.map(second), "after {at} s");
    }
    assert_eq!((fleet.totals.detected, fleet.totals.resolved), (3, 1));
}

#[test]
fn machine_that_leaves_the_scope_fixes_nothing() {
    let mut fleet = fleet_of(&[named(1, "a"), named(2, "b")]);
    fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id(2), second(0), missing(&[7, 8]), &FRESHNESS, &Facts::default());
    fleet.apply_list(vec![named(1, "renamed")], second(1), &FRESHNESS);
    assert_eq!((fleet.totals.detected, fleet.totals.resolved), (3, 0));
    assert_eq!(open(&fleet).len(), 1);
    assert_eq!(fleet.machines[&id(1)].facts.name, "renamed");
}

#[test]
fn machine_listed_twice_keeps_its_data() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
    fleet.apply_list(vec![named(1, "first"), named(1, "second")], second(1), &FRESHNESS);
    assert_eq!(open(&fleet).len(), 1);
    assert_eq!(fleet.machines[&id(1)].facts.name, "first");
}

#[test]
fn failure_changes_no_data() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
    let before = fleet.machines[&id(1)].assessment.clone();
    fleet.apply_failure(&id(1), second(5));
    let machine = &fleet.machines[&id(1)];
    assert_eq!(machine.assessment, before);
    assert_eq!(machine.attempt, Some(Attempt::ended(second(5), false)));
}

#[test]
fn published_copy_does_not_change() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
    let published = fleet.clone();
    fleet.apply_failure(&id(1), second(5));
    fleet.apply_answer(&id(1), second(6), vec![], &FRESHNESS, &Facts::default());
    assert_eq!(open(&published).len(), 1);
    assert!(published.machines[&id(1)].attempt.unwrap().succeeded);
}

#[test]
fn reply_about_a_machine_out_of_scope_is_ignored() {
    let mut fleet = fleet_of(&[]);
    fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
    fleet.apply_failure(&id(1), second(0));
    assert!(fleet.machines.is_empty());
    assert_eq!(fleet.totals.detected, 0);
}

#[test]
fn state_follows_the_age_of_data_and_machine() {
    const HOUR: i64 = 3600;
    let at = |hour: i64| second(hour * HOUR);
    for (read, last_seen, now, expected) in [
        (None, None, at(0), MachineState::Unknown),
        (Some(at(0)), None, at(0), MachineState::Fresh),
        (Some(at(0)), None, at(13), MachineState::Fresh),
        (Some(at(0)), None, second(13 * HOUR + 1), MachineState::Stale),
        (Some(at(0)), None, at(48), MachineState::Stale),
        (Some(at(0)), None, second(48 * HOUR + 1), MachineState::Unknown),
        (Some(at(1000)), Some(at(280)), at(1000), MachineState::Fresh),
        (Some(at(1000)), Some(at(279)), at(1000), MachineState::Inactive),
        (None, Some(at(0)), at(1000), MachineState::Inactive),
        // A clock that was set back makes nothing old.
        (Some(at(1000)), Some(at(5000)), at(0), MachineState::Fresh),
    ] {
        let assessment = read.map(|at| Assessment::of_now(at, vec![]));
        let facts = MachineFacts { last_seen, ..named(1, "a") };
        let machine = Machine { facts, assessment, attempt: None };
        assert_eq!(machine.state(now, &FRESHNESS), expected, "{read:?} {last_seen:?} {now}");
        assert_eq!(machine.assessed_updates(now, &FRESHNESS).is_some(), expected.is_assessed());
    }
}

#[test]
fn machine_that_comes_back_in_time_keeps_first_seen() {
    let away = |hours: i64| {
        let mut fleet = fleet_of(&[named(1, "a"), named(2, "b")]);
        fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
        fleet.apply_list(vec![named(2, "b")], second(10), &FRESHNESS);
        assert!(open(&fleet).is_empty());
        fleet.apply_list(vec![named(1, "a"), named(2, "b")], second(10 + hours * 3600), &FRESHNESS);
        fleet.apply_answer(&id(1), second(20 + hours * 3600), missing(&[7]), &FRESHNESS, &Facts::default());
        (open(&fleet).into_values().next().unwrap(), fleet.totals)
    };
    let (first_seen, totals) = away(48);
    assert_eq!((first_seen, totals.detected, totals.resolved, totals.dropped), (second(0), 1, 0, 0));
    let (first_seen, totals) = away(49);
    assert_eq!(first_seen, second(20 + 49 * 3600));
    assert_eq!((totals.detected, totals.resolved, totals.dropped), (2, 0, 1));
}

#[test]
fn first_seen_survives_the_expiry_of_the_data() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
    let later = second(100 * 3600);
    assert_eq!(fleet.machines[&id(1)].state(later, &FRESHNESS), MachineState::Unknown);
    fleet.apply_answer(&id(1), later, missing(&[7]), &FRESHNESS, &Facts::default());
    assert_eq!(open(&fleet).into_values().collect::<Vec<_>>(), [second(0)]);
    assert_eq!(fleet.totals.detected, 1);
}

#[test]
fn reply_about_an_inactive_machine_is_not_trusted() {
    let seen = |at| MachineFacts { last_seen: Some(at), ..named(1, "a") };
    let mut fleet = fleet_of(&[seen(second(0))]);
    fleet.apply_answer(&id(1), second(0), missing(&[7]), &FRESHNESS, &Facts::default());
    let dead = second(721 * 3600);
    fleet.apply_answer(&id(1), dead, missing(&[]), &FRESHNESS, &Facts::default());
    assert_eq!((fleet.totals.resolved, open(&fleet).len()), (0, 1));
    assert_eq!(fleet.machines[&id(1)].attempt, Some(Attempt::ended(dead, true)));
    fleet.apply_list(vec![seen(dead)], dead, &FRESHNESS);
    fleet.apply_answer(&id(1), dead, missing(&[]), &FRESHNESS, &Facts::default());
    assert_eq!((fleet.totals.resolved, open(&fleet).len()), (1, 0));
}

#[test]
fn fixed_update_is_counted_by_its_time_to_resolution() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), missing(&[7, 8]), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id(1), second(86_400), missing(&[7]), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id(1), second(86_400 * 200), missing(&[]), &FRESHNESS, &Facts::default());
    let resolution = fleet.totals.resolution;
    assert_eq!(resolution.buckets, [1, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(resolution.sum_millis, 201 * 86_400_000);
}

/// Applies an export version that was generated at `generated` and read an hour later. A machine that `rows`
/// lacks has no row in it. Returns the number of machines with data.
fn export(fleet: &mut TenantFleet, generated: i64, rows: &[(u8, &[u32])]) -> u64 {
    let version = version(generated, second(generated + 3600));
    let rows: Vec<_> = rows.iter().map(|(number, kbs)| (*number, kbs.to_vec())).collect();
    fleet.apply_export(version, |machine| updates_of(&rows, machine), &FRESHNESS, &Facts::default())
}

/// A version without unreadable lines.
fn version(generated: i64, checked_at: Timestamp) -> ExportVersion {
    ExportVersion::new(second(generated), checked_at, false, None)
}

fn updates_of(rows: &[(u8, Vec<u32>)], machine: &MachineId) -> Option<MachineAnswer> {
    let (_, kbs) = rows.iter().find(|(number, _)| id(*number) == *machine)?;
    Some(missing(kbs).into())
}

#[test]
fn export_data_is_as_old_as_the_export_version() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    assert_eq!(export(&mut fleet, 0, &[(1, &[7])]), 1);
    let machine = &fleet.machines[&id(1)];
    let assessment = machine.assessment.as_ref().unwrap();
    assert_eq!(
        (assessment.fetched_at, assessment.as_of, assessment.source),
        (second(3600), second(0), Source::Export)
    );
    assert_eq!(machine.state(second(13 * 3600), &FRESHNESS), MachineState::Fresh);
    assert_eq!(machine.state(second(13 * 3600 + 1), &FRESHNESS), MachineState::Stale);
    assert_eq!(open(&fleet).into_values().collect::<Vec<_>>(), [second(0)]);
    assert_eq!(fleet.export_version.unwrap().generated_at, second(0));
}

#[test]
fn machine_without_rows_is_compliant_only_if_seen_since() {
    let seen = |number, onboarding, last_seen| MachineFacts {
        onboarding,
        last_seen: Some(second(last_seen)),
        ..named(number, "a")
    };
    let listed = [
        seen(1, Onboarding::Onboarded, 100),
        seen(2, Onboarding::Unreported, 100),
        seen(3, Onboarding::Onboarded, 99),
        named(4, "a"),
        named(5, "a"),
    ];
    let mut fleet = fleet_of(&listed);
    fleet.apply_answer(&id(3), second(1), missing(&[7]), &FRESHNESS, &Facts::default());
    assert_eq!(export(&mut fleet, 100, &[(5, &[])]), 2);
    let assessed = |number| {
        fleet.machines[&id(number)].assessed_updates(second(200), &FRESHNESS).map(<[MissingUpdate]>::len)
    };
    assert_eq!([1, 2, 3, 4, 5].map(assessed), [Some(0), None, Some(1), None, Some(0)]);
    let succeeded = |number| fleet.machines[&id(number)].attempt.unwrap().succeeded;
    assert_eq!([1, 2, 3, 4, 5].map(succeeded), [true, false, false, false, true]);
    assert_eq!(fleet.totals.resolved, 0);
}

#[test]
fn earlier_first_seen_of_the_source_is_kept() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    for (generated, theirs, ours) in [(1000, Some(1500), 1000), (2000, Some(400), 400), (3000, None, 400)] {
        let take_updates = |_: &MachineId| {
            let update = missing(&[7]).remove(0);
            let updates = vec![DatedUpdate { update, first_seen: theirs.map(second) }];
            Some(MachineAnswer { updates, ..MachineAnswer::default() })
        };
        fleet.apply_export(
            version(generated, second(generated)),
            take_updates,
            &FRESHNESS,
            &Facts::default(),
        );
        assert_eq!(open(&fleet).into_values().collect::<Vec<_>>(), [second(ours)]);
    }
}

#[test]
fn update_that_a_new_source_lacks_is_not_fixed() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), missing(&[7, 8]), &FRESHNESS, &Facts::default());
    export(&mut fleet, 10, &[(1, &[8, 9])]);
    assert_eq!((fleet.totals.detected, fleet.totals.resolved, fleet.totals.dropped), (3, 0, 1));
    export(&mut fleet, 20, &[(1, &[9])]);
    assert_eq!((fleet.totals.resolved, fleet.totals.dropped), (1, 1));
    assert_eq!(open(&fleet).len(), 1);
}

#[test]
fn ignored_updates_are_dropped_and_not_fixed() {
    let mut fleet = fleet_of(&[named(1, "a"), named(2, "b"), named(3, "c")]);
    for (machine, kbs) in [(1, &[7, 8][..]), (2, &[7]), (3, &[8])] {
        fleet.apply_answer(&id(machine), second(0), missing(kbs), &FRESHNESS, &Facts::default());
    }
    fleet.apply_list(vec![named(1, "a"), named(3, "c")], second(1), &FRESHNESS);
    let untouched = Arc::clone(&fleet.machines[&id(3)]);
    fleet.ignore(&IgnoredUpdates::new([KbId::new(7).unwrap()], []));
    assert_eq!(kept(&fleet).keys().map(|(_, kb)| kb.number()).collect::<Vec<_>>(), [8, 8]);
    assert_eq!((fleet.totals.detected, fleet.totals.resolved, fleet.totals.dropped), (4, 0, 2));
    assert!(Arc::ptr_eq(&untouched, &fleet.machines[&id(3)]));
}

#[derive(Clone, Debug)]
enum Step {
    List(Vec<(u8, String)>),
    Answer(u8, Vec<u32>),
    Failure(u8),
    Export(Vec<(u8, Vec<u32>)>),
    Ignore(u32),
    Wait(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let kbs = prop::collection::vec(0_u32..6, 0..8);
    prop_oneof![
        1 => prop::collection::vec((0_u8..5, "[ab]"), 0..7).prop_map(Step::List),
        4 => (0_u8..5, kbs.clone()).prop_map(|(machine, kbs)| Step::Answer(machine, kbs)),
        1 => (0_u8..5).prop_map(Step::Failure),
        1 => prop::collection::vec((0_u8..5, kbs), 0..5).prop_map(Step::Export),
        1 => (0_u32..6).prop_map(Step::Ignore),
        1 => (1_i64..100_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn totals_account_for_every_missing_update(steps in prop::collection::vec(any_step(), 0..40)) {
        let mut fleet = fleet_of(&[named(0, "a"), named(1, "a"), named(2, "a")]);
        let mut now = second(0);
        let facts = supersedence::chains();
        for step in steps {
            let before = fleet.clone();
            match step {
                Step::List(machines) => {
                    let listed = machines.iter().map(|(number, name)| named(*number, name)).collect();
                    fleet.apply_list(listed, now, &FRESHNESS);
                }
                Step::Answer(machine, kbs) => fleet.apply_answer(&id(machine), now, missing(&kbs), &FRESHNESS, &facts),
                Step::Failure(machine) => fleet.apply_failure(&id(machine), now),
                Step::Export(rows) => {
                    let version = ExportVersion::new(now, now, false, None);
                    fleet.apply_export(version, |machine| updates_of(&rows, machine), &FRESHNESS, &facts);
                }
                Step::Ignore(kb) => fleet.ignore(&IgnoredUpdates::new([KbId::new(kb).unwrap()], [])),
                Step::Wait(seconds) => now += Duration::from_secs(seconds.unsigned_abs()),
            }
            let (was, is) = (before.totals, fleet.totals);
            let (was_kept, is_kept) = (kept(&before), kept(&fleet));
            let was_linked = linked(&before);
            for (key, first_seen) in linked(&fleet) {
                prop_assert!(!is_kept.contains_key(&key), "an update is missing and a link");
                let earlier = was_linked.get(&key).or_else(|| was_kept.get(&key));
                prop_assert_eq!(earlier.copied(), Some(first_seen));
            }
            prop_assert_eq!(is.detected - is.resolved - is.superseded - is.dropped, is_kept.len() as u64);
            prop_assert_eq!(is.resolution.buckets.iter().sum::<u64>(), is.resolved);
            prop_assert!(is.detected >= was.detected && is.resolved >= was.resolved);
            prop_assert!(is.superseded >= was.superseded);
            prop_assert!(is.dropped >= was.dropped && is.resolution.sum_millis >= was.resolution.sum_millis);
            for (key, first_seen) in is_kept {
                let earlier = was_kept.get(&key).or_else(|| was_linked.get(&key));
                prop_assert_eq!(first_seen, earlier.copied().unwrap_or(now));
            }
        }
    }
}

//! Updates that disappear because a newer one took their place.

use super::*;
use crate::facts::{FixedBuild, KbFacts};
use crate::fleet::Link;
use crate::model::FactsSource;

/// Chains by KB: 6 supersedes 5, 5 supersedes 4 and 2, 3 supersedes 2, 0 and 1 supersede each other.
pub(super) fn chains() -> Facts {
    let of = |(number, supersedes): (u32, &[u32])| {
        let supersedes = supersedes.iter().map(|kb| KbId::new(*kb).unwrap()).collect();
        (KbId::new(number).unwrap(), KbFacts { supersedes, ..KbFacts::default() })
    };
    let chains: [(u32, &[u32]); 5] = [(6, &[5]), (5, &[4, 2]), (3, &[2]), (0, &[1]), (1, &[0])];
    Facts::new([FactsSource::Msrc], chains.map(of))
}

/// A missing update: its KB, its first-seen time as seconds, and its links in the same form.
type Shown = (u32, i64, Vec<(u32, i64)>);

/// The missing updates of machine 1.
fn state(fleet: &TenantFleet) -> Vec<Shown> {
    let seconds = |at: Timestamp| at.as_second() - second(0).as_second();
    let link = |link: &Link| (link.kb.number(), seconds(link.first_seen));
    let of = |missing: &MissingUpdate| {
        let links = missing.links().iter().map(link).collect();
        (missing.update.kb.number(), seconds(missing.first_seen), links)
    };
    fleet.machines[&id(1)].missing_updates().iter().map(of).collect()
}

/// The fleet after these answers of machine 1, each with its second.
fn answered(answers: &[(i64, &[u32])]) -> TenantFleet {
    let mut fleet = fleet_of(&[named(1, "a")]);
    for (at, kbs) in answers {
        fleet.apply_answer(&id(1), second(*at), missing(kbs), &FRESHNESS, &chains());
    }
    fleet
}

fn totals(fleet: &TenantFleet) -> (u64, u64, u64) {
    (fleet.totals.detected, fleet.totals.resolved, fleet.totals.superseded)
}

#[test]
fn machine_that_never_installs_is_late_since_the_oldest() {
    let fleet = answered(&[(0, &[4]), (10, &[5]), (20, &[6])]);
    assert_eq!(state(&fleet), [(6, 20, vec![(4, 0), (5, 10)])]);
    assert_eq!(totals(&fleet), (3, 0, 2));
    let missing_updates = fleet.machines[&id(1)].missing_updates();
    assert_eq!(missing_updates[0].oldest_first_seen(), second(0));
}

#[test]
fn chain_leads_over_updates_that_were_never_missing() {
    assert_eq!(state(&answered(&[(0, &[4]), (10, &[6])])), [(6, 10, vec![(4, 0)])]);
}

#[test]
fn newest_of_several_successors_gets_the_links() {
    let fleet = answered(&[(0, &[4, 7]), (10, &[5, 6, 7])]);
    assert_eq!(state(&fleet), [(5, 10, vec![]), (6, 10, vec![(4, 0)]), (7, 0, vec![])]);
}

#[test]
fn successor_at_a_fork_is_the_one_that_appears() {
    assert_eq!(state(&answered(&[(0, &[2]), (10, &[3])])), [(3, 10, vec![(2, 0)])]);
    assert_eq!(state(&answered(&[(0, &[2]), (10, &[5])])), [(5, 10, vec![(2, 0)])]);
}

#[test]
fn update_without_a_successor_that_appears_is_fixed() {
    // No successor, a successor that was missing before, and a predecessor.
    for (before, after) in [(&[4][..], &[7][..]), (&[4, 5], &[5, 7]), (&[6], &[5])] {
        let fleet = answered(&[(0, before), (10, after)]);
        assert_eq!(fleet.totals.resolved, 1, "{before:?} {after:?}");
        assert!(state(&fleet).iter().all(|(.., links)| links.is_empty()));
    }
}

#[test]
fn cycle_of_facts_supersedes_in_one_direction() {
    assert_eq!(state(&answered(&[(0, &[0]), (10, &[1])])), [(1, 10, vec![(0, 0)])]);
    assert_eq!(state(&answered(&[(0, &[1]), (10, &[0])])), [(0, 10, vec![])]);
}

#[test]
fn link_that_is_listed_again_keeps_its_first_seen() {
    let both = answered(&[(0, &[4]), (10, &[5]), (20, &[4, 5])]);
    assert_eq!(state(&both), [(4, 0, vec![]), (5, 10, vec![])]);
    assert_eq!(totals(&both), (3, 0, 1));
    let flapped = answered(&[(0, &[4]), (10, &[5]), (20, &[4])]);
    assert_eq!(state(&flapped), [(4, 0, vec![])]);
}

#[test]
fn withdrawn_update_gives_its_links_back() {
    let fleet = answered(&[(0, &[4]), (10, &[5]), (20, &[6]), (30, &[5])]);
    assert_eq!(state(&fleet), [(5, 10, vec![(4, 0)])]);
    // And again: nothing is lost however often the answers alternate.
    let flapping =
        answered(&[(0, &[4]), (10, &[5]), (20, &[6]), (30, &[5]), (40, &[6]), (50, &[4]), (60, &[6])]);
    assert_eq!(state(&flapping)[0].0, 6);
    assert_eq!(flapping.machines[&id(1)].missing_updates()[0].oldest_first_seen(), second(0));
}

#[test]
fn update_is_superseded_although_an_unreadable_id_appears() {
    let mut fleet = answered(&[(0, &[4])]);
    for (at, kbs, ids) in
        [(10, &[5][..], &["Click to Run"][..]), (20, &[5], &[]), (30, &[6], &["Click to Run"])]
    {
        let unreadable = ids.iter().map(|id| Arc::from(*id)).collect();
        let answer = MachineAnswer { unreadable, ..MachineAnswer::from(missing(kbs)) };
        fleet.apply_answer(&id(1), second(at), answer, &FRESHNESS, &chains());
    }
    assert_eq!(state(&fleet), [(6, 30, vec![(4, 0), (5, 10)])]);
    assert_eq!(totals(&fleet), (3, 0, 2));
}

#[test]
fn update_of_another_source_is_superseded_and_not_dropped() {
    let mut fleet = answered(&[(0, &[4])]);
    let take_answer = |_: &MachineId| Some(missing(&[5]).into());
    fleet.apply_export(version(10, second(10)), take_answer, &FRESHNESS, &chains());
    assert_eq!(state(&fleet), [(5, 10, vec![(4, 0)])]);
    assert_eq!((totals(&fleet), fleet.totals.dropped), ((2, 0, 1), 0));
}

#[test]
fn resolution_counts_from_the_oldest_link() {
    let fleet = answered(&[(0, &[4]), (86_400 * 20, &[5]), (86_400 * 40, &[])]);
    assert_eq!(totals(&fleet), (2, 1, 1));
    assert_eq!(fleet.totals.resolution.sum_millis, 40 * 86_400_000);
}

#[test]
fn ignored_update_is_no_link() {
    let mut fleet = answered(&[(0, &[4]), (10, &[5]), (20, &[6])]);
    fleet.ignore(&IgnoredUpdates::new([KbId::new(4).unwrap()], []));
    assert_eq!(state(&fleet), [(6, 20, vec![(5, 10)])]);
    assert_eq!(fleet.totals.dropped, 0);
}

#[test]
fn links_in_the_future_are_set_back() {
    let mut fleet = answered(&[(50, &[4]), (60, &[5])]);
    fleet.set_back_times(second(20));
    assert_eq!(state(&fleet), [(5, 20, vec![(4, 20)])]);
}

#[test]
fn update_that_the_build_of_the_machine_contains_is_fixed() {
    let build = |build, revision| FixedBuild { build, revision };
    let kb = |number| KbId::new(number).unwrap();
    let four = KbFacts { builds: [build(22_631, 100)].into(), ..KbFacts::default() };
    let five = KbFacts { supersedes: [kb(4)].into(), ..KbFacts::default() };
    let facts = Facts::new([FactsSource::Msrc], [(kb(4), four), (kb(5), five)]);
    for (reached, fixed) in [
        (Some(build(22_631, 99)), 0),
        (Some(build(22_631, 100)), 1),
        (Some(build(22_631, 101)), 1),
        // Another version of Windows, with revisions of its own.
        (Some(build(22_621, 101)), 0),
        (None, 0),
    ] {
        let mut fleet = fleet_of(&[named(1, "a")]);
        for (at, number) in [(0, 4), (10, 5)] {
            let answer = MachineAnswer { build: reached, ..MachineAnswer::from(missing(&[number])) };
            let take_answer = |_: &MachineId| Some(answer.clone());
            fleet.apply_export(version(at, second(at)), take_answer, &FRESHNESS, &facts);
        }
        assert_eq!((fleet.totals.resolved, fleet.totals.superseded), (fixed, 1 - fixed), "{reached:?}");
    }
}

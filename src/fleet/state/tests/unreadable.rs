//! Answers with ids that are no KBs.

use std::collections::BTreeSet;

use super::*;
use crate::facts::Facts;

const DAY: i64 = 86_400;

/// An answer with these KBs and these unreadable ids.
fn answer(kbs: &[u32], ids: &[&str]) -> MachineAnswer {
    let unreadable = ids.iter().map(|id| Arc::from(*id)).collect();
    MachineAnswer { unreadable, ..MachineAnswer::from(missing(kbs)) }
}

/// The KBs that are missing and the number of those that are resolved after each answer, one a day.
fn after_each(answers: &[(&[u32], &[&str])]) -> Vec<(Vec<u32>, u64)> {
    let mut fleet = fleet_of(&[named(1, "a")]);
    let apply = |(day, (kbs, ids)): (i64, &(&[u32], &[&str]))| {
        fleet.apply_answer(&id(1), second(day * DAY), answer(kbs, ids), &FRESHNESS, &Facts::default());
        (kbs_of(&fleet), fleet.totals.resolved)
    };
    (0..).zip(answers).map(apply).collect()
}

fn kbs_of(fleet: &TenantFleet) -> Vec<u32> {
    open(fleet).keys().map(|(_, kb)| kb.number()).collect()
}

#[test]
fn update_is_held_while_a_new_id_may_stand_for_it() {
    let answers: [(&[u32], &[&str]); 4] =
        [(&[7, 8], &[]), (&[8], &["KB7 x64"]), (&[8], &["KB7 x64"]), (&[8], &[])];
    let expected = [(vec![7, 8], 0), (vec![7, 8], 0), (vec![7, 8], 0), (vec![8], 1)];
    assert_eq!(after_each(&answers), expected);
}

#[test]
fn id_that_appeared_with_an_update_is_another_one() {
    let steps: [(&[u32], &[&str]); 2] = [(&[7, 8], &["Click to Run"]), (&[8], &["Click to Run"])];
    assert_eq!(after_each(&steps), [(vec![7, 8], 0), (vec![8], 1)]);
    // Also if the id was gone for a while.
    let steps: [(&[u32], &[&str]); 3] = [(&[7, 8], &["c"]), (&[7, 8], &[]), (&[8], &["c"])];
    assert_eq!(after_each(&steps)[2], (vec![8], 1));
    // Each id counts.
    let steps: [(&[u32], &[&str]); 3] = [(&[7, 8], &["c"]), (&[8], &["c", "d"]), (&[8], &["c"])];
    assert_eq!(after_each(&steps), [(vec![7, 8], 0), (vec![7, 8], 0), (vec![8], 1)]);
}

#[test]
fn id_counts_only_for_the_updates_that_it_appeared_with() {
    // Update 9 is new while the id is away, and goes when it is back.
    let steps: [(&[u32], &[&str]); 3] = [(&[7], &["c"]), (&[7, 9], &[]), (&[], &["c"])];
    assert_eq!(after_each(&steps)[2], (vec![9], 1));
    // A KB that comes back starts over.
    let steps: [(&[u32], &[&str]); 4] = [(&[7], &["c"]), (&[], &[]), (&[7], &[]), (&[], &["c"])];
    assert_eq!(after_each(&steps)[3], (vec![7], 1));
}

#[test]
fn update_is_held_for_at_most_the_inactive_time() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), answer(&[7], &[]), &FRESHNESS, &Facts::default());
    for day in 1..=30 {
        fleet.apply_answer(&id(1), second(day * DAY), answer(&[], &["x"]), &FRESHNESS, &Facts::default());
        assert_eq!((kbs_of(&fleet), fleet.totals.resolved), (vec![7], 0), "day {day}");
    }
    assert_eq!(open(&fleet).into_values().collect::<Vec<_>>(), [second(0)], "first seen stays");
    fleet.apply_answer(&id(1), second(31 * DAY), answer(&[], &["x"]), &FRESHNESS, &Facts::default());
    assert_eq!((kbs_of(&fleet), fleet.totals.resolved), (vec![], 1));
    assert!(fleet.machines[&id(1)].has_unreadable_ids());
}

#[test]
fn update_that_is_read_again_is_no_longer_held() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    for (day, kbs, ids) in [(0, &[7][..], &[][..]), (1, &[], &["x"]), (20, &[7], &[]), (21, &[], &["y"])] {
        fleet.apply_answer(&id(1), second(day * DAY), answer(kbs, ids), &FRESHNESS, &Facts::default());
    }
    fleet.apply_answer(&id(1), second(50 * DAY), answer(&[], &["y"]), &FRESHNESS, &Facts::default());
    assert_eq!(kbs_of(&fleet), [7], "held since day 21");
    assert_eq!(fleet.totals.detected, 1);
}

#[test]
fn machine_with_an_unreadable_id_is_fresh_and_not_compliant() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    let assessed = |fleet: &TenantFleet| {
        let machine = &fleet.machines[&id(1)];
        assert_eq!(machine.state(second(0), &FRESHNESS), MachineState::Fresh);
        assert_eq!(machine.attempt, Some(Attempt::ended(second(0), true)));
        machine.assessed_updates(second(0), &FRESHNESS).map(<[MissingUpdate]>::len)
    };
    fleet.apply_answer(&id(1), second(0), answer(&[], &["ADV200002"]), &FRESHNESS, &Facts::default());
    assert_eq!(assessed(&fleet), None);
    fleet.apply_answer(&id(1), second(0), answer(&[7], &["ADV200002"]), &FRESHNESS, &Facts::default());
    assert_eq!(assessed(&fleet), Some(1));
    fleet.apply_answer(&id(1), second(0), answer(&[], &["ADV200002"]), &FRESHNESS, &Facts::default());
    assert_eq!(assessed(&fleet), None, "the update is fixed, the id remains");
    fleet.apply_answer(&id(1), second(0), answer(&[], &[]), &FRESHNESS, &Facts::default());
    assert_eq!(assessed(&fleet), Some(0));
    assert_eq!(fleet.machines[&id(1)].assessment.as_ref().unwrap().unreadable, None, "nothing is kept");
}

#[test]
fn ignored_ids_are_dropped_and_release_what_they_hold() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), answer(&[7, 8], &[]), &FRESHNESS, &Facts::default());
    fleet.apply_answer(&id(1), second(1), answer(&[], &["Click to Run"]), &FRESHNESS, &Facts::default());
    fleet.ignore(&IgnoredUpdates::new([KbId::new(8).unwrap()], ["  CLICK to run"]));
    assert!(!fleet.machines[&id(1)].has_unreadable_ids());
    assert_eq!((kbs_of(&fleet), fleet.totals.dropped), (vec![7], 1), "until the next answer");
    fleet.apply_answer(&id(1), second(2), answer(&[], &[]), &FRESHNESS, &Facts::default());
    assert_eq!((kbs_of(&fleet), fleet.totals.resolved), (vec![], 1));
}

#[test]
fn most_ids_are_kept_and_the_rest_proves_nothing() {
    let many: Vec<String> = (0..500).map(|number| format!("{number:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let steps: [(&[u32], &[&str]); 3] = [(&[7], &many), (&[], &many[..50]), (&[], &many)];
    assert_eq!(after_each(&steps)[1], (vec![], 1));
    let steps: [(&[u32], &[&str]); 2] = [(&[7], &many), (&[], &many)];
    assert_eq!(after_each(&steps)[1], (vec![7], 0));
}

#[test]
fn update_that_the_other_source_may_list_is_held_and_then_dropped() {
    let mut fleet = fleet_of(&[named(1, "a")]);
    fleet.apply_answer(&id(1), second(0), answer(&[7], &[]), &FRESHNESS, &Facts::default());
    for (generated, ids) in [(10, &["x"][..]), (20, &["x"]), (30, &[])] {
        let version = version(generated, second(generated));
        fleet.apply_export(version, |_| Some(answer(&[], ids)), &FRESHNESS, &Facts::default());
        let is_held = generated < 30;
        assert_eq!(kbs_of(&fleet).len(), usize::from(is_held), "{generated}");
        assert_eq!((fleet.totals.resolved, fleet.totals.dropped), (0, u64::from(!is_held)));
    }
}

/// Applies export versions, each of which may have lines of unknown machines, with the KBs of machine 1.
/// Machine 2 misses nothing and has no rows.
fn after_each_version(versions: &[(i64, bool, &[u32])]) -> Vec<(Vec<u32>, u64)> {
    let seen = MachineFacts { last_seen: Some(second(1000)), ..named(2, "b") };
    let seen = MachineFacts { onboarding: Onboarding::Onboarded, ..seen };
    let mut fleet = fleet_of(&[named(1, "a"), seen]);
    let apply = |(generated, has_unreadable_lines, kbs): &(i64, bool, &[u32])| {
        let previous = fleet.export_version;
        let at = second(*generated);
        let version = ExportVersion::new(at, at, *has_unreadable_lines, previous.as_ref());
        let rows = [(1, kbs.to_vec())];
        assert_eq!(
            fleet.apply_export(version, |machine| updates_of(&rows, machine), &FRESHNESS, &Facts::default()),
            2
        );
        let clean = fleet.machines[&id(2)].assessed_updates(at, &FRESHNESS);
        assert_eq!(clean, Some(&[][..]), "a machine without missing updates keeps its zero");
        (kbs_of(&fleet), fleet.totals.resolved)
    };
    versions.iter().map(apply).collect()
}

#[test]
fn lines_of_unknown_machines_hold_every_update_once() {
    let (none, both): (&[u32], &[u32]) = (&[], &[7, 8]);
    let held = (vec![7, 8], 0);
    assert_eq!(
        after_each_version(&[(0, false, both), (10, true, none), (20, false, none)])[1..],
        [held.clone(), (vec![], 2)]
    );
    // The next version has such lines too: they are something else.
    assert_eq!(
        after_each_version(&[(0, false, both), (10, true, none), (20, true, none)])[1..],
        [held.clone(), (vec![], 2)]
    );
    assert_eq!(after_each_version(&[(0, true, both), (10, true, &[8])])[1], (vec![8], 1));
    // A version that is read again is not followed by itself.
    assert_eq!(
        after_each_version(&[(0, false, both), (10, true, none), (10, true, none)])[1..],
        [held.clone(), held]
    );
}

#[derive(Clone, Debug)]
enum AnySource {
    Machines,
    Export { has_unreadable_lines: bool },
}

/// What an independent observer knows about a missing update: the unreadable ids that appeared with it since it
/// became missing, and the time of the first answer that lacks it.
#[derive(Clone, Debug, Default)]
struct Witness {
    met: BTreeSet<u8>,
    lacking_since: Option<i64>,
}

/// The updates up to 5 that supersede others in [`supersedence::chains`].
const SUPERSEDES: [(u32, u32); 4] = [(1, 0), (3, 2), (5, 4), (5, 2)];

type AnyAnswer = (BTreeSet<u32>, BTreeSet<u8>, AnySource, i64);

fn any_answer() -> impl Strategy<Value = AnyAnswer> {
    let source = prop_oneof![
        3 => Just(AnySource::Machines),
        1 => any::<bool>().prop_map(|has_unreadable_lines| AnySource::Export { has_unreadable_lines }),
    ];
    let kbs = prop::collection::btree_set(0_u32..6, 0..5);
    (kbs, prop::collection::btree_set(0_u8..3, 0..3), source, 1..20_i64)
}

proptest! {
    #[test]
    fn nothing_is_resolved_without_proof_or_held_too_long(answers in prop::collection::vec(any_answer(), 0..25)) {
        let mut fleet = fleet_of(&[named(1, "a")]);
        let mut known: BTreeMap<u32, Witness> = BTreeMap::new();
        let mut day = 0;
        let mut had_unreadable_lines = None;
        let (facts, mut superseded) = (supersedence::chains(), 0);
        for (kbs, ids, source, days) in answers {
            day += days;
            let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let data = answer(&kbs.iter().copied().collect::<Vec<_>>(), &texts);
            let mut doubts_all = false;
            match source {
                AnySource::Machines => fleet.apply_answer(&id(1), second(day * DAY), data, &FRESHNESS, &facts),
                AnySource::Export { has_unreadable_lines } => {
                    doubts_all = has_unreadable_lines && had_unreadable_lines != Some(true);
                    had_unreadable_lines = Some(has_unreadable_lines);
                    let (at, previous) = (second(day * DAY), fleet.export_version);
                    let version = ExportVersion::new(at, at, has_unreadable_lines, previous.as_ref());
                    fleet.apply_export(version, |_| Some(data.clone()), &FRESHNESS, &facts);
                }
            }
            let appeared: BTreeSet<u32> = kbs.iter().copied().filter(|kb| !known.contains_key(kb)).collect();
            known.retain(|kb, witness| {
                if kbs.contains(kb) {
                    return true;
                }
                if SUPERSEDES.iter().any(|(newer, older)| older == kb && appeared.contains(newer)) {
                    superseded += 1;
                    return false;
                }
                let since = *witness.lacking_since.get_or_insert(day);
                (doubts_all || !ids.is_subset(&witness.met)) && day - since < 30
            });
            for kb in &kbs {
                let witness = known.entry(*kb).or_default();
                witness.lacking_since = None;
                witness.met.extend(&ids);
            }
            prop_assert_eq!(kbs_of(&fleet), known.keys().copied().collect::<Vec<_>>());
            let totals = fleet.totals;
            prop_assert_eq!(totals.superseded, superseded);
            let ended = totals.resolved + totals.superseded + totals.dropped;
            prop_assert_eq!(totals.detected, ended + known.len() as u64);
            prop_assert_eq!(totals.resolution.buckets.iter().sum::<u64>(), totals.resolved);
            let assessed = fleet.machines[&id(1)].assessed_updates(second(day * DAY), &FRESHNESS);
            prop_assert_eq!(assessed.is_none(), known.is_empty() && !ids.is_empty());
        }
    }
}

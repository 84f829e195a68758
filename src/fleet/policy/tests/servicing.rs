//! Machines past end of servicing under policies.

use jiff::civil::{Date, date};
use proptest::prelude::*;

use super::evaluator::arbitrary::{any_exceptions, any_policy, scenes};
use super::*;
use crate::facts::servicing::ServicingEnd;
use crate::facts::{ServicingTable, VersionServicing};
use crate::fleet::servicing::CompiledServicing;
use crate::model::{ServicingEdition, ServicingRule, ServicingSettings, ServicingState};

const ENDED: u32 = 1;
const IN_SERVICE: u32 = 2;
const UNCERTAIN: u32 = 3;

/// The end of the build [`ENDED`].
fn end() -> Timestamp {
    "2024-06-30T00:00:00Z".parse().unwrap()
}

/// Facts with a servicing table of the three builds at [`NOW`].
fn serviced(facts: Facts) -> Facts {
    let version = |pro: Date, enterprise: Date| {
        let on = |day| Some(ServicingEnd::On(day));
        let editions = [(ServicingEdition::Pro, on(pro)), (ServicingEdition::Enterprise, on(enterprise))];
        VersionServicing { editions: editions.into(), extended: None }
    };
    let (past, future) = (date(2024, 6, 29), date(2030, 1, 1));
    let versions = [(ENDED, past, past), (IN_SERVICE, future, future), (UNCERTAIN, past, future)];
    let versions = versions.map(|(build, pro, enterprise)| ((false, build), version(pro, enterprise)));
    facts.with_servicing(ServicingTable::new(versions))
}

fn of_build(fleet: &mut TenantFleet, number: u8, build: u32) {
    change(fleet, number, |machine| {
        machine.facts.os_platform = "Windows11".to_owned();
        machine.facts.os_build = Some(build);
    });
}

fn all_states(
    fleet: &TenantFleet,
    policies: &[Policy],
    exceptions: &[Exception],
    facts: &Facts,
) -> Vec<[u64; 6]> {
    let summary = Summary::of(fleet, now(), &FRESHNESS, facts);
    let compiled = CompiledPolicies::new(policies, exceptions, now());
    let counts = PolicyCounts::of(&compiled, fleet, &summary, facts, &FRESHNESS);
    let states = |summary: &PolicySummary<'_>| PolicyState::ALL.map(|state| summary.machines(state));
    counts.summaries.iter().map(states).collect()
}

fn accepting(conditions: Vec<Condition>) -> Exception {
    Exception {
        name: "e".into(),
        reason: "r".to_owned(),
        until: Date::MAX,
        tenants: Vec::new(),
        conditions,
        not: Vec::new(),
    }
}

#[test]
fn machine_past_end_of_servicing_is_overdue() {
    let facts = serviced(Facts::default());
    let due = || vec![missing(1, "", days(1))];
    // Read, stale, with a missing update, expired, never read.
    let mut fleet = fleet(vec![
        Some((days(0), vec![])),
        Some((Duration::from_hours(14), vec![])),
        Some((days(0), due())),
        Some((days(9), due())),
        None,
    ]);
    (0..5).for_each(|number| of_build(&mut fleet, number, ENDED));
    let policy = [policy("p", days(14), DeadlineStart::FirstSeen)];
    assert_eq!(all_states(&fleet, &policy, &[], &facts), [[0, 0, 5, 0, 0, 0]]);
    for build in [IN_SERVICE, UNCERTAIN, 9] {
        (0..5).for_each(|number| of_build(&mut fleet, number, build));
        assert_eq!(all_states(&fleet, &policy, &[], &facts), [[2, 1, 0, 0, 2, 0]], "{build}");
    }
}

#[test]
fn unsupported_and_inactive_take_precedence_over_servicing() {
    let facts = serviced(Facts::default());
    let mut fleet = fleet(vec![Some((days(0), vec![])), Some((days(0), vec![]))]);
    (0..2).for_each(|number| of_build(&mut fleet, number, ENDED));
    change(&mut fleet, 0, |machine| machine.facts.onboarding = crate::fleet::Onboarding::NotOnboarded);
    change(&mut fleet, 1, |machine| machine.facts.last_seen = Some(ago(days(31))));
    let policy = [policy("p", days(14), DeadlineStart::FirstSeen)];
    assert_eq!(all_states(&fleet, &policy, &[], &facts), [[0, 0, 0, 0, 1, 1]]);
}

#[test]
fn exception_without_a_condition_on_updates_accepts_the_machine() {
    let facts = serviced(facts([]));
    let mut fleet = fleet(vec![Some((days(0), vec![missing(1, "", days(99))])), None]);
    (0..2).for_each(|number| of_build(&mut fleet, number, ENDED));
    let policy = [policy("p", days(14), DeadlineStart::FirstSeen)];
    let platform = || Condition::from(MachineCondition::Platforms(vec![TextPattern::new("windows*")]));
    let kbs = || Condition::from(UpdateCondition::Kbs(vec![kb(1)]));
    let of = |exception: Exception| all_states(&fleet, &policy, &[exception], &facts)[0];
    assert_eq!(of(accepting(vec![platform()])), [0, 0, 0, 2, 0, 0]);
    assert_eq!(of(accepting(vec![kbs()])), [0, 0, 2, 0, 0, 0], "it covers the update alone");
    let exploited = || Condition::from(UpdateCondition::Exploited(false));
    assert_eq!(of(accepting(vec![platform(), exploited()])), [0, 0, 2, 0, 0, 0]);
    assert_eq!(of(Exception { not: vec![kbs()], ..accepting(vec![platform()]) }), [0, 0, 2, 0, 0, 0]);
    let ended = Exception { until: date(2024, 6, 30), ..accepting(vec![platform()]) };
    assert_eq!(of(ended), [0, 0, 2, 0, 0, 0]);
    let of_other = Exception { tenants: vec!["u".into()], ..accepting(vec![platform()]) };
    assert_eq!(of(of_other), [0, 0, 2, 0, 0, 0]);
    let second = accepting(vec![MachineCondition::Ids(vec![MachineId::parse("1").unwrap()]).into()]);
    let exceptions = [accepting(vec![kbs()]), second, accepting(vec![platform()])];
    let summary = Summary::of(&fleet, now(), &FRESHNESS, &facts);
    let compiled = CompiledPolicies::new(&policy, &exceptions, now());
    let counts = PolicyCounts::of(&compiled, &fleet, &summary, &facts, &FRESHNESS);
    assert_eq!(counts.exception_servicing, [Some(0), Some(1), Some(2)]);
    assert_eq!(counts.exception_updates, [Some(1), Some(0), Some(1)]);
    let mut tenant = TenantPolicies::new(&compiled, &fleet, &summary.updates, &facts);
    let verdicts = fleet.machines.values().map(|machine| tenant.servicing_verdict(machine));
    assert_eq!(verdicts.map(|verdict| verdict.exception).collect::<Vec<_>>(), [Some(2), Some(1)]);
}

#[test]
fn policy_that_lacks_facts_judges_the_end_of_servicing() {
    let facts = serviced(Facts::default());
    let mut fleet = one_machine(vec![missing(1, "", days(1))]);
    of_build(&mut fleet, 0, ENDED);
    let condition = Condition::from(UpdateCondition::Exploited(true));
    let rule =
        PolicyRule { conditions: vec![condition], ..PolicyRule::unconditional(RuleDeadline::Unlimited) };
    let policy = [Policy { rules: vec![rule], ..Policy::default() }];
    assert_eq!(all_states(&fleet, &policy, &[], &facts), [[0, 0, 1, 0, 0, 0]]);
    of_build(&mut fleet, 0, IN_SERVICE);
    assert_eq!(all_states(&fleet, &policy, &[], &facts), [[0, 0, 0, 0, 1, 0]]);
}

#[test]
fn versions_are_counted_with_their_ends() {
    let facts = serviced(Facts::default());
    let mut fleet = fleet(vec![None, None, None, None, None]);
    for (number, build) in [(0, ENDED), (1, ENDED), (2, UNCERTAIN), (3, IN_SERVICE), (4, 9)] {
        of_build(&mut fleet, number, build);
        change(&mut fleet, number, |machine| machine.facts.os_version = build.to_string());
    }
    change(&mut fleet, 1, |machine| machine.facts.os_platform = "macOS".to_owned());
    let summary = Summary::of(&fleet, now(), &FRESHNESS, &facts);
    let future = "2030-01-02T00:00:00Z".parse().ok();
    let found = summary.versions.iter().map(|(key, version)| {
        let states = ServicingState::ALL.map(|state| version.machines(state));
        (&*key.os_version, states, version.ends[0], version.ends[1])
    });
    let expected = [
        ("1", [0, 0, 1, 0], Some(end()), Some(end())),
        ("2", [1, 0, 0, 0], future, future),
        ("3", [0, 1, 0, 0], Some(end()), future),
        ("9", [0, 0, 0, 1], None, None),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn ends_are_those_of_every_edition_that_a_machine_may_have() {
    let facts = serviced(Facts::default());
    let mut fleet = fleet(vec![None, None]);
    (0..2).for_each(|number| of_build(&mut fleet, number, UNCERTAIN));
    let rule = |value, id| ServicingRule {
        value,
        tenants: Vec::new(),
        conditions: vec![MachineCondition::Ids(vec![MachineId::parse(id).unwrap()]).into()],
        place: "rule".into(),
    };
    let ends = |editions| {
        let settings = ServicingSettings { editions, ..ServicingSettings::default() };
        let servicing = CompiledServicing::new(&settings, facts.servicing(), now());
        let summary = Summary::by_owner(&fleet, &servicing, &[], &FRESHNESS, &facts);
        let ends = summary.versions.values().next().unwrap().ends;
        (ends[0].is_some(), ends[1].is_some())
    };
    let (pro, enterprise) = (ServicingEdition::Pro, ServicingEdition::Enterprise);
    assert_eq!(ends(vec![rule(pro, "0"), rule(enterprise, "1")]), (true, true));
    assert_eq!(ends(vec![rule(pro, "0"), rule(pro, "1")]), (true, false));
    assert_eq!(ends(vec![rule(enterprise, "0"), rule(enterprise, "1")]), (false, true));
    assert_eq!(ends(vec![rule(pro, "0")]), (true, true), "nothing says which edition the second machine has");
}

proptest! {
    #[test]
    fn machine_past_end_of_servicing_is_never_compliant(
        (mut fleet, facts) in scenes(),
        policies in prop::collection::vec(any_policy(), 1..4),
        exceptions in any_exceptions(),
        builds in prop::collection::vec((0..4_u32, 0..5_u8), 4),
    ) {
        let facts = serviced(facts);
        let mut others = fleet.clone();
        let mut ended = 0;
        for (number, (build, data)) in (0..).zip(builds).take(fleet.machines.len()) {
            change(&mut fleet, number, |machine| {
                machine.facts.os_build = Some(build);
                match data {
                    0 => machine.assessment = None,
                    1 => machine.assessment = Some(Assessment::of_now(ago(days(9)), Vec::new())),
                    2 => machine.assessment = Some(Assessment::of_now(now(), Vec::new())),
                    _ => {}
                }
            });
            let id = MachineId::parse(&number.to_string()).unwrap();
            let machine = Arc::clone(&fleet.machines[&id]);
            if build == ENDED && !machine.facts.os_platform.is_empty() {
                ended += 1;
                others.machines.remove(&id);
            } else {
                others.machines.insert(id, machine);
            }
        }
        let all = all_states(&fleet, &policies, &exceptions, &facts);
        let without = all_states(&others, &policies, &exceptions, &facts);
        for (all, without) in all.iter().zip(without) {
            let [compliant, due, overdue, accepted, unknown, unsupported] =
                std::array::from_fn(|state| all[state] - without[state]);
            prop_assert_eq!([compliant, due, unknown, unsupported], [0; 4]);
            prop_assert_eq!(overdue + accepted, ended);
            prop_assert!(accepted == 0 || exceptions.iter().any(|exception| !exception.depends_on_update()));
        }
        let compliant = |fleet: &TenantFleet| -> u64 {
            let summary = Summary::of(fleet, now(), &FRESHNESS, &facts);
            summary.groups.values().map(|group| group.compliant).sum()
        };
        prop_assert_eq!(compliant(&fleet), compliant(&others));
    }
}

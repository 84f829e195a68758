//! Missing updates and machines under exceptions.

use jiff::civil::Date;

use super::rules::{listed, rule, rules};
use super::*;

/// An exception until a far day.
fn exception(conditions: Vec<Condition>) -> Exception {
    let name = "e".into();
    Exception {
        name,
        reason: "accepted".to_owned(),
        until: Date::MAX,
        tenants: Vec::new(),
        conditions,
        not: Vec::new(),
    }
}

fn kbs(numbers: &[u32]) -> Condition {
    UpdateCondition::Kbs(numbers.iter().map(|number| kb(*number)).collect()).into()
}

fn ids(ids: &[&str]) -> Condition {
    MachineCondition::Ids(ids.iter().map(|id| MachineId::parse(id).unwrap()).collect()).into()
}

fn tagged(fleet: &mut TenantFleet, number: u8, tags: &[&str]) {
    let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
    change(fleet, number, |machine| machine.facts.tags = Some(tags));
}

/// A tenant under policies and exceptions.
struct Judged {
    /// The machines by state, under each policy.
    states: Vec<[u64; 6]>,
    /// The missing updates that each exception covers.
    covered: Vec<Option<u64>>,
    /// The verdicts about every missing update, under the first policy.
    verdicts: Vec<UpdateVerdict>,
    overdue: Vec<Option<u64>>,
    overdue_exploited: Vec<Option<u64>>,
    exploited: Vec<u64>,
}

fn judge(fleet: &TenantFleet, policies: &[Policy], exceptions: &[Exception], facts: &Facts) -> Judged {
    let summary = Summary::of(fleet, now(), &FRESHNESS, facts);
    let compiled = CompiledPolicies::new(policies, exceptions, now());
    let counts = PolicyCounts::of(&compiled, fleet, &summary, facts, &FRESHNESS);
    let mut tenant = TenantPolicies::new(&compiled, fleet, &summary.updates, facts);
    let of_machine = |machine: &Arc<Machine>| tenant.verdicts(0, machine, machine.missing_updates());
    let verdicts =
        if policies.is_empty() { Vec::new() } else { fleet.machines.values().flat_map(of_machine).collect() };
    let states = |summary: &PolicySummary<'_>| PolicyState::ALL.map(|state| summary.machines(state));
    Judged {
        states: counts.summaries.iter().map(states).collect(),
        overdue_exploited: counts.summaries.iter().map(|summary| summary.overdue_exploited).collect(),
        covered: counts.exception_updates,
        verdicts,
        overdue: counts.overdue_updates,
        exploited: counts.exploited_updates,
    }
}

fn words(judged: &Judged) -> Vec<&'static str> {
    judged.verdicts.iter().map(|verdict| verdict.state.as_str()).collect()
}

#[test]
fn update_is_accepted_before_and_after_its_deadline() {
    let missing = || vec![missing(1, "", days(20)), missing(2, "", days(1)), missing(3, "", days(20))];
    let fleet = one_machine(missing());
    let policies = [policy("p", days(14), DeadlineStart::FirstSeen)];
    let without = judge(&fleet, &policies, &[], &Facts::default());
    assert_eq!(words(&without), ["overdue", "due", "overdue"]);
    let found = judge(&fleet, &policies, &[exception(vec![kbs(&[1, 2])])], &Facts::default());
    assert_eq!(words(&found), ["accepted", "accepted", "overdue"]);
    assert_eq!(found.states, [[0, 0, 1, 0, 0, 0]], "one is overdue");
    assert_eq!((found.overdue, found.covered), (vec![Some(1)], vec![Some(2)]));
    let clock = |verdict: &UpdateVerdict| (verdict.rule, verdict.late_since, verdict.deadline);
    assert!(found.verdicts.iter().map(clock).eq(without.verdicts.iter().map(clock)), "the clock goes on");
    let all = judge(&fleet, &policies, &[exception(vec![ids(&["0"])])], &Facts::default());
    assert_eq!(all.states, [[0, 0, 0, 1, 0, 0]]);
    assert_eq!(all.overdue, [Some(0)]);
}

#[test]
fn accepted_is_between_overdue_and_due() {
    let two = |first, second| one_machine(vec![missing(1, "", days(first)), missing(2, "", days(second))]);
    let policies = [policy("p", days(14), DeadlineStart::FirstSeen)];
    let accepts_one = [exception(vec![kbs(&[1])])];
    let state = |fleet: &TenantFleet| {
        let states = judge(fleet, &policies, &accepts_one, &Facts::default()).states[0];
        PolicyState::ALL.into_iter().find(|state| states[*state as usize] == 1).unwrap()
    };
    assert_eq!(state(&two(20, 20)), PolicyState::Overdue);
    assert_eq!(state(&two(20, 1)), PolicyState::Accepted);
    assert_eq!(state(&two(1, 1)), PolicyState::Accepted);
    let mut unreadable = two(20, 1);
    change(&mut unreadable, 0, |machine| {
        let id = UnreadableId { text: "x".into(), is_newest: true, apart_from: Box::default() };
        let ids = UnreadableIds { ids: [id].into(), held: Box::default() };
        machine.assessment.as_mut().unwrap().unreadable = Some(Box::new(ids));
    });
    assert_eq!(state(&unreadable), PolicyState::Accepted, "a known missing update decides");
}

#[test]
fn update_without_a_deadline_can_be_accepted() {
    let fleet = one_machine(vec![missing(1, "", days(20))]);
    let unlimited = [rules(vec![PolicyRule::unconditional(RuleDeadline::Unlimited)])];
    let found = judge(&fleet, &unlimited, &[exception(vec![kbs(&[1])])], &Facts::default());
    assert_eq!((words(&found), found.states), (vec!["accepted"], vec![[0, 0, 0, 1, 0, 0]]));
}

#[test]
fn every_part_of_an_exception_has_to_hold() {
    let missing = || Some((days(0), vec![missing(1, "", days(20)), missing(2, "", days(20))]));
    let mut fleet = fleet(vec![missing(), missing(), missing()]);
    tagged(&mut fleet, 0, &["Lab", "x"]);
    tagged(&mut fleet, 1, &["lab"]);
    change(&mut fleet, 0, |machine| machine.facts.name = "PLC-1".to_owned());
    change(&mut fleet, 1, |machine| machine.facts.name = "srv".to_owned());
    let tags = |tag| Condition::from(MachineCondition::Tags(vec![TextPattern::new(tag)]));
    let names = |name| Condition::from(MachineCondition::Names(vec![TextPattern::new(name)]));
    let of = |exception: Exception| {
        let policies = [policy("p", days(14), DeadlineStart::FirstSeen)];
        judge(&fleet, &policies, &[exception], &Facts::default()).covered[0]
    };
    assert_eq!(of(exception(vec![tags("LAB")])), Some(4), "the tags of the third machine are not known");
    assert_eq!(of(exception(vec![tags("lab"), names("plc-*")])), Some(2));
    assert_eq!(of(exception(vec![tags("lab"), names("plc-*"), kbs(&[2, 3])])), Some(1));
    assert_eq!(of(exception(vec![tags("lab"), tags("x")])), Some(2), "two conditions of one kind");
    assert_eq!(of(exception(vec![ids(&["0", "2"])])), Some(4));
    assert_eq!(of(exception(vec![kbs(&[1])])), Some(3));
    let not = vec![tags("x")];
    assert_eq!(of(Exception { not, ..exception(vec![kbs(&[1])]) }), Some(1), "not known is not excluded");
    let tenants = |name: &str| Exception { tenants: vec![name.into()], ..exception(vec![kbs(&[1])]) };
    assert_eq!((of(tenants("t")), of(tenants("T"))), (Some(3), None));
}

#[test]
fn ended_exception_covers_nothing_and_keeps_its_place() {
    let fleet = one_machine(vec![missing(1, "", days(20))]);
    let policies = [policy("p", days(14), DeadlineStart::FirstSeen)];
    let until = |until: &str| Exception { until: until.parse().unwrap(), ..exception(vec![kbs(&[1])]) };
    let of = |exceptions: &[Exception]| {
        let found = judge(&fleet, &policies, exceptions, &Facts::default());
        (found.covered, found.verdicts[0].exception, found.verdicts[0].state)
    };
    assert_eq!(of(&[until("2024-06-30")]), (vec![Some(0)], None, UpdateState::Overdue));
    assert_eq!(of(&[until("2024-07-01")]), (vec![Some(1)], Some(0), UpdateState::Accepted), "its last day");
    let several = [until("2024-06-30"), until("2024-07-01"), until("2025-01-01")];
    assert_eq!(of(&several), (vec![Some(0), Some(1), Some(1)], Some(1), UpdateState::Accepted));
}

#[test]
fn machine_whose_policy_lacks_facts_stays_unknown() {
    let fleet = one_machine(vec![missing(1, "", days(20))]);
    let exploited = UpdateCondition::KnownExploited(true);
    let policies = [rules(vec![rule(vec![exploited.into()], days(1)), rule(Vec::new(), days(1))])];
    let found = judge(&fleet, &policies, &[exception(vec![kbs(&[1])])], &Facts::default());
    assert_eq!((words(&found), &found.states[..]), (vec!["unknown"], &[[0, 0, 0, 0, 1, 0]][..]));
    assert_eq!((found.covered, found.verdicts[0].exception), (vec![Some(1)], Some(0)));
}

#[test]
fn exception_without_the_facts_that_it_needs_covers_nothing() {
    let fleet = one_machine(vec![missing(1, "", days(20))]);
    let policies = [policy("p", days(14), DeadlineStart::FirstSeen)];
    let known = KbFacts { exploited: Some(false), epss: Some(0.5), ..KbFacts::default() };
    let cases = [
        (UpdateCondition::KnownExploited(false), FactsSource::Kev),
        (UpdateCondition::Exploited(false), FactsSource::Kev),
        (UpdateCondition::EpssAtLeast(0.1), FactsSource::Epss),
    ];
    for (condition, needed) in cases {
        let covered = |loaded: &[FactsSource]| {
            let facts = Facts::new(loaded.iter().copied(), [(kb(1), known.clone())]);
            judge(&fleet, &policies, &[exception(vec![condition.clone().into()])], &facts).covered
        };
        let others: Vec<_> = FactsSource::ALL.into_iter().filter(|source| *source != needed).collect();
        assert_eq!(covered(&FactsSource::ALL), [Some(1)], "{condition:?}");
        assert_eq!(covered(&others), [Some(0)], "{condition:?}");
    }
}

#[test]
fn exceptions_count_without_a_policy() {
    let fleet = fleet(vec![
        Some((days(0), vec![missing(1, "", days(20))])),
        Some((days(9), vec![missing(1, "", days(20))])),
    ]);
    let found = judge(&fleet, &[], &[exception(vec![kbs(&[1])])], &Facts::default());
    assert_eq!((found.states, found.covered), (vec![], vec![Some(1)]), "the data of one machine expired");
}

#[test]
fn missing_update_does_not_stand_for_an_accepted_one() {
    let june = listed("2024-06-12T00:00:00Z", Some("2024-06-30T00:00:00Z"));
    let june = KbFacts { released: Some(ago(days(60))), ..june };
    let quiet = KbFacts { exploited: Some(false), ..KbFacts::default() };
    let facts = facts([(1, june), (2, quiet.clone()), (3, quiet)]);
    let july = || replacing(&[(1, days(40)), (2, days(30))], missing(3, "", days(2)));
    let fleet = fleet(vec![Some((days(0), vec![july()])), Some((days(0), vec![july()]))]);
    let policies = [policy("p", days(14), DeadlineStart::Released)];
    let of = |exceptions: &[Exception]| judge(&fleet, &policies, exceptions, &facts);
    let since = |judged: &Judged| -> Vec<_> {
        judged.verdicts.iter().map(|verdict| (verdict.late_since, verdict.exploited)).collect()
    };
    let whole = of(&[]);
    assert_eq!(since(&whole), [(ago(days(60)), Some(true)); 2]);
    assert_eq!((whole.overdue_exploited, whole.exploited), (vec![Some(2)], vec![1, 1]));
    let without_june = of(&[exception(vec![kbs(&[1]), ids(&["0"])])]);
    let expected = [(ago(days(30)), Some(false)), (ago(days(60)), Some(true))];
    assert_eq!(since(&without_june), expected, "on the machine that the exception names");
    assert_eq!(words(&without_june), ["overdue", "overdue"]);
    assert_eq!((without_june.overdue_exploited, without_june.exploited), (vec![Some(1)], vec![0, 1]));
    assert_eq!(without_june.covered, [Some(0)]);
    let without_both = of(&[exception(vec![kbs(&[1, 2])])]);
    assert_eq!(since(&without_both), [(ago(days(2)), Some(false)); 2]);
    assert_eq!(words(&without_both), ["due", "due"]);
    let exploited = exception(vec![UpdateCondition::Exploited(true).into()]);
    let found = of(&[exploited]);
    assert_eq!(since(&found), [(ago(days(30)), Some(false)); 2], "no successor is covered by it");
    assert_eq!(words(&found), ["overdue", "overdue"]);
}

#[test]
fn products_of_a_link_are_those_of_its_successor() {
    let mut july = replacing(&[(1, days(40))], missing(2, "", days(2)));
    july.update.facts = Arc::new(UpdateFacts { title: String::new(), products: vec!["office".to_owned()] });
    let fleet = one_machine(vec![july]);
    let office = UpdateCondition::Products(vec![TextPattern::new("Office*")]);
    let policies = [policy("p", days(14), DeadlineStart::FirstSeen)];
    let found = judge(&fleet, &policies, &[exception(vec![kbs(&[1]), office.into()])], &Facts::default());
    assert_eq!((words(&found), found.verdicts[0].late_since), (vec!["due"], ago(days(2))));
}

#[test]
fn update_without_a_deadline_is_late_since_the_start_of_the_policy() {
    let facts = facts([(1, KbFacts { released: Some(ago(days(20))), ..KbFacts::default() })]);
    let fleet = one_machine(vec![missing(1, "", days(5))]);
    let unlimited = || vec![PolicyRule::unconditional(RuleDeadline::Unlimited)];
    let unmatched = || vec![rule(vec![MachineCondition::Names(Vec::new()).into()], days(1))];
    for rules in [unlimited, unmatched] {
        for (from, since) in [(DeadlineStart::Released, 20), (DeadlineStart::FirstSeen, 5)] {
            let policy = Policy { name: "p".into(), from, rules: rules(), preset: None };
            let found = judge(&fleet, &[policy], &[], &facts).verdicts[0];
            assert_eq!((found.late_since, found.deadline), (ago(days(since)), None), "{from:?}");
        }
    }
}

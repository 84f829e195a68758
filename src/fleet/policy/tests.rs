//! Missing updates and machines under policies.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::facts::{KbFacts, KnownExploited};
use crate::fleet::summary::Summary;
use crate::fleet::unreadable::{UnreadableId, UnreadableIds};
use crate::fleet::{
    Assessment, Chain, Link, Machine, MachineFacts, MissingUpdate, ReportedUpdate, UpdateFacts,
};
use crate::model::{
    Condition, CvssScore, DeadlineStart, Exception, KbId, MachineCondition, MachineId, PolicyPreset,
    PolicyRule, RuleDeadline, Severity, Source, TextPattern, UpdateCondition, VendorSeverity,
};

mod evaluator;
mod exceptions;
mod presets;
mod rules;
mod servicing;

const FRESHNESS: Freshness = Freshness::DEFAULT;

/// 20 days after the release of the updates of June, at the same time of day.
const NOW: &str = "2024-07-01T17:00:00Z";
const JUNE: &str = "June 2024 Security Updates";

/// The states of machines without exceptions.
const STATES: [PolicyState; 5] = [
    PolicyState::Compliant,
    PolicyState::Due,
    PolicyState::Overdue,
    PolicyState::Unknown,
    PolicyState::Unsupported,
];

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ago(age: Duration) -> Timestamp {
    now() - age
}

const fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

fn kb(number: u32) -> KbId {
    KbId::new(number).unwrap()
}

fn policy(name: &str, deadline: Duration, from: DeadlineStart) -> Policy {
    Policy::single(name, deadline, from)
}

fn missing(number: u32, title: &str, age: Duration) -> MissingUpdate {
    let update = ReportedUpdate {
        kb: kb(number),
        facts: Arc::new(UpdateFacts { title: title.to_owned(), products: Vec::new() }),
        cves: None,
        reported_machines: None,
        severity: None,
        cvss: None,
    };
    MissingUpdate { update, first_seen: ago(age), chain: None }
}

/// A missing update that stands for others, each with its age.
fn replacing(links: &[(u32, Duration)], missing: MissingUpdate) -> MissingUpdate {
    let link = |&(number, age): &(u32, Duration)| Link { kb: kb(number), first_seen: ago(age) };
    MissingUpdate { chain: Chain::of(links.iter().map(link).collect()), ..missing }
}

/// A fleet of the machines 0, 1 and so on, each with the age of its assessment and its missing updates.
fn fleet(assessments: Vec<Option<(Duration, Vec<MissingUpdate>)>>) -> TenantFleet {
    let mut fleet = TenantFleet::new("t".into());
    for (number, assessment) in assessments.into_iter().enumerate() {
        let id = MachineId::parse(&number.to_string()).unwrap();
        let facts = MachineFacts::unlisted(id.clone());
        let assessment =
            assessment.map(|(age, missing_updates)| Assessment::of_now(ago(age), missing_updates));
        fleet.machines.insert(id, Arc::new(Machine { facts, assessment, attempt: None }));
    }
    fleet
}

/// A fleet of one machine with fresh data.
fn one_machine(missing_updates: Vec<MissingUpdate>) -> TenantFleet {
    fleet(vec![Some((days(0), missing_updates))])
}

fn change(fleet: &mut TenantFleet, number: u8, change: impl FnOnce(&mut Machine)) {
    let id = MachineId::parse(&number.to_string()).unwrap();
    change(Arc::make_mut(fleet.machines.get_mut(&id).unwrap()));
}

fn with_counts<T>(
    fleet: &TenantFleet,
    policies: &[Policy],
    facts: &Facts,
    read: impl FnOnce(&PolicyCounts<'_>) -> T,
) -> T {
    let summary = Summary::of(fleet, now(), &FRESHNESS, facts);
    read(&PolicyCounts::of(&CompiledPolicies::new(policies, &[], now()), fleet, &summary, facts, &FRESHNESS))
}

fn states_with(fleet: &TenantFleet, policies: &[Policy], facts: &Facts) -> Vec<[u64; 5]> {
    with_counts(fleet, policies, facts, |counts| {
        assert!(counts.summaries.iter().map(|summary| summary.policy).eq(policies));
        let states = |summary: &PolicySummary<'_>| {
            assert_eq!(summary.machines(PolicyState::Accepted), 0, "there are no exceptions");
            STATES.map(|state| summary.machines(state))
        };
        counts.summaries.iter().map(states).collect()
    })
}

fn states(fleet: &TenantFleet, policies: &[Policy]) -> Vec<[u64; 5]> {
    states_with(fleet, policies, &Facts::default())
}

/// The missing updates of each machine that are overdue under at least one policy.
fn overdue(fleet: &TenantFleet, policies: &[Policy], facts: &Facts) -> Vec<Option<u64>> {
    with_counts(fleet, policies, facts, |counts| counts.overdue_updates.clone())
}

/// The verdicts about the missing updates of the only machine under one policy.
fn verdicts(fleet: &TenantFleet, policy: &Policy, facts: &Facts) -> Vec<UpdateVerdict> {
    let updates = Summary::of(fleet, now(), &FRESHNESS, facts).updates;
    let compiled = CompiledPolicies::new(std::slice::from_ref(policy), &[], now());
    let machine = fleet.machines.values().next().unwrap();
    let mut policies = TenantPolicies::new(&compiled, fleet, &updates, facts);
    policies.verdicts(0, machine, machine.missing_updates())
}

/// Facts from every source about these KBs.
fn facts(kbs: impl IntoIterator<Item = (u32, KbFacts)>) -> Facts {
    Facts::new(FactsSource::ALL, kbs.into_iter().map(|(number, facts)| (kb(number), facts)))
}

#[test]
fn missing_update_is_overdue_after_its_deadline_and_not_at_it() {
    let policy = [policy("p", days(14), DeadlineStart::FirstSeen)];
    let of_age = |age| overdue(&one_machine(vec![missing(1, JUNE, age)]), &policy, &Facts::default());
    assert_eq!(of_age(days(14)), [Some(0)]);
    assert_eq!(of_age(days(14) + Duration::from_nanos(1)), [Some(1)]);
    assert_eq!(of_age(Duration::ZERO), [Some(0)]);
}

#[test]
fn release_starts_the_same_deadline_for_every_machine() {
    // The machine was enrolled yesterday: the update had been out for 19 days.
    let fleet = fleet(vec![
        Some((days(0), vec![missing(1, JUNE, days(1))])),
        Some((days(0), vec![missing(1, "", days(1)), missing(2, "", days(1))])),
        Some((days(0), vec![missing(2, "", days(1))])),
    ]);
    let from = |start, deadline| states(&fleet, &[policy("p", deadline, start)])[0];
    assert_eq!(from(DeadlineStart::FirstSeen, days(14)), [0, 3, 0, 0, 0]);
    assert_eq!(
        from(DeadlineStart::Released, days(14)),
        [0, 1, 2, 0, 0],
        "the second machine misses the same update, though it does not report the title"
    );
    assert_eq!(from(DeadlineStart::Released, days(20)), [0, 3, 0, 0, 0], "released 20 days ago");
}

#[test]
fn unknown_release_falls_back_to_first_seen() {
    let policy = policy("p", days(14), DeadlineStart::Released);
    let fleet = fleet(vec![
        Some((days(0), vec![missing(1, "KB of no batch", days(15))])),
        Some((days(0), vec![missing(1, "KB of no batch", days(13))])),
    ]);
    assert_eq!(states(&fleet, &[policy]), [[0, 1, 1, 0, 0]]);
}

#[test]
fn machine_state_follows_its_worst_missing_update() {
    let old_and_new = || vec![missing(1, "", days(15)), missing(2, "", days(1))];
    let mut fleet = fleet(vec![
        Some((days(0), vec![])),
        Some((Duration::from_hours(14), vec![])),
        Some((days(0), vec![missing(2, "", days(1))])),
        Some((days(0), old_and_new())),
        Some((Duration::from_hours(14), old_and_new())),
        Some((days(3), old_and_new())),
        Some((days(0), vec![])),
        None,
        Some((days(0), old_and_new())),
        Some((days(0), vec![])),
    ]);
    change(&mut fleet, 6, |machine| machine.facts.last_seen = Some(ago(days(31))));
    for (number, last_seen) in [(8, 0), (9, 31)] {
        change(&mut fleet, number, |phone| {
            (phone.facts.os_platform, phone.facts.last_seen) = ("iOS".to_owned(), Some(ago(days(last_seen))));
        });
    }
    let policies = [
        policy("14d", days(14), DeadlineStart::FirstSeen),
        policy("1h", Duration::from_hours(1), DeadlineStart::FirstSeen),
    ];
    assert_eq!(states(&fleet, &policies), [[2, 1, 2, 3, 2], [2, 0, 3, 3, 2]]);
    let none = None;
    let expected = [Some(0), Some(0), Some(1), Some(2), Some(2), none, none, none, none, none];
    assert_eq!(overdue(&fleet, &policies, &Facts::default()), expected, "under at least one policy");
}

#[test]
fn without_a_policy_nothing_is_counted() {
    assert_eq!(states(&fleet(vec![None]), &[]), Vec::<[u64; 5]>::new());
    let fleet = one_machine(vec![missing(1, "", days(1))]);
    assert_eq!(overdue(&fleet, &[], &Facts::default()), [None]);
}

#[test]
fn deadline_beyond_the_calendar_is_never_exceeded() {
    let forever = policy("p", Duration::MAX, DeadlineStart::FirstSeen);
    let fleet = one_machine(vec![missing(1, "", days(9999))]);
    assert_eq!(states(&fleet, std::slice::from_ref(&forever)), [[0, 1, 0, 0, 0]]);
    let expected = UpdateVerdict {
        rule: Some(1),
        late_since: ago(days(9999)),
        deadline: None,
        state: UpdateState::Due,
        exception: None,
        exploited: None,
    };
    assert_eq!(verdicts(&fleet, &forever, &Facts::default()), [expected]);
}

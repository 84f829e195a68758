//! Patch deadlines, compared with counts of the exposed first-seen and release times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mde_exporter::facts::{Facts, KbFacts, KnownExploited};
use mde_exporter::fleet::{Machine, MachineFacts, TenantFleet};
use mde_exporter::model::{
    DeadlineStart, FactsSource, Freshness, KbId, MachineId, Policy, PolicyPreset, PolicyRule, RuleDeadline,
    VendorSeverity,
};
use proptest::prelude::*;

use crate::support::exposition::{Exposition, Sample, parse};
use crate::support::fleets::{
    FIRST_SEEN, any_fleets, is_past_servicing, now, parsed, policy, special_case_fleets,
    special_case_policies, text_under, text_with_facts, update,
};

#[test]
fn deadlines_are_exposed_once_and_before_any_data() {
    let unread = ["a", "b"].map(|tenant| Arc::new(TenantFleet::new(tenant.into())));
    let parsed = parsed(&unread);
    let shown = parsed.samples("mde_policy_deadline_seconds").map(|sample| (&sample.labels, sample.value));
    let expected = special_case_policies().map(|policy| {
        let labels = BTreeMap::from([("policy".to_owned(), policy.name.to_string())]);
        (labels, policy.shortest_deadline().unwrap().as_secs_f64())
    });
    assert!(shown.eq(expected.iter().map(|(labels, value)| (labels, *value))));
    assert_eq!(parsed.count("mde_policy_machines"), 24.0, "2 tenants, 2 policies, all states");
}

#[test]
fn no_policies_give_no_policy_metrics() {
    let text = text_under(&special_case_fleets(), &[]);
    assert!(!text.contains("mde_policy_") && !text.contains("overdue"), "{text}");
}

/// A tenant in which every machine misses one update since yesterday: KB1 is listed as known exploited, KB2 is
/// important, nothing is known about KB3.
fn rated_fleet() -> (Vec<Arc<TenantFleet>>, Facts) {
    let mut fleet = TenantFleet::new("contoso".into());
    let machines = [
        ("a1", "WindowsServer2022", "Internet-Facing"),
        ("b2", "Windows11", "lab"),
        ("c3", "Windows11", "lab"),
    ];
    let facts_of = |(id, platform, tag): (&str, &str, &str)| MachineFacts {
        os_platform: platform.to_owned(),
        tags: Some([tag.to_owned()].into()),
        ..MachineFacts::unlisted(MachineId::parse(id).unwrap())
    };
    fleet.apply_list(machines.map(facts_of).into(), now(), &Freshness::DEFAULT);
    let yesterday = now() - Duration::from_hours(24);
    for (index, (id, ..)) in machines.into_iter().enumerate() {
        let id = MachineId::parse(id).unwrap();
        let answer = || vec![update(&format!("{}", 5_000_001 + index), "", &["windows_11"], None)];
        for at in [yesterday, now()] {
            fleet.apply_answer(&id, at, answer(), &Freshness::DEFAULT, &Facts::default());
        }
    }
    let day = |ago: u64| now() - Duration::from_hours(24 * ago);
    let listed = KbFacts {
        exploited: Some(true),
        known_exploited: Some(KnownExploited {
            cves: 1,
            since: day(4),
            due: Some(day(0)),
            ransomware: false,
        }),
        vendor_severity: Some(VendorSeverity::Important),
        released: Some(day(10)),
        ..KbFacts::default()
    };
    let important = KbFacts {
        exploited: Some(false),
        vendor_severity: Some(VendorSeverity::Important),
        released: Some(day(15)),
        ..KbFacts::default()
    };
    let kb = |number| KbId::new(number).unwrap();
    let facts = Facts::new(FactsSource::ALL, [(kb(5_000_001), listed), (kb(5_000_002), important)]);
    (vec![Arc::new(fleet)], facts)
}

/// The states of the machines under each policy: compliant, due, overdue, unknown.
fn states(exposition: &Exposition, policies: &[Policy]) -> Vec<[f64; 4]> {
    let count = |policy: &Policy, state| {
        let labels = [("policy", &*policy.name), ("state", state)];
        exposition.value("mde_policy_machines", &labels).unwrap()
    };
    let of = |policy| ["compliant", "due", "overdue", "unknown"].map(|state| count(policy, state));
    policies.iter().map(of).collect()
}

#[test]
fn presets_judge_by_facts_and_tags() {
    let (fleets, facts) = rated_fleet();
    let policies = PolicyPreset::ALL.map(|preset| preset.policy(preset.as_str().into()));
    let parsed = parse(&text_with_facts(&fleets, &policies, &facts)).unwrap();
    assert_eq!(
        states(&parsed, &policies),
        [
            // Released 10 and 15 days ago; the unknown one was first seen yesterday.
            [0.0, 2.0, 1.0, 0.0],
            [0.0, 3.0, 0.0, 0.0],
            // The exploited one is on a server that the internet reaches.
            [0.0, 2.0, 1.0, 0.0],
            [0.0, 2.0, 1.0, 0.0],
            [0.0, 2.0, 1.0, 0.0],
            // At the due date it is not late yet; the others have no deadline.
            [2.0, 1.0, 0.0, 0.0],
        ]
    );
    let exploited = policies.iter().map(|policy| {
        parsed.value("mde_policy_overdue_exploited_updates", &[("policy", &policy.name)]).unwrap()
    });
    assert_eq!(exploited.collect::<Vec<_>>(), [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
    let deadline = |policy: &Policy| parsed.value("mde_policy_deadline_seconds", &[("policy", &policy.name)]);
    let hours = policies.iter().map(|policy| deadline(policy).unwrap() / 3600.0);
    assert_eq!(hours.collect::<Vec<_>>(), [336.0, 720.0, 48.0, 48.0, 48.0, 336.0]);
    let overdue = parsed.samples("mde_machine_overdue_updates").map(|sample| sample.value);
    assert_eq!(overdue.collect::<Vec<_>>(), [1.0, 1.0, 0.0], "under at least one policy");
}

#[test]
fn policy_without_its_facts_is_unknown_and_others_are_not() {
    let (fleets, _) = rated_fleet();
    let policies =
        [policy("8h", 8, DeadlineStart::FirstSeen), PolicyPreset::CisaBod2604.policy("bod".into())];
    let parsed = parse(&text_with_facts(&fleets, &policies, &Facts::default())).unwrap();
    assert_eq!(states(&parsed, &policies), [[0.0, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 3.0]]);
    assert_eq!(parsed.count("mde_policy_overdue_exploited_updates"), 0.0, "nothing reads as not exploited");
    let overdue = parsed.samples("mde_machine_overdue_updates").map(|sample| sample.value);
    assert_eq!(overdue.collect::<Vec<_>>(), [1.0, 1.0, 1.0]);
    let parsed = parse(&text_with_facts(&fleets, &policies[1..], &Facts::default())).unwrap();
    assert_eq!(parsed.count("mde_machine_overdue_updates"), 0.0, "no policy can tell");
}

#[test]
fn policy_without_a_fixed_deadline_has_no_deadline_metric() {
    let (fleets, facts) = rated_fleet();
    let unlimited = PolicyRule::unconditional(RuleDeadline::Unlimited);
    let due_date = PolicyRule::unconditional(RuleDeadline::KnownExploitedDue);
    let policies = [Policy {
        name: "p".into(),
        from: DeadlineStart::FirstSeen,
        rules: vec![due_date, unlimited],
        preset: None,
    }];
    let parsed = parse(&text_with_facts(&fleets, &policies, &facts)).unwrap();
    assert_eq!(parsed.count("mde_policy_deadline_seconds"), 0.0);
    assert_eq!(states(&parsed, &policies), [[2.0, 1.0, 0.0, 0.0]]);
}

/// Deadlines among the ages of missing updates, and around the age of the release.
fn any_policies() -> impl Strategy<Value = Vec<Policy>> {
    let from = prop::sample::select(vec![DeadlineStart::FirstSeen, DeadlineStart::Released]);
    let deadline = prop_oneof![1_u64..60, 205_u64..215];
    let numbered = |(number, (hours, from))| policy(&format!("{number}"), hours, from);
    prop::collection::vec((deadline, from), 0..4)
        .prop_map(move |policies| policies.into_iter().enumerate().map(numbered).collect())
}

proptest! {
    #[test]
    fn every_machine_has_one_state_under_every_policy(
        fleets in any_fleets(),
        policies in any_policies(),
    ) {
        let parsed = parse(&text_under(&fleets, &policies)).expect("the format");
        for fleet in &fleets {
            for policy in &policies {
                let states = ["compliant", "due", "overdue", "accepted", "unknown", "unsupported"].map(|state| {
                    let labels = [("tenant", &*fleet.tenant), ("policy", &*policy.name), ("state", state)];
                    parsed.value("mde_policy_machines", &labels).expect("always exported")
                });
                prop_assert_eq!(states.iter().sum::<f64>(), fleet.machines.len() as f64);
            }
        }
    }

    /// Compares the policy metrics with counts of the exposed first-seen and release times.
    #[test]
    fn overdue_updates_are_past_a_deadline(
        fleets in any_fleets(),
        policies in any_policies(),
    ) {
        let parsed = parse(&text_under(&fleets, &policies)).expect("the format");
        let release = |tenant: &str, kb: &str| {
            parsed.value("mde_update_released_timestamp_seconds", &[("tenant", tenant), ("kb", kb)])
        };
        let key = |sample: &Sample| ["tenant", "machine_id"].map(|label| sample.label(label).to_owned());
        let is_late = |policy: &Policy, missing: &Sample| {
            let Some(RuleDeadline::Within { time, from }) = policy.single_deadline() else { panic!("{policy:?}") };
            let start = match from {
                DeadlineStart::FirstSeen | DeadlineStart::KnownExploited => missing.value,
                DeadlineStart::Released => {
                    release(missing.label("tenant"), missing.label("kb")).unwrap_or(missing.value)
                }
            };
            start + time.as_secs_f64() < now().as_second() as f64
        };
        let none: BTreeMap<_, u64> =
            parsed.samples("mde_machine_missing_updates").map(|sample| (key(sample), 0)).collect();
        for policy in &policies {
            let mut overdue = none.clone();
            for missing in parsed.samples(FIRST_SEEN) {
                *overdue.get_mut(&key(missing)).unwrap() += u64::from(is_late(policy, missing));
            }
            for fleet in &fleets {
                let is_overdue = |machine: &&Arc<Machine>| {
                    let key = [fleet.tenant.to_string(), machine.facts.id.as_str().to_owned()];
                    is_past_servicing(machine) || overdue.get(&key).is_some_and(|overdue| *overdue > 0)
                };
                let machines = fleet.machines.values().filter(is_overdue).count();
                let labels = [("tenant", &*fleet.tenant), ("policy", &*policy.name), ("state", "overdue")];
                prop_assert_eq!(parsed.value("mde_policy_machines", &labels), Some(machines as f64));
            }
        }
        if !policies.is_empty() {
            let mut overdue = none;
            for missing in parsed.samples(FIRST_SEEN) {
                let is_late = policies.iter().any(|policy| is_late(policy, missing));
                *overdue.get_mut(&key(missing)).unwrap() += u64::from(is_late);
            }
            let shown = parsed.samples("mde_machine_overdue_updates");
            let shown: BTreeMap<_, f64> = shown.map(|sample| (key(sample), sample.value)).collect();
            let expected = overdue.into_iter().map(|(key, count)| (key, count as f64)).collect();
            prop_assert_eq!(shown, expected);
        }
    }
}

//! Rules, their conditions and their starts.

use super::*;

pub(super) fn rule(conditions: Vec<Condition>, deadline: Duration) -> PolicyRule {
    let deadline = RuleDeadline::Within { time: deadline, from: DeadlineStart::FirstSeen };
    PolicyRule { conditions, ..PolicyRule::unconditional(deadline) }
}

pub(super) fn rules(rules: Vec<PolicyRule>) -> Policy {
    Policy { name: "p".into(), from: DeadlineStart::FirstSeen, rules, preset: None }
}

fn patterns(texts: &[&str]) -> Vec<TextPattern> {
    texts.iter().map(|text| TextPattern::new(text)).collect()
}

pub(super) fn listed(since: &str, due: Option<&str>) -> KbFacts {
    let known_exploited = Some(KnownExploited {
        cves: 1,
        since: since.parse().unwrap(),
        due: due.map(|due| due.parse().unwrap()),
        ransomware: false,
    });
    KbFacts { exploited: Some(true), known_exploited, ..KbFacts::default() }
}

/// Returns whether a rule with this condition, with this condition in `not`, and with `or_unknown` matches.
fn outcome(condition: impl Into<Condition>, fleet: &TenantFleet, facts: &Facts) -> &'static str {
    let condition = condition.into();
    let matches = |rule: PolicyRule| verdicts(fleet, &rules(vec![rule]), facts)[0].rule.is_some();
    let plain = rule(vec![condition.clone()], days(1));
    let negated = PolicyRule { not: vec![condition.clone()], ..rule(Vec::new(), days(1)) };
    let or_unknown = |rule: &PolicyRule| PolicyRule { or_unknown: true, ..rule.clone() };
    let both = PolicyRule { not: vec![condition], ..plain.clone() };
    assert!(!matches(both), "a condition and its opposite");
    let outcomes =
        [&plain, &or_unknown(&plain), &negated, &or_unknown(&negated)].map(|rule| matches(rule.clone()));
    match outcomes {
        [true, true, false, false] => "true",
        [false, true, false, true] => "unknown",
        [false, false, true, true] => "false",
        other => panic!("{other:?}"),
    }
}

#[test]
fn condition_on_an_update_is_true_false_or_unknown() {
    use UpdateCondition::{
        CvssAtLeast, EpssAtLeast, Exploited, KnownExploited, Products, Severity as BySeverity, VendorSeverity,
    };
    let score = |score| CvssScore::new(score).unwrap();
    let vendor = |severity| VendorSeverity(vec![severity, crate::model::VendorSeverity::Low]);
    let known = KbFacts {
        exploited: Some(false),
        vendor_severity: Some(crate::model::VendorSeverity::Important),
        cvss: CvssScore::new(7.5),
        epss: Some(0.25),
        ..KbFacts::default()
    };
    let facts = facts([(1, known), (2, listed("2024-06-20T00:00:00Z", None)), (3, KbFacts::default())]);
    let of = |number, products: &[&str], condition: UpdateCondition| {
        let mut missing = missing(number, "", days(9));
        let products = products.iter().map(|&product| product.to_owned()).collect();
        missing.update.facts = Arc::new(UpdateFacts { title: String::new(), products });
        outcome(condition, &one_machine(vec![missing]), &facts)
    };
    for (condition, expected) in [
        (Exploited(true), ["false", "true", "unknown", "unknown"]),
        (Exploited(false), ["true", "false", "unknown", "unknown"]),
        (KnownExploited(true), ["false", "true", "false", "unknown"]),
        (KnownExploited(false), ["true", "false", "true", "unknown"]),
        (vendor(crate::model::VendorSeverity::Important), ["true", "unknown", "unknown", "unknown"]),
        (vendor(crate::model::VendorSeverity::Critical), ["false", "unknown", "unknown", "unknown"]),
        (BySeverity(vec![Severity::High]), ["true", "unknown", "unknown", "unknown"]),
        (BySeverity(vec![Severity::Critical]), ["false", "unknown", "unknown", "unknown"]),
        (CvssAtLeast(score(7.5)), ["true", "unknown", "unknown", "unknown"]),
        (CvssAtLeast(score(7.6)), ["false", "unknown", "unknown", "unknown"]),
        (EpssAtLeast(0.25), ["true", "unknown", "unknown", "unknown"]),
        (EpssAtLeast(0.26), ["false", "unknown", "unknown", "unknown"]),
    ] {
        assert_eq!([1, 2, 3, 4].map(|number| of(number, &[], condition.clone())), expected, "{condition:?}");
    }
    let products = || Products(patterns(&["Office*", "edge"]));
    assert_eq!(of(1, &[], products()), "unknown");
    assert_eq!(of(1, &["windows_11", "OFFICE_2016"], products()), "true");
    assert_eq!(of(1, &["windows_11", "edge_chromium"], products()), "false");
}

#[test]
fn condition_on_a_machine_is_true_false_or_unknown() {
    use MachineCondition::{DeviceGroups, Names, Platforms, Tags};
    let mut full = one_machine(vec![missing(1, "", days(9))]);
    change(&mut full, 0, |machine| {
        machine.facts = MachineFacts {
            name: "SRV-01.corp.example".to_owned(),
            os_platform: "WindowsServer2022".to_owned(),
            device_group: "Tier 0".to_owned(),
            tags: Some(["Internet-Facing".to_owned(), "team:a".to_owned()].into()),
            ..machine.facts.clone()
        };
    });
    let bare = one_machine(vec![missing(1, "", days(9))]);
    let mut untagged = bare.clone();
    change(&mut untagged, 0, |machine| machine.facts.tags = Some([].into()));
    for (condition, expected) in [
        (Platforms(patterns(&["windows11", "windowsserver*"])), ["true", "unknown", "unknown"]),
        (Platforms(patterns(&["windowsserver"])), ["false", "unknown", "unknown"]),
        (DeviceGroups(patterns(&["tier*"])), ["true", "false", "false"]),
        (DeviceGroups(patterns(&["*"])), ["true", "false", "false"]),
        (Names(patterns(&["srv-*.CORP.example"])), ["true", "unknown", "unknown"]),
        (Names(patterns(&["srv-*.corp"])), ["false", "unknown", "unknown"]),
        (Tags(patterns(&["x", "INTERNET-facing"])), ["true", "unknown", "false"]),
        (Tags(patterns(&["internet*"])), ["false", "unknown", "false"]),
    ] {
        let outcomes =
            [&full, &bare, &untagged].map(|fleet| outcome(condition.clone(), fleet, &Facts::default()));
        assert_eq!(outcomes, expected, "{condition:?}");
    }
}

#[test]
fn conditions_of_not_are_excluded_only_together() {
    let fleet = |products: &[&str], tags: &[&str]| {
        let mut missing = missing(1, "", days(9));
        let products = products.iter().map(|&product| product.to_owned()).collect();
        missing.update.facts = Arc::new(UpdateFacts { title: String::new(), products });
        let mut fleet = one_machine(vec![missing]);
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        change(&mut fleet, 0, |machine| machine.facts.tags = Some(tags));
        fleet
    };
    let not = vec![
        UpdateCondition::Products(patterns(&["windows*"])).into(),
        MachineCondition::Tags(patterns(&["lab"])).into(),
    ];
    let policy = rules(vec![PolicyRule { not, ..rule(Vec::new(), days(1)) }]);
    let matches = |products: &[&str], tags: &[&str]| {
        verdicts(&fleet(products, tags), &policy, &Facts::default())[0].rule.is_some()
    };
    assert!(!matches(&["windows_11"], &["lab"]));
    assert!(matches(&["windows_11"], &["x"]));
    assert!(matches(&["office"], &["lab"]));
    assert!(!matches(&[], &["lab"]), "not known to be another product");
    assert!(matches(&[], &["x"]), "one false condition decides");
}

#[test]
fn first_rule_that_matches_applies() {
    let critical = UpdateCondition::VendorSeverity(vec![VendorSeverity::Critical]);
    let policy = rules(vec![
        rule(vec![UpdateCondition::Exploited(true).into()], days(2)),
        PolicyRule { or_unknown: true, ..rule(vec![critical.into()], days(14)) },
        PolicyRule::unconditional(RuleDeadline::Unlimited),
        rule(Vec::new(), days(1)),
    ]);
    let rated =
        |severity| KbFacts { exploited: Some(false), vendor_severity: Some(severity), ..KbFacts::default() };
    let facts = facts([
        (1, listed("2024-06-20T00:00:00Z", None)),
        (2, rated(VendorSeverity::Critical)),
        (3, rated(VendorSeverity::Low)),
    ]);
    let kbs = [1, 2, 3, 4].map(|number| missing(number, "", days(10)));
    let found: Vec<_> = verdicts(&one_machine(kbs.to_vec()), &policy, &facts)
        .iter()
        .map(|verdict| (verdict.rule, verdict.deadline, verdict.state.as_str()))
        .collect();
    let at = |age| Some(ago(days(10)) + age);
    assert_eq!(
        found,
        [
            (Some(1), at(days(2)), "overdue"),
            (Some(2), at(days(14)), "due"),
            (Some(3), None, "none"),
            (Some(2), at(days(14)), "due"),
        ]
    );
    let of = |number: u32| {
        states_with(
            &one_machine(vec![kbs[number as usize - 1].clone()]),
            std::slice::from_ref(&policy),
            &facts,
        )
    };
    assert_eq!(of(1), [[0, 0, 1, 0, 0]]);
    assert_eq!(of(2), [[0, 1, 0, 0, 0]]);
    assert_eq!(of(3), [[1, 0, 0, 0, 0]], "compliant, because nothing has a deadline");
}

#[test]
fn policy_may_have_any_number_of_rules() {
    let named = |number: u32| {
        let pattern = format!("m{number}");
        rule(vec![MachineCondition::Names(patterns(&[&pattern])).into()], days(1))
    };
    let many = rules((1..=200).map(named).collect());
    for number in [1, 64, 65, 128, 200, 201] {
        let mut fleet = one_machine(vec![missing(1, "", days(9))]);
        change(&mut fleet, 0, |machine| machine.facts.name = format!("M{number}"));
        let expected = (number <= 200).then_some(number);
        assert_eq!(verdicts(&fleet, &many, &Facts::default())[0].rule, expected);
    }
}

#[test]
fn deadline_from_the_catalogue_is_an_instant() {
    let start = |from| rules(vec![PolicyRule::unconditional(RuleDeadline::Within { time: days(3), from })]);
    let listing = start(DeadlineStart::KnownExploited);
    let due_date =
        rules(vec![PolicyRule::unconditional(RuleDeadline::KnownExploitedDue), rule(Vec::new(), days(90))]);
    let of = |policy: &Policy, since: &str, due: Option<&str>| {
        let facts = facts([(1, listed(since, due)), (2, KbFacts::default())]);
        let found = verdicts(&one_machine(vec![missing(1, "", days(1))]), policy, &facts)[0];
        (found.deadline.map(|at| at.to_string()).unwrap_or_default(), found.state.as_str())
    };
    let text = str::to_owned;
    // Listed before and after the first sight; both start at the day of the listing.
    assert_eq!(of(&listing, "2024-06-20T00:00:00Z", None), (text("2024-06-23T00:00:00Z"), "overdue"));
    assert_eq!(of(&listing, "2024-07-01T00:00:00Z", None), (text("2024-07-04T00:00:00Z"), "due"));
    let due = Some("2024-07-01T17:00:00Z");
    assert_eq!(
        of(&due_date, "2024-06-20T00:00:00Z", due),
        (text("2024-07-01T17:00:00Z"), "due"),
        "not past yet"
    );
    let due = Some("2024-07-01T00:00:00Z");
    assert_eq!(of(&due_date, "2024-06-20T00:00:00Z", due), (text("2024-07-01T00:00:00Z"), "overdue"));
    let second_rule = (ago(days(1)) + days(90)).to_string();
    assert_eq!(of(&due_date, "2024-06-20T00:00:00Z", None), (second_rule, "due"), "no due date");
    let unlisted =
        verdicts(&one_machine(vec![missing(2, "", days(5))]), &listing, &facts([(2, KbFacts::default())]));
    assert_eq!(unlisted[0].deadline, Some(ago(days(2))), "first seen");
}

#[test]
fn missing_update_is_late_since_the_oldest_one_it_stands_for() {
    let june = KbFacts { released: Some(ago(days(20))), ..KbFacts::default() };
    let july = KbFacts { released: Some(ago(days(3))), exploited: Some(false), ..KbFacts::default() };
    let facts = facts([(1, june), (2, july)]);
    let fleet = one_machine(vec![replacing(&[(1, days(12))], missing(2, "", days(2)))]);
    let of = |from| {
        let found = verdicts(&fleet, &policy("p", days(14), from), &facts)[0];
        (found.late_since, found.deadline.unwrap(), found.state)
    };
    let since = |age| (ago(days(age)), ago(days(age)) + days(14));
    let (late, deadline) = since(12);
    assert_eq!(of(DeadlineStart::FirstSeen), (late, deadline, UpdateState::Due));
    let (late, deadline) = since(20);
    assert_eq!(of(DeadlineStart::Released), (late, deadline, UpdateState::Overdue));
    // A release after the first sight counts as the first sight, for each link on its own.
    let unreleased = self::facts([(1, KbFacts { released: Some(ago(days(1))), ..KbFacts::default() })]);
    let found = verdicts(&fleet, &policy("p", days(14), DeadlineStart::Released), &unreleased)[0];
    assert_eq!(found.late_since, ago(days(12)));
}

#[test]
fn missing_update_has_the_worst_facts_of_those_it_stands_for() {
    let june = listed("2024-06-12T00:00:00Z", Some("2024-06-30T00:00:00Z"));
    let july = KbFacts { exploited: Some(false), ..listed("2024-07-01T00:00:00Z", None) };
    let facts = facts([(1, june), (2, july)]);
    let fleet = one_machine(vec![replacing(&[(1, days(12))], missing(2, "", days(2)))]);
    let due_date = rules(vec![PolicyRule::unconditional(RuleDeadline::KnownExploitedDue)]);
    let found = verdicts(&fleet, &due_date, &facts)[0];
    assert_eq!(found.deadline, Some("2024-06-30T00:00:00Z".parse().unwrap()));
    assert_eq!(outcome(UpdateCondition::Exploited(true), &fleet, &facts), "true");
    let exploited = with_counts(&fleet, &[due_date], &facts, |counts| counts.summaries[0].overdue_exploited);
    assert_eq!(exploited, Some(1));
    let unknown_link = one_machine(vec![replacing(&[(9, days(12))], missing(3, "", days(2)))]);
    let facts = self::facts([(3, KbFacts { exploited: Some(false), ..KbFacts::default() })]);
    for condition in [UpdateCondition::Exploited(true), UpdateCondition::KnownExploited(true)] {
        assert_eq!(outcome(condition, &unknown_link, &facts), "unknown", "nothing is known about the link");
    }
}

#[test]
fn policy_without_the_facts_that_it_needs_judges_nothing() {
    use FactsSource::{Epss, Kev, Msrc};
    let of = |condition: UpdateCondition| {
        rules(vec![rule(vec![condition.into()], days(1)), rule(Vec::new(), days(1))])
    };
    let score = CvssScore::new(7.0).unwrap();
    let from = |from| rules(vec![PolicyRule::unconditional(RuleDeadline::Within { time: days(1), from })]);
    let cases = [
        (of(UpdateCondition::Exploited(true)), vec![Msrc, Kev]),
        (of(UpdateCondition::KnownExploited(true)), vec![Kev]),
        (of(UpdateCondition::EpssAtLeast(0.5)), vec![Epss]),
        (of(UpdateCondition::VendorSeverity(vec![VendorSeverity::Low])), vec![Msrc]),
        (of(UpdateCondition::Severity(vec![Severity::Low])), vec![Msrc]),
        (of(UpdateCondition::CvssAtLeast(score)), vec![Msrc]),
        (of(UpdateCondition::Products(patterns(&["x"]))), vec![]),
        (from(DeadlineStart::KnownExploited), vec![Kev]),
        (from(DeadlineStart::Released), vec![]),
        (rules(vec![PolicyRule::unconditional(RuleDeadline::KnownExploitedDue)]), vec![Kev]),
    ];
    let fleet = fleet(vec![Some((days(0), vec![missing(1, "", days(9))])), Some((days(0), vec![])), None]);
    for (policy, needed) in cases {
        let policies = [policy];
        for left_out in FactsSource::ALL {
            let loaded = FactsSource::ALL.into_iter().filter(|source| *source != left_out);
            let facts =
                Facts::new(loaded, [(kb(1), listed("2024-06-12T00:00:00Z", Some("2024-06-13T00:00:00Z")))]);
            let lacks = needed.contains(&left_out);
            let expected = if lacks { [1, 0, 0, 2, 0] } else { [1, 0, 1, 1, 0] };
            assert_eq!(states_with(&fleet, &policies, &facts), [expected], "{policies:?} {left_out}");
            let expected = if lacks { None } else { Some(1) };
            assert_eq!(overdue(&fleet, &policies, &facts), [expected, Some(0), None]);
        }
    }
}

#[test]
fn export_has_severities_of_its_own() {
    let score = |score| CvssScore::new(score).unwrap();
    let mut missing = missing(1, "", days(9));
    (missing.update.severity, missing.update.cvss) = (Some(Severity::High), CvssScore::new(8.0));
    let mut fleet = one_machine(vec![missing]);
    fleet.source = Source::Export;
    let own = Facts::default();
    assert_eq!(outcome(UpdateCondition::CvssAtLeast(score(8.0)), &fleet, &own), "true");
    assert_eq!(outcome(UpdateCondition::CvssAtLeast(score(8.1)), &fleet, &own), "false");
    assert_eq!(outcome(UpdateCondition::Severity(vec![Severity::High]), &fleet, &own), "true");
    let better = facts([(1, KbFacts { cvss: CvssScore::new(9.8), ..KbFacts::default() })]);
    assert_eq!(outcome(UpdateCondition::CvssAtLeast(score(8.1)), &fleet, &better), "true");
    assert_eq!(outcome(UpdateCondition::Severity(vec![Severity::High]), &fleet, &better), "false");
}

#[test]
fn unreadable_id_hides_that_nothing_has_a_deadline() {
    let policies = [
        rules(vec![PolicyRule::unconditional(RuleDeadline::Unlimited)]),
        policy("long", days(90), DeadlineStart::FirstSeen),
        policy("short", days(1), DeadlineStart::FirstSeen),
    ];
    let mut fleet = one_machine(vec![missing(1, "", days(9))]);
    assert_eq!(states(&fleet, &policies), [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]);
    change(&mut fleet, 0, |machine| {
        let id = UnreadableId { text: "Click to Run".into(), is_newest: true, apart_from: Box::default() };
        let unreadable = UnreadableIds { ids: [id].into(), held: Box::default() };
        machine.assessment.as_mut().unwrap().unreadable = Some(Box::new(unreadable));
    });
    assert_eq!(states(&fleet, &policies), [[0, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]);
}

#[test]
fn overdue_exploited_updates_are_absent_while_unknown() {
    let policies = [policy("p", days(1), DeadlineStart::FirstSeen)];
    let fleet = one_machine(vec![missing(1, "", days(9)), missing(2, "", days(9)), missing(3, "", days(0))]);
    let kbs = |exploited| [1, 3].map(|number| (kb(number), KbFacts { exploited, ..KbFacts::default() }));
    let counted = |sources: &[FactsSource], exploited| {
        let facts = Facts::new(sources.iter().copied(), kbs(exploited));
        with_counts(&fleet, &policies, &facts, |counts| counts.summaries[0].overdue_exploited)
    };
    assert_eq!(counted(&[], None), None);
    assert_eq!(counted(&[FactsSource::Kev], None), None);
    assert_eq!(counted(&[FactsSource::Msrc], None), None, "the catalogue may list it");
    assert_eq!(counted(&[FactsSource::Msrc], Some(true)), Some(1));
    assert_eq!(counted(&[FactsSource::Msrc, FactsSource::Kev], Some(false)), Some(0));
}

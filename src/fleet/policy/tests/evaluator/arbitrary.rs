//! Arbitrary rules, policies, exceptions, machines and facts.

use proptest::prelude::*;

use super::*;

fn any_patterns() -> impl Strategy<Value = Vec<TextPattern>> {
    let texts = prop::sample::subsequence(vec!["a", "A*", "b", "ab", "*"], 1..3);
    texts.prop_map(|texts| texts.iter().map(|text| TextPattern::new(text)).collect())
}

fn any_text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "AB", "b", "c"]).prop_map(str::to_owned)
}

fn any_condition() -> impl Strategy<Value = Condition> {
    use crate::model::VendorSeverity as Vendor;
    let vendor = prop::sample::subsequence(Vendor::ALL.to_vec(), 1..3);
    let severity = prop::sample::subsequence(Severity::ALL.to_vec(), 1..3);
    prop_oneof![
        any::<bool>().prop_map(|value| UpdateCondition::Exploited(value).into()),
        any::<bool>().prop_map(|value| UpdateCondition::KnownExploited(value).into()),
        vendor.prop_map(|values| UpdateCondition::VendorSeverity(values).into()),
        severity.prop_map(|values| UpdateCondition::Severity(values).into()),
        (1_u8..=100).prop_map(|tenths| {
            UpdateCondition::CvssAtLeast(CvssScore::from_tenths(tenths).unwrap()).into()
        }),
        (0_u8..=4).prop_map(|quarters| UpdateCondition::EpssAtLeast(f64::from(quarters) / 4.0).into()),
        any_patterns().prop_map(|patterns| UpdateCondition::Products(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::Platforms(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::DeviceGroups(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::Names(patterns).into()),
        any_patterns().prop_map(|patterns| MachineCondition::Tags(patterns).into()),
        prop::collection::vec(1_u32..20, 1..8)
            .prop_map(|kbs| UpdateCondition::Kbs(kbs.into_iter().map(kb).collect()).into()),
        prop::sample::subsequence(vec!["0", "1", "2"], 1..3).prop_map(|ids| {
            let ids = ids.into_iter().map(|id| MachineId::parse(id).unwrap());
            MachineCondition::Ids(ids.collect()).into()
        }),
    ]
}

fn any_rule() -> impl Strategy<Value = PolicyRule> {
    let from = prop::sample::select(DeadlineStart::ALL.to_vec());
    let within = (1_u64..40, from).prop_map(|(age, from)| RuleDeadline::Within { time: days(age), from });
    let deadline = prop_oneof![8 => within, 1 => Just(RuleDeadline::Unlimited), 1 => Just(RuleDeadline::KnownExploitedDue)];
    let conditions = || prop::collection::vec(any_condition(), 0..3);
    (conditions(), conditions(), any::<bool>(), deadline).prop_map(
        |(conditions, not, or_unknown, deadline)| PolicyRule { conditions, not, or_unknown, deadline },
    )
}

pub(in super::super) fn any_policy() -> impl Strategy<Value = Policy> {
    let rules = prop_oneof![9 => prop::collection::vec(any_rule(), 1..6), 1 => prop::collection::vec(any_rule(), 60..70)];
    let from = prop::sample::select(DeadlineStart::ALL.to_vec());
    (rules, from).prop_map(|(rules, from)| Policy { name: "p".into(), from, rules, preset: None })
}

prop_compose! {
    fn any_exception()(
        until in prop::sample::select(vec!["2024-06-29", "2024-06-30", "2024-07-01", "2024-09-01"]),
        tenants in prop::sample::select(vec![&[][..], &["t"], &["u", "t"], &["u"]]),
        conditions in prop::collection::vec(any_condition(), 1..3),
        not in prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(any_condition(), 1..3)],
    ) -> Exception {
        let until = until.parse().unwrap();
        let tenants = tenants.iter().map(|&tenant| tenant.into()).collect();
        Exception { name: "e".into(), reason: "r".to_owned(), until, tenants, conditions, not }
    }
}

pub(in super::super) fn any_exceptions() -> impl Strategy<Value = Vec<Exception>> {
    let some = prop::collection::vec(any_exception(), 0..4);
    prop_oneof![9 => some, 1 => prop::collection::vec(any_exception(), 60..70)]
}

fn any_facts() -> impl Strategy<Value = KbFacts> {
    let age = || (0_u64..60).prop_map(|age| ago(days(age)));
    let listing = (age(), prop::option::of(age()));
    let listing = prop::option::of(listing.prop_map(|(since, due)| KnownExploited {
        cves: 1,
        since,
        due,
        ransomware: false,
    }));
    let rating = prop::option::of(prop::sample::select(crate::model::VendorSeverity::ALL.to_vec()));
    let score = prop::option::of((1_u8..=100).prop_map(|tenths| CvssScore::from_tenths(tenths).unwrap()));
    let epss = prop::option::of((0_u8..=4).prop_map(|quarters| f64::from(quarters) / 4.0));
    (any::<Option<bool>>(), listing, rating, score, epss, prop::option::of(age())).prop_map(
        |(exploited, known_exploited, vendor_severity, cvss, epss, released)| KbFacts {
            vendor_severity,
            cvss,
            exploited,
            known_exploited,
            epss,
            released,
            ..KbFacts::default()
        },
    )
}

prop_compose! {
    fn any_missing()(
        products in prop::collection::vec(prop::sample::select(vec!["a", "AB", "c"]), 0..3),
        severity in prop::option::of(prop::sample::select(Severity::ALL.to_vec())),
        score in prop::option::of(1_u8..=100),
        age in 0_u64..60,
        links in prop::collection::vec((1_u32..8, (0_u64..60).prop_map(days)), 0..3),
    ) -> MissingUpdate {
        let mut missing = replacing(&links, missing(0, "", days(age)));
        let products = products.into_iter().map(str::to_owned).collect();
        missing.update.facts = Arc::new(UpdateFacts { title: String::new(), products });
        missing.update.severity = severity;
        missing.update.cvss = score.and_then(CvssScore::from_tenths);
        missing
    }
}

prop_compose! {
    fn any_machine()(
        os_platform in any_text(),
        device_group in any_text(),
        name in any_text(),
        tags in prop::option::of(prop::collection::vec(any_text(), 0..3)),
        // Each update once: all machines of a tenant share its products and its release.
        missing in prop::collection::vec(any_missing(), 0..4),
    ) -> (MachineFacts, Vec<MissingUpdate>) {
        let facts = MachineFacts {
            os_platform: if os_platform.is_empty() { os_platform } else { format!("Windows{os_platform}") },
            device_group,
            name,
            tags: tags.map(Into::into),
            ..MachineFacts::unlisted(MachineId::parse("0").unwrap())
        };
        (facts, missing)
    }
}

/// A fleet of these machines, in which every machine misses other KBs, and facts about half of the KBs.
pub(in super::super) fn scenes() -> impl Strategy<Value = (TenantFleet, Facts)> {
    let machines = prop::collection::vec(any_machine(), 1..4);
    (machines, prop::collection::vec(prop::option::of(any_facts()), 20)).prop_map(|(machines, kbs)| {
        let mut fleet = fleet(vec![None; machines.len()]);
        let mut number = 7;
        for (index, (facts, mut missing)) in machines.into_iter().enumerate() {
            for missing in &mut missing {
                number += 1;
                missing.update.kb = kb(number);
            }
            change(&mut fleet, u8::try_from(index).unwrap(), |machine| {
                machine.facts = MachineFacts { id: machine.facts.id.clone(), ..facts };
                machine.assessment = Some(Assessment::of_now(now(), missing));
            });
        }
        let known = (1..).zip(kbs).filter_map(|(number, facts)| facts.map(|facts| (number, facts)));
        (fleet, facts(known))
    })
}

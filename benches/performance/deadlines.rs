//! The cost of deadlines: processor time to judge every missing update of a fleet under five policies of ten rules,
//! when nothing changed, without and with exceptions; and to count its machines without and with own labels.
//! 1,000,000 missing updates by default.
//!
//! The reference is a loop that compares each missing update with five fixed deadlines, without rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::facts::{Facts, KbFacts, KnownExploited};
use mde_exporter::fleet::policy::{CompiledPolicies, PolicyCounts, PolicyState};
use mde_exporter::fleet::servicing::CompiledServicing;
use mde_exporter::fleet::summary::{Summary, UpdateSummary};
use mde_exporter::fleet::{Chain, Link, TenantFleet};
use mde_exporter::model::{
    Condition, CvssScore, DeadlineStart, Exception, FactsSource, KbId, MachineCondition, OwnLabel, Policy,
    PolicyRule, RuleDeadline, ServicingSettings, Severity, TextPattern, UpdateCondition, VendorSeverity,
};

use crate::{fleet, process};

const ROUNDS: u32 = 15;
const DAY: Duration = Duration::from_hours(24);

pub(crate) fn run(missing_updates: Option<u32>) {
    let machines = missing_updates.unwrap_or(1_000_000) / fleet::MISSING_UPDATES;
    let policies: Vec<_> = (0..5).map(policy).collect();
    let rules: usize = policies.iter().map(|policy| policy.rules.len()).sum();
    let missing_updates = machines * fleet::MISSING_UPDATES;
    println!(
        "{missing_updates} missing updates of {machines} machines, {} policies, {rules} rules; processor time \
         (least, median, most)",
        policies.len()
    );
    let exceptions: Vec<_> = (0..20).map(exception).collect();
    for (what, links, exceptions) in [
        ("no links", 0, &[][..]),
        ("every tenth has a link", 10, &[]),
        ("each has a link", 1, &[]),
        ("no links, 20 exceptions", 0, &exceptions),
        ("links, 20 exceptions", 1, &exceptions),
    ] {
        let fleet = tagged(fleet::fleet(machines), links);
        let summary = Summary::of(&fleet, fleet::now(), &fleet::FRESHNESS, &Facts::default());
        let facts = facts(&summary.updates);
        let mut overdue = 0;
        measure(&format!("rules, {what}"), || {
            let compiled = CompiledPolicies::new(&policies, exceptions, fleet::now());
            let counts = PolicyCounts::of(&compiled, &fleet, &summary, &facts, &fleet::FRESHNESS);
            overdue = counts.summaries.iter().map(|summary| summary.machines(PolicyState::Overdue)).sum();
        });
        println!("    {overdue} machines are overdue, over all policies");
    }
    let fleet = tagged(fleet::fleet(machines), 0);
    let team = [OwnLabel::new("team".into(), "team:")];
    for (what, labels) in [("counts, no own label", &[][..]), ("counts, 60 teams", &team)] {
        let facts = Facts::default();
        let settings = ServicingSettings::default();
        let servicing = CompiledServicing::new(&settings, facts.servicing(), fleet::now());
        measure(what, || {
            std::hint::black_box(Summary::by_owner(&fleet, &servicing, labels, &fleet::FRESHNESS, &facts));
        });
    }
    measure("reference: five comparisons", || {
        std::hint::black_box(compare(&fleet));
    });
}

fn measure(what: &str, mut work: impl FnMut()) {
    let took = (0..ROUNDS).map(|_| {
        let before = process::own_cpu_seconds();
        work();
        process::own_cpu_seconds() - before
    });
    let mut took: Vec<f64> = took.collect();
    took.sort_by(f64::total_cmp);
    let [least, median, most] = [0, took.len() / 2, took.len() - 1].map(|place| took[place] * 1000.0);
    println!("  {what:<30}{least:>9.1} ms {median:>9.1} ms {most:>9.1} ms");
}

/// Counts the missing updates that are past each of five deadlines.
fn compare(fleet: &TenantFleet) -> [u64; 5] {
    let latest = [14, 30, 60, 90, 180].map(|days| fleet::now() - days * DAY);
    let mut counts = [0; 5];
    for machine in fleet.machines.values() {
        for missing in machine.missing_updates() {
            for (count, latest) in counts.iter_mut().zip(latest) {
                *count += u64::from(missing.first_seen < latest);
            }
        }
    }
    counts
}

/// Gives tags to machines, and a link to each missing update whose number is a multiple of `links`.
pub(crate) fn tagged(mut fleet: TenantFleet, links: usize) -> TenantFleet {
    let mut number: usize = 0;
    for (index, machine) in fleet.machines.values_mut().enumerate() {
        let machine = Arc::make_mut(machine);
        let exposure = if index % 50 == 0 { "internet-facing" } else { "inner" };
        machine.facts.tags = Some([format!("team:{}", index % 60), exposure.to_owned()].into());
        for missing in machine.assessment.iter_mut().flat_map(|assessment| &mut assessment.missing_updates) {
            number += 1;
            if links > 0 && number.is_multiple_of(links) {
                let kb = KbId::new(missing.update.kb.number() - 500).expect("seven digits");
                missing.chain = Chain::of(vec![Link { kb, first_seen: missing.first_seen - 30 * DAY }]);
            }
        }
    }
    fleet
}

/// Facts about every missing KB and the KBs of the links.
pub(crate) fn facts(updates: &BTreeMap<KbId, UpdateSummary>) -> Facts {
    let of_kb = |kb: KbId| {
        let number = kb.number();
        let listed = KnownExploited {
            cves: 1,
            since: at(number),
            due: Some(at(number) + 21 * DAY),
            ransomware: false,
        };
        let facts = KbFacts {
            vendor_severity: Some(VendorSeverity::ALL[number as usize % 4]),
            cvss: CvssScore::from_tenths(u8::try_from(number % 60).unwrap_or_default() + 40),
            exploited: Some(number.is_multiple_of(5)),
            known_exploited: number.is_multiple_of(5).then_some(listed),
            epss: Some(f64::from(number % 100) / 100.0),
            released: Some(at(number)),
            ..KbFacts::default()
        };
        (kb, facts)
    };
    let superseded = updates.keys().filter_map(|kb| KbId::new(kb.number() - 500));
    Facts::new(FactsSource::ALL, updates.keys().copied().chain(superseded).map(of_kb))
}

fn at(number: u32) -> Timestamp {
    fleet::now() - number % 300 * DAY
}

/// A policy of ten rules. Policies differ in their values, so that no condition is shared.
pub(crate) fn policy(number: u32) -> Policy {
    let pattern = |text: String| vec![TextPattern::new(&text)];
    let score = CvssScore::new(f64::from(number) / 10.0 + 9.0).expect("a score");
    let rules: [(Vec<Condition>, Vec<Condition>); 10] = [
        (vec![UpdateCondition::KnownExploited(true).into(), group(number, 0)], vec![]),
        (vec![UpdateCondition::Exploited(true).into(), group(number, 1)], vec![]),
        (vec![MachineCondition::Tags(pattern("internet-facing".into())).into(), group(number, 2)], vec![]),
        (
            vec![UpdateCondition::VendorSeverity(vec![VendorSeverity::Critical]).into(), group(number, 3)],
            vec![],
        ),
        (vec![UpdateCondition::CvssAtLeast(score).into()], vec![group(number, 4)]),
        (vec![MachineCondition::Platforms(pattern(format!("WindowsServer{number}*"))).into()], vec![]),
        (vec![UpdateCondition::Products(pattern(format!("office{number}*"))).into()], vec![]),
        (
            vec![MachineCondition::Names(pattern(format!("*-{number}*.corp.example"))).into()],
            vec![group(number, 5)],
        ),
        (vec![UpdateCondition::Severity(vec![Severity::High]).into(), group(number, 6)], vec![]),
        (vec![], vec![]),
    ];
    let rule = |(index, (conditions, not)): (usize, (Vec<Condition>, Vec<Condition>))| {
        let from = DeadlineStart::ALL[index % 3];
        let time = (u32::try_from(index).unwrap_or_default() * 20 + number + 2) * DAY;
        PolicyRule {
            conditions,
            not,
            or_unknown: index % 2 == 0,
            deadline: RuleDeadline::Within { time, from },
        }
    };
    Policy {
        from: DeadlineStart::FirstSeen,
        name: format!("p{number}").into(),
        rules: rules.into_iter().enumerate().map(rule).collect(),
        preset: None,
    }
}

/// An exception for some updates of some teams, one after another with conditions on facts.
pub(crate) fn exception(number: u32) -> Exception {
    let team = TextPattern::new(&format!("team:{number}"));
    let mut conditions = vec![MachineCondition::Tags(vec![team]).into()];
    match number % 3 {
        0 => conditions.push(UpdateCondition::Kbs((1..9).filter_map(KbId::new).collect()).into()),
        1 => conditions.push(UpdateCondition::Exploited(false).into()),
        _ => {}
    }
    Exception {
        name: format!("e{number}").into(),
        reason: String::new(),
        until: jiff::civil::Date::MAX,
        tenants: Vec::new(),
        conditions,
        not: Vec::new(),
    }
}

fn group(policy: u32, rule: u32) -> Condition {
    MachineCondition::DeviceGroups(vec![TextPattern::new(&format!("group {}*", (policy + rule) % 9))]).into()
}

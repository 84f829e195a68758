//! Labels from machine tags. They divide the machines; no sum depends on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use mde_exporter::config;
use mde_exporter::facts::Facts;
use mde_exporter::fleet::{MachineFacts, TenantFleet};
use mde_exporter::metrics::{Body, RenderOptions, families};
use mde_exporter::model::{DetailLevel, ExpositionFormat, Freshness, MachineId, OwnLabel};
use mde_exporter::report::row::{FIRST_COLUMNS, LAST_COLUMNS};
use proptest::prelude::*;

use crate::support::exposition::{Exposition, parse};
use crate::support::fleets::{answer, any_fleets, body_with, exception, now, special_case_policies, update};

/// The families of the fleet level with own labels.
const FLEET: [&str; 4] = [
    "mde_assessed_machines",
    "mde_compliant_machines",
    "mde_policy_machines",
    "mde_machines_missing_exploited_updates",
];

fn options(labels: &[(&str, &str)], detail: DetailLevel, series_limit: u64) -> RenderOptions {
    let label = |(name, prefix): &(&str, &str)| OwnLabel::new((*name).into(), prefix);
    RenderOptions {
        freshness: Freshness::DEFAULT,
        policies: special_case_policies().into(),
        exceptions: [exception("e", "2024-06-20", &[], &[1, 2, 3, 4, 5])].into(),
        labels: labels.iter().map(label).collect(),
        detail,
        series_limit,
        servicing: Arc::default(),
    }
}

fn parsed(body: &Body) -> Exposition {
    parse(&answer(body, DetailLevel::Update, ExpositionFormat::Text)).expect("the format")
}

fn with_labels(fleets: &[Arc<TenantFleet>], labels: &[(&str, &str)]) -> Exposition {
    parsed(&body_with(fleets, &options(labels, DetailLevel::Update, 0)))
}

/// The samples of a family, added up over these labels.
fn sums<'a>(
    exposition: &'a Exposition,
    family: &'a str,
    over: &[&str],
) -> BTreeMap<BTreeMap<&'a str, &'a str>, f64> {
    let mut sums = BTreeMap::new();
    for sample in exposition.samples(family) {
        let labels = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = labels.filter(|(name, _)| !over.contains(name)).collect();
        *sums.entry(labels).or_default() += sample.value;
    }
    sums
}

fn values<'a>(exposition: &'a Exposition, family: &'a str, label: &str) -> BTreeSet<&'a str> {
    exposition.samples(family).map(|sample| sample.label(label)).collect()
}

/// A tenant with `sizes[n]` machines of team `n` in two device groups. Every second machine misses the exploited update
/// of June, and every third one an update that is accepted.
fn teams(sizes: &[u32]) -> Vec<Arc<TenantFleet>> {
    let mut fleet = TenantFleet::new("t".into());
    let machines = sizes.iter().zip(0..).flat_map(|(size, team)| {
        (0..*size).map(move |number| MachineFacts {
            os_platform: "Windows11".to_owned(),
            device_group: format!("group {}", number % 2),
            tags: Some([format!("Team:{team:02}")].into()),
            ..MachineFacts::unlisted(MachineId::parse(&format!("{team}-{number}")).unwrap())
        })
    });
    let machines: Vec<_> = machines.collect();
    fleet.apply_list(machines.clone(), now(), &Freshness::DEFAULT);
    for (place, machine) in machines.iter().enumerate() {
        let mut missing = Vec::new();
        if place % 2 == 0 {
            missing.push(update("5039212", "", &["windows_11"], None));
        }
        if place % 3 == 0 {
            missing.push(update("3", "", &["windows_11"], None));
        }
        fleet.apply_answer(&machine.id, now(), missing, &Freshness::DEFAULT, &Facts::default());
    }
    vec![Arc::new(fleet)]
}

#[test]
fn sixty_teams_have_fifty_values_and_the_same_sums() {
    let sizes: Vec<u32> = (0..60).map(|team| 2 + team % 7).collect();
    let fleets = teams(&sizes);
    let (labelled, plain) = (with_labels(&fleets, &[("team", "team:")]), with_labels(&fleets, &[]));
    let mut largest: Vec<usize> = (0..60).collect();
    largest.sort_by_key(|team| std::cmp::Reverse(sizes[*team]));
    let mut expected: BTreeSet<String> = largest[..49].iter().map(|team| format!("{team:02}")).collect();
    expected.insert("other".to_owned());
    for family in FLEET {
        let shown = values(&labelled, family, "team");
        assert!(shown.iter().eq(&expected), "{family}: {shown:?}");
        assert_eq!(sums(&labelled, family, &["team"]), sums(&plain, family, &[]), "{family}");
    }
    let others: u32 = largest[49..].iter().map(|team| sizes[*team]).sum();
    let machines = labelled.sum_by("mde_assessed_machines", "team");
    assert_eq!(machines["other"], f64::from(others));
    let owners = labelled.count_by("mde_machine_info", "team");
    let expected = sizes.iter().enumerate().map(|(team, size)| (format!("{team:02}"), f64::from(*size)));
    assert_eq!(owners, expected.collect());
}

#[test]
fn own_labels_are_on_their_families_alone() {
    let exposition = with_labels(&teams(&[2, 3]), &[("team", "team:"), ("site", "site:")]);
    for family in &exposition.families {
        let labelled = FLEET.contains(&family.name.as_str()) || family.name == "mde_machine_info";
        for sample in exposition.samples(&family.name) {
            let labels = ["team", "site"].map(|label| sample.labels.contains_key(label));
            assert_eq!(labels, [labelled; 2], "{}", family.name);
        }
        if labelled {
            assert_eq!(values(&exposition, &family.name, "team"), ["00", "01"].into(), "{}", family.name);
            assert_eq!(values(&exposition, &family.name, "site"), [""].into(), "{}", family.name);
        }
    }
}

#[test]
fn labels_and_columns_beside_own_labels_are_refused() {
    let of_machines = families::MACHINE.iter().map(|family| &family.descriptor);
    let families = families::FLEET.iter().map(|family| &family.descriptor).chain(of_machines);
    let labels = families.filter(|family| family.has_own_labels).flat_map(|family| family.labels).copied();
    let taken: BTreeSet<&str> = labels.chain(FIRST_COLUMNS).chain(LAST_COLUMNS).collect();
    assert!(["os_version", "exception_until"].iter().all(|name| taken.contains(name)), "{taken:?}");
    for name in taken {
        let file = format!("metrics: {{ labels: {{ {name}: {{ tag_prefix: a }} }} }}");
        let error = config::parse(Path::new("f.yml"), file.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("metrics.labels.{name} (line 1, column 22): is taken: ")), "{error}");
    }
}

#[test]
fn tenant_without_machines_has_policies_with_empty_labels() {
    let fleets = [Arc::new(TenantFleet::new("t".into()))];
    let exposition = with_labels(&fleets, &[("team", "team:")]);
    assert_eq!(exposition.count("mde_policy_machines"), 12.0, "2 policies, all states");
    assert_eq!(values(&exposition, "mde_policy_machines", "team"), [""].into());
}

#[test]
fn own_labels_give_way_after_machines_and_before_groups() {
    let fleets = teams(&[3; 20]);
    let whole = body_with(&fleets, &options(&[("team", "team:")], DetailLevel::Update, 0));
    let [fleet, machine, update] = whole.budget().series;
    let within = |limit| body_with(&fleets, &options(&[("team", "team:")], DetailLevel::Update, limit));
    for limit in [fleet + machine + update - 1, fleet + machine - 1, fleet] {
        assert_eq!(values(&parsed(&within(limit)), "mde_policy_machines", "team").len(), 20, "{limit}");
    }
    let body = within(fleet - 1);
    let reduced = parsed(&body);
    let plain = with_labels(&fleets, &[]);
    for family in FLEET {
        assert_eq!(values(&reduced, family, "team"), ["other"].into(), "{family}");
        assert_eq!(sums(&reduced, family, &["team"]), sums(&plain, family, &[]), "{family}");
    }
    assert_eq!(reduced.count("mde_update_info"), 2.0);
    let left = body.budget().series[0];
    assert_eq!(body.budget().suppressed, [fleet - left, machine, update]);
    let folded = parsed(&within(left - 1));
    let groups = values(&folded, "mde_assessed_machines", "device_group");
    assert_eq!((groups, folded.count("mde_update_info")), (["other"].into(), 2.0));
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_own_labels(fleets in any_fleets()) {
        let labels = [("team", "team:"), ("anything", ""), ("letter", "a")];
        let (labelled, plain) = (with_labels(&fleets, &labels), with_labels(&fleets, &[]));
        let over = labels.map(|(name, _)| name);
        for family in &plain.families {
            let name = &family.name;
            if name != "mde_machine_info" {
                prop_assert_eq!(sums(&labelled, name, &over), sums(&plain, name, &[]), "{}", name);
            }
        }
        prop_assert_eq!(labelled.families.len(), plain.families.len());
        let mut infos = labelled.samples("mde_machine_info");
        for machine in fleets.iter().flat_map(|fleet| fleet.supported_machines()) {
            let info = infos.next().unwrap();
            for (name, prefix) in labels {
                let value = OwnLabel::new(name.into(), prefix).value(machine.facts.tags.as_deref()).to_owned();
                prop_assert_eq!(info.label(name), value);
            }
        }
    }

    #[test]
    fn no_exposition_with_own_labels_exceeds_the_limit(
        fleets in any_fleets(),
        limit in prop_oneof![1_u64..1000, 1_u64..150],
        detail in prop::sample::select(DetailLevel::ALL.to_vec()),
    ) {
        let options = |limit| options(&[("team", "team:"), ("anything", "")], detail, limit);
        let (whole, body) = (body_with(&fleets, &options(0)), body_with(&fleets, &options(limit)));
        let text = answer(&body, DetailLevel::Update, ExpositionFormat::Text);
        parse(&text).expect("the format");
        let lines = text.lines().filter(|line| !line.starts_with('#')).count() as u64;
        let served = body.budget();
        prop_assert!(lines <= limit, "{} within {}", lines, limit);
        prop_assert_eq!(lines, served.series.iter().sum::<u64>());
        for level in 0..3 {
            prop_assert_eq!(served.series[level] + served.suppressed[level], whole.budget().series[level]);
        }
    }
}

//! Series that are omitted to stay within the limit.

use std::sync::Arc;

use mde_exporter::facts::Facts;
use mde_exporter::fleet::{MachineFacts, TenantFleet};
use mde_exporter::metrics::Body;
use mde_exporter::metrics::families::FLEET;
use mde_exporter::model::{DetailLevel, ExpositionFormat, Freshness, MachineId};
use proptest::prelude::*;

use crate::support::exposition::{Exposition, parse};
use crate::support::fleets::{
    FIRST_SEEN, answer, any_fleets, body_of, body_within, now, special_case_fleets, special_case_policies,
    update,
};

fn text(body: &Body, level: DetailLevel) -> String {
    answer(body, level, ExpositionFormat::Text)
}

fn parsed(body: &Body, level: DetailLevel) -> Exposition {
    parse(&text(body, level)).expect("the format")
}

fn lines(text: &str) -> u64 {
    text.lines().filter(|line| !line.starts_with('#')).count() as u64
}

fn within(fleets: &[Arc<TenantFleet>], detail: DetailLevel, limit: u64) -> Body {
    body_within(fleets, &special_case_policies(), detail, limit)
}

#[test]
fn the_deepest_level_within_the_limit_is_served() {
    let fleets = special_case_fleets();
    let [fleet, machine, update] = body_of(&fleets).budget().series;
    let all = fleet + machine + update;
    for (detail, limit, deepest, suppressed) in [
        (DetailLevel::Update, 0, DetailLevel::Update, [0, 0, 0]),
        (DetailLevel::Update, all, DetailLevel::Update, [0, 0, 0]),
        (DetailLevel::Update, all - 1, DetailLevel::Machine, [0, 0, update]),
        (DetailLevel::Update, fleet + machine, DetailLevel::Machine, [0, 0, update]),
        (DetailLevel::Update, fleet + machine - 1, DetailLevel::Fleet, [0, machine, update]),
        (DetailLevel::Update, fleet, DetailLevel::Fleet, [0, machine, update]),
        (DetailLevel::Machine, 0, DetailLevel::Machine, [0, 0, 0]),
        (DetailLevel::Machine, fleet + machine, DetailLevel::Machine, [0, 0, 0]),
        (DetailLevel::Machine, fleet + machine - 1, DetailLevel::Fleet, [0, machine, 0]),
        (DetailLevel::Fleet, fleet, DetailLevel::Fleet, [0, 0, 0]),
    ] {
        let body = within(&fleets, detail, limit);
        let served = body.budget();
        assert_eq!((served.deepest, served.suppressed), (deepest, suppressed), "{detail:?} within {limit}");
        assert_eq!((served.limit, served.wanted), (limit, detail));
        let text = text(&body, DetailLevel::Update);
        assert_eq!(
            text.contains("mde_machine_info{"),
            deepest >= DetailLevel::Machine,
            "{detail:?} within {limit}"
        );
        assert_eq!(text.contains(FIRST_SEEN), deepest == DetailLevel::Update, "{detail:?} within {limit}");
    }
}

/// A tenant with `sizes[n]` machines in group `n`.
fn grouped(sizes: &[u32]) -> Arc<TenantFleet> {
    let mut fleet = TenantFleet::new("t".into());
    let machines = sizes.iter().zip(0..).flat_map(|(size, group)| {
        (0..*size).map(move |number| MachineFacts {
            device_group: format!("group {group}"),
            ..MachineFacts::unlisted(MachineId::parse(&format!("{group}-{number}")).unwrap())
        })
    });
    fleet.apply_list(machines.collect(), now(), &freshness());
    Arc::new(fleet)
}

fn freshness() -> Freshness {
    mde_exporter::model::Freshness::DEFAULT
}

#[test]
fn small_groups_are_folded_when_the_fleet_level_is_too_large() {
    let fleets = [grouped(&[1, 5, 2, 4, 3])];
    let whole = body_of(&fleets).budget().series[0];
    // Two groups of seven series each are too many.
    let body = within(&fleets, DetailLevel::Update, whole - 8);
    let parsed = parsed(&body, DetailLevel::Update);
    let machines = parsed.sum_by("mde_assessed_machines", "device_group");
    let expected = [("group 1", 5.0), ("group 3", 4.0), ("other", 6.0)];
    assert_eq!(machines, expected.map(|(group, machines)| (group.to_owned(), machines)).into());
    assert_eq!(body.budget().suppressed, [14, 15, 0]);
    assert_eq!(body.budget().series, [whole - 14, 0, 0]);
}

#[test]
fn updates_missing_on_fewest_machines_are_omitted() {
    let mut fleet = Arc::unwrap_or_clone(grouped(&[3]));
    for (machine, kbs) in [("0-0", &["1", "2", "3"][..]), ("0-1", &["1", "3"]), ("0-2", &["3"])] {
        let missing: Vec<_> = kbs.iter().map(|kb| update(kb, "", &[], None)).collect();
        fleet.apply_answer(
            &MachineId::parse(machine).unwrap(),
            now(),
            missing,
            &freshness(),
            &Facts::default(),
        );
    }
    let fleets = [Arc::new(fleet)];
    let whole = body_of(&fleets).budget().series[0];
    for (limit, expected) in [
        (whole, &["1", "2", "3"][..]),
        (whole - 1, &["1", "3"]),
        (whole - 3, &["1", "3"]),
        (whole - 4, &["3"]),
        (whole - 7, &[]),
    ] {
        let body = within(&fleets, DetailLevel::Update, limit);
        let parsed = parsed(&body, DetailLevel::Update);
        for family in ["info", "missing_machines", "first_seen_timestamp_seconds"] {
            let family = format!("mde_update_{family}");
            let shown: Vec<_> = parsed.samples(&family).map(|sample| sample.label("kb")).collect();
            assert_eq!(shown, expected, "{family} within {limit}");
        }
        assert_eq!(parsed.sum("mde_missing_updates"), 6.0, "sums over machines stay");
        assert_eq!(body.budget().suppressed[0], 9 - 3 * expected.len() as u64);
    }
}

#[test]
fn groups_and_updates_share_the_remaining_series() {
    let mut fleet = Arc::unwrap_or_clone(grouped(&[1; 12]));
    let missing: Vec<_> = (1..=20).map(|kb| update(&kb.to_string(), "", &[], None)).collect();
    fleet.apply_answer(&MachineId::parse("0-0").unwrap(), now(), missing, &freshness(), &Facts::default());
    let fleets = [Arc::new(fleet)];
    // The machines have one version of Windows, with four series.
    let others = body_of(&fleets).budget().series[0] - 12 * 7 - 4 - 20 * 3;
    for (room, groups, updates) in
        [(148, 12, 20), (147, 11, 20), (64, 4, 10), (65, 4, 11), (77, 4, 15), (78, 5, 13)]
    {
        let parsed = parsed(&within(&fleets, DetailLevel::Fleet, others + room), DetailLevel::Fleet);
        assert_eq!(parsed.count("mde_compliant_machines"), f64::from(groups), "groups in {room}");
        assert_eq!(parsed.count("mde_update_info"), f64::from(updates), "updates in {room}");
    }
}

#[test]
fn versions_that_few_machines_have_are_counted_together() {
    let mut fleet = TenantFleet::new("t".into());
    let machines = (0..9_u32).map(|number| MachineFacts {
        os_platform: "Windows11".to_owned(),
        os_version: if number < 3 { "22H2".to_owned() } else { format!("preview {number}") },
        os_build: (number < 3).then_some(22_621),
        ..MachineFacts::unlisted(MachineId::parse(&number.to_string()).unwrap())
    });
    fleet.apply_list(machines.collect(), now(), &freshness());
    let fleets = [Arc::new(fleet)];
    let limit = body_of(&fleets).budget().series[0] - 5 * 4;
    let parsed = parsed(&within(&fleets, DetailLevel::Fleet, limit), DetailLevel::Fleet);
    let versions = parsed.sum_by("mde_servicing_machines", "os_version");
    assert_eq!(versions, [("22H2".to_owned(), 3.0), ("other".to_owned(), 6.0)].into());
    assert_eq!(parsed.count("mde_servicing_end_timestamp_seconds"), 2.0, "Pro and Enterprise of 22H2");
}

/// The ends of a version are written once for all tenants.
#[test]
fn no_family_is_omitted_while_versions_can_be_folded() {
    let fleet = |tenant: usize| {
        let mut fleet = TenantFleet::new(format!("t{tenant}").into());
        let machines = (0..13).map(|number| MachineFacts {
            os_platform: "Windows11".to_owned(),
            os_version: format!("version {number}"),
            os_build: Some(22_621),
            ..MachineFacts::unlisted(MachineId::parse(&number.to_string()).unwrap())
        });
        fleet.apply_list(machines.collect(), now(), &freshness());
        Arc::new(fleet)
    };
    let fleets: Vec<_> = (0..20).map(fleet).collect();
    let whole = body_of(&fleets).budget().series[0];
    let names = |limit| {
        let parsed = parsed(&within(&fleets, DetailLevel::Fleet, limit), DetailLevel::Fleet);
        assert_eq!(parsed.sum("mde_servicing_machines"), 20.0 * 13.0, "{limit}");
        parsed.families.into_iter().map(|family| family.name).collect::<Vec<_>>()
    };
    for folded in [1, 20 * 4, 20 * 4 * 6, 20 * 4 * 11] {
        assert_eq!(names(whole - folded), names(whole), "{folded} series less");
    }
}

#[test]
fn families_are_omitted_from_the_end_of_the_table() {
    let fleets = [Arc::new(TenantFleet::new("t".into()))];
    let shown = |limit| {
        let parsed = parsed(&within(&fleets, DetailLevel::Update, limit), DetailLevel::Update);
        parsed.families.into_iter().map(|family| family.name).collect::<Vec<_>>()
    };
    assert_eq!(shown(1), ["mde_up"]);
    assert_eq!(shown(6), ["mde_up", "mde_missing_updates"]);
    let last = FLEET.last().unwrap().descriptor.name;
    let whole = body_of(&fleets).budget().series[0];
    assert!(shown(whole).contains(&last.to_owned()) && !shown(whole - 1).contains(&last.to_owned()));
}

proptest! {
    #[test]
    fn no_exposition_exceeds_the_limit(
        fleets in any_fleets(),
        limit in prop_oneof![0_u64..1000, 0_u64..100],
        detail in prop::sample::select(DetailLevel::ALL.to_vec()),
    ) {
        let (whole, body) = (within(&fleets, detail, 0), within(&fleets, detail, limit));
        let served = body.budget();
        for level in DetailLevel::ALL {
            let text = text(&body, level);
            parse(&text).expect("the format");
            prop_assert!(limit == 0 || lines(&text) <= limit, "{} within {limit}", lines(&text));
            prop_assert_eq!(lines(&text), served.series[..=level as usize].iter().sum::<u64>());
        }
        for level in 0..3 {
            let series = served.series[level] + served.suppressed[level];
            prop_assert_eq!(series, whole.budget().series[level], "level {}", level);
        }
        prop_assert!(served.deepest <= detail);
        let again = within(&fleets, detail, limit);
        prop_assert_eq!(text(&body, DetailLevel::Update), text(&again, DetailLevel::Update));
    }

    /// Sums over groups do not depend on the folded groups.
    #[test]
    fn folding_loses_no_machine(
        sizes in prop::collection::vec(1_u32..5, 1..20),
        limit in 40_u64..150,
    ) {
        let fleets = [grouped(&sizes)];
        let sums = |body: &Body| {
            let parsed = parsed(body, DetailLevel::Fleet);
            ["mde_assessed_machines", "mde_compliant_machines"].map(|family| parsed.sum(family))
        };
        prop_assert_eq!(sums(&within(&fleets, DetailLevel::Fleet, limit)), sums(&body_of(&fleets)));
    }
}

//! The exposition of whole fleets, read by an independent parser.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mde_exporter::metrics::families::{FLEET, MACHINE, UPDATE};
use mde_exporter::model::{ExpositionFormat, FailureReason};
use mde_exporter::self_metrics::SelfMetrics;
use proptest::prelude::*;

use crate::support::exposition::parse;
use crate::support::fleets::{
    FIRST_SEEN, any_fleets, body_of, is_past_servicing, parsed, special_case_fleets, text_of,
};
use crate::support::golden::assert_golden;

#[test]
fn golden_exposition() {
    let text = text_of(&special_case_fleets());
    parse(&text).unwrap();
    assert_golden("exposition", text);
}

/// A row with a wrong number of labels panics, so that every row function must run in a test.
#[test]
fn golden_exposition_has_every_family_of_the_table() {
    let parsed = parsed(&special_case_fleets());
    let shown: Vec<&str> = parsed.families.iter().map(|family| family.name.as_str()).collect();
    let fleet = FLEET.iter().map(|family| family.descriptor.name);
    let machine = MACHINE.iter().chain(UPDATE).map(|family| family.descriptor.name);
    assert_eq!(shown, fleet.chain(machine).collect::<Vec<_>>());
}

#[test]
fn order_of_tenants_does_not_change_the_bytes() {
    let mut fleets = special_case_fleets();
    let text = text_of(&fleets);
    fleets.reverse();
    assert_eq!(text_of(&fleets), text);
}

#[test]
fn duplicate_tenant_gives_no_duplicate_series() {
    let mut fleets = special_case_fleets();
    fleets.extend(special_case_fleets());
    parse(&text_of(&fleets)).unwrap();
}

#[test]
fn whole_scrape_follows_the_format() {
    let metrics = Arc::new(SelfMetrics::new("0.0.0"));
    metrics.tenant("contoso").poll_failed(FailureReason::Network);
    let body = body_of(&special_case_fleets());
    let parsed =
        parse(std::str::from_utf8(&body.plain(&metrics.encode(ExpositionFormat::Text))).unwrap()).unwrap();
    assert_eq!(parsed.value("mde_exporter_poll_failures_total", &[("reason", "network")]), Some(1.0));
    assert_eq!(parsed.count("process_open_fds"), 1.0);
}

#[test]
fn unknown_values_have_no_series() {
    let text = text_of(&special_case_fleets());
    let parsed = parse(&text).unwrap();
    let of = |machine: &str, family: &str| {
        let name = format!("mde_machine_{family}");
        parsed.value(&name, &[("tenant", "contoso"), ("machine_id", machine)])
    };
    for unassessed in ["a5", "a6", "a7"] {
        assert_eq!(of(unassessed, "info"), Some(1.0));
        assert_eq!(of(unassessed, "missing_updates"), None);
        assert_eq!(of(unassessed, "missing_updates_addressed_cves"), None);
        assert_eq!(of(unassessed, "overdue_updates"), None);
        assert_eq!(of(unassessed, "oldest_missing_update_timestamp_seconds"), None);
    }
    assert_eq!(of("a3", "missing_updates"), Some(0.0));
    assert_eq!(of("a3", "overdue_updates"), Some(0.0));
    assert_eq!(of("a3", "oldest_missing_update_timestamp_seconds"), None);
    assert_eq!(of("a8", "info"), None, "unsupported");
    assert_eq!((of("a9", "up"), of("a9", "missing_updates")), (Some(1.0), None), "unreadable");
    assert_eq!(of("a4", "up"), Some(0.0), "a failed attempt");
    assert_eq!(of("a4", "missing_updates"), Some(1.0), "keeps the data");
    assert_eq!(of("a7", "up"), None, "no attempt yet");
    assert_eq!(parsed.value("mde_up", &[("tenant", "a-tenant-not-yet-read")]), Some(0.0));
    assert_eq!(parsed.count("mde_missing_updates"), 15.0, "all severities, always");
}

proptest! {
    #[test]
    fn levels_of_detail_agree(fleets in any_fleets()) {
        let parsed = parsed(&fleets);
        let missing_updates = parsed.count(FIRST_SEEN);
        prop_assert_eq!(parsed.sum("mde_machine_missing_updates"), missing_updates);
        prop_assert_eq!(parsed.sum("mde_missing_updates"), missing_updates);
        prop_assert_eq!(parsed.sum_by("mde_update_missing_machines", "kb"), parsed.count_by(FIRST_SEEN, "kb"));
        let mut supported: BTreeMap<String, f64> = BTreeMap::new();
        for sample in parsed.samples("mde_assessed_machines") {
            if sample.label("state") != "unsupported" && sample.value > 0.0 {
                *supported.entry(sample.label("tenant").to_owned()).or_default() += sample.value;
            }
        }
        prop_assert_eq!(supported, parsed.count_by("mde_machine_info", "tenant"));
        let ended = fleets.iter().flat_map(|fleet| {
            let ended = fleet.machines.values().filter(|machine| is_past_servicing(machine));
            ended.map(|machine| (&*fleet.tenant, machine.facts.id.as_str()))
        });
        let ended: BTreeSet<_> = ended.collect();
        let clean = parsed.samples("mde_machine_missing_updates").filter(|sample| {
            sample.value == 0.0 && !ended.contains(&(sample.label("tenant"), sample.label("machine_id")))
        });
        prop_assert_eq!(parsed.sum("mde_compliant_machines"), clean.count() as f64);
    }

    #[test]
    fn every_label_survives_escaping(fleets in any_fleets()) {
        let parsed = parsed(&fleets);
        let mut infos = parsed.samples("mde_machine_info");
        for fleet in &fleets {
            for machine in fleet.supported_machines() {
                let info = infos.next().unwrap();
                prop_assert_eq!(info.label("tenant"), &*fleet.tenant);
                prop_assert_eq!(info.label("machine_id"), machine.facts.id.as_str());
                prop_assert_eq!(info.label("machine"), &machine.facts.name);
                prop_assert_eq!(info.label("os_platform"), &machine.facts.os_platform);
                prop_assert_eq!(info.label("os_version"), &machine.facts.os_version);
                prop_assert_eq!(info.label("device_group"), &machine.facts.device_group);
            }
        }
        prop_assert!(infos.next().is_none());
    }
}

//! The families that show facts about KBs.

use std::sync::Arc;

use mde_exporter::facts::{Facts, KbFacts, KnownExploited};
use mde_exporter::fleet::{MachineFacts, ReportedUpdate, TenantFleet};
use mde_exporter::metrics::{RenderOptions, Renderer};
use mde_exporter::model::{CvssScore, FactsSource, Freshness, KbId, MachineId, Severity, VendorSeverity};

use crate::support::exposition::{Exposition, parse};
use crate::support::fleets::{now, update};

const MAY: &str = "5000005";
const JUNE: &str = "5000006";
const JULY: &str = "5000007";
const OTHER: &str = "5000009";

const FAMILIES: [&str; 10] = [
    "mde_missing_exploited_updates",
    "mde_machines_missing_exploited_updates",
    "mde_missing_updates_vendor_severity",
    "mde_update_exploited",
    "mde_update_known_exploited_cves",
    "mde_update_known_exploited_due_timestamp_seconds",
    "mde_update_vendor_severity_info",
    "mde_update_cvss_score",
    "mde_update_epss_probability",
    "mde_machine_missing_exploited_updates",
];

/// May's update is superseded by June's, that by July's. June's alone is exploited, by KEV or by Microsoft.
fn facts(loaded: &[FactsSource], known_exploited: bool) -> Facts {
    let kb = |text: &str| KbId::parse(text).unwrap();
    let has_kev = loaded.contains(&FactsSource::Kev);
    let since = "2024-06-01T00:00:00Z".parse().unwrap();
    let known = KnownExploited { cves: 1, since, due: None, ransomware: false };
    let not_exploited = KbFacts { exploited: has_kev.then_some(false), ..KbFacts::default() };
    let may = KbFacts { vendor_severity: Some(VendorSeverity::Moderate), ..not_exploited.clone() };
    let june = KbFacts {
        exploited: Some(true),
        known_exploited: (has_kev && known_exploited).then_some(known),
        supersedes: [kb(MAY)].into(),
        cvss: CvssScore::new(9.1),
        epss: Some(0.000_04),
        ..KbFacts::default()
    };
    let july = KbFacts { supersedes: [kb(JUNE)].into(), cvss: CvssScore::new(6.5), ..not_exploited };
    Facts::new(loaded.iter().copied(), [(kb(MAY), may), (kb(JUNE), june), (kb(JULY), july)])
}

fn all_facts() -> Facts {
    facts(&[FactsSource::Msrc, FactsSource::Kev, FactsSource::Epss], true)
}

/// A tenant whose only machine gave these answers, one an hour.
fn tenant(name: &str, answers: &[&[ReportedUpdate]], facts: &Facts) -> Arc<TenantFleet> {
    let freshness = Freshness::DEFAULT;
    let id = MachineId::parse("a1").unwrap();
    let mut fleet = TenantFleet::new(name.into());
    fleet.apply_list(vec![MachineFacts::unlisted(id.clone())], now(), &freshness);
    for answer in answers {
        fleet.apply_answer(&id, now(), answer.to_vec(), &freshness, facts);
    }
    Arc::new(fleet)
}

fn missing(kb: &str) -> ReportedUpdate {
    update(kb, "", &[], None)
}

fn exposition(fleets: &[Arc<TenantFleet>], facts: &Facts) -> Exposition {
    let options = RenderOptions { freshness: Freshness::DEFAULT, ..RenderOptions::default() };
    let text = Renderer::default().render(fleets, now(), &options, facts).plain(b"");
    parse(std::str::from_utf8(&text).unwrap()).unwrap()
}

#[test]
fn families_of_facts_are_absent_without_facts() {
    let none = Facts::default();
    let parsed = exposition(&[tenant("t", &[&[missing(JUNE)]], &none)], &none);
    for family in FAMILIES {
        assert_eq!(parsed.samples(family).count(), 0, "{family}");
    }
    assert_eq!(parsed.value("mde_missing_updates", &[("severity", "unknown")]), Some(1.0));
    assert_eq!(parsed.value("mde_missing_updates_superseded_total", &[]), Some(0.0));
}

#[test]
fn families_of_a_kb_have_no_tenant_and_one_sample() {
    let facts = all_facts();
    let fleets = ["a", "b"].map(|name| tenant(name, &[&[missing(JUNE), missing(OTHER)]], &facts));
    let parsed = exposition(&fleets, &facts);
    for (family, value) in [
        ("mde_update_exploited", 1.0),
        ("mde_update_known_exploited_cves", 1.0),
        ("mde_update_cvss_score", 9.1),
        ("mde_update_epss_probability", 0.000_04),
    ] {
        let samples: Vec<_> = parsed.samples(family).collect();
        assert_eq!(samples.len(), 1, "{family}: an update without facts has no sample");
        assert_eq!((samples[0].label("kb"), samples[0].value), (JUNE, value), "{family}");
        assert!(!samples[0].labels.contains_key("tenant"), "{family}");
    }
    let due = "mde_update_known_exploited_due_timestamp_seconds";
    assert_eq!(parsed.samples(due).count(), 0, "the catalogue has no due date");
    assert_eq!(parsed.samples("mde_update_vendor_severity_info").count(), 0, "not rated");
    assert_eq!(parsed.value("mde_missing_updates", &[("tenant", "a"), ("severity", "critical")]), Some(1.0));
    assert_eq!(parsed.value("mde_missing_updates", &[("tenant", "a"), ("severity", "unknown")]), Some(1.0));
}

#[test]
fn severity_of_an_export_is_the_one_of_defender() {
    let facts = all_facts();
    let reported = ReportedUpdate { severity: Some(Severity::Low), ..missing(JUNE) };
    let parsed = exposition(&[tenant("t", &[&[reported, missing(JULY)]], &facts)], &facts);
    let count = |severity| parsed.value("mde_missing_updates", &[("severity", severity)]);
    assert_eq!(["critical", "medium", "low"].map(count), [Some(0.0), Some(1.0), Some(1.0)]);
}

#[test]
fn vendor_severities_are_all_exported() {
    let facts = all_facts();
    let parsed = exposition(&[tenant("t", &[&[missing(MAY), missing(OTHER)]], &facts)], &facts);
    let count = |word| parsed.value("mde_missing_updates_vendor_severity", &[("vendor_severity", word)]);
    let counts = ["critical", "important", "moderate", "low", "unknown"].map(count);
    assert_eq!(counts, [Some(0.0), Some(0.0), Some(1.0), Some(0.0), Some(1.0)]);
    assert_eq!(
        parsed.value("mde_update_vendor_severity_info", &[("kb", MAY), ("vendor_severity", "moderate")]),
        Some(1.0)
    );
}

#[test]
fn successor_of_an_exploited_update_counts_as_exploited() {
    let facts = all_facts();
    let answers = [&[missing(JUNE)][..], &[missing(JULY)]];
    let parsed = exposition(&[tenant("t", &answers, &facts)], &facts);
    assert_eq!(parsed.value("mde_missing_exploited_updates", &[]), Some(1.0));
    assert_eq!(parsed.value("mde_machines_missing_exploited_updates", &[]), Some(1.0));
    assert_eq!(parsed.value("mde_machine_missing_exploited_updates", &[]), Some(1.0));
    assert_eq!(parsed.value("mde_update_exploited", &[("kb", JULY)]), Some(0.0), "its own facts");
    assert_eq!(parsed.value("mde_update_superseded_info", &[("kb", JUNE), ("by", JULY)]), Some(1.0));
    assert_eq!(parsed.value("mde_missing_updates_superseded_total", &[]), Some(1.0));
    assert_eq!(parsed.value("mde_missing_updates_resolved_total", &[]), Some(0.0));
}

#[test]
fn newest_missing_update_takes_the_place_of_older_ones() {
    let facts = all_facts();
    let all = [missing(MAY), missing(JUNE), missing(JULY), missing(OTHER)];
    let parsed = exposition(&[tenant("t", &[&all], &facts)], &facts);
    let superseded = parsed.samples("mde_update_superseded_info");
    let superseded: Vec<_> = superseded.map(|sample| (sample.label("kb"), sample.label("by"))).collect();
    assert_eq!(superseded, [(MAY, JULY), (JUNE, JULY)]);
}

#[test]
fn facts_without_kev_never_read_as_not_exploited() {
    let facts = facts(&[FactsSource::Msrc], false);
    let fleets =
        [tenant("a", &[&[missing(JUNE), missing(JULY)]], &facts), tenant("b", &[&[missing(JULY)]], &facts)];
    let parsed = exposition(&fleets, &facts);
    assert_eq!(parsed.value("mde_update_exploited", &[("kb", JUNE)]), Some(1.0));
    assert_eq!(parsed.value("mde_update_exploited", &[("kb", JULY)]), None);
    for family in [FAMILIES[0], FAMILIES[1], FAMILIES[9]] {
        assert_eq!(parsed.value(family, &[("tenant", "a")]), Some(1.0), "{family}");
        assert_eq!(parsed.value(family, &[("tenant", "b")]), None, "{family}");
    }
    assert_eq!(parsed.samples("mde_update_known_exploited_cves").count(), 0);
}

//! The presets, row by row.

use super::*;

/// A machine and an update, as the rows of the table describe them.
struct Case {
    facts: KbFacts,
    products: &'static [&'static str],
    platform: &'static str,
    tags: &'static [&'static str],
}

fn case() -> Case {
    let facts = KbFacts {
        exploited: Some(false),
        vendor_severity: Some(VendorSeverity::Moderate),
        cvss: CvssScore::new(6.9),
        ..KbFacts::default()
    };
    Case { facts, products: &["windows_11"], platform: "Windows11", tags: &[] }
}

fn rated(severity: Option<VendorSeverity>, score: f64) -> KbFacts {
    KbFacts { vendor_severity: severity, cvss: CvssScore::new(score), ..case().facts }
}

fn exploited() -> KbFacts {
    KbFacts { exploited: Some(true), ..case().facts }
}

fn server(case: Case) -> Case {
    Case { platform: "WindowsServer2022", tags: &["Internet-facing"], ..case }
}

fn office(case: Case) -> Case {
    Case { products: &["office_2016"], ..case }
}

/// The hours from the release to the deadline; none without one.
fn hours(preset: PolicyPreset, case: Case) -> Option<i64> {
    let released = ago(days(5));
    let facts = facts([(1, KbFacts { released: Some(released), ..case.facts })]);
    let mut missing = missing(1, "", days(1));
    let products = case.products.iter().map(|&product| product.to_owned()).collect();
    missing.update.facts = Arc::new(UpdateFacts { title: String::new(), products });
    let mut fleet = one_machine(vec![missing]);
    change(&mut fleet, 0, |machine| {
        machine.facts.os_platform = case.platform.to_owned();
        machine.facts.tags = Some(case.tags.iter().map(|&tag| tag.to_owned()).collect());
    });
    let deadline = verdicts(&fleet, &preset.policy("p".into()), &facts)[0].deadline?;
    Some(deadline.duration_since(released).as_hours())
}

const DAY: i64 = 24;

#[test]
fn cyber_essentials_is_the_table() {
    use VendorSeverity::{Critical, Important, Low, Moderate};
    for (facts, expected) in [
        (rated(Some(Critical), 1.0), Some(14 * DAY)),
        (rated(Some(Important), 1.0), Some(14 * DAY)),
        (rated(None, 1.0), Some(14 * DAY)),
        (rated(Some(Moderate), 7.0), Some(14 * DAY)),
        (rated(Some(Low), 0.0), Some(14 * DAY)),
        (rated(Some(Moderate), 6.9), None),
        (exploited(), None),
    ] {
        let text = format!("{facts:?}");
        assert_eq!(hours(PolicyPreset::CyberEssentials, Case { facts, ..case() }), expected, "{text}");
    }
}

#[test]
fn pci_dss_is_the_table() {
    for (severity, expected) in [
        (Some(VendorSeverity::Critical), 30),
        (None, 30),
        (Some(VendorSeverity::Important), 90),
        (Some(VendorSeverity::Low), 90),
    ] {
        let facts = rated(severity, 9.8);
        assert_eq!(
            hours(PolicyPreset::PciDss, Case { facts, ..case() }),
            Some(expected * DAY),
            "{severity:?}"
        );
    }
}

#[test]
fn essential_eight_one_and_two_are_the_table() {
    let critical = || rated(Some(VendorSeverity::Critical), 1.0);
    for preset in [PolicyPreset::EssentialEightMl1, PolicyPreset::EssentialEightMl2] {
        let on_server = |facts| hours(preset, server(Case { facts, ..case() }));
        assert_eq!(on_server(exploited()), Some(48));
        assert_eq!(on_server(critical()), Some(48));
        assert_eq!(on_server(rated(None, 1.0)), Some(48));
        assert_eq!(on_server(rated(Some(VendorSeverity::Important), 9.8)), Some(14 * DAY));
        let workstation = Case { tags: &["internet-facing"], facts: exploited(), ..case() };
        assert_eq!(hours(preset, workstation), Some(30 * DAY), "no server");
        let inner_server = Case { platform: "WindowsServer2022", facts: critical(), ..case() };
        assert_eq!(hours(preset, inner_server), Some(30 * DAY), "no tag");
        assert_eq!(hours(preset, office(case())), Some(14 * DAY));
        let of_both = Case { products: &["office_2016", "windows_11"], ..case() };
        assert_eq!(hours(preset, of_both), Some(30 * DAY));
        assert_eq!(hours(preset, case()), Some(30 * DAY));
    }
}

#[test]
fn essential_eight_three_is_the_table() {
    let preset = PolicyPreset::EssentialEightMl3;
    assert_eq!(hours(preset, Case { facts: exploited(), ..case() }), Some(48));
    assert_eq!(hours(preset, Case { facts: rated(Some(VendorSeverity::Critical), 1.0), ..case() }), Some(48));
    assert_eq!(hours(preset, Case { facts: rated(None, 1.0), ..case() }), Some(48));
    assert_eq!(hours(preset, server(case())), Some(14 * DAY));
    assert_eq!(hours(preset, office(case())), Some(14 * DAY));
    assert_eq!(hours(preset, case()), Some(30 * DAY));
}

#[test]
fn cisa_directive_is_the_table() {
    let preset = PolicyPreset::CisaBod2604;
    let listed = |due| KbFacts {
        known_exploited: Some(KnownExploited { cves: 1, since: ago(days(4)), due, ransomware: false }),
        ..exploited()
    };
    let due = Some(ago(days(5)) + days(21));
    assert_eq!(hours(preset, Case { facts: listed(due), ..case() }), Some(21 * DAY));
    assert_eq!(hours(preset, Case { facts: listed(None), ..case() }), None);
    let facing = |facts| hours(preset, Case { tags: &["INTERNET-FACING"], facts, ..case() });
    assert_eq!(facing(listed(due)), Some(21 * DAY));
    assert_eq!(facing(listed(None)), Some(14 * DAY));
    assert_eq!(facing(exploited()), Some(14 * DAY), "reported by Microsoft alone");
    assert_eq!(hours(preset, Case { facts: exploited(), ..case() }), None);
}

//! Machines of which Defender lists no missing updates.

use super::*;
use crate::facts::Facts;

#[test]
fn machine_is_unsupported_by_its_platform_or_its_onboarding() {
    use Onboarding::{NotOnboarded, Onboarded, Unreported};
    for (platform, onboarding, supported) in [
        ("Windows11", Onboarded, true),
        ("WINDOWSServer2022", Onboarded, true),
        ("windows10WVD", Unreported, true),
        ("", Onboarded, true),
        ("", Unreported, true),
        ("", NotOnboarded, false),
        ("Windows11", NotOnboarded, false),
        ("Window", Onboarded, false),
        ("macOS", Onboarded, false),
        ("Ubuntu", Unreported, false),
        ("iOS", Unreported, false),
        ("Other", NotOnboarded, false),
        ("日本語", Unreported, false),
    ] {
        let facts = MachineFacts { os_platform: platform.to_owned(), onboarding, ..named(1, "a") };
        assert_eq!(facts.is_supported(), supported, "{platform} {onboarding:?}");
    }
}

#[test]
fn machine_that_becomes_unsupported_fixes_nothing() {
    let with = |platform: &str, onboarding, last_seen| MachineFacts {
        os_platform: platform.to_owned(),
        onboarding,
        last_seen,
        ..named(1, "a")
    };
    let windows = || with("Windows11", Onboarding::Onboarded, None);
    let long_ago = Some(second(-3_000_000));
    for unsupported in
        [with("Windows11", Onboarding::NotOnboarded, None), with("Linux", Onboarding::Onboarded, long_ago)]
    {
        let mut fleet = fleet_of(&[windows()]);
        fleet.apply_answer(&id(1), second(0), missing(&[7, 8]), &FRESHNESS, &Facts::default());
        fleet.apply_list(vec![unsupported], second(10), &FRESHNESS);
        fleet.apply_answer(&id(1), second(20), missing(&[]), &FRESHNESS, &Facts::default());
        export(&mut fleet, 30, &[(1, &[])]);
        let machine = &fleet.machines[&id(1)];
        assert_eq!(machine.state(second(30), &FRESHNESS), MachineState::Unsupported);
        assert_eq!(machine.assessed_updates(second(30), &FRESHNESS), None);
        assert_eq!((fleet.totals.detected, fleet.totals.resolved, fleet.totals.dropped), (2, 0, 0));

        fleet.apply_list(vec![windows()], second(40), &FRESHNESS);
        fleet.apply_answer(&id(1), second(50), missing(&[7]), &FRESHNESS, &Facts::default());
        assert_eq!(open(&fleet).into_values().collect::<Vec<_>>(), [second(0)], "first seen is kept");
        assert_eq!((fleet.totals.detected, fleet.totals.resolved), (2, 1));
    }
}

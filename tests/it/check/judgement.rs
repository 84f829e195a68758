//! The machines that can be judged, and the reasons of the others.

use jiff::{SignedDuration, Timestamp};
use mde_simulator::{Endpoint, machine_record};

use crate::support::check::{check, config, test_tenant_of};
use crate::support::tenant::TestTenant;

/// Adds a machine of this platform and onboarding status that was seen `days` ago.
fn add(test_tenant: &TestTenant, id: &str, platform: &str, status: &str, days: i64) {
    let seen = Timestamp::now() - SignedDuration::from_hours(24 * days);
    let mut record = machine_record(id, id, seen);
    record["osPlatform"] = platform.into();
    record["onboardingStatus"] = status.into();
    test_tenant.sim.control().add_machine(record);
}

#[tokio::test]
async fn check_states_how_many_machines_can_be_judged() {
    let test_tenant = test_tenant_of(0, SignedDuration::ZERO).await;
    for (number, platform) in ["iOS", "Android", "macOS", "Ubuntu", "iOS"].iter().enumerate() {
        add(&test_tenant, &format!("a{number}"), platform, "Onboarded", 0);
    }
    add(&test_tenant, "b0", "Windows11", "CanBeOnboarded", 0);
    add(&test_tenant, "c0", "Windows11", "Onboarded", 31);
    let text = check(&test_tenant, &config(&test_tenant, &[])).await;
    let reasons =
        "5 not Windows (Android, Ubuntu, iOS, macOS), 1 not onboarded, 1 not seen by Defender for 30days";
    let line =
        format!("machines        warning: 0 of 7 machines can be judged; the others cannot: {reasons}");
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("skipped: no machine in scope can be judged"), "{text}");
    assert_eq!(test_tenant.sim.control().requests(Endpoint::MissingKbs), 0);

    add(&test_tenant, "d0", "WindowsServer2022", "Onboarded", 1);
    let text = check(&test_tenant, &config(&test_tenant, &[])).await;
    let line =
        format!("machines        ok:      1 of 8 machines can be judged; the others cannot: {reasons}");
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("machine d0 misses 0 updates"), "{text}");
    assert!(text.contains("enough for 1 machine every 6h"), "{text}");
}

#[tokio::test]
async fn check_names_machines_past_end_of_servicing() {
    let test_tenant = test_tenant_of(0, SignedDuration::ZERO).await;
    let add = |id: &str, platform: &str, version: &str, build: Option<u32>| {
        let mut record = machine_record(id, id, Timestamp::now());
        (record["osPlatform"], record["version"]) = (platform.into(), version.into());
        record["osBuild"] = build.into();
        test_tenant.sim.control().add_machine(record);
    };
    add("a0", "Windows11", "25H2", Some(26_200));
    add("a1", "Windows11", "26H2", Some(99_999));
    add("a2", "Windows11", "23H2", None);
    let text = check(&test_tenant, &config(&test_tenant, &[])).await;
    assert!(!text.contains("servicing"), "{text}");

    add("b0", "Windows11", "22H2", Some(22_621));
    add("b1", "Windows11", "22H2", Some(22_621));
    add("b2", "WindowsServer2012R2", "", Some(9_600));
    add("c0", "Windows10", "22H2", Some(19_045));
    let configured = config(&test_tenant, &[]);
    let text = check(&test_tenant, &configured).await;
    for line in [
        "servicing       warning: 3 machines run a Windows version past end of servicing, which gets no updates: Windows11 \
         22H2 (2), WindowsServer2012R2 (1)",
        "servicing       warning: 1 machine may be past end of servicing. Set servicing.extended to settle it",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{text}");
    }
    let rules = "servicing: { extended: [{ has: false, machines: { platforms: [Windows10] } }] }\n";
    let text = check(&test_tenant, &format!("{configured}{rules}")).await;
    assert!(text.contains("warning: 4 machines run") && !text.contains("may be past"), "{text}");
}

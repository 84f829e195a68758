//! Machines of which Defender lists no missing updates: other systems, and machines that are not onboarded.

use mde_exporter::facts::Facts;
use mde_exporter::fleet::MachineState;
use mde_exporter::fleet::policy::{CompiledPolicies, PolicyCounts, PolicyState};
use mde_exporter::fleet::summary::Summary;
use mde_exporter::model::{DeadlineStart, MachineId};
use mde_simulator::{Control, Endpoint, MissingKb, Realism, machine_record};
use serde_json::{Value, json};

use crate::support::api::options;
use crate::support::fleets::policy;
use crate::support::poller::{PollerHarness, all};

/// Adds a machine with these values of the list in addition to the usual ones.
fn add(control: &Control, harness: &PollerHarness, id: &str, fields: &Value) {
    let mut record = machine_record(id, &format!("{id}.example"), harness.api.clock.now());
    let fields = fields.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(fields);
    control.add_machine(record);
}

/// A Windows server that misses a KB, and eight devices of which Defender lists no missing updates.
async fn mixed_fleet() -> PollerHarness {
    let harness = PollerHarness::new(options(0, Realism::Plain), all()).await;
    let control = harness.api.control().clone();
    add(&control, &harness, "a0", &json!({"osPlatform": "WindowsServer2022"}));
    control.set_missing("a0", vec![MissingKb::new("5036892", "April 2024 Security Updates")]);
    for (number, platform) in ["iOS", "Android", "macOS", "Ubuntu", "Linux", "Other"].iter().enumerate() {
        add(&control, &harness, &format!("b{number}"), &json!({"osPlatform": platform}));
    }
    for (number, status) in ["CanBeOnboarded", "InsufficientInfo"].iter().enumerate() {
        add(&control, &harness, &format!("c{number}"), &json!({"onboardingStatus": status}));
    }
    harness
}

#[tokio::test]
async fn unsupported_machines_are_counted_and_never_compliant() {
    let mut harness = mixed_fleet().await;
    harness.poller.poll().await;
    assert_eq!(harness.kb_calls(), 1, "the others are not asked");
    let scrape = harness.scrape();
    let by_state = scrape.sum_by("mde_assessed_machines", "state");
    assert_eq!(MachineState::ALL.map(|state| by_state[state.as_str()]), [1.0, 0.0, 0.0, 0.0, 8.0]);
    assert_eq!(scrape.sum("mde_compliant_machines"), 0.0);
    assert!(scrape.value("mde_machine_info", &[("machine_id", "a0")]).is_some());
    for family in ["mde_machine_info", "mde_machine_up", "mde_machine_last_seen_timestamp_seconds"] {
        assert_eq!(scrape.count(family), 1.0, "{family}");
    }
    let fleet = harness.poller.fleet();
    let (now, policies) = (harness.api.clock.now(), [policy("p", 24, DeadlineStart::FirstSeen)]);
    let (facts, freshness) = (Facts::default(), &harness.freshness);
    let summary = Summary::of(fleet, now, freshness, &facts);
    let counts =
        PolicyCounts::of(&CompiledPolicies::new(&policies, &[], now), fleet, &summary, &facts, freshness);
    let states = PolicyState::ALL.map(|state| counts.summaries[0].machines(state));
    assert_eq!(states, [0, 1, 0, 0, 0, 8]);
}

#[tokio::test]
async fn machine_that_is_no_longer_onboarded_fixes_nothing() {
    let mut harness = mixed_fleet().await;
    harness.poller.poll().await;
    let control = harness.api.control().clone();
    control.set_missing("a0", Vec::new());
    add(&control, &harness, "a0", &json!({"onboardingStatus": "CanBeOnboarded"}));
    harness.poller.poll_all().await;
    assert_eq!(harness.kb_calls(), 1);
    let scrape = harness.scrape();
    assert_eq!(scrape.value("mde_missing_updates_resolved_total", &[]), Some(0.0));
    assert_eq!(scrape.sum_by("mde_assessed_machines", "state")["unsupported"], 9.0);
    assert_eq!(scrape.count("mde_machine_info"), 0.0);
    assert_eq!(scrape.count("mde_update_missing_machines"), 0.0, "its missing updates are not served");

    add(&control, &harness, "a0", &json!({}));
    control.set_missing("a0", vec![MissingKb::new("5036892", "April 2024 Security Updates")]);
    harness.poller.poll_all().await;
    assert_eq!(harness.scrape().value("mde_missing_updates_detected_total", &[]), Some(1.0));
}

#[tokio::test]
async fn inactive_machines_are_not_asked_until_the_list_shows_them() {
    let mut harness = PollerHarness::new(options(0, Realism::Plain), all()).await;
    let control = harness.api.control().clone();
    let now = harness.api.clock.now();
    control.add_machine(machine_record("a0", "a0.example", now - jiff::SignedDuration::from_hours(31 * 24)));
    harness.poller.poll().await;
    assert_eq!(control.requests(Endpoint::MissingKbs), 0);
    let id = MachineId::parse("a0").unwrap();
    let state = |harness: &PollerHarness| {
        harness.poller.fleet().machines[&id].state(harness.api.clock.now(), &harness.freshness)
    };
    assert_eq!(state(&harness), MachineState::Inactive);
    control.add_machine(machine_record("a0", "a0.example", now));
    harness.poller.poll_all().await;
    assert_eq!(control.requests(Endpoint::MissingKbs), 1);
    assert_eq!(state(&harness), MachineState::Fresh);
}

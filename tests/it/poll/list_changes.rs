//! Changes of the machine list: machines that leave and return, lists that shrink, other selectors.

use std::time::Duration;

use jiff::Timestamp;
use mde_exporter::config::Selectors;
use mde_simulator::{MissingKb, Realism};

use crate::support::api::options;
use crate::support::poller::{INTERVAL, PollerHarness, all};

/// Removes machines from the simulated list and returns their records.
fn remove(harness: &PollerHarness, count: usize) -> Vec<serde_json::Value> {
    let control = harness.api.control();
    let ids = control.machine_ids();
    let removed = ids.iter().take(count).map(|id| {
        let record = control.machine(id).unwrap();
        control.remove_machine(id);
        record
    });
    removed.collect()
}

async fn poll_after(harness: &mut PollerHarness, wait: Duration) {
    harness.api.clock.advance(wait);
    harness.poller.poll().await;
}

fn rejected(harness: &PollerHarness) -> f64 {
    harness.api.count("rejected_snapshots_total", &[("reason", "shrunk")])
}

#[tokio::test]
async fn list_that_lost_half_is_accepted_after_a_recheck() {
    let mut harness = PollerHarness::all(10).await;
    harness.poller.poll().await;
    remove(&harness, 6);

    poll_after(&mut harness, INTERVAL).await;
    assert_eq!((harness.ids().len(), rejected(&harness)), (10, 1.0));
    assert_eq!(harness.scrape().count("mde_machine_missing_updates"), 10.0, "old data is served");
    let recheck_at = harness.api.clock.now() + Duration::from_mins(5);
    assert!(harness.status().next_poll.unwrap() <= recheck_at);

    poll_after(&mut harness, Duration::from_mins(4)).await;
    assert_eq!(harness.ids().len(), 10, "too early for a recheck");
    poll_after(&mut harness, Duration::from_mins(1)).await;
    assert_eq!(harness.ids().len(), 4);
    assert_eq!(harness.poller.fleet().totals.resolved, 0, "machines that leave fix nothing");
}

#[tokio::test]
async fn list_that_recovers_keeps_all_machines() {
    let mut harness = PollerHarness::all(10).await;
    harness.poller.poll().await;
    let removed = remove(&harness, 10);
    poll_after(&mut harness, INTERVAL).await;
    for record in removed {
        harness.api.control().add_machine(record);
    }
    poll_after(&mut harness, Duration::from_mins(5)).await;
    assert_eq!((harness.ids().len(), rejected(&harness)), (10, 1.0));
}

#[tokio::test]
async fn changed_selectors_bypass_the_shrink_guard() {
    let mut harness = PollerHarness::all(10).await;
    harness.poller.poll().await;
    let id = harness.ids().into_iter().next().unwrap();
    let fleet = harness.poller.fleet().clone();

    let only_one = Selectors { ids: vec![id], ..Selectors::default() };
    let mut narrowed = harness.with(only_one, fleet);
    narrowed.poller.poll().await;
    assert_eq!((narrowed.ids().len(), rejected(&narrowed)), (1, 0.0));
}

/// The text that earlier releases stored for `all: true`.
const LEGACY_ALL: &str = "Selectors { ids: [], names: [], tags: [], filter: None, all: true, exclude_ids: [], \
                          exclude_names: [] }";

#[tokio::test]
async fn shrink_guard_works_across_an_upgrade() {
    let mut harness = PollerHarness::all(10).await;
    harness.poller.poll().await;
    let digest = harness.poller.fleet().selectors.clone();
    assert!(digest.starts_with("selectors-1:sha256:"), "{digest}");
    let mut fleet = harness.poller.fleet().clone();
    fleet.selectors = LEGACY_ALL.into();
    remove(&harness, 6);
    harness.api.clock.advance(INTERVAL);

    let mut upgraded = harness.with(all(), fleet);
    assert_eq!(upgraded.poller.fleet().selectors, digest);
    upgraded.poller.poll().await;
    assert_eq!((upgraded.ids().len(), rejected(&upgraded)), (10, 1.0));
}

#[tokio::test]
async fn returning_machine_keeps_its_first_seen_times() {
    let mut harness = PollerHarness::new(options(4, Realism::Plain), all()).await;
    let control = harness.api.control().clone();
    let id = control.machine_ids()[0].clone();
    control.set_missing(&id, vec![MissingKb::new("5001234", "March 2026 Security Updates")]);
    harness.poller.poll().await;
    let first_seen = |harness: &PollerHarness| -> Option<Timestamp> {
        let machines = &harness.poller.fleet().machines;
        let machine = machines.iter().find(|(other, _)| other.as_str() == id);
        machine.and_then(|(_, machine)| machine.missing_updates().first()).map(|missing| missing.first_seen)
    };
    let before = first_seen(&harness);
    assert!(before.is_some());

    let record = control.machine(&id).unwrap();
    control.remove_machine(&id);
    poll_after(&mut harness, INTERVAL).await;
    assert_eq!(first_seen(&harness), None);
    control.add_machine(record);
    control.set_missing(&id, vec![MissingKb::new("5001234", "March 2026 Security Updates")]);
    poll_after(&mut harness, INTERVAL).await;
    assert_eq!(first_seen(&harness), before);
    assert_eq!(harness.poller.fleet().totals.resolved, 0);
}

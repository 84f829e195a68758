//! Machines in scope, the schedule of calls, and the data after a poll.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mde_exporter::config::{Quota, Selectors};
use mde_exporter::fleet::TenantFleet;
use mde_exporter::model::MachineId;
use mde_exporter::publish::Snapshot;
use mde_simulator::{Endpoint, Fault, MissingKb, Options, Realism, Times};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::api::{Api, options};
use crate::support::exposition::parse;
use crate::support::log::CapturedLog;
use crate::support::poller::{INTERVAL, PollerHarness, all};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn realistic_fleet_is_complete_after_one_poll() {
    let realistic = Options { page_size: 11, ..options(90, Realism::Realistic) };
    let mut harness = PollerHarness::new(realistic, all()).await;
    harness.poller.poll().await;

    let control = harness.api.control();
    let now = harness.api.clock.now();
    // Inactive and unsupported machines are not asked.
    let is_asked = |id: &str| {
        let machine = &harness.poller.fleet().machines[&MachineId::parse(id).unwrap()];
        machine.state(now, &harness.freshness).is_asked()
    };
    let truth = control.machine_ids().into_iter().map(|id| {
        let expected = is_asked(&id).then(|| (now, control.missing(&id)));
        (id, expected)
    });
    assert_eq!(harness.assessments(), truth.collect());
    assert!(harness.status().up && harness.status().last_error.is_none(), "{:?}", harness.status());
    assert!(control.peak_concurrency(Endpoint::MissingKbs) <= 8);
    assert_eq!(harness.scrape().value("mde_up", &[]), Some(1.0));
}

#[tokio::test]
async fn at_most_eight_calls_run_at_once() {
    let mut harness = PollerHarness::all(40).await;
    harness.inject(Endpoint::MissingKbs, Fault::Delay(Duration::from_millis(20)));
    harness.poller.poll().await;
    assert_eq!(harness.api.control().peak_concurrency(Endpoint::MissingKbs), 8);
    assert_eq!(harness.kb_calls(), 40);
}

#[tokio::test]
async fn readers_see_replies_during_the_poll() {
    let PollerHarness { api, mut poller, publication, mut reader, .. } = PollerHarness::all(12).await;
    let silent = api.control().machine_ids().pop().unwrap();
    api.control().inject_for_machine(&silent, Fault::Hang, Times::Always);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(publication.run(stop.clone()));
    let is_read = |seen: &Arc<Snapshot>| {
        seen.fleets[0].machines.values().filter(|machine| machine.assessment.is_some()).count() == 11
    };
    tokio::select! {
        () = poller.poll() => panic!("one machine hangs"),
        seen = reader.wait_for(is_read) => drop(seen.unwrap()),
    }
    stop.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn readers_see_the_result_of_the_poll() {
    let PollerHarness { api, mut poller, publication, mut reader, .. } = PollerHarness::all(12).await;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(publication.run(stop.clone()));
    poller.poll().await;
    let is_read = |fleet: &TenantFleet| fleet.machines.values().all(|machine| machine.assessment.is_some());
    let complete = |seen: &Arc<Snapshot>| seen.fleets[0].status.up && is_read(&seen.fleets[0]);
    let published = Arc::clone(&reader.wait_for(complete).await.unwrap());
    stop.cancel();
    tasks.join_all().await;

    let scrape = parse(&String::from_utf8(published.body.plain(b"")).unwrap()).unwrap();
    let control = api.control();
    for id in control.machine_ids() {
        #[expect(clippy::cast_precision_loss, reason = "a machine misses some dozen")]
        let missing = control.missing(&id).len() as f64;
        assert_eq!(scrape.value("mde_machine_missing_updates", &[("machine_id", &id)]), Some(missing));
    }
}

/// Ids of the machines whose record `matches`.
fn chosen(harness: &PollerHarness, matches: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let control = harness.api.control();
    control.machine_ids().into_iter().filter(|id| matches(&control.machine(id).unwrap())).collect()
}

fn has_name(record: &Value, front: &str) -> bool {
    record["computerDnsName"].as_str().is_some_and(|name| name.starts_with(front))
}

#[tokio::test]
async fn each_selector_chooses_machines_and_exclude_removes_them() {
    let by = |selectors| PollerHarness::new(options(24, Realism::Plain), selectors);
    let base = Selectors::default;
    let some = Api::plain(24).await.control().machine_ids();
    let (one, other) = (&some[3], &some[20]);

    let mut harness = by(Selectors { ids: vec![one.clone(), other.clone()], ..base() }).await;
    harness.poller.poll().await;
    assert_eq!(harness.ids(), BTreeSet::from([one.clone(), other.clone()]));

    let mut harness = by(Selectors { names: texts(&["hq-0001.corp.example"]), ..base() }).await;
    harness.poller.poll().await;
    assert_eq!(harness.ids(), chosen(&harness, |record| has_name(record, "hq-0001.")));

    let mut harness = by(Selectors { tags: texts(&["production", "kiosk"]), ..base() }).await;
    harness.poller.poll().await;
    let tagged = |record: &Value| {
        let tags = record["machineTags"].as_array().unwrap();
        tags.contains(&json!("production")) || tags.contains(&json!("kiosk"))
    };
    assert_eq!(harness.ids(), chosen(&harness, tagged));
    assert!((5..24).contains(&harness.ids().len()));

    let filter = Some("startswith(computerDnsName,'test-')".to_owned());
    let mut harness = by(Selectors { filter, ..base() }).await;
    harness.poller.poll().await;
    assert_eq!(harness.ids(), chosen(&harness, |record| has_name(record, "test-")));

    let excluded = Selectors { exclude_ids: vec![one.clone()], exclude_names: texts(&["hq-*"]), ..all() };
    let mut harness = by(excluded).await;
    harness.poller.poll().await;
    let stays = |record: &Value| record["id"] != json!(one) && !has_name(record, "hq-");
    assert_eq!(harness.ids(), chosen(&harness, stays));
    assert_eq!(harness.kb_calls(), harness.ids().len() as u64, "machines out of scope are not fetched");
}

#[tokio::test]
async fn name_of_several_records_selects_the_active_one() {
    let fleet = || options(30, Realism::Realistic);
    let plain = Api::new(fleet(), |_| {}).await;
    let id = plain.id().to_string();
    let name = plain.control().machine(&id).unwrap()["computerDnsName"].as_str().unwrap().to_lowercase();
    let selectors = Selectors { names: vec![name.clone()], ..Selectors::default() };
    let mut harness = PollerHarness::new(fleet(), selectors).await;
    assert_eq!(chosen(&harness, |record| has_name(record, &name)).len(), 2, "and its inactive twin");
    harness.poller.poll().await;
    assert_eq!(harness.ids(), BTreeSet::from([id]));
}

#[tokio::test]
async fn selector_without_a_match_is_no_error() {
    let unknown = "0".repeat(40);
    let selectors = Selectors {
        ids: vec![unknown],
        names: texts(&["nobody.corp.example"]),
        tags: texts(&["no such tag"]),
        ..Selectors::default()
    };
    let mut harness = PollerHarness::new(options(3, Realism::Plain), selectors).await;
    harness.poller.poll().await;
    assert!(harness.ids().is_empty() && harness.status().up && harness.status().last_error.is_none());
    assert_eq!(harness.scrape().value("mde_up", &[]), Some(1.0));
    assert_eq!(harness.kb_calls(), 0);
}

#[tokio::test]
async fn only_due_machines_are_fetched() {
    let mut harness = PollerHarness::all(6).await;
    harness.poller.poll().await;
    assert_eq!((harness.kb_calls(), harness.api.requests()), (6, 7));
    harness.poller.poll().await;
    assert_eq!(harness.api.requests(), 7, "nothing is due, not even the list");

    let first = harness.api.clock.now();
    harness.api.clock.advance(INTERVAL);
    harness.poller.poll().await;
    assert_eq!((harness.kb_calls(), harness.api.requests()), (12, 14));
    let read_at: BTreeSet<_> =
        harness.assessments().into_values().map(|assessment| assessment.unwrap().0).collect();
    assert_eq!(read_at, BTreeSet::from([first + INTERVAL]));
    assert_eq!(harness.status().next_poll, Some(first + 2 * INTERVAL));
}

#[tokio::test]
async fn machines_follow_the_list_and_updates_the_replies() {
    let mut harness = PollerHarness::all(3).await;
    let control = harness.api.control().clone();
    let ids = control.machine_ids();
    control.set_missing(&ids[1], vec![MissingKb::new("5001001", "May 2026 Security Updates")]);
    harness.poller.poll().await;
    let first = harness.api.clock.now();

    control.remove_machine(&ids[0]);
    let record = mde_simulator::machine_record("ABCD", "new.corp.example", first);
    control.add_machine(record);
    let missing = ["KB5001001", "5001002"].map(|id| MissingKb::new(id, "May 2026 Security Updates"));
    control.set_missing(&ids[1], missing.to_vec());
    harness.api.clock.advance(INTERVAL);
    harness.poller.poll().await;

    assert_eq!(harness.ids(), BTreeSet::from([ids[1].clone(), ids[2].clone(), "abcd".to_owned()]));
    let machine = &harness.poller.fleet().machines[&MachineId::parse(&ids[1]).unwrap()];
    let missing_updates = machine.assessment.as_ref().unwrap().missing_updates.iter();
    let since: Vec<_> =
        missing_updates.map(|missing| (missing.update.kb.to_string(), missing.first_seen)).collect();
    assert_eq!(since, [("5001001".to_owned(), first), ("5001002".to_owned(), first + INTERVAL)]);
    assert_eq!(harness.poller.fleet().totals.resolved, 0, "a machine that left has fixed nothing");
}

#[tokio::test]
async fn stop_ends_a_poll_that_hangs() {
    let harness = PollerHarness::all(2).await;
    harness.inject(Endpoint::MissingKbs, Fault::Hang);
    let control = harness.api.control().clone();
    let stop = CancellationToken::new();
    let run = harness.poller.run(stop.clone());
    let cancel = async {
        control.wait_for_requests(Endpoint::MissingKbs, 2).await;
        stop.cancel();
    };
    tokio::join!(run, cancel);
    assert_eq!(control.requests(Endpoint::MissingKbs), 2);
}

#[tokio::test]
async fn interval_too_short_for_the_quota_is_logged() {
    let mut harness = PollerHarness::all(49).await;
    harness.poller.poll().await;
    let fleet = harness.poller.fleet().clone();
    let number = |number: u32| number.try_into().unwrap();
    harness.api.tenant.quota = Quota { per_minute: number(10), per_hour: number(125), share: 0.8 };
    let harness = harness.with(all(), fleet);

    let log = CapturedLog::default();
    let _guard = log.capture();
    let stop = CancellationToken::new();
    stop.cancel();
    harness.poller.run(stop).await;
    let logged = log.lines().join("\n");
    let message =
        "poll interval is too short for the quota; machines are read less often: raise poll.interval";
    assert!(logged.contains(message), "{logged}");
    assert!(logged.contains("machines=49 calls_per_hour=100 interval=1s possible_interval=30m"), "{logged}");
    assert_eq!(harness.api.count("possible_poll_interval_seconds", &[]), 1800.0);
}

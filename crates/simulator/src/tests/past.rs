//! The past of the fleet, rollouts, and machines without data.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::{TestClient, now};
use crate::{Control, MissingKb, Options, Simulator};

async fn started(options: Options) -> (Simulator, Control) {
    let simulator = Simulator::start(options).await.expect("start");
    let control = simulator.control().clone();
    (simulator, control)
}

fn kbs(missing: &[MissingKb]) -> BTreeSet<String> {
    missing.iter().map(|missing| missing.id.clone()).collect()
}

#[tokio::test]
async fn past_agrees_with_the_fleet_of_each_day() {
    const DAYS: i32 = 60;
    let (_simulator, control) = started(Options::new(now)).await;
    let today = TimeZone::UTC.to_datetime(now()).date();
    let day = |ago: i32| today.saturating_sub(jiff::Span::new().days(ago));
    let ids = control.machine_ids();
    let pasts: Vec<_> = ids.iter().map(|id| control.past(id, day(DAYS))).collect();
    control.skip_days(-DAYS);
    for ago in (0..=DAYS).rev() {
        for (id, past) in ids.iter().zip(&pasts) {
            let known = past.iter().rev().find(|(changed, _)| *changed <= day(ago));
            let known = known.map(|(_, missing)| kbs(missing)).unwrap_or_default();
            let is_inactive = control.machine(id).expect("listed")["healthStatus"] == "Inactive";
            assert!(is_inactive || known == control.missing(id), "{id}, {ago} days ago");
        }
        control.skip_days(1);
    }
    let changes: usize = pasts.iter().map(Vec::len).sum();
    assert!((2 * ids.len()..10 * ids.len()).contains(&changes), "only changes: {changes}");
}

#[tokio::test]
async fn inactive_machine_has_a_past_until_it_was_last_seen() {
    let (_simulator, control) = started(Options::new(now)).await;
    let today = TimeZone::UTC.to_datetime(now()).date();
    let ids = control.machine_ids();
    let past = control.past(&ids[19], today.saturating_sub(jiff::Span::new().days(200)));
    assert_eq!(control.machine(&ids[19]).expect("listed")["healthStatus"], "Inactive");
    assert!(past.iter().any(|(_, missing)| !missing.is_empty()), "it missed updates");
    let last = past.last().expect("a past").0;
    assert!(last <= today.saturating_sub(jiff::Span::new().days(45)), "{last}");
}

#[tokio::test]
async fn rollout_patches_one_machine_after_another() {
    let passed = Arc::new(AtomicI64::new(0));
    let seconds = Arc::clone(&passed);
    let clock = move || now() + SignedDuration::from_secs(seconds.load(Ordering::Relaxed));
    let (_simulator, control) = started(Options::new(clock)).await;
    let behind = || control.machine_ids().iter().filter(|id| !control.missing(id).is_empty()).count();
    let before = behind();
    control.start_rollout(Duration::from_secs(10));
    assert_eq!(behind(), before);
    for patched in 1..=5 {
        passed.fetch_add(10, Ordering::Relaxed);
        assert_eq!(behind(), before - patched);
    }
    passed.fetch_add(100_000, Ordering::Relaxed);
    let after = behind();
    assert!(after > before / 5, "neglected machines and some others are left: {after} of {before}");
    control.skip_days(19);
    assert!(behind() > 180, "the updates of the next Update Tuesday are missing");
}

#[tokio::test]
async fn silent_machine_is_listed_without_data() {
    let client = TestClient::of(Options { quota_per_minute: None, ..Options::new(now) }).await;
    let control = client.simulator.control();
    let id = control.machine_ids().swap_remove(2);
    assert!(control.exported(&id).is_some());
    control.silence(&id);
    for _ in 0..4 {
        assert_eq!(client.get_json(&format!("/api/machines/{id}/getmissingkbs")).await.0, 404);
    }
    assert_eq!(client.get_json(&format!("/api/machines/{id}")).await.0, 200);
    assert_eq!(control.exported(&id), None);
}

#[tokio::test]
async fn reported_machines_are_those_of_the_replies() {
    let (_simulator, control) = started(Options::new(now)).await;
    let ids = control.machine_ids();
    let missing: Vec<_> = ids.iter().map(|id| control.missing(id)).collect();
    let kb = missing.iter().flatten().next().expect("an update is missing");
    let machines = missing.iter().filter(|missing| missing.contains(kb)).count();
    assert_eq!(control.reported_machines(kb), machines as u64);
}

//! The generated fleet: believable, repeatable, and moving.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::*;
use super::{Visitor, now};

async fn started(options: Options) -> (Simulator, Control) {
    let simulator = Simulator::start(options).await.expect("start");
    let control = simulator.control().clone();
    (simulator, control)
}

/// A visitor whose calls are not limited.
async fn unhurried(options: Options) -> Visitor {
    Visitor::of(Options { quota_per_minute: None, quota_per_hour: None, ..options }).await
}

fn gaps(control: &Control) -> usize {
    control.machine_ids().iter().map(|id| control.missing(id).len()).sum()
}

#[tokio::test]
async fn same_seed_gives_the_same_fleet() {
    let (_one, one) = started(Options::new(now)).await;
    let (_two, two) = started(Options::new(now)).await;
    let (_other, other) = started(Options { seed: 2, ..Options::new(now) }).await;
    assert_eq!(one.machine_ids(), two.machine_ids());
    assert_ne!(one.machine_ids(), other.machine_ids());
    for id in one.machine_ids() {
        assert_eq!(one.machine(&id), two.machine(&id));
        assert_eq!(one.missing(&id), two.missing(&id));
    }
}

#[tokio::test]
async fn gaps_close_until_the_next_batch_opens_new_ones() {
    let (_simulator, control) = started(Options::new(now)).await;
    // From 20 November to the day before Update Tuesday, which is 9 December.
    let mut counts = vec![gaps(&control)];
    for _ in 0..18 {
        control.skip_days(1);
        counts.push(gaps(&control));
    }
    assert!(counts.is_sorted_by(|earlier, later| later <= earlier), "{counts:?}");
    assert!(counts[18] < counts[0] * 3 / 4, "{counts:?}");
    control.skip_days(1);
    assert!(gaps(&control) > counts[18] + 150, "nearly all machines miss the new batch");
    control.skip_days(-19);
    assert_eq!(gaps(&control), counts[0], "the fleet is a function of the day");
}

#[tokio::test]
async fn fleet_is_neither_patched_nor_hopeless() {
    let (_simulator, control) = started(Options::new(now)).await;
    let ids = control.machine_ids();
    let patched = ids.iter().filter(|id| control.missing(id).is_empty()).count();
    let neglected = ids.iter().filter(|id| control.missing(id).len() >= 8).count();
    assert!((20..120).contains(&patched), "{patched} of {}", ids.len());
    assert!((2..30).contains(&neglected), "{neglected} of {}", ids.len());
}

#[tokio::test]
async fn awkward_fleet_holds_every_oddity() {
    let visitor = unhurried(Options::new(now)).await;
    let records = visitor.list("/api/machines").await.concat();
    let count = |odd: &dyn Fn(&Value) -> bool| records.iter().filter(|record| odd(record)).count();
    assert_eq!(count(&|record| record["mergedIntoMachineId"].is_string()), 1);
    assert_eq!(count(&|record| record["isExcluded"] == true), 1);
    assert_eq!(count(&|record| !record["id"].is_string() || record["id"] == ""), 3);
    assert_eq!(count(&|record| record["osPlatform"] == "Ubuntu"), 1);
    let first = &records[0]["computerDnsName"];
    assert_eq!(count(&|record| record["computerDnsName"] == *first), 3, "itself, merged, and an old twin");
    for odd in [
        |record: &Value| record["computerDnsName"].is_null(),
        |record: &Value| record["computerDnsName"].as_str().is_some_and(|name| name.contains("<script>")),
        |record: &Value| record["computerDnsName"].as_str().is_some_and(|name| name.contains('\u{202e}')),
        |record: &Value| record["healthStatus"] == "Inactive",
        |record: &Value| record["rbacGroupName"].is_null() && record["rbacGroupId"] == 0,
        |record: &Value| record["rbacGroupId"].is_string(),
        |record: &Value| record["osBuild"].is_string(),
        |record: &Value| record["lastSeen"].as_str().is_some_and(|time| time.len() == 27),
        |record: &Value| record["lastSeen"].as_str().is_some_and(|time| time.len() == 28),
        |record: &Value| record["previewInsights"].is_object(),
    ] {
        assert!(count(&odd) > 0);
    }
    let groups: BTreeSet<_> = records.iter().filter_map(|record| record["rbacGroupName"].as_str()).collect();
    assert_eq!(groups.len(), 6);
    assert_eq!(visitor.simulator.control().machine_ids().len(), 200);
}

#[tokio::test]
async fn awkward_replies_hold_every_oddity() {
    let visitor = unhurried(Options::new(now)).await;
    let control = visitor.simulator.control();
    let (mut entries, mut flapped, mut doubled) = (Vec::new(), 0, 0);
    for id in control.machine_ids() {
        let path = format!("/api/machines/{id}/getmissingkbs");
        let (mut status, mut reply) = visitor.get_json(&path).await;
        if status == 404 {
            flapped += 1;
            (status, reply) = visitor.get_json(&path).await;
        }
        assert_eq!(status, 200, "{reply}");
        let value = reply["value"].as_array().expect("value").clone();
        let ids: Vec<&str> = value.iter().filter_map(|kb| kb["id"].as_str()).collect();
        let distinct: BTreeSet<_> = ids.iter().map(|id| id.trim_start_matches("KB").to_owned()).collect();
        doubled += usize::from(distinct.len() < ids.len());
        assert_eq!(distinct, control.missing(&id), "the truth is in there");
        entries.extend(value);
    }
    assert!(flapped > 0 && doubled > 0);
    for odd in [
        |kb: &Value| kb["id"].is_null(),
        |kb: &Value| kb["id"].as_str().is_some_and(|id| id.starts_with("KB")),
        |kb: &Value| kb["osBuild"].is_string(),
        |kb: &Value| kb["osBuild"].is_null(),
        |kb: &Value| kb["productsNames"].is_null(),
        |kb: &Value| kb["productsNames"] == json!([".net_framework"]),
    ] {
        assert!(entries.iter().any(odd));
    }
}

#[tokio::test]
async fn large_fleet_is_listed_in_two_pages_and_the_empty_one() {
    let visitor = Visitor::of(Options { machines: 19_000, ..Options::new(now) }).await;
    let pages = visitor.list("/api/machines").await;
    assert_eq!(pages.iter().map(Vec::is_empty).collect::<Vec<_>>(), [false, true, false]);
}

//! The generated fleet: plausible, repeatable, and changing with the day.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{TestClient, now};
use crate::{Control, Options, Patching, Simulator};

async fn started(options: Options) -> (Simulator, Control) {
    let simulator = Simulator::start(options).await.expect("start");
    let control = simulator.control().clone();
    (simulator, control)
}

/// A client whose calls have no quota.
async fn without_quota(options: Options) -> TestClient {
    TestClient::of(Options { quota_per_minute: None, quota_per_hour: None, ..options }).await
}

fn missing_count(control: &Control) -> usize {
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
async fn missing_updates_decrease_until_the_next_batch() {
    let (_simulator, control) = started(Options::new(now)).await;
    // From 20 November to the day before Update Tuesday, which is 9 December.
    let mut counts = vec![missing_count(&control)];
    for _ in 0..18 {
        control.skip_days(1);
        counts.push(missing_count(&control));
    }
    assert!(counts.is_sorted_by(|earlier, later| later <= earlier), "{counts:?}");
    assert!(counts[18] < counts[0] * 3 / 4, "{counts:?}");
    control.skip_days(1);
    assert!(missing_count(&control) > counts[18] + 150, "nearly all machines miss the new batch");
    control.skip_days(-19);
    assert_eq!(missing_count(&control), counts[0], "the fleet is a function of the day");
}

#[tokio::test]
async fn fleet_is_partly_patched() {
    let (_simulator, control) = started(Options::new(now)).await;
    let ids = control.machine_ids();
    let patched = ids.iter().filter(|id| control.missing(id).is_empty()).count();
    let neglected = ids.iter().filter(|id| control.missing(id).len() >= 8).count();
    assert!((20..120).contains(&patched), "{patched} of {}", ids.len());
    assert!((2..30).contains(&neglected), "{neglected} of {}", ids.len());
}

/// Machines that miss an update of November, which was released on the 11th.
fn missing_november(control: &Control) -> usize {
    let missing = |id: &String| !control.missing(id).is_empty();
    control.machine_ids().iter().filter(|id| missing(id)).count()
}

#[tokio::test]
async fn ordinary_patching_takes_two_weeks() {
    let options = Options { patching: Patching::Ordinary, ..Options::new(now) };
    let (_simulator, control) = started(options).await;
    control.skip_days(-9);
    assert!(missing_november(&control) > 190, "{}", missing_november(&control));
    control.skip_days(14);
    assert!((5..20).contains(&missing_november(&control)), "{}", missing_november(&control));
}

#[tokio::test]
async fn nothing_is_installed_after_patching_stops() {
    let options = Options { patching: Patching::Ordinary, ..Options::new(now) };
    let (_simulator, control) = started(options).await;
    control.skip_days(-9);
    let before = missing_november(&control);
    control.stop_patching();
    control.skip_days(14);
    assert_eq!(missing_november(&control), before);
}

#[tokio::test]
async fn realistic_fleet_has_every_oddity() {
    let client = without_quota(Options::new(now)).await;
    let records = client.list("/api/machines").await.concat();
    let count =
        |has_oddity: &dyn Fn(&Value) -> bool| records.iter().filter(|record| has_oddity(record)).count();
    assert_eq!(count(&|record| record["mergedIntoMachineId"].is_string()), 1);
    assert_eq!(count(&|record| record["isExcluded"] == true), 1);
    assert_eq!(count(&|record| !record["id"].is_string() || record["id"] == ""), 3);
    assert_eq!(count(&|record| record["osPlatform"] == "Ubuntu"), 1);
    let first = &records[0]["computerDnsName"];
    assert_eq!(
        count(&|record| record["computerDnsName"] == *first),
        3,
        "the machine, its merged record, and its old twin"
    );
    for has_oddity in [
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
        assert!(count(&has_oddity) > 0);
    }
    let groups: BTreeSet<_> = records.iter().filter_map(|record| record["rbacGroupName"].as_str()).collect();
    assert_eq!(groups.len(), 6);
    assert_eq!(client.simulator.control().machine_ids().len(), 200);
}

/// The machines whose records satisfy a condition.
fn ids_of(records: &[Value], matches: impl Fn(&Value) -> bool) -> BTreeSet<&str> {
    records.iter().filter(|record| matches(record)).filter_map(|record| record["id"].as_str()).collect()
}

fn has_tag(record: &Value, tag: &str) -> bool {
    record["machineTags"].as_array().is_some_and(|tags| tags.iter().any(|own| own == tag))
}

fn is_release(record: &Value, platform: &str, version: &str, build: &Value) -> bool {
    record["osPlatform"] == platform && record["version"] == version && record["osBuild"] == *build
}

#[tokio::test]
async fn realistic_fleet_has_releases_past_end_of_servicing() {
    let client = without_quota(Options { machines: 24, ..Options::new(now) }).await;
    let records = client.list("/api/machines").await.concat();
    let of = |platform: &str, version: &str, build: Value| {
        ids_of(&records, |record| is_release(record, platform, version, &build))
    };
    let windows_10 = of("Windows10", "22H2", json!(19045));
    let extended = ids_of(&records, |record| has_tag(record, "esu"));
    assert!(extended.is_subset(&windows_10) && !extended.is_empty());
    let not_extended: BTreeSet<_> = windows_10.difference(&extended).copied().collect();
    assert_eq!(not_extended.len(), 1);
    let server = of("WindowsServer2012R2", "6.3", json!(9600));
    let preview = of("Windows11", "Other", json!(27965));
    let without_build = of("Windows11", "24H2", Value::Null);
    assert_eq!([&server, &preview, &without_build].map(BTreeSet::len), [1, 1, 1]);
    let [number, text] = [json!(22631), json!("22631")].map(|build| of("Windows11", "23H2", build));
    assert!(!number.is_empty() && !text.is_empty());

    let control = client.simulator.control();
    let missing = |ids: &BTreeSet<&str>| -> BTreeSet<String> {
        ids.iter().flat_map(|id| control.missing(id)).collect()
    };
    assert_eq!([&server, &preview].map(|ids| missing(ids).len()), [0, 0]);
    control.skip_days(357);
    // It is 12 November 2026, two days after the last updates of Windows 11 23H2.
    assert!(missing(&not_extended).is_empty());
    let last = missing(&number);
    assert!(!last.is_empty());
    let others = missing(&extended);
    control.skip_days(30);
    assert!(missing(&number).is_subset(&last));
    assert!(!missing(&extended).is_subset(&others), "Windows 10 with Extended Security Updates gets more");
}

/// The number of a KB in any spelling.
fn digits(id: &str) -> String {
    id.trim_end_matches(" (x64)").chars().filter(char::is_ascii_digit).collect()
}

#[tokio::test]
async fn realistic_replies_have_every_oddity() {
    let client = without_quota(Options::new(now)).await;
    let control = client.simulator.control();
    let mut entries = Vec::new();
    let mut not_found = 0;
    let mut doubled = 0;
    for id in control.machine_ids() {
        let path = format!("/api/machines/{id}/getmissingkbs");
        let (mut status, mut reply) = client.get_json(&path).await;
        if status == 404 {
            not_found += 1;
            (status, reply) = client.get_json(&path).await;
        }
        assert_eq!(status, 200, "{reply}");
        let value = reply["value"].as_array().expect("value").clone();
        let ids: Vec<&str> = value.iter().filter_map(|kb| kb["id"].as_str()).collect();
        let kbs: Vec<_> = ids.iter().filter(|id| **id != "Click to Run").map(|id| digits(id)).collect();
        let distinct: BTreeSet<_> = kbs.iter().cloned().collect();
        doubled += usize::from(distinct.len() < kbs.len());
        assert_eq!(distinct, control.missing(&id), "the reply is complete");
        entries.extend(value);
    }
    assert!(not_found > 0 && doubled > 0);
    for has_oddity in [
        |kb: &Value| kb["id"].is_null(),
        |kb: &Value| kb["id"] == "Click to Run",
        |kb: &Value| kb["id"].as_str().is_some_and(|id| id.starts_with("KB5")),
        |kb: &Value| kb["id"].as_str().is_some_and(|id| id.starts_with("KB 5")),
        |kb: &Value| kb["id"].as_str().is_some_and(|id| id.ends_with(" (x64)")),
        |kb: &Value| kb["osBuild"].is_string(),
        |kb: &Value| kb["osBuild"].is_null(),
        |kb: &Value| kb["productsNames"].is_null(),
        |kb: &Value| kb["productsNames"] == json!([".net_framework"]),
    ] {
        assert!(entries.iter().any(has_oddity));
    }
}

#[tokio::test]
async fn large_fleet_has_two_pages_and_an_empty_one() {
    let client = TestClient::of(Options { machines: 19_000, ..Options::new(now) }).await;
    let pages = client.list("/api/machines").await;
    assert_eq!(pages.iter().map(Vec::is_empty).collect::<Vec<_>>(), [false, true, false]);
}

//! The bulk export, read by a parser that follows only the API page.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::Map;

use super::{Response, TestClient, Value, now};
use crate::{Control, ExportedKb, MissingKb, Options, Realism, machine_record};

pub(super) const LIST: &str = "/api/machines/SoftwareVulnerabilitiesExport";

/// The contents of the rows about a machine.
#[derive(Debug, Default, PartialEq)]
struct ReadMachine {
    rows: usize,
    kbs: BTreeMap<String, ReadUpdate>,
}

#[derive(Debug, Default, PartialEq)]
struct ReadUpdate {
    cves: BTreeSet<String>,
    severity: usize,
    first_seen: Option<Timestamp>,
}

const SEVERITIES: [Option<&str>; 5] = [None, Some("low"), Some("medium"), Some("high"), Some("critical")];

impl TestClient {
    pub(super) async fn links(&self) -> Vec<String> {
        let (status, list) = self.get_json(LIST).await;
        assert_eq!(status, 200, "{list}");
        let links = list["exportFiles"].as_array().expect("exportFiles");
        links.iter().map(|link| link.as_str().expect("link").to_owned()).collect()
    }

    pub(super) async fn download(&self, link: &str) -> Response {
        self.http.get(link).send().await.expect("reply")
    }

    async fn file(&self, link: &str) -> Vec<u8> {
        let response = self.download(link).await;
        assert_eq!(response.status().as_u16(), 200);
        response.bytes().await.expect("body").to_vec()
    }

    /// The text of all files, and the contents by machine.
    async fn read(&self) -> (Vec<String>, BTreeMap<String, ReadMachine>) {
        let mut texts = Vec::new();
        for link in self.links().await {
            texts.push(unpacked(&self.file(&link).await));
        }
        let mut machines: BTreeMap<String, ReadMachine> = BTreeMap::new();
        for line in texts.iter().flat_map(|text| text.lines()) {
            if let Some(row) = row_of(line) {
                add_row(&mut machines, &row);
            }
        }
        (texts, machines)
    }
}

fn unpacked(compressed: &[u8]) -> String {
    let mut text = String::new();
    // A body of zero bytes is not gzip.
    if !compressed.is_empty() {
        MultiGzDecoder::new(compressed).read_to_string(&mut text).expect("gzip of UTF-8");
    }
    text
}

/// Parses a row, with its keys in lower case.
fn row_of(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line) {
        Ok(Value::Object(row)) => {
            Some(row.into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect())
        }
        _ => None,
    }
}

fn add_row(machines: &mut BTreeMap<String, ReadMachine>, row: &Map<String, Value>) {
    let text = |key: &str| row.get(key).and_then(Value::as_str);
    let Some(device) = text("deviceid") else { return };
    let machine = machines.entry(device.to_lowercase()).or_default();
    machine.rows += 1;
    let kb = text("recommendedsecurityupdateid").map(|id| id.trim_start_matches("KB"));
    let kb = kb.filter(|kb| (6..=7).contains(&kb.len()) && kb.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(kb) =
        kb.filter(|_| text("softwarevendor") == Some("microsoft") && text("status") != Some("Fixed"))
    else {
        return;
    };
    let update = machine.kbs.entry(kb.to_owned()).or_default();
    update.cves.insert(text("cveid").expect("a KB has a CVE").to_owned());
    let severity = text("vulnerabilityseveritylevel").map(str::to_lowercase);
    let severity = SEVERITIES.iter().position(|name| *name == severity.as_deref()).expect("severity");
    update.severity = update.severity.max(severity);
    if let Some(seen) = text("firstseentimestamp") {
        let seen: DateTime = seen.parse().expect("a time without a zone");
        let seen = TimeZone::UTC.to_timestamp(seen).expect("in range");
        update.first_seen = Some(update.first_seen.map_or(seen, |earlier| earlier.min(seen)));
    }
}

fn assert_export_is(control: &Control, machines: &BTreeMap<String, ReadMachine>) {
    for id in control.machine_ids() {
        let read = machines.get(&id).map(|machine| {
            let exported = machine.kbs.iter().map(|(kb, update)| ExportedKb {
                kb: kb.clone(),
                cves: u32::try_from(update.cves.len()).expect("few"),
                severity: SEVERITIES[update.severity],
                first_seen: update.first_seen.expect("a row with a time"),
            });
            exported.collect::<Vec<_>>()
        });
        assert_eq!(read, control.exported(&id), "{id}");
    }
}

/// Options without a quota, so that a test can send as many requests as it needs.
pub(super) fn unlimited() -> Options {
    Options { quota_per_minute: None, quota_per_hour: None, ..Options::new(now) }
}

#[tokio::test]
async fn plain_export_equals_getmissingkbs() {
    let client = TestClient::of(Options { machines: 40, realism: Realism::Plain, ..unlimited() }).await;
    let control = client.simulator.control();
    let (status, list) = client.get_json(LIST).await;
    assert_eq!((status, list["generatedTime"].as_str()), (200, Some("2025-11-20T12:00:00Z")));
    let link = list["exportFiles"][0].as_str().expect("link");
    assert!(!link.starts_with(&client.simulator.api_url()), "another port");
    assert!(link.contains("/tvm-export/2025-11-20/1200/VaExport/json/OrgId="), "{link}");
    let (texts, machines) = client.read().await;
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| text.ends_with("}\n") && !text.contains("null")));
    assert_export_is(control, &machines);
    for id in control.machine_ids() {
        let kbs: BTreeSet<String> = machines[&id].kbs.keys().cloned().collect();
        assert_eq!(kbs, control.missing(&id));
    }
    let updates = || machines.values().flat_map(|machine| machine.kbs.values());
    assert_eq!(updates().map(|update| update.cves.len()).max(), Some(3), "the maximum per update");
    let bytes: usize = texts.iter().map(String::len).sum();
    let rows: usize = machines.values().map(|machine| machine.rows).sum();
    assert!((700..=1_100).contains(&(bytes / rows)), "{} bytes per row", bytes / rows);
}

#[tokio::test]
async fn realistic_export_has_every_oddity_and_is_complete() {
    let client = TestClient::of(Options { machines: 60, ..unlimited() }).await;
    let control = client.simulator.control();
    let (texts, machines) = client.read().await;
    assert_export_is(control, &machines);
    assert_eq!(texts.iter().filter(|text| text.is_empty()).count(), 1);
    assert!(texts.iter().all(|text| !text.ends_with('\n')), "the last line has no line end");
    let all = texts.join("\n");
    for odd in [
        "\"deviceId\":\"",
        "\"cveId\":null",
        "\"RbacGroupId\":\"",
        "\"CvssScore\":\"",
        "\r\n",
        "\n\n",
        "\n\t \n",
        "\"RecommendedSecurityUpdateId\":\"KB50",
        "\"RecommendedSecurityUpdateId\":\"193220\"",
        "\"ADV 200002\"",
        "RHSA-2024:9315",
        "USN-7663-1",
        "\"Status\":\"Fixed\"",
        "PreviewInsights",
        "internet_explorer",
        "<script>",
    ] {
        assert!(all.contains(odd), "{odd}");
    }
    let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.iter().filter(|line| line.len() > 20_000).count(), 1, "one is very long");
    assert!(lines.iter().all(|line| line.len() < 100_000));
    assert!(lines.iter().any(|line| row_of(line).is_none()), "one is not JSON");
    assert!(lines.iter().collect::<BTreeSet<_>>().len() < lines.len(), "one is repeated");
    let rows: Vec<_> = lines.iter().filter_map(|line| row_of(line)).collect();
    assert!(rows.iter().any(|row| !row.contains_key("deviceid")));
    let ids = rows.iter().filter_map(|row| row.get("deviceid").and_then(Value::as_str));
    assert!(ids.into_iter().any(|id| id.bytes().any(|byte| byte.is_ascii_uppercase())));
    assert!(
        machines.values().any(|machine| machine.kbs.values().any(|update| update.severity == 0)),
        "no severity"
    );
}

#[tokio::test]
async fn only_assessed_machines_have_rows() {
    let client = TestClient::of(Options { machines: 60, ..unlimited() }).await;
    let control = client.simulator.control();
    let (_, machines) = client.read().await;
    let without_rows: Vec<Value> = control
        .machine_ids()
        .iter()
        .filter(|id| !machines.contains_key(*id))
        .filter_map(|id| control.machine(id))
        .collect();
    let health: Vec<_> = without_rows.iter().map(|machine| machine["healthStatus"].as_str()).collect();
    assert_eq!(health, [Some("Active"), Some("Inactive"), Some("Inactive")], "{without_rows:?}");
    for record in client.list("/api/machines").await.concat() {
        if record["mergedIntoMachineId"].is_string() || record["isExcluded"] == true {
            assert!(!machines.contains_key(record["id"].as_str().expect("id")));
        }
    }
    let without_updates = machines.values().filter(|machine| machine.kbs.is_empty()).count();
    assert!(without_updates > 5, "{without_updates} machines without missing updates, each with rows");
}

#[tokio::test]
async fn some_machines_are_spread_over_two_files() {
    let client = TestClient::of(Options { machines: 60, ..unlimited() }).await;
    let (texts, _) = client.read().await;
    let devices = |text: &String| -> BTreeSet<String> {
        let mut machines = BTreeMap::new();
        text.lines().filter_map(row_of).for_each(|row| add_row(&mut machines, &row));
        machines.into_keys().collect()
    };
    let sets: Vec<_> = texts.iter().map(devices).collect();
    assert!(sets[0].intersection(&sets[2]).next().is_some(), "the second file of the list is the empty one");
}

#[tokio::test]
async fn one_file_has_several_gzip_members() {
    let client = TestClient::of(Options { machines: 60, ..unlimited() }).await;
    let links = client.links().await;
    let compressed = client.file(&links[2]).await;
    let mut first = String::new();
    flate2::read::GzDecoder::new(compressed.as_slice()).read_to_string(&mut first).expect("gzip");
    assert!(first.len() < unpacked(&compressed).len());
}

#[tokio::test]
async fn version_is_unchanged_until_it_is_old() {
    let clock = Arc::new(Mutex::new(now()));
    let read = clock.clone();
    let options = Options { machines: 12, realism: Realism::Plain, ..unlimited() };
    let client =
        TestClient::of(Options { now: Arc::new(move || *read.lock().expect("clock")), ..options }).await;
    let control = client.simulator.control();
    let exported = || control.machine_ids().iter().map(|id| control.exported(id)).collect::<Vec<_>>();
    let generated =
        async || client.get_json(LIST).await.1["generatedTime"].as_str().expect("time").to_owned();
    let first = generated().await;
    let expected = exported();
    control.skip_days(28);
    *clock.lock().expect("clock") = now() + 5.hours();
    assert_eq!((generated().await, &exported()), (first, &expected));
    *clock.lock().expect("clock") = now() + 6.hours();
    assert_eq!(generated().await, "2025-11-20T18:00:00Z");
    assert_ne!(exported(), expected);
    assert_export_is(control, &client.read().await.1);
    *clock.lock().expect("clock") = now() + 7.hours();
    control.rebuild_export();
    assert_eq!(generated().await, "2025-11-20T19:00:00Z");
    control.set_export_generated(now() - SignedDuration::from_hours(48));
    assert_eq!(generated().await, "2025-11-18T12:00:00Z");
    assert_export_is(control, &client.read().await.1);
}

#[tokio::test]
async fn first_seen_is_never_after_the_version() {
    let client = TestClient::of(Options { machines: 30, ..unlimited() }).await;
    let control = client.simulator.control();
    // Update Tuesday, while the clock is some weeks behind.
    control.skip_days(19);
    for id in control.machine_ids() {
        assert!(control.exported(&id).into_iter().flatten().all(|kb| kb.first_seen <= now()), "{id}");
    }
    assert_export_is(control, &client.read().await.1);
}

#[tokio::test]
async fn set_updates_have_rows_for_listed_and_unlisted_machines() {
    let client = TestClient::of(Options { machines: 0, realism: Realism::Plain, ..unlimited() }).await;
    let control = client.simulator.control();
    control.add_machine(machine_record("a1", "one.example", now()));
    control.add_machine(machine_record("c3", "clean.example", now()));
    control.set_missing("a1", vec![MissingKb::new("KB5065429", "September 2025 Security Updates")]);
    control
        .set_missing("b2", vec![MissingKb { cves: 2, ..MissingKb::new("5065429", "Servicing \"stack\"") }]);
    let (_, machines) = client.read().await;
    assert_export_is(control, &machines);
    assert_eq!(machines.keys().collect::<Vec<_>>(), ["a1", "b2", "c3"]);
    assert_eq!(machines["b2"].kbs["5065429"].cves.len(), 2);
    let expected = control.exported("a1").expect("rows").remove(0);
    assert_eq!((expected.kb.as_str(), expected.cves), ("5065429", 3));
    let name: Timestamp = "2025-09-09T17:30:00Z".parse().expect("a timestamp");
    assert!(
        expected.first_seen >= name && expected.first_seen < name + 12.hours(),
        "{}",
        expected.first_seen
    );
    assert_eq!(control.exported("c3"), Some(Vec::new()));
    assert_eq!(control.exported("d4"), None);
}

#[tokio::test]
async fn both_sources_show_missing_per_machine() {
    for missing_per_machine in [0, 3, 30] {
        let options = Options { machines: 12, missing_per_machine: Some(missing_per_machine), ..unlimited() };
        let client = TestClient::of(Options { realism: Realism::Plain, ..options }).await;
        let control = client.simulator.control();
        for id in control.machine_ids() {
            assert_eq!(control.missing(&id).len(), missing_per_machine);
            assert_eq!(control.exported(&id).expect("rows").len(), missing_per_machine);
        }
        assert_export_is(control, &client.read().await.1);
    }
}

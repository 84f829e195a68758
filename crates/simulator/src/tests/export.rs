//! The bulk export, read by a parser that knows only what the API page says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::Mutex;

use flate2::read::MultiGzDecoder;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use serde_json::Map;

use super::super::*;
use super::{Response, Value, Visitor, now};

pub(super) const LIST: &str = "/api/machines/SoftwareVulnerabilitiesExport";

/// What the rows say about a machine.
#[derive(Debug, Default, PartialEq)]
struct Told {
    rows: usize,
    kbs: BTreeMap<String, Gap>,
}

#[derive(Debug, Default, PartialEq)]
struct Gap {
    cves: BTreeSet<String>,
    severity: usize,
    first_seen: Option<Timestamp>,
}

const SEVERITIES: [Option<&str>; 5] = [None, Some("low"), Some("medium"), Some("high"), Some("critical")];

impl Visitor {
    pub(super) async fn links(&self) -> Vec<String> {
        let (status, list) = self.get_json(LIST).await;
        assert_eq!(status, 200, "{list}");
        let links = list["exportFiles"].as_array().expect("exportFiles");
        links.iter().map(|link| link.as_str().expect("link").to_owned()).collect()
    }

    pub(super) async fn download(&self, link: &str) -> Response {
        self.client.get(link).send().await.expect("reply")
    }

    async fn file(&self, link: &str) -> Vec<u8> {
        let response = self.download(link).await;
        assert_eq!(response.status().as_u16(), 200);
        response.bytes().await.expect("body").to_vec()
    }

    /// The text of all files, and what it says by machine.
    async fn read(&self) -> (Vec<String>, BTreeMap<String, Told>) {
        let mut texts = Vec::new();
        for link in self.links().await {
            texts.push(unpacked(&self.file(&link).await));
        }
        let mut told: BTreeMap<String, Told> = BTreeMap::new();
        for line in texts.iter().flat_map(|text| text.lines()) {
            if let Some(row) = row_of(line) {
                note(&mut told, &row);
            }
        }
        (texts, told)
    }
}

fn unpacked(packed: &[u8]) -> String {
    let mut text = String::new();
    // A body of zero bytes is no gzip.
    if !packed.is_empty() {
        MultiGzDecoder::new(packed).read_to_string(&mut text).expect("gzip of UTF-8");
    }
    text
}

/// A row with its keys in lower case.
fn row_of(line: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(line) {
        Ok(Value::Object(row)) => {
            Some(row.into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect())
        }
        _ => None,
    }
}

fn note(told: &mut BTreeMap<String, Told>, row: &Map<String, Value>) {
    let text = |key: &str| row.get(key).and_then(Value::as_str);
    let Some(device) = text("deviceid") else { return };
    let machine = told.entry(device.to_lowercase()).or_default();
    machine.rows += 1;
    let kb = text("recommendedsecurityupdateid").map(|id| id.trim_start_matches("KB"));
    let kb = kb.filter(|kb| (6..=7).contains(&kb.len()) && kb.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(kb) =
        kb.filter(|_| text("softwarevendor") == Some("microsoft") && text("status") != Some("Fixed"))
    else {
        return;
    };
    let gap = machine.kbs.entry(kb.to_owned()).or_default();
    gap.cves.insert(text("cveid").expect("a KB has a CVE").to_owned());
    let severity = text("vulnerabilityseveritylevel").map(str::to_lowercase);
    let severity = SEVERITIES.iter().position(|known| *known == severity.as_deref()).expect("severity");
    gap.severity = gap.severity.max(severity);
    if let Some(seen) = text("firstseentimestamp") {
        let seen: DateTime = seen.parse().expect("a time without a zone");
        let seen = TimeZone::UTC.to_timestamp(seen).expect("in range");
        gap.first_seen = Some(gap.first_seen.map_or(seen, |earlier| earlier.min(seen)));
    }
}

fn agree(control: &Control, told: &BTreeMap<String, Told>) {
    for id in control.machine_ids() {
        let read = told.get(&id).map(|machine| {
            let exported = machine.kbs.iter().map(|(kb, gap)| ExportedKb {
                kb: kb.clone(),
                cves: u32::try_from(gap.cves.len()).expect("few"),
                severity: SEVERITIES[gap.severity],
                first_seen: gap.first_seen.expect("some row says it"),
            });
            exported.collect::<Vec<_>>()
        });
        assert_eq!(read, control.exported(&id), "{id}");
    }
}

/// No quota, so that a test may ask as often as it likes.
pub(super) fn unlimited() -> Options {
    Options { quota_per_minute: None, quota_per_hour: None, ..Options::new(now) }
}

#[tokio::test]
async fn plain_export_says_what_getmissingkbs_says() {
    let visitor = Visitor::of(Options { machines: 40, awkwardness: Awkwardness::None, ..unlimited() }).await;
    let control = visitor.simulator.control();
    let (status, list) = visitor.get_json(LIST).await;
    assert_eq!((status, list["generatedTime"].as_str()), (200, Some("2025-11-20T12:00:00Z")));
    let link = list["exportFiles"][0].as_str().expect("link");
    assert!(!link.starts_with(&visitor.simulator.api_url()), "another port");
    assert!(link.contains("/tvm-export/2025-11-20/1200/VaExport/json/OrgId="), "{link}");
    let (texts, told) = visitor.read().await;
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| text.ends_with("}\n") && !text.contains("null")));
    agree(control, &told);
    for id in control.machine_ids() {
        let kbs: BTreeSet<String> = told[&id].kbs.keys().cloned().collect();
        assert_eq!(kbs, control.missing(&id));
    }
    let gaps = || told.values().flat_map(|machine| machine.kbs.values());
    assert_eq!(gaps().map(|gap| gap.cves.len()).max(), Some(3), "the most of an update");
    let bytes: usize = texts.iter().map(String::len).sum();
    let rows: usize = told.values().map(|machine| machine.rows).sum();
    assert!((700..=1_100).contains(&(bytes / rows)), "{} bytes per row", bytes / rows);
}

#[tokio::test]
async fn awkward_export_holds_every_oddity_and_the_truth() {
    let visitor = Visitor::of(Options { machines: 60, ..unlimited() }).await;
    let control = visitor.simulator.control();
    let (texts, told) = visitor.read().await;
    agree(control, &told);
    assert_eq!(texts.iter().filter(|text| text.is_empty()).count(), 1);
    assert!(texts.iter().all(|text| !text.ends_with('\n')), "the last line has no end");
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
    assert!(lines.iter().any(|line| row_of(line).is_none()), "one is no JSON");
    assert!(lines.iter().collect::<BTreeSet<_>>().len() < lines.len(), "one is there twice");
    let rows: Vec<_> = lines.iter().filter_map(|line| row_of(line)).collect();
    assert!(rows.iter().any(|row| !row.contains_key("deviceid")));
    let ids = rows.iter().filter_map(|row| row.get("deviceid").and_then(Value::as_str));
    assert!(ids.into_iter().any(|id| id.bytes().any(|byte| byte.is_ascii_uppercase())));
    assert!(told.values().any(|machine| machine.kbs.values().any(|gap| gap.severity == 0)), "no severity");
}

#[tokio::test]
async fn only_assessed_machines_have_rows() {
    let visitor = Visitor::of(Options { machines: 60, ..unlimited() }).await;
    let control = visitor.simulator.control();
    let (_, told) = visitor.read().await;
    let silent: Vec<Value> = control
        .machine_ids()
        .iter()
        .filter(|id| !told.contains_key(*id))
        .filter_map(|id| control.machine(id))
        .collect();
    let health: Vec<_> = silent.iter().map(|machine| machine["healthStatus"].as_str()).collect();
    assert_eq!(health, [Some("Active"), Some("Inactive"), Some("Inactive")], "{silent:?}");
    for record in visitor.list("/api/machines").await.concat() {
        if record["mergedIntoMachineId"].is_string() || record["isExcluded"] == true {
            assert!(!told.contains_key(record["id"].as_str().expect("id")));
        }
    }
    let clean = told.values().filter(|machine| machine.kbs.is_empty()).count();
    assert!(clean > 5, "{clean} clean machines, each with rows");
}

#[tokio::test]
async fn some_machines_are_spread_over_two_files() {
    let visitor = Visitor::of(Options { machines: 60, ..unlimited() }).await;
    let (texts, _) = visitor.read().await;
    let devices = |text: &String| -> BTreeSet<String> {
        let mut told = BTreeMap::new();
        text.lines().filter_map(row_of).for_each(|row| note(&mut told, &row));
        told.into_keys().collect()
    };
    let sets: Vec<_> = texts.iter().map(devices).collect();
    assert!(sets[0].intersection(&sets[2]).next().is_some(), "the second of the list is the empty one");
}

#[tokio::test]
async fn one_file_is_of_several_gzip_members() {
    let visitor = Visitor::of(Options { machines: 60, ..unlimited() }).await;
    let links = visitor.links().await;
    let packed = visitor.file(&links[2]).await;
    let mut first = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut first).expect("gzip");
    assert!(first.len() < unpacked(&packed).len());
}

#[tokio::test]
async fn snapshot_stays_as_it_was_until_it_is_old() {
    let clock = Arc::new(Mutex::new(now()));
    let read = clock.clone();
    let options = Options { machines: 12, awkwardness: Awkwardness::None, ..unlimited() };
    let visitor =
        Visitor::of(Options { now: Arc::new(move || *read.lock().expect("clock")), ..options }).await;
    let control = visitor.simulator.control();
    let truth_now = || control.machine_ids().iter().map(|id| control.exported(id)).collect::<Vec<_>>();
    let generated =
        async || visitor.get_json(LIST).await.1["generatedTime"].as_str().expect("time").to_owned();
    let (first, truth) = (generated().await, truth_now());
    control.skip_days(28);
    *clock.lock().expect("clock") = now() + 5.hours();
    assert_eq!((generated().await, &truth_now()), (first, &truth));
    *clock.lock().expect("clock") = now() + 6.hours();
    assert_eq!(generated().await, "2025-11-20T18:00:00Z");
    assert_ne!(truth_now(), truth);
    agree(control, &visitor.read().await.1);
    *clock.lock().expect("clock") = now() + 7.hours();
    control.rebuild_export();
    assert_eq!(generated().await, "2025-11-20T19:00:00Z");
    control.set_export_generated(now() - SignedDuration::from_hours(48));
    assert_eq!(generated().await, "2025-11-18T12:00:00Z");
    agree(control, &visitor.read().await.1);
}

#[tokio::test]
async fn nothing_was_first_seen_after_the_snapshot() {
    let visitor = Visitor::of(Options { machines: 30, ..unlimited() }).await;
    let control = visitor.simulator.control();
    // Update Tuesday, while the clock stands some weeks before.
    control.skip_days(19);
    for id in control.machine_ids() {
        assert!(control.exported(&id).into_iter().flatten().all(|kb| kb.first_seen <= now()), "{id}");
    }
    agree(control, &visitor.read().await.1);
}

#[tokio::test]
async fn told_machines_have_rows_listed_or_not() {
    let visitor = Visitor::of(Options { machines: 0, awkwardness: Awkwardness::None, ..unlimited() }).await;
    let control = visitor.simulator.control();
    control.add_machine(machine_record("a1", "one.example", now()));
    control.add_machine(machine_record("c3", "clean.example", now()));
    control.set_missing("a1", vec![MissingKb::new("KB5065429", "September 2025 Security Updates")]);
    control
        .set_missing("b2", vec![MissingKb { cves: 2, ..MissingKb::new("5065429", "Servicing \"stack\"") }]);
    let (_, told) = visitor.read().await;
    agree(control, &told);
    assert_eq!(told.keys().collect::<Vec<_>>(), ["a1", "b2", "c3"]);
    assert_eq!(told["b2"].kbs["5065429"].cves.len(), 2);
    let truth = control.exported("a1").expect("rows").remove(0);
    assert_eq!((truth.kb.as_str(), truth.cves), ("5065429", 3));
    let known: Timestamp = "2025-09-09T17:30:00Z".parse().expect("a timestamp");
    assert!(truth.first_seen >= known && truth.first_seen < known + 12.hours(), "{}", truth.first_seen);
    assert_eq!(control.exported("c3"), Some(Vec::new()));
    assert_eq!(control.exported("d4"), None);
}

#[tokio::test]
async fn backlog_is_the_same_in_both_sources() {
    for backlog in [0, 3, 30] {
        let options = Options { machines: 12, backlog: Some(backlog), ..unlimited() };
        let visitor = Visitor::of(Options { awkwardness: Awkwardness::None, ..options }).await;
        let control = visitor.simulator.control();
        for id in control.machine_ids() {
            assert_eq!(control.missing(&id).len(), backlog);
            assert_eq!(control.exported(&id).expect("rows").len(), backlog);
        }
        agree(control, &visitor.read().await.1);
    }
}

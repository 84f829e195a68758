//! Update ids that are no KBs and export lines that cannot be read, over several answers.

use std::sync::Arc;
use std::time::Duration;

use mde_exporter::facts::Facts;
use mde_exporter::fleet::policy::{CompiledPolicies, PolicyCounts, PolicyState};
use mde_exporter::fleet::summary::Summary;
use mde_exporter::model::{DeadlineStart, IgnoredUpdates, Source};
use mde_simulator::{Endpoint, Fault, MissingKb, Options, Realism, Times, machine_record};
use serde_json::{Value, json};

use crate::support::api::options;
use crate::support::clock::ManualClock;
use crate::support::export_server::gzip;
use crate::support::fleets::policy;
use crate::support::log::CapturedLog;
use crate::support::poller::{PollerHarness, all};

const DAY: Duration = Duration::from_hours(24);

/// A poller of one machine.
async fn one_machine() -> PollerHarness {
    let harness = PollerHarness::new(options(0, Realism::Plain), all()).await;
    let record = machine_record("a1", "a1.example", harness.api.clock.now());
    harness.api.control().add_machine(record);
    harness
}

/// Polls an answer with these ids. Returns the missing KBs.
async fn answer(harness: &mut PollerHarness, ids: &[&str]) -> Vec<String> {
    let missing = ids.iter().map(|id| MissingKb::new(id, "")).collect();
    harness.api.control().set_missing("a1", missing);
    harness.poller.poll_all().await;
    let missing = harness.assessments()["a1"].clone().unwrap().1;
    missing.into_iter().collect()
}

/// The value of the machine's series, and its state under a policy.
fn shown(harness: &PollerHarness) -> (Option<f64>, PolicyState) {
    let scrape = harness.scrape();
    assert_eq!(scrape.value("mde_machine_up", &[]), Some(1.0));
    assert_eq!(scrape.sum_by("mde_assessed_machines", "state")["fresh"], 1.0);
    let (fleet, now) = (harness.poller.fleet(), harness.api.clock.now());
    let policies = [policy("p", 24 * 14, DeadlineStart::FirstSeen)];
    let (facts, freshness) = (Facts::default(), &harness.freshness);
    let summary = Summary::of(fleet, now, freshness, &facts);
    let counts =
        PolicyCounts::of(&CompiledPolicies::new(&policies, &[], now), fleet, &summary, &facts, freshness);
    let state = PolicyState::ALL.into_iter().find(|state| counts.summaries[0].machines(*state) == 1);
    let is_compliant = scrape.sum("mde_compliant_machines") == 1.0;
    assert_eq!(is_compliant, state == Some(PolicyState::Compliant));
    (scrape.value("mde_machine_missing_updates", &[]), state.unwrap())
}

#[tokio::test]
async fn ids_in_every_spelling_of_a_kb_are_read() {
    let mut harness = one_machine().await;
    for id in ["KB 5036892", "5036892 (x64)", "KB-5036892", " kb5036892 (x64) (arm64) ", "5036892"] {
        assert_eq!(answer(&mut harness, &[id]).await, ["5036892"], "{id}");
        assert_eq!(shown(&harness), (Some(1.0), PolicyState::Due));
    }
    assert_eq!(harness.api.count("rejected_records_total", &[("reason", "bad_kb")]), 0.0);
}

#[tokio::test]
async fn id_that_is_no_kb_leaves_the_machine_not_compliant() {
    for id in ["Click to Run", "ADV200002", "5036892;5036893", "KB5036892x64", "12345", "12345678"] {
        let mut harness = one_machine().await;
        assert_eq!(answer(&mut harness, &[id]).await, [""; 0], "{id}");
        assert_eq!(shown(&harness), (None, PolicyState::Unknown), "{id}");
        assert_eq!(harness.scrape().value("mde_machine_overdue_updates", &[]), None);
        assert_eq!(harness.api.count("rejected_records_total", &[("reason", "bad_kb")]), 1.0);
        assert_eq!(answer(&mut harness, &[]).await, [""; 0]);
        assert_eq!(shown(&harness), (Some(0.0), PolicyState::Compliant), "{id}");
    }
}

#[tokio::test]
async fn new_id_holds_the_updates_that_it_may_stand_for() {
    let mut harness = one_machine().await;
    answer(&mut harness, &["5036892", "5036893", "5036894"]).await;
    let held = answer(&mut harness, &["5036892;5036893", "5036894"]).await;
    assert_eq!(held, ["5036892", "5036893", "5036894"]);
    assert_eq!(shown(&harness), (Some(3.0), PolicyState::Due));
    let resolved =
        |harness: &PollerHarness| harness.scrape().value("mde_missing_updates_resolved_total", &[]);
    assert_eq!(resolved(&harness), Some(0.0));
    // The id appeared with this one, so it is not this one.
    assert_eq!(answer(&mut harness, &["5036892;5036893"]).await, ["5036892", "5036893"]);
    assert_eq!(resolved(&harness), Some(1.0));
    harness.api.clock.advance(DAY * 31);
    let record = machine_record("a1", "a1.example", harness.api.clock.now());
    harness.api.control().add_machine(record);
    assert_eq!(answer(&mut harness, &["5036892;5036893"]).await, [""; 0], "held long enough");
    assert_eq!((resolved(&harness), shown(&harness)), (Some(3.0), (None, PolicyState::Unknown)));
}

#[tokio::test]
async fn id_in_every_answer_does_not_freeze_the_other_updates() {
    let mut harness = one_machine().await;
    let log = CapturedLog::default();
    let guard = log.capture();
    answer(&mut harness, &["Click to Run", "5036892", "5036893"]).await;
    assert_eq!(answer(&mut harness, &["Click to Run", "5036893"]).await, ["5036893"]);
    assert_eq!(shown(&harness), (Some(1.0), PolicyState::Due));
    assert_eq!(answer(&mut harness, &["Click to Run"]).await, [""; 0]);
    assert_eq!(shown(&harness), (None, PolicyState::Unknown));
    drop(guard);
    let lines = log.lines();
    let about: Vec<_> = lines.iter().filter(|line| line.contains("metrics.ignore_ids")).collect();
    assert_eq!(about.len(), 1, "{lines:?}");
    assert!(about[0].contains("Click to Run"), "{about:?}");
}

#[tokio::test]
async fn ignored_ids_are_counted_and_hold_nothing() {
    let mut harness = one_machine().await;
    harness.poller = harness.poller.ignoring(Arc::new(IgnoredUpdates::new([], ["click TO run"])));
    answer(&mut harness, &["5036892"]).await;
    assert_eq!(answer(&mut harness, &["Click to Run"]).await, [""; 0]);
    assert_eq!(shown(&harness), (Some(0.0), PolicyState::Compliant));
    assert_eq!(harness.api.count("rejected_records_total", &[("reason", "bad_kb")]), 1.0);
}

#[tokio::test]
async fn record_without_an_id_proves_nothing() {
    let mut harness = one_machine().await;
    answer(&mut harness, &["5036892", "5036893"]).await;
    let reply = |records: Value| json!({"value": records}).to_string();
    let poll = async |harness: &mut PollerHarness, records: Value| {
        harness.api.control().set_reply("a1", reply(records));
        harness.poller.poll_all().await;
        harness.assessments()["a1"].clone().unwrap().1.into_iter().collect::<Vec<_>>()
    };
    let both = ["5036892", "5036893"];
    for record in [json!({"id": null}), json!({"id": ["5036892"]}), json!(7), json!({"name": "x"})] {
        assert_eq!(poll(&mut harness, json!([{"id": "5036893"}, record])).await, both, "{record}");
    }
    assert_eq!(poll(&mut harness, json!([{"id": "5036893"}])).await, ["5036893"]);
    assert_eq!(shown(&harness), (Some(1.0), PolicyState::Due));
}

/// A poller of the export with two machines, and the clock of the simulator.
struct ExportReader {
    harness: PollerHarness,
    simulator_clock: ManualClock,
}

impl ExportReader {
    async fn start() -> Self {
        let simulator_clock = ManualClock::new();
        let clock = simulator_clock.clone();
        let options = Options { now: Arc::new(move || clock.now()), ..options(0, Realism::Plain) };
        let harness = PollerHarness::changed(options, |tenant| {
            tenant.machines = all();
            tenant.source = Source::Export;
        });
        let harness = harness.await;
        for id in ["a1", "b2"] {
            let seen = harness.api.clock.now() + DAY * 20;
            harness.api.control().add_machine(machine_record(id, id, seen));
        }
        Self { harness, simulator_clock }
    }

    /// Polls a new version with this text. Returns the missing KBs of both machines.
    async fn version(&mut self, text: &[u8]) -> [Vec<String>; 2] {
        let control = self.harness.api.control().clone();
        control.clear();
        control.inject(Endpoint::ExportFile, Fault::Body(gzip(text)), Times::Always);
        for clock in [&self.simulator_clock, &self.harness.api.clock] {
            clock.advance(Duration::from_hours(6));
        }
        self.harness.poller.poll_all().await;
        let assessments = self.harness.assessments();
        ["a1", "b2"].map(|id| assessments[id].clone().unwrap().1.into_iter().collect())
    }
}

/// A line about a machine and an update id.
fn line(device: &str, id: &str) -> String {
    let row = json!({
        "DeviceId": device, "SoftwareVendor": "microsoft", "SoftwareName": "windows_10",
        "CveId": "CVE-2026-1111", "RecommendedSecurityUpdateId": id,
    });
    format!("{row}\n")
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn export_lines_with_a_byte_order_mark_are_read() {
    let mut export = ExportReader::start().await;
    let text = format!("\u{feff}{}\u{feff}{}", line("a1", "5036892"), line("b2", "KB 5036893"));
    assert_eq!(export.version(text.as_bytes()).await, [texts(&["5036892"]), texts(&["5036893"])]);
    for reason in ["malformed", "bad_kb", "no_id"] {
        assert_eq!(export.harness.api.count("rejected_records_total", &[("reason", reason)]), 0.0);
    }
}

#[tokio::test]
async fn unreadable_row_concerns_its_own_machine() {
    for odd in
        [line("a1", "Click to Run"), "{\"DeviceId\":\"A1\",\"SoftwareVendor\":\"micro".to_owned() + "\n"]
    {
        let mut export = ExportReader::start().await;
        let other = line("b2", "5036894");
        let both = line("a1", "5036892") + &line("a1", "5036893");
        export.version((both + &line("b2", "5036892") + &other).as_bytes()).await;
        let text = line("a1", "5036893") + &odd + &other;
        let [first, second] = export.version(text.as_bytes()).await;
        assert_eq!((first, second), (texts(&["5036892", "5036893"]), texts(&["5036894"])), "{odd}");
        // It appeared with 5036893.
        let text = odd.clone() + &other;
        assert_eq!(export.version(text.as_bytes()).await[0], texts(&["5036892"]));
        assert_eq!(export.version((odd + &other).as_bytes()).await[0], texts(&["5036892"]));
        assert_eq!(export.version(other.as_bytes()).await[0], texts(&[]));
        assert_eq!(export.harness.scrape().sum("mde_compliant_machines"), 1.0);
    }
}

#[tokio::test]
async fn broken_string_of_a_line_loses_nothing_else() {
    let mut export = ExportReader::start().await;
    let with_name = |name: &[u8]| {
        let line = line("a1", "5036892").replace("windows_10", "NAME");
        let (start, end) = line.split_once("NAME").unwrap();
        [start.as_bytes(), name, end.as_bytes()].concat()
    };
    for name in [&b"x\\ud800y"[..], b"x\xffy", b"x\ty"] {
        assert_eq!(export.version(&with_name(name)).await[0], texts(&["5036892"]));
        assert_eq!(export.harness.api.count("rejected_records_total", &[("reason", "malformed")]), 0.0);
    }
}

#[tokio::test]
async fn rows_of_other_vendors_and_without_an_id_are_no_doubt() {
    let mut export = ExportReader::start().await;
    export.version((line("a1", "5036892") + &line("b2", "5036892")).as_bytes()).await;
    let google = line("a1", "Chrome 99").replace("microsoft", "google");
    let no_device = google.replace("\"a1\"", "null");
    let text = google + &no_device + &line("a1", "") + &line("b2", "5036892");
    assert_eq!(export.version(text.as_bytes()).await, [texts(&[]), texts(&["5036892"])]);
    assert_eq!(export.harness.scrape().sum("mde_compliant_machines"), 1.0);
}

#[tokio::test]
async fn line_of_an_unknown_machine_holds_every_update_once() {
    for odd in
        ["not json", "{\"SoftwareVendor\":\"microsoft\"}", "[]", "{\"DeviceId\":7}", "{\"DeviceId\":\"\"}"]
    {
        let mut export = ExportReader::start().await;
        export.version((line("a1", "5036892") + &line("a1", "5036893")).as_bytes()).await;
        let odd = line("a1", "5036893") + odd + "\n";
        let held = [texts(&["5036892", "5036893"]), texts(&[])];
        assert_eq!(export.version(odd.as_bytes()).await, held, "{odd}");
        assert_eq!(export.harness.scrape().sum("mde_compliant_machines"), 1.0, "the other keeps its zero");
        assert_eq!(export.version(odd.as_bytes()).await, [texts(&["5036893"]), texts(&[])], "again: {odd}");
    }
}

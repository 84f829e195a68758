//! The poller with the bulk export against the simulator: data after a poll, and after a failure.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use mde_exporter::config::Selectors;
use mde_exporter::fleet::{MissingUpdate, PollStatus};
use mde_exporter::model::{IgnoredUpdates, KbId, Severity, Source};
use mde_simulator::{Control, Endpoint, ExportedKb, Fault, Options, Realism, Times};

use crate::support::api::options;
use crate::support::clock::ManualClock;
use crate::support::poller::{INTERVAL, PollerHarness, all};

const SIX_HOURS: Duration = Duration::from_hours(6);

/// A poller of the export, and the clock of the simulator.
struct ExportPoller {
    harness: PollerHarness,
    simulator_clock: ManualClock,
}

impl ExportPoller {
    async fn of(machines: usize, realism: Realism) -> Self {
        Self::with_timeout(machines, realism, Duration::from_secs(20)).await
    }

    /// A poller for which a second without data is a timeout.
    async fn with_short_timeout(machines: usize, realism: Realism) -> Self {
        Self::with_timeout(machines, realism, Duration::from_secs(1)).await
    }

    async fn with_timeout(machines: usize, realism: Realism, timeout: Duration) -> Self {
        let simulator_clock = ManualClock::new();
        let clock = simulator_clock.clone();
        let options = Options { now: Arc::new(move || clock.now()), ..options(machines, realism) };
        let harness = PollerHarness::changed(options, |tenant| {
            tenant.machines = all();
            tenant.source = Source::Export;
            tenant.http.timeout = timeout;
        });
        Self { harness: harness.await, simulator_clock }
    }

    /// Advances both clocks, so that there is a new export.
    fn advance_to_next_export(&self) {
        self.simulator_clock.advance(SIX_HOURS);
        self.harness.api.clock.advance(SIX_HOURS);
    }

    async fn poll(&mut self) {
        self.harness.poller.poll().await;
    }

    /// Restarts the poller with its state and an unused quota.
    fn restarted(self) -> Self {
        let fleet = self.harness.poller.fleet().clone();
        Self { harness: self.harness.with(all(), fleet), simulator_clock: self.simulator_clock }
    }

    /// Polls a new export while the fault is active, and asserts that no data changes and the reason is counted.
    async fn after(self, endpoint: Endpoint, fault: Fault, reason: &str) -> Self {
        let mut exporter = self.restarted();
        let (before, failures) = (exporter.missing_kbs(), exporter.harness.failures(reason));
        exporter.advance_to_next_export();
        exporter.control().inject(endpoint, fault.clone(), Times::Always);
        exporter.poll().await;
        exporter.control().clear();
        assert_eq!(exporter.missing_kbs(), before, "{fault:?}");
        let PollStatus { up, last_error, .. } = exporter.harness.status();
        assert_eq!(exporter.harness.failures(reason), failures + 1.0, "{fault:?}: {last_error:?}");
        // One failure does not make the API unusable, but a refusal does.
        let is_refused = ["forbidden", "unauthorized"].contains(&reason);
        assert_eq!(*up, !is_refused, "{fault:?}");
        assert!(last_error.is_some(), "{fault:?}");
        let secret = exporter.harness.api.test_tenant.sim.link_secret();
        assert!(!format!("{last_error:?}").contains(secret), "{last_error:?}");
        exporter
    }

    fn control(&self) -> &Control {
        self.harness.api.control()
    }

    fn downloads(&self) -> u64 {
        self.control().requests(Endpoint::ExportFile)
    }

    fn exports_rejected(&self, reason: &str) -> f64 {
        self.harness.api.count("rejected_snapshots_total", &[("reason", reason)])
    }

    /// The missing updates of each machine, in the types of the simulator.
    fn missing_kbs(&self) -> BTreeMap<String, Option<Vec<ExportedKb>>> {
        let exported = |missing: &MissingUpdate| ExportedKb {
            kb: missing.update.kb.to_string(),
            cves: missing.update.cves.unwrap(),
            severity: missing.update.severity.map(Severity::as_str),
            first_seen: missing.first_seen,
        };
        let machines = self.harness.poller.fleet().machines.iter();
        machines
            .map(|(id, machine)| {
                let missing_updates = machine
                    .assessment
                    .as_ref()
                    .map(|assessment| assessment.missing_updates.iter().map(exported).collect());
                (id.to_string(), missing_updates)
            })
            .collect()
    }

    fn truth(&self) -> BTreeMap<String, Option<Vec<ExportedKb>>> {
        let is_windows = |id: &str| {
            let record = self.control().machine(id).unwrap();
            record["osPlatform"].as_str().is_some_and(|platform| platform.starts_with("Windows"))
        };
        let exported = |id: &str| self.control().exported(id).filter(|_| is_windows(id));
        let ids = self.control().machine_ids().into_iter();
        ids.map(|id| (id.clone(), exported(&id))).collect()
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn realistic_fleet_is_complete_after_one_export() {
    let mut exporter = ExportPoller::of(90, Realism::Realistic).await;
    exporter.poll().await;
    assert_eq!(exporter.missing_kbs(), exporter.truth());
    let missing: usize = exporter.missing_kbs().values().flatten().map(Vec::len).sum();
    assert!(missing > 100, "{missing}");
    assert!(
        exporter.harness.status().up && exporter.harness.status().last_error.is_none(),
        "{:?}",
        exporter.harness.status()
    );

    let scrape = exporter.harness.scrape();
    let severities = ["critical", "high", "medium", "low", "unknown"]
        .map(|severity| scrape.value("mde_missing_updates", &[("severity", severity)]).unwrap());
    assert_eq!(severities.iter().sum::<f64>(), missing as f64);
    assert!(severities.iter().filter(|count| **count > 0.0).count() > 1, "{severities:?}");
    for (reason, least) in [("bad_kb", 5.0), ("no_id", 2.0), ("wrong_type", 1.0), ("malformed", 2.0)] {
        let count = exporter.harness.api.count("rejected_records_total", &[("reason", reason)]);
        assert!(count >= least, "{reason}: {count}");
    }
    assert!(exporter.harness.api.count("duplicate_records_total", &[]) > 10.0);
    let generated = exporter.harness.api.count("source_snapshot_timestamp_seconds", &[]);
    assert_eq!(generated, exporter.simulator_clock.now().as_second() as f64);
}

#[tokio::test]
async fn downloads_carry_no_token_and_count_against_no_quota() {
    let mut exporter = ExportPoller::of(12, Realism::Plain).await;
    exporter.poll().await;
    let calls = exporter.control().calls();
    let files: Vec<_> = calls.iter().filter(|call| call.endpoint == Endpoint::ExportFile).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|call| call.authorization.is_none() && call.status == Some(200)));
    assert_eq!(exporter.harness.api.count("api_quota_used_requests", &[("window", "1h")]), 2.0, "two lists");
    assert_eq!(exporter.harness.kb_calls(), 0, "no machine is fetched individually");
}

#[tokio::test]
async fn only_a_new_export_is_read() {
    let mut exporter = ExportPoller::of(40, Realism::Plain).await;
    exporter.poll().await;
    let (before, downloads) = (exporter.missing_kbs(), exporter.downloads());
    exporter.harness.api.clock.advance(INTERVAL);
    exporter.poll().await;
    assert_eq!((exporter.missing_kbs(), exporter.downloads()), (before.clone(), downloads));
    let now = exporter.harness.api.clock.now();
    assert_eq!(exporter.harness.poller.fleet().export_version.unwrap().checked_at, now);
    assert_eq!(exporter.harness.status().next_poll, Some(now + INTERVAL));
    exporter.advance_to_next_export();
    exporter.control().skip_days(30);
    exporter.poll().await;
    assert_eq!(exporter.missing_kbs(), exporter.truth());
    assert_ne!(exporter.missing_kbs(), before);
    assert_eq!(exporter.downloads(), 2 * downloads);
    let totals = exporter.harness.poller.fleet().totals;
    let open: usize = exporter.missing_kbs().values().flatten().map(Vec::len).sum();
    assert_eq!(totals.detected - totals.resolved, open as u64);
    assert!(totals.resolved > 0);
}

#[tokio::test]
async fn export_older_than_the_current_one_is_not_read() {
    let mut exporter = ExportPoller::of(12, Realism::Plain).await;
    exporter.poll().await;
    let (before, downloads) = (exporter.missing_kbs(), exporter.downloads());
    exporter.control().set_export_generated(exporter.simulator_clock.now() - SignedDuration::from_hours(7));
    exporter.harness.api.clock.advance(INTERVAL);
    exporter.poll().await;
    assert_eq!((exporter.missing_kbs(), exporter.downloads()), (before, downloads));
    assert_eq!(exporter.exports_rejected("older"), 1.0);
    assert!(exporter.harness.status().up);
}

#[tokio::test]
async fn export_with_a_future_time_is_current() {
    let mut exporter = ExportPoller::of(6, Realism::Plain).await;
    exporter.poll().await;
    exporter.advance_to_next_export();
    exporter.control().set_export_generated("9999-12-30T00:00:00Z".parse().unwrap());
    exporter.poll().await;
    let now = exporter.harness.api.clock.now();
    assert_eq!(exporter.harness.poller.fleet().export_version.unwrap().generated_at, now);
    exporter.advance_to_next_export();
    exporter.poll().await;
    assert_eq!(exporter.exports_rejected("older"), 0.0);
}

#[tokio::test]
async fn expired_links_are_requested_again() {
    let mut exporter = ExportPoller::of(12, Realism::Plain).await;
    exporter.control().inject(Endpoint::ExportFile, Fault::Forbidden(String::new()), Times::Next(1));
    exporter.poll().await;
    assert_eq!(exporter.missing_kbs(), exporter.truth());
    assert_eq!(exporter.control().requests(Endpoint::Export), 2);
}

#[tokio::test]
async fn file_errors_keep_the_old_data() {
    let mut exporter = ExportPoller::with_short_timeout(30, Realism::Realistic).await;
    exporter.poll().await;
    let before = exporter.missing_kbs();
    let faults = [
        (Fault::Truncated, "network"),
        (Fault::NotJson, "decode"),
        (Fault::WrongShape, "decode"),
        (Fault::CompressedBomb, "too_large"),
        (Fault::SlowDrip, "timeout"),
        (Fault::Hang, "timeout"),
        (Fault::Reset, "network"),
        (Fault::Status(503), "server_error"),
        (Fault::NotFound, "not_found"),
        (Fault::Redirect("https://elsewhere.example/".to_owned()), "unexpected_status"),
        (Fault::Body(b"no gzip at all".to_vec()), "incomplete"),
        (Fault::Body(gzip("{}\n")), "decode"),
    ];
    for (fault, reason) in faults {
        exporter = exporter.after(Endpoint::ExportFile, fault, reason).await;
    }
    assert_eq!(exporter.exports_rejected("incomplete"), 1.0, "one file was complete but damaged");
    exporter = exporter.restarted();
    exporter.advance_to_next_export();
    exporter.control().inject(Endpoint::ExportFile, Fault::HugeBody, Times::Always);
    exporter.poll().await;
    exporter.control().clear();
    assert_eq!(exporter.missing_kbs(), before, "half a gigabyte about an unknown machine");
    assert_eq!(exporter.exports_rejected("shrunk"), 1.0);
    exporter.advance_to_next_export();
    exporter.poll().await;
    assert_eq!(exporter.missing_kbs(), exporter.truth(), "the next poll succeeds");
    assert!(exporter.harness.status().up);
}

#[tokio::test]
async fn list_errors_keep_the_old_data() {
    let mut exporter = ExportPoller::with_short_timeout(12, Realism::Plain).await;
    exporter.poll().await;
    let faults = [
        (Fault::Truncated, "network"),
        (Fault::NotJson, "decode"),
        (Fault::WrongShape, "decode"),
        (Fault::HugeBody, "too_large"),
        (Fault::CompressedBomb, "too_large"),
        (Fault::SlowDrip, "timeout"),
        (Fault::Hang, "timeout"),
        (Fault::Reset, "network"),
        (Fault::Status(500), "server_error"),
        (Fault::Forbidden("Vulnerability.Read.All".to_owned()), "forbidden"),
        (Fault::NotFound, "not_found"),
        (Fault::Body(br#"{"exportFiles":[],"generatedTime":"2100-01-01T00:00:00Z"}"#.to_vec()), "empty"),
        (
            Fault::Body(br#"{"exportFiles":["http://a.example/x"],"generatedTime":null}"#.to_vec()),
            "foreign_link",
        ),
    ];
    for (fault, reason) in faults {
        exporter = exporter.after(Endpoint::Export, fault, reason).await;
    }
    assert_eq!(exporter.exports_rejected("empty"), 1.0);
}

#[tokio::test]
async fn third_failure_of_the_export_sets_down() {
    let mut exporter = ExportPoller::of(6, Realism::Plain).await;
    exporter.poll().await;
    exporter.control().inject(Endpoint::Export, Fault::NotJson, Times::Always);
    for up in [true, true, false, false] {
        exporter.advance_to_next_export();
        exporter.poll().await;
        assert_eq!(exporter.harness.status().up, up);
    }
    exporter.control().clear();
    exporter.poll().await;
    assert!(exporter.harness.status().up);
}

#[tokio::test]
async fn export_that_lost_most_machines_needs_a_recheck() {
    let mut exporter = ExportPoller::of(12, Realism::Plain).await;
    exporter.poll().await;
    let before = exporter.missing_kbs();
    let one = exporter.control().machine_ids().remove(0);
    let body = gzip(&format!("{{\"DeviceId\":\"{one}\"}}\n"));
    exporter.control().inject(Endpoint::ExportFile, Fault::Body(body), Times::Always);
    exporter.advance_to_next_export();
    exporter.poll().await;
    assert_eq!(exporter.missing_kbs(), before);
    assert_eq!(exporter.exports_rejected("shrunk"), 1.0);
    exporter.harness.api.clock.advance(Duration::from_mins(5));
    exporter.poll().await;
    let stored = exporter.missing_kbs();
    assert_eq!(stored[&one], Some(Vec::new()));
    let others = stored.iter().filter(|(id, _)| **id != one);
    for (id, missing_updates) in others {
        assert_eq!(missing_updates, &before[id], "machines absent from the export keep their data");
    }
}

#[tokio::test]
async fn only_a_larger_scope_reads_the_export_again() {
    let mut exporter = ExportPoller::of(12, Realism::Plain).await;
    exporter.poll().await;
    let downloads = exporter.downloads();
    let mut again = exporter.restarted();
    again.poll().await;
    assert_eq!(again.downloads(), downloads);
    let (fleet, fewer) = (
        again.harness.poller.fleet().clone(),
        Selectors { exclude_ids: vec![again.control().machine_ids().remove(0)], ..all() },
    );
    let mut other = ExportPoller { harness: again.harness.with(fewer, fleet), ..again };
    other.poll().await;
    assert_eq!((other.downloads(), other.missing_kbs().len()), (downloads, 11));
    let fleet = other.harness.poller.fleet().clone();
    let mut whole = ExportPoller { harness: other.harness.with(all(), fleet), ..other };
    whole.poll().await;
    assert_eq!((whole.downloads(), whole.missing_kbs().len()), (2 * downloads, 12));
}

#[tokio::test]
async fn export_for_an_empty_scope_is_not_fetched() {
    let exporter = ExportPoller::of(6, Realism::Plain).await;
    let no_machines = Selectors { tags: vec!["nobody".to_owned()], ..Selectors::default() };
    let fleet = exporter.harness.poller.fleet().clone();
    let mut exporter = ExportPoller { harness: exporter.harness.with(no_machines, fleet), ..exporter };
    exporter.poll().await;
    assert_eq!(exporter.control().requests(Endpoint::Export), 0);
    let next = exporter.harness.api.clock.now() + INTERVAL;
    assert_eq!((exporter.harness.status().up, exporter.harness.status().next_poll), (true, Some(next)));
}

#[tokio::test]
async fn ignored_updates_are_not_stored() {
    let mut exporter = ExportPoller::of(12, Realism::Plain).await;
    exporter.poll().await;
    let ignored = exporter.missing_kbs().values().flatten().flatten().next().unwrap().kb.clone();
    let kb = KbId::parse(&ignored).unwrap();
    exporter.harness.poller = exporter.harness.poller.ignoring(Arc::new(IgnoredUpdates::new([kb], [])));
    exporter.advance_to_next_export();
    exporter.poll().await;
    assert!(exporter.missing_kbs().values().flatten().flatten().all(|missing| missing.kb != ignored));
    assert!(exporter.truth().values().flatten().flatten().any(|missing| missing.kb == ignored));
}

#[tokio::test]
async fn stalled_download_of_one_tenant_delays_no_other() {
    let mut stalled = ExportPoller::of(6, Realism::Plain).await;
    stalled.control().inject(Endpoint::ExportFile, Fault::Hang, Times::Always);
    let mut other = ExportPoller::of(6, Realism::Plain).await;
    tokio::select! {
        biased;
        () = stalled.poll() => panic!("the download hangs"),
        () = other.poll() => {}
    }
    assert_eq!(other.missing_kbs(), other.truth());
}

/// The age of the data counts from the time of the export, not from the time of the poll.
#[tokio::test]
async fn data_is_as_old_as_the_export() {
    let mut exporter = ExportPoller::of(6, Realism::Plain).await;
    let read_at: Timestamp = exporter.harness.api.clock.now();
    exporter.harness.api.clock.advance(Duration::from_hours(12));
    exporter.poll().await;
    exporter.harness.api.clock.advance(Duration::from_hours(2));
    let scrape = exporter.harness.scrape();
    let states = scrape.sum_by("mde_assessed_machines", "state");
    assert_eq!(
        (states["fresh"], states["stale"]),
        (0.0, 6.0),
        "read two simulator_clock ago, made fourteen simulator_clock ago"
    );
    assert!(exporter.simulator_clock.now() - read_at < SignedDuration::from_secs(5));
}

//! The poller with the bulk export against the simulator: what is known after it, and what is left alone
//! when it goes wrong.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use mde_exporter::config::{Selectors, Source};
use mde_exporter::fleet::{MissingUpdate, PollStatus, Severity};
use mde_simulator::{Control, Endpoint, ExportedKb, Fault, Options, Realism, Times};

use crate::support::api::options;
use crate::support::clock::Wall;
use crate::support::poller::{INTERVAL, Watch, all};

const SIX_HOURS: Duration = Duration::from_hours(6);

/// A poller of the export, and the clock of the simulator.
struct Bulk {
    watch: Watch,
    hours: Wall,
}

impl Bulk {
    async fn of(machines: usize, realism: Realism) -> Self {
        Self::with_timeout(machines, realism, Duration::from_secs(20)).await
    }

    /// To whom a second of silence is a stalled call.
    async fn impatient(machines: usize, realism: Realism) -> Self {
        Self::with_timeout(machines, realism, Duration::from_secs(1)).await
    }

    async fn with_timeout(machines: usize, realism: Realism, timeout: Duration) -> Self {
        let hours = Wall::new();
        let clock = hours.clone();
        let options = Options { now: Arc::new(move || clock.now()), ..options(machines, realism) };
        let watch = Watch::changed(options, |tenant| {
            tenant.machines = all();
            tenant.source = Source::Export;
            tenant.http.timeout = timeout;
        });
        Self { watch: watch.await, hours }
    }

    /// Both clocks go on, and Defender makes a new export.
    fn later(&self) {
        self.hours.forward(SIX_HOURS);
        self.watch.api.wall.forward(SIX_HOURS);
    }

    async fn poll(&mut self) {
        self.watch.poller.poll().await;
    }

    /// A process that has just started with what is known, and with all its calls before it.
    fn restarted(self) -> Self {
        let fleet = self.watch.poller.fleet().clone();
        Self { watch: self.watch.with(all(), fleet), hours: self.hours }
    }

    /// A new export is due, and this goes wrong with it: nothing is lost, and the reason is told.
    async fn after(self, endpoint: Endpoint, fault: Fault, reason: &str) -> Self {
        let mut bulk = self.restarted();
        let (before, failures) = (bulk.known(), bulk.watch.failures(reason));
        bulk.later();
        bulk.control().inject(endpoint, fault.clone(), Times::Always);
        bulk.poll().await;
        bulk.control().clear();
        assert_eq!(bulk.known(), before, "{fault:?}");
        let PollStatus { up, last_error, .. } = bulk.watch.status();
        assert_eq!(bulk.watch.failures(reason), failures + 1.0, "{fault:?}: {last_error:?}");
        assert!(!up, "{fault:?}");
        let secret = bulk.watch.api.scene.sim.link_secret();
        assert!(!format!("{last_error:?}").contains(secret), "{last_error:?}");
        bulk
    }

    fn control(&self) -> &Control {
        self.watch.api.control()
    }

    fn downloads(&self) -> u64 {
        self.control().requests(Endpoint::ExportFile)
    }

    fn snapshots_rejected(&self, reason: &str) -> f64 {
        self.watch.api.count("rejected_snapshots_total", &[("reason", reason)])
    }

    /// What is known of each machine, in the simulator's words.
    fn known(&self) -> BTreeMap<String, Option<Vec<ExportedKb>>> {
        let exported = |missing: &MissingUpdate| ExportedKb {
            kb: missing.update.kb.to_string(),
            cves: missing.update.cves.unwrap(),
            severity: missing.update.severity.map(Severity::as_str),
            first_seen: missing.first_seen,
        };
        let machines = self.watch.poller.fleet().machines.iter();
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
        let ids = self.control().machine_ids().into_iter();
        ids.map(|id| (id.clone(), self.control().exported(&id))).collect()
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn realistic_fleet_is_complete_after_one_export() {
    let mut bulk = Bulk::of(90, Realism::Realistic).await;
    bulk.poll().await;
    assert_eq!(bulk.known(), bulk.truth());
    let pairs: usize = bulk.known().values().flatten().map(Vec::len).sum();
    assert!(pairs > 100, "{pairs}");
    assert!(bulk.watch.status().up && bulk.watch.status().last_error.is_none(), "{:?}", bulk.watch.status());

    let scrape = bulk.watch.scrape();
    let severities = ["critical", "high", "medium", "low", "unknown"]
        .map(|severity| scrape.value("mde_missing_updates", &[("severity", severity)]).unwrap());
    assert_eq!(severities.iter().sum::<f64>(), pairs as f64);
    assert!(severities.iter().filter(|count| **count > 0.0).count() > 1, "{severities:?}");
    for (reason, least) in [("bad_kb", 5.0), ("no_id", 2.0), ("wrong_type", 1.0), ("malformed", 2.0)] {
        let count = bulk.watch.api.count("rejected_records_total", &[("reason", reason)]);
        assert!(count >= least, "{reason}: {count}");
    }
    assert!(bulk.watch.api.count("duplicate_records_total", &[]) > 10.0);
    let generated = bulk.watch.api.count("source_snapshot_timestamp_seconds", &[]);
    assert_eq!(generated, bulk.hours.now().as_second() as f64);
}

#[tokio::test]
async fn downloads_carry_no_token_and_count_against_no_quota() {
    let mut bulk = Bulk::of(12, Realism::Plain).await;
    bulk.poll().await;
    let calls = bulk.control().calls();
    let files: Vec<_> = calls.iter().filter(|call| call.endpoint == Endpoint::ExportFile).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|call| call.authorization.is_none() && call.status == Some(200)));
    assert_eq!(bulk.watch.api.count("api_quota_used_requests", &[("window", "1h")]), 2.0, "two lists");
    assert_eq!(bulk.watch.asked(), 0, "nobody is asked one by one");
}

#[tokio::test]
async fn only_a_new_export_is_read() {
    let mut bulk = Bulk::of(40, Realism::Plain).await;
    bulk.poll().await;
    let (before, downloads) = (bulk.known(), bulk.downloads());
    bulk.watch.api.wall.forward(INTERVAL);
    bulk.poll().await;
    assert_eq!((bulk.known(), bulk.downloads()), (before.clone(), downloads));
    let now = bulk.watch.api.wall.now();
    assert_eq!(bulk.watch.poller.fleet().snapshot.unwrap().checked_at, now);
    assert_eq!(bulk.watch.status().next_poll, Some(now + INTERVAL));
    bulk.later();
    bulk.control().skip_days(30);
    bulk.poll().await;
    assert_eq!(bulk.known(), bulk.truth());
    assert_ne!(bulk.known(), before);
    assert_eq!(bulk.downloads(), 2 * downloads);
    let totals = bulk.watch.poller.fleet().totals;
    let open: usize = bulk.known().values().flatten().map(Vec::len).sum();
    assert_eq!(totals.detected - totals.resolved, open as u64);
    assert!(totals.resolved > 0);
}

#[tokio::test]
async fn export_older_than_the_current_one_is_not_read() {
    let mut bulk = Bulk::of(12, Realism::Plain).await;
    bulk.poll().await;
    let (before, downloads) = (bulk.known(), bulk.downloads());
    bulk.control().set_export_generated(bulk.hours.now() - SignedDuration::from_hours(7));
    bulk.watch.api.wall.forward(INTERVAL);
    bulk.poll().await;
    assert_eq!((bulk.known(), bulk.downloads()), (before, downloads));
    assert_eq!(bulk.snapshots_rejected("older"), 1.0);
    assert!(bulk.watch.status().up);
}

#[tokio::test]
async fn export_with_a_future_time_is_current() {
    let mut bulk = Bulk::of(6, Realism::Plain).await;
    bulk.poll().await;
    bulk.later();
    bulk.control().set_export_generated("9999-12-30T00:00:00Z".parse().unwrap());
    bulk.poll().await;
    let now = bulk.watch.api.wall.now();
    assert_eq!(bulk.watch.poller.fleet().snapshot.unwrap().generated_at, now);
    bulk.later();
    bulk.poll().await;
    assert_eq!(bulk.snapshots_rejected("older"), 0.0);
}

#[tokio::test]
async fn expired_links_are_requested_again() {
    let mut bulk = Bulk::of(12, Realism::Plain).await;
    bulk.control().inject(Endpoint::ExportFile, Fault::Forbidden(String::new()), Times::Next(1));
    bulk.poll().await;
    assert_eq!(bulk.known(), bulk.truth());
    assert_eq!(bulk.control().requests(Endpoint::Export), 2);
}

#[tokio::test]
async fn file_errors_keep_the_old_data() {
    let mut bulk = Bulk::impatient(30, Realism::Realistic).await;
    bulk.poll().await;
    let before = bulk.known();
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
        bulk = bulk.after(Endpoint::ExportFile, fault, reason).await;
    }
    assert_eq!(bulk.snapshots_rejected("incomplete"), 1.0, "one came, and was damaged");
    bulk = bulk.restarted();
    bulk.later();
    bulk.control().inject(Endpoint::ExportFile, Fault::HugeBody, Times::Always);
    bulk.poll().await;
    bulk.control().clear();
    assert_eq!(bulk.known(), before, "half a gigabyte about a machine that nobody knows");
    assert_eq!(bulk.snapshots_rejected("shrunk"), 1.0);
    bulk.later();
    bulk.poll().await;
    assert_eq!(bulk.known(), bulk.truth(), "and then it is well again");
    assert!(bulk.watch.status().up);
}

#[tokio::test]
async fn list_errors_keep_the_old_data() {
    let mut bulk = Bulk::impatient(12, Realism::Plain).await;
    bulk.poll().await;
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
        bulk = bulk.after(Endpoint::Export, fault, reason).await;
    }
    assert_eq!(bulk.snapshots_rejected("empty"), 1.0);
}

#[tokio::test]
async fn export_that_lost_most_machines_needs_a_recheck() {
    let mut bulk = Bulk::of(12, Realism::Plain).await;
    bulk.poll().await;
    let before = bulk.known();
    let one = bulk.control().machine_ids().remove(0);
    let body = gzip(&format!("{{\"DeviceId\":\"{one}\"}}\n"));
    bulk.control().inject(Endpoint::ExportFile, Fault::Body(body), Times::Always);
    bulk.later();
    bulk.poll().await;
    assert_eq!(bulk.known(), before);
    assert_eq!(bulk.snapshots_rejected("shrunk"), 1.0);
    bulk.watch.api.wall.forward(Duration::from_mins(5));
    bulk.poll().await;
    let known = bulk.known();
    assert_eq!(known[&one], Some(Vec::new()));
    let others = known.iter().filter(|(id, _)| **id != one);
    for (id, missing_updates) in others {
        assert_eq!(missing_updates, &before[id], "not seen since the export: what was known stays");
    }
}

#[tokio::test]
async fn only_a_larger_scope_reads_the_export_again() {
    let mut bulk = Bulk::of(12, Realism::Plain).await;
    bulk.poll().await;
    let downloads = bulk.downloads();
    let mut again = bulk.restarted();
    again.poll().await;
    assert_eq!(again.downloads(), downloads);
    let (fleet, fewer) = (
        again.watch.poller.fleet().clone(),
        Selectors { exclude_ids: vec![again.control().machine_ids().remove(0)], ..all() },
    );
    let mut other = Bulk { watch: again.watch.with(fewer, fleet), ..again };
    other.poll().await;
    assert_eq!((other.downloads(), other.known().len()), (downloads, 11));
    let fleet = other.watch.poller.fleet().clone();
    let mut whole = Bulk { watch: other.watch.with(all(), fleet), ..other };
    whole.poll().await;
    assert_eq!((whole.downloads(), whole.known().len()), (2 * downloads, 12));
}

#[tokio::test]
async fn export_for_an_empty_scope_is_not_fetched() {
    let bulk = Bulk::of(6, Realism::Plain).await;
    let nobody = Selectors { tags: vec!["nobody".to_owned()], ..Selectors::default() };
    let fleet = bulk.watch.poller.fleet().clone();
    let mut bulk = Bulk { watch: bulk.watch.with(nobody, fleet), ..bulk };
    bulk.poll().await;
    assert_eq!(bulk.control().requests(Endpoint::Export), 0);
    let next = bulk.watch.api.wall.now() + INTERVAL;
    assert_eq!((bulk.watch.status().up, bulk.watch.status().next_poll), (true, Some(next)));
}

#[tokio::test]
async fn ignored_updates_are_not_stored() {
    let mut bulk = Bulk::of(12, Realism::Plain).await;
    bulk.poll().await;
    let ignored = bulk.known().values().flatten().flatten().next().unwrap().kb.clone();
    let kb = mde_exporter::fleet::KbId::parse(&ignored).unwrap();
    bulk.watch.poller = bulk.watch.poller.ignoring(Arc::new([kb].into()));
    bulk.later();
    bulk.poll().await;
    assert!(bulk.known().values().flatten().flatten().all(|pair| pair.kb != ignored));
    assert!(bulk.truth().values().flatten().flatten().any(|pair| pair.kb == ignored));
}

#[tokio::test]
async fn stalled_download_of_one_tenant_delays_no_other() {
    let mut stalled = Bulk::of(6, Realism::Plain).await;
    stalled.control().inject(Endpoint::ExportFile, Fault::Hang, Times::Always);
    let mut other = Bulk::of(6, Realism::Plain).await;
    tokio::select! {
        biased;
        () = stalled.poll() => panic!("it must still wait"),
        () = other.poll() => {}
    }
    assert_eq!(other.known(), other.truth());
}

/// The export's time is the age of the data, however late it is read.
#[tokio::test]
async fn data_is_as_old_as_the_export() {
    let mut bulk = Bulk::of(6, Realism::Plain).await;
    let read_at: Timestamp = bulk.watch.api.wall.now();
    bulk.watch.api.wall.forward(Duration::from_hours(12));
    bulk.poll().await;
    bulk.watch.api.wall.forward(Duration::from_hours(2));
    let scrape = bulk.watch.scrape();
    let states = scrape.sum_by("mde_assessed_machines", "state");
    assert_eq!(
        (states["current"], states["stale"]),
        (0.0, 6.0),
        "read two hours ago, made fourteen hours ago"
    );
    assert!(bulk.hours.now() - read_at < SignedDuration::from_secs(5));
}

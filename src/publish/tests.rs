//! Snapshots, their metrics and the log of suppressed series.

mod burn_downs;

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::facts::{self, Facts};
use crate::metrics::SeriesBudget;
use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat, Freshness};
use crate::self_metrics::TenantStatus;

/// Collects log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn options(detail: DetailLevel, series_limit: u64) -> RenderOptions {
    let hour = Duration::from_hours(1);
    let freshness = Freshness { stale_after: hour, expire_after: 2 * hour, inactive_after: 3 * hour };
    RenderOptions { freshness, detail, series_limit, ..RenderOptions::default() }
}

fn publication_within(series_limit: u64) -> (SnapshotTask, SnapshotReader, Arc<SelfMetrics>) {
    let fleets = vec![TenantFleet::new("t".into())];
    let self_metrics = Arc::new(SelfMetrics::new("1"));
    let options = options(DetailLevel::Machine, series_limit);
    let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
    let (_, task, reader) =
        publication(fleets, options, clock, Arc::clone(&self_metrics), None, facts::fixed(Facts::default()));
    (task, reader, self_metrics)
}

#[test]
fn first_snapshot_is_counted() {
    let (_, reader, self_metrics) = publication_within(6);
    let text = String::from_utf8(self_metrics.encode_own()).unwrap();
    let whole: u64 = publication_within(0).1.borrow().body.budget().series.iter().sum();
    let body = &reader.borrow().body;
    for (line, value) in [
        ("series{detail=\"fleet\"}", 6),
        ("series{detail=\"update\"}", 0),
        ("series_limit", 6),
        ("suppressed_series{detail=\"fleet\"}", whole - 6),
        ("detail_level{detail=\"fleet\"}", 0),
        ("detail_level{detail=\"machine\"}", 0),
        ("exposition_bytes{encoding=\"identity\",format=\"text\"}", body.plain(b"").len() as u64),
        (
            "exposition_bytes{encoding=\"gzip\",format=\"openmetrics\"}",
            body.length(ExpositionFormat::OpenMetrics, ContentEncoding::Gzip),
        ),
    ] {
        let value = if line == "detail_level{detail=\"fleet\"}" { 1 } else { value };
        let line = format!("mde_exporter_{line} {value}");
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn new_snapshot_replaces_the_previous_one() {
    let (mut task, reader, self_metrics) = publication_within(0);
    let tenants = ["u", "t"].map(|name| (name.into(), None)).into();
    let mut published = task.sender.reconfigure(tenants, options(DetailLevel::Machine, 6));
    assert!(published.try_recv().is_err());
    task.publish().await;
    published.try_recv().expect("it is published");
    assert_eq!(reader.borrow().generation, 1);
    assert_eq!(reader.borrow().body.budget().limit, 6);
    let tenants: Vec<_> = reader.borrow().fleets.iter().map(|fleet| Arc::clone(&fleet.tenant)).collect();
    assert_eq!(tenants, ["u".into(), "t".into()]);
    let text = String::from_utf8(self_metrics.encode_own()).unwrap();
    assert!(text.contains("mde_exporter_series_limit 6\n"), "{text}");
    assert!(text.contains("mde_exporter_render_duration_seconds_count 2\n"), "{text}");
}

#[test]
fn suppression_is_logged_when_it_begins_changes_and_ends() {
    let log = Log::default();
    let writer = log.clone();
    let lines = move || {
        let text = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let budget = |deepest, suppressed| SeriesBudget {
        limit: 10,
        wanted: DetailLevel::Update,
        deepest,
        series: [5, 0, 0],
        suppressed,
    };
    tracing::subscriber::with_default(subscriber, || {
        let mut suppressed = SuppressedLog::default();
        for (budget, expected) in [
            (budget(DetailLevel::Update, [0, 0, 0]), ""),
            (budget(DetailLevel::Machine, [0, 0, 7]), "WARN"),
            (budget(DetailLevel::Machine, [0, 0, 9]), ""),
            (budget(DetailLevel::Fleet, [0, 6, 9]), "WARN"),
            (budget(DetailLevel::Fleet, [1, 6, 9]), "WARN"),
            (budget(DetailLevel::Update, [0, 0, 0]), "INFO"),
            (budget(DetailLevel::Update, [0, 0, 0]), ""),
        ] {
            suppressed.update(&budget);
            let lines = lines();
            assert_eq!(lines.len(), usize::from(!expected.is_empty()), "{lines:?}");
            assert!(lines.iter().all(|line| line.contains(expected)), "{lines:?}");
            if expected == "WARN" {
                let line = &lines[0];
                assert!(line.contains("limit=10") && line.contains("metrics.series_limit"), "{line}");
                assert!(line.contains("wanted=\"update\""), "{line}");
            }
        }
    });
}

#[tokio::test]
async fn snapshot_samples_the_status_of_each_tenant() {
    let (mut task, reader, self_metrics) = publication_within(0);
    assert!(reader.borrow().statuses.is_empty());
    let metrics = self_metrics.tenant("t");
    metrics.poll_interval(Duration::from_hours(6));
    task.publish().await;
    let expected = TenantStatus { poll_interval: Some(Duration::from_hours(6)), ..TenantStatus::default() };
    assert_eq!(reader.borrow().statuses, [expected]);
    metrics.poll_interval(Duration::from_hours(1));
    assert_eq!(reader.borrow().statuses, [expected], "a snapshot does not change");
}

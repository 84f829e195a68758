//! A running updater of facts, whose time a test moves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mde_exporter::clock::Clock;
use mde_exporter::config::FactsConfig;
use mde_exporter::facts::{Facts, FactsControl, FactsReader, FactsSettings, MissingKbs, facts};
use mde_exporter::http::ProxyMode;
use mde_exporter::model::KbId;
use mde_exporter::self_metrics::SelfMetrics;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{advance, pause, resume};
use tokio_util::sync::CancellationToken;

/// Longer than any request takes, even on a busy host.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The time at which each updater starts.
pub(crate) const START: &str = "2026-06-20T12:00:00Z";

/// Moves the time of tokio forward. Nothing may wait for a reply meanwhile, because its time limit would end.
pub(crate) async fn skip(by: Duration) {
    pause();
    advance(by).await;
    resume();
}

/// Lets everything run that can run.
pub(crate) async fn settle() {
    for _ in 0..2000 {
        yield_now().await;
    }
}

pub(crate) fn kb(number: u32) -> KbId {
    KbId::new(number).unwrap()
}

pub(crate) struct RunningUpdater {
    pub(crate) facts: FactsReader,
    pub(crate) control: FactsControl,
    pub(crate) missing: watch::Sender<Arc<MissingKbs>>,
    pub(crate) metrics: Arc<SelfMetrics>,
    storage: PathBuf,
    _task: JoinSet<()>,
}

impl RunningUpdater {
    /// Starts an updater with the state folder `folder`.
    pub(crate) fn start(folder: &TempDir, config: Option<&FactsConfig>) -> Self {
        let storage = folder.path().to_owned();
        let settings = config.map(|config| FactsSettings::new(config, &storage, ProxyMode::Direct));
        let metrics = Arc::new(SelfMetrics::new("test"));
        let missing = watch::Sender::new(Arc::default());
        let clock = Clock::following_tokio(START.parse().unwrap());
        let (updater, control, reader) = facts(settings, missing.subscribe(), clock, Arc::clone(&metrics));
        let mut task = JoinSet::new();
        task.spawn(updater.run(CancellationToken::new()));
        Self { facts: reader, control, missing, metrics, storage, _task: task }
    }

    /// The settings of the updater replaced by `config`.
    pub(crate) fn configure(&self, config: Option<&FactsConfig>) {
        let settings = config.map(|config| FactsSettings::new(config, &self.storage, ProxyMode::Direct));
        self.control.send_replace(settings.map(Arc::new));
    }

    /// Makes these KBs missing, each with a title.
    pub(crate) fn miss(&self, kbs: &[(u32, &str)]) {
        let mut missing = MissingKbs::new();
        for (number, title) in kbs {
            missing.entry(kb(*number)).or_default().insert((*title).into());
        }
        self.missing.send_replace(Arc::new(missing));
    }

    pub(crate) fn now_in_use(&self) -> Arc<Facts> {
        self.facts.borrow().clone()
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.now_in_use().kb(kb(number)).is_some()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.metrics.encode_own()).unwrap()
    }

    /// The value of a self metric; none without the series.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let text = self.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("mde_exporter_{series} ")))?;
        line.parse().ok()
    }

    pub(crate) fn failures(&self, source: &str, reason: &str) -> f64 {
        let series = format!("facts_failures_total{{reason=\"{reason}\",source=\"{source}\"}}");
        self.value(&series).unwrap_or(-1.0)
    }

    /// All failures that were counted, as `source reason count`.
    pub(crate) fn all_failures(&self) -> Vec<String> {
        let text = self.text();
        let lines =
            text.lines().filter_map(|line| line.strip_prefix("mde_exporter_facts_failures_total{reason=\""));
        let counted = lines.filter(|line| !line.ends_with(" 0"));
        counted
            .map(|line| {
                let parts: Vec<&str> = line.split('"').collect();
                format!("{} {}{}", parts[2], parts[0], parts[3].trim_start_matches('}'))
            })
            .collect()
    }

    /// Waits for a state.
    pub(crate) async fn until(&self, what: &str, mut is_reached: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !is_reached(self) {
                yield_now().await;
            }
        };
        let reached = tokio::time::timeout(TIME_LIMIT, waiting).await;
        assert!(reached.is_ok(), "never: {what}; {:?}", self.all_failures());
        // A job ends after its facts are published.
        settle().await;
    }

    /// Waits for a state that a change of the file causes. No request may be under way.
    pub(crate) async fn until_file_is_seen(&self, what: &str, mut is_reached: impl FnMut(&Self) -> bool) {
        let started = tokio::time::Instant::now();
        while !is_reached(self) {
            assert!(started.elapsed() < Duration::from_mins(1), "not within a minute: {what}");
            skip(Duration::from_millis(500)).await;
            settle().await;
        }
    }

    /// Lets the updater see a change of the file. No request may be under way.
    pub(crate) async fn let_file_be_seen(&self) {
        for _ in 0..20 {
            skip(Duration::from_millis(500)).await;
            settle().await;
        }
    }

    /// The facts file.
    pub(crate) fn file(&self) -> PathBuf {
        self.storage.join("facts.json.gz")
    }
}

//! What the exporter counts about itself: the families `mde_exporter_*` and `process_*`.
//!
//! A leaf: other modules report an event (`tenant.request_finished(..)`), and names, labels and
//! help stay in this folder: `families` is the table, `tenant` the events of one tenant, `encode` writes,
//! `readings` are the few values that people are shown besides.
//!
//! Promises: a value that is not known yet has no series, a label set known in advance starts at 0,
//! and label values come from closed lists, from the configuration (`tenant`), or are a status code,
//! so no reply can make the number of series grow without bound. Nothing here reads a clock.
//!
//! Fleet data is not counted here: it is rendered once per change by `metrics`, while these values
//! are encoded anew at each scrape.

mod encode;
mod families;
mod readings;
mod tenant;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;

use encode::encode;
use families::Families;
pub use families::{SelfFamily, families};
pub use readings::TenantReadings;
pub use tenant::TenantMetrics;

use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat, HttpPath, LogLevel};

/// The exporter's own metrics; one per process, shared by all its parts.
pub struct SelfMetrics {
    families: Families,
    own: Registry,
    /// Apart from `own`, because `once` must be able to leave it out.
    process: Registry,
    /// By tenant; see [`TenantMetrics::quota_from`].
    quota_readers: Mutex<BTreeMap<Arc<str>, QuotaReader>>,
}

/// Calls to the API in one window of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaWindow {
    /// How many the exporter allows itself now.
    pub allowed: u64,
    /// How many were made.
    pub used: u64,
}

/// Answers how the last minute and the last hour stand.
type QuotaReader = Box<dyn Fn() -> [QuotaWindow; 2] + Send + Sync>;

/// The self metrics of an exporter with a few tenants; more only costs a copy.
const EXPECTED_BYTES: usize = 64 * 1024;

impl SelfMetrics {
    /// Metrics of a process that runs `version`.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let own = Registry::new();
        let families = Families::register(&own);
        families.build_info.with_label_values(&[version]).set(1.0);
        for level in DetailLevel::ALL {
            families.series.with_label_values(&[level.as_str()]);
            families.suppressed_series.with_label_values(&[level.as_str()]);
            families.detail_level.with_label_values(&[level.as_str()]);
        }
        for format in ExpositionFormat::ALL {
            for encoding in ContentEncoding::ALL {
                families.exposition_bytes.with_label_values(&[format.as_str(), encoding.as_str()]);
            }
        }
        for path in HttpPath::ALL {
            let code = if path == HttpPath::Other { "404" } else { "200" };
            families.http_requests.with_label_values(&[path.as_str(), code]);
            families.http_request_duration.with_label_values(&[path.as_str()]);
        }
        families.http_requests.with_label_values(&[HttpPath::Metrics.as_str(), "503"]);
        for level in LogLevel::ALL {
            families.log_messages.with_label_values(&[level.as_str()]);
        }
        let process = Registry::new();
        #[cfg(target_os = "linux")]
        process
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("Safe: it is the only collector of a new registry");
        Self { families, own, process, quota_readers: Mutex::default() }
    }

    /// The events of the tenant `name`; all its label sets that are known in advance start at 0.
    /// Asked twice for one name, both answers count into the same series.
    #[must_use]
    pub fn tenant(self: &Arc<Self>, name: &str) -> TenantMetrics {
        TenantMetrics::start(Arc::clone(self), name)
    }

    /// The tenant `name` is no longer polled: its series go. Counters start at 0 should it come back.
    pub fn forget_tenant(&self, name: &str) {
        self.quota_readers().remove(name);
        self.families.forget_tenant(name);
    }

    /// Records that the fleet's exposition was rendered: `series` by detail level, the size of the body
    /// without these self metrics in each format and encoding, and the time it took.
    pub fn rendered(
        &self,
        series: [u64; DetailLevel::ALL.len()],
        bytes: impl IntoIterator<Item = ((ExpositionFormat, ContentEncoding), u64)>,
        took: Duration,
    ) {
        for (level, count) in DetailLevel::ALL.into_iter().zip(series) {
            self.families.series.with_label_values(&[level.as_str()]).set(number(count));
        }
        for ((format, encoding), bytes) in bytes {
            let labels = [format.as_str(), encoding.as_str()];
            self.families.exposition_bytes.with_label_values(&labels).set(number(bytes));
        }
        self.families.render_duration.observe(took.as_secs_f64());
    }

    /// Records the effect of the series limit: the limit (0 is none), the suppressed series by detail
    /// level, and the deepest level that is exposed.
    pub fn detail(&self, limit: u64, suppressed: [u64; DetailLevel::ALL.len()], deepest: DetailLevel) {
        self.families.series_limit.set(number(limit));
        for (level, count) in DetailLevel::ALL.into_iter().zip(suppressed) {
            let label = [level.as_str()];
            self.families.suppressed_series.with_label_values(&label).set(number(count));
            self.families.detail_level.with_label_values(&label).set((level == deepest).into());
        }
    }

    /// Counts a request to the exporter that was answered.
    pub fn http_request_finished(&self, path: HttpPath, code: u16, took: Duration) {
        let families = &self.families;
        families.http_requests.with_label_values(&[path.as_str(), &code.to_string()]).inc();
        families.http_request_duration.with_label_values(&[path.as_str()]).observe(took.as_secs_f64());
    }

    /// A configuration was read and is in force since `at`.
    pub fn config_loaded(&self, at: Timestamp) {
        const NONE: [&str; 0] = [];
        self.families.config_last_reload_successful.with_label_values(&NONE).set(1.0);
        self.families.config_last_reload_success.with_label_values(&NONE).set(seconds(at));
    }

    /// A configuration was refused; the old one stays in force.
    pub fn config_rejected(&self) {
        const NONE: [&str; 0] = [];
        self.families.config_last_reload_successful.with_label_values(&NONE).set(0.0);
    }

    /// The web server serves a certificate that expires then; none when it serves without TLS.
    pub fn web_certificate(&self, expires: Option<Timestamp>) {
        const NONE: [&str; 0] = [];
        let family = &self.families.web_certificate_expiry;
        match expires {
            Some(at) => family.with_label_values(&NONE).set(seconds(at)),
            None => family.reset(),
        }
    }

    /// A change of the state was written to disk, or could not be.
    pub fn state_written(&self, written: bool) {
        let families = &self.families;
        if written { families.state_writes.inc() } else { families.state_write_failures.inc() }
    }

    /// The state of an earlier run was found at start.
    pub fn state_restored(&self) {
        self.families.state_restored.set(1);
    }

    /// Counts a log line.
    pub fn log_message(&self, level: LogLevel) {
        self.families.log_messages.with_label_values(&[level.as_str()]).inc();
    }

    /// All self metrics as text 0.0.4: families by name, series by labels, `process_*` last.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(ExpositionFormat::Text, &[&self.own, &self.process])
    }

    /// All self metrics in the format `OpenMetrics` 1.0, without the mark of its end.
    #[must_use]
    pub fn encode_openmetrics(&self) -> Vec<u8> {
        self.encode_as(ExpositionFormat::OpenMetrics, &[&self.own, &self.process])
    }

    /// As [`encode`](Self::encode) without `process_*`: the output of `once` goes into
    /// `node_exporter`'s textfile collector, which already has these families.
    #[must_use]
    pub fn encode_own(&self) -> Vec<u8> {
        self.encode_as(ExpositionFormat::Text, &[&self.own])
    }

    fn encode_as(&self, format: ExpositionFormat, registries: &[&Registry]) -> Vec<u8> {
        for (tenant, read) in &*self.quota_readers() {
            for (window, name) in read().into_iter().zip(["1m", "1h"]) {
                let labels = [&**tenant, name];
                self.families.api_quota.with_label_values(&labels).set(number(window.allowed));
                self.families.api_quota_used.with_label_values(&labels).set(number(window.used));
            }
        }
        let mut text = Vec::with_capacity(EXPECTED_BYTES);
        for registry in registries {
            encode(&registry.gather(), format, &mut text);
        }
        text
    }

    /// A reader that panicked changed nothing here.
    fn quota_readers(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, QuotaReader>> {
        self.quota_readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SelfMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfMetrics").finish_non_exhaustive()
    }
}

/// Converts a count to the type of a gauge.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Seconds since the epoch, the unit of every `_timestamp_seconds`.
fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;

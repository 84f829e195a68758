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

use encode::{Format, encode};
use families::Families;
pub use families::{SelfFamily, families};
pub use readings::TenantReadings;
pub use tenant::TenantMetrics;

/// Which operation of the API a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiOperation {
    /// The machine list, all its pages.
    Machines,
    /// Machines that carry a tag.
    FindByTag,
    /// The missing KBs of one machine.
    MissingKbs,
    /// The list of the files of the bulk export.
    Export,
    /// A file of the bulk export: a download from another host, outside every quota.
    ExportFile,
}

impl ApiOperation {
    /// Every endpoint.
    pub const ALL: [Self; 5] =
        [Self::Machines, Self::FindByTag, Self::MissingKbs, Self::Export, Self::ExportFile];

    /// Value of the label `endpoint`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::FindByTag => "findbytag",
            Self::MissingKbs => "getmissingkbs",
            Self::Export => "softwarevulnerabilitiesexport",
            Self::ExportFile => "exportfile",
        }
    }
}

impl fmt::Display for ApiOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a poll, or a part of it, can fail: the values of `reason` in `poll_failures_total`.
pub const FAILURE_REASONS: [&str; 16] = [
    "token",
    "unauthorized",
    "forbidden",
    "not_found",
    "throttled",
    "bad_request",
    "server_error",
    "timeout",
    "network",
    "decode",
    "too_large",
    "page_limit",
    "foreign_link",
    "unexpected_status",
    "incomplete",
    "empty",
];

/// Why a record of a reply is not used: the values of `reason` in `rejected_records_total`.
pub const REJECT_REASONS: [&str; 6] = ["no_id", "bad_id", "wrong_type", "bad_kb", "malformed", "too_long"];

/// Why a whole list or export is not believed: the values of `reason` in `rejected_snapshots_total`.
pub const SNAPSHOT_REASONS: [&str; 4] = ["shrunk", "older", "empty", "incomplete"];

/// Values of the label `path` of HTTP metrics: what was routed to, not what was asked for.
/// `/metrics` stands for the logging path whatever it is called, `other` for what does not exist.
pub const HTTP_PATHS: [&str; 6] = ["/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "other"];

/// Values of the label `level` of `log_messages_total`.
pub const LOG_LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Values of the label `detail`, in the order in which series counts are given.
const DETAILS: [&str; 3] = ["fleet", "machine", "update"];

/// Values of the labels `format` and `encoding`: every way in which the fleet's exposition is served.
pub const EXPOSITIONS: [[&str; 2]; 4] =
    [["text", "identity"], ["text", "gzip"], ["openmetrics", "identity"], ["openmetrics", "gzip"]];

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
        for detail in DETAILS {
            families.series.with_label_values(&[detail]);
            families.suppressed_series.with_label_values(&[detail]);
            families.detail_level.with_label_values(&[detail]);
        }
        for labels in EXPOSITIONS {
            families.exposition_bytes.with_label_values(&labels);
        }
        for path in HTTP_PATHS {
            let code = if path == "other" { "404" } else { "200" };
            families.http_requests.with_label_values(&[path, code]);
            families.http_request_duration.with_label_values(&[path]);
        }
        families.http_requests.with_label_values(&["/metrics", "503"]);
        for level in LOG_LEVELS {
            families.log_messages.with_label_values(&[level]);
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

    /// The fleet's exposition was rendered: `series` by detail level (fleet, machine, update), sizes
    /// of the body without these self metrics in the order of [`EXPOSITIONS`], and how long it took.
    pub fn rendered(&self, series: [u64; 3], bytes: [u64; EXPOSITIONS.len()], took: Duration) {
        for (detail, count) in DETAILS.iter().zip(series) {
            let gauge = self.families.series.with_label_values(&[detail]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (labels, bytes) in EXPOSITIONS.iter().zip(bytes) {
            let gauge = self.families.exposition_bytes.with_label_values(labels);
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        self.families.render_duration.observe(took.as_secs_f64());
    }

    /// What the series limit does: the limit (0 is none), the series left out because of it by detail
    /// level, and the deepest level that is exposed, 0 for fleet to 2 for update.
    pub fn detail(&self, limit: u64, suppressed: [u64; 3], deepest: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.families.series_limit.set(number(limit));
        for (level, detail) in DETAILS.iter().enumerate() {
            self.families.suppressed_series.with_label_values(&[detail]).set(number(suppressed[level]));
            self.families.detail_level.with_label_values(&[detail]).set((level == deepest).into());
        }
    }

    /// A request to the exporter was answered. `path` is one of [`HTTP_PATHS`].
    pub fn http_request_finished(&self, path: &'static str, code: u16, took: Duration) {
        debug_assert!(HTTP_PATHS.contains(&path), "unlisted path {path}");
        let families = &self.families;
        families.http_requests.with_label_values(&[path, &code.to_string()]).inc();
        families.http_request_duration.with_label_values(&[path]).observe(took.as_secs_f64());
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

    /// A log line was written. `level` is one of [`LOG_LEVELS`].
    pub fn log_message(&self, level: &'static str) {
        debug_assert!(LOG_LEVELS.contains(&level), "unlisted level {level}");
        self.families.log_messages.with_label_values(&[level]).inc();
    }

    /// All self metrics as text 0.0.4: families by name, series by labels, `process_*` last.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(Format::Text, &[&self.own, &self.process])
    }

    /// All self metrics in the format `OpenMetrics` 1.0, without the mark of its end.
    #[must_use]
    pub fn encode_openmetrics(&self) -> Vec<u8> {
        self.encode_as(Format::OpenMetrics, &[&self.own, &self.process])
    }

    /// As [`encode`](Self::encode) without `process_*`: the output of `once` goes into
    /// `node_exporter`'s textfile collector, which already has these families.
    #[must_use]
    pub fn encode_own(&self) -> Vec<u8> {
        self.encode_as(Format::Text, &[&self.own])
    }

    fn encode_as(&self, format: Format, registries: &[&Registry]) -> Vec<u8> {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
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

/// Seconds since the epoch, the unit of every `_timestamp_seconds`.
fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;

//! Metrics of the exporter itself: the families `mde_exporter_*` and `process_*`.
//!
//! Other modules report events (`tenant.request_finished(..)`); names, labels and help stay in this
//! folder. `families` is the table, `tenant` the events of one tenant, `facts` those of the facts stage, `status` the
//! live state of a tenant, which a
//! snapshot samples too, and `encode` passes collected values to the writer of the exposition format.
//!
//! Guarantees: an unknown value has no series, a label set known in advance starts at 0, and label values
//! come from closed lists, from the configuration (`tenant`), or are a status code, so no reply can
//! make the number of series grow without bound. Nothing here reads a clock.
//!
//! Fleet metrics are not counted here: [`metrics`](crate::metrics) renders them once per change, while self
//! metrics are encoded at each scrape.

mod encode;
mod facts;
mod families;
mod status;
mod tenant;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;

use encode::encode;
pub use facts::FactsTimes;
use families::Families;
pub use families::{SelfFamily, families};
use status::LiveTenants;
pub use status::{QuotaWindow, TenantStatus};
pub use tenant::TenantMetrics;

use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat, HttpPath, LogLevel, Shard};

/// The metrics of one process, shared by all its parts.
pub struct SelfMetrics {
    families: Families,
    own: Registry,
    /// Separate from `own`, because `once` leaves it out.
    process: Registry,
    tenants: LiveTenants,
}

/// Series of one detail level in a rendered exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelSeries {
    /// The level.
    pub level: DetailLevel,
    /// Series that are served.
    pub served: u64,
    /// Series that are left out because of the limit.
    pub suppressed: u64,
}

/// Size of a rendered exposition in one format and encoding, without self metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpositionSize {
    /// The format.
    pub format: ExpositionFormat,
    /// The encoding.
    pub encoding: ContentEncoding,
    /// Number of bytes.
    pub bytes: u64,
}

/// Measurements of a rendered exposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderStats {
    /// The configured series limit; 0 is none.
    pub series_limit: u64,
    /// The deepest level that is served.
    pub deepest: DetailLevel,
    /// Series of each level.
    pub levels: [LevelSeries; DetailLevel::ALL.len()],
    /// Size in each format and encoding.
    pub sizes: Vec<ExpositionSize>,
    /// Time that saving and rendering took.
    pub took: Duration,
}

/// Size of the self metrics of an exporter with a few tenants; more tenants cost a copy.
const EXPECTED_BYTES: usize = 64 * 1024;

impl SelfMetrics {
    /// Creates the metrics of a process that runs `version`.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let own = Registry::new();
        let families = Families::register(&own);
        families.build_info.with_label_values(&[version]).set(1.0);
        families.set_shard(Shard::default());
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
        Self { families, own, process, tenants: LiveTenants::default() }
    }

    /// Records the shard whose tenants are polled.
    pub fn shard(&self, shard: Shard) {
        self.families.set_shard(shard);
    }

    /// Returns the events of the tenant `name`. All its label sets that are known in advance start at 0.
    /// Two values for one name count into the same series.
    #[must_use]
    pub fn tenant(self: &Arc<Self>, name: &str) -> TenantMetrics {
        TenantMetrics::start(Arc::clone(self), name)
    }

    /// Removes the series of the tenant `name`, which is no longer polled. If it returns, its counters start
    /// at 0.
    pub fn forget_tenant(&self, name: &str) {
        self.tenants.remove(name);
        self.families.forget_tenant(name);
    }

    /// Records the newest exposition of the fleets.
    pub fn rendered(&self, stats: &RenderStats) {
        let families = &self.families;
        families.series_limit.set(number(stats.series_limit));
        for LevelSeries { level, served, suppressed } in stats.levels {
            let label = [level.as_str()];
            families.series.with_label_values(&label).set(number(served));
            families.suppressed_series.with_label_values(&label).set(number(suppressed));
            families.detail_level.with_label_values(&label).set((level == stats.deepest).into());
        }
        for ExpositionSize { format, encoding, bytes } in &stats.sizes {
            let labels = [format.as_str(), encoding.as_str()];
            families.exposition_bytes.with_label_values(&labels).set(number(*bytes));
        }
        families.render_duration.observe(stats.took.as_secs_f64());
    }

    /// Counts a request to the exporter that was answered.
    pub fn http_request_finished(&self, path: HttpPath, code: u16, took: Duration) {
        let families = &self.families;
        families.http_requests.with_label_values(&[path.as_str(), &code.to_string()]).inc();
        families.http_request_duration.with_label_values(&[path.as_str()]).observe(took.as_secs_f64());
    }

    /// Records that a configuration was loaded and is active since `at`.
    pub fn config_loaded(&self, at: Timestamp) {
        const NONE: [&str; 0] = [];
        self.families.config_last_reload_successful.with_label_values(&NONE).set(1.0);
        self.families.config_last_reload_success.with_label_values(&NONE).set(seconds(at));
    }

    /// Records that a configuration was rejected; the previous one stays active.
    pub fn config_rejected(&self) {
        const NONE: [&str; 0] = [];
        self.families.config_last_reload_successful.with_label_values(&NONE).set(0.0);
    }

    /// Records the expiry of the web server's certificate; none without TLS.
    pub fn web_certificate(&self, expires: Option<Timestamp>) {
        const NONE: [&str; 0] = [];
        let family = &self.families.web_certificate_expiry;
        match expires {
            Some(at) => family.with_label_values(&NONE).set(seconds(at)),
            None => family.reset(),
        }
    }

    /// Counts a change of the state that was written to disk, or could not be.
    pub fn state_written(&self, written: bool) {
        let families = &self.families;
        if written { families.state_writes.inc() } else { families.state_write_failures.inc() }
    }

    /// Records that the state of an earlier run was found at start.
    pub fn state_restored(&self) {
        self.families.state_restored.set(1);
    }

    /// Counts a log line.
    pub fn log_message(&self, level: LogLevel) {
        self.families.log_messages.with_label_values(&[level.as_str()]).inc();
    }

    /// Counts log lines that were dropped.
    pub fn log_messages_dropped(&self, lines: u64) {
        self.families.log_messages_dropped.inc_by(lines);
    }

    /// Encodes all self metrics: families by name, series by labels, `process_*` last. `OpenMetrics` is
    /// without its end marker.
    #[must_use]
    pub fn encode(&self, format: ExpositionFormat) -> Vec<u8> {
        self.encode_registries(format, &[&self.own, &self.process])
    }

    /// Encodes the self metrics as text without `process_*`: the output of `once` goes into
    /// `node_exporter`'s textfile collector, which already has these families.
    #[must_use]
    pub fn encode_own(&self) -> Vec<u8> {
        self.encode_registries(ExpositionFormat::Text, &[&self.own])
    }

    fn encode_registries(&self, format: ExpositionFormat, registries: &[&Registry]) -> Vec<u8> {
        self.tenants.write_gauges(&self.families);
        let mut text = Vec::with_capacity(EXPECTED_BYTES);
        for registry in registries {
            encode(&registry.gather(), format, &mut text);
        }
        text
    }
}

impl fmt::Debug for SelfMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfMetrics").finish_non_exhaustive()
    }
}

/// Converts a count to the value of a gauge.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Converts a time to seconds since the epoch, the unit of every `_timestamp_seconds`.
fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests;

//! The table of the self metrics: names, help, labels and buckets.

use std::cell::RefCell;
use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::model::Shard;

/// Duration of an API request in seconds; the last bound is the default timeout.
const API_BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Duration of a scrape in seconds; mostly far below 0.01, because rendered bytes are served.
const HTTP_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5];
/// Duration of rendering in seconds, for 10 to 100,000 machines.
const RENDER_BUCKETS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Every family. A family without labels whose value may be unknown is a vector with no labels, because only
/// a vector can have no series.
pub(super) struct Families {
    pub(super) build_info: GaugeVec,
    pub(super) shard_info: IntGaugeVec,
    pub(super) api_requests: IntCounterVec,
    pub(super) api_request_duration: HistogramVec,
    pub(super) api_retries: IntCounterVec,
    pub(super) api_throttled: IntCounterVec,
    pub(super) api_throttle_wait: CounterVec,
    pub(super) api_quota: IntGaugeVec,
    pub(super) api_quota_used: IntGaugeVec,
    pub(super) token_refreshes: IntCounterVec,
    pub(super) token_refresh_failures: IntCounterVec,
    pub(super) token_expiry: GaugeVec,
    pub(super) last_poll: GaugeVec,
    pub(super) last_poll_success: GaugeVec,
    pub(super) last_poll_duration: GaugeVec,
    pub(super) next_poll: GaugeVec,
    pub(super) due_machines: IntGaugeVec,
    pub(super) unmatched_selectors: IntGaugeVec,
    pub(super) poll_interval: GaugeVec,
    pub(super) possible_interval: GaugeVec,
    pub(super) source_snapshot: GaugeVec,
    pub(super) poll_failures: IntCounterVec,
    pub(super) rejected_records: IntCounterVec,
    pub(super) duplicate_records: IntCounterVec,
    pub(super) rejected_snapshots: IntCounterVec,
    pub(super) state_writes: IntCounter,
    pub(super) state_write_failures: IntCounter,
    pub(super) state_restored: IntGauge,
    pub(super) series: IntGaugeVec,
    pub(super) series_limit: IntGauge,
    pub(super) suppressed_series: IntGaugeVec,
    pub(super) detail_level: IntGaugeVec,
    pub(super) exposition_bytes: IntGaugeVec,
    pub(super) render_duration: Histogram,
    pub(super) http_requests: IntCounterVec,
    pub(super) http_request_duration: HistogramVec,
    pub(super) config_last_reload_successful: GaugeVec,
    pub(super) config_last_reload_success: GaugeVec,
    pub(super) web_certificate_expiry: GaugeVec,
    pub(super) client_certificate_expiry: GaugeVec,
    pub(super) facts_timestamp: GaugeVec,
    pub(super) facts_last_success: GaugeVec,
    pub(super) facts_updates: IntGaugeVec,
    pub(super) facts_unknown_updates: IntGaugeVec,
    pub(super) facts_failures: IntCounterVec,
    pub(super) log_messages: IntCounterVec,
    pub(super) log_messages_dropped: IntCounter,
    /// One function for each family with the label `tenant`.
    of_tenants: Vec<Forget>,
}

/// Name and labels of a self metric, for those who query it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfFamily {
    /// Name; a histogram's series have `_bucket`, `_sum` or `_count` after it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Meaning, in plain text.
    pub help: String,
    /// Names of the labels, without `le`.
    pub labels: Vec<String>,
}

/// Returns every self metric except `process_*`.
#[must_use]
pub fn families() -> Vec<SelfFamily> {
    let registry = Registry::new();
    let table = Table::of(&registry);
    Families::create(&table);
    table.names.into_inner()
}

/// Removes the series of one tenant from a family.
type Forget = Box<dyn Fn(&str) + Send + Sync>;

impl Families {
    /// Creates the families and registers each with `registry`.
    pub(super) fn register(registry: &Registry) -> Self {
        Self::create(&Table::of(registry))
    }

    #[rustfmt::skip] // One line per family: this is a table.
    fn create(table: &Table<'_>) -> Self {
        Self {
            build_info: table.gauge("build_info", "1; the version of the exporter is a label.", &["version"]),
            shard_info: table.int_gauge("shard_info",
                "1; the number of the shard whose tenants the exporter polls, and the number of shards, are labels.",
                &["shard", "shards"]),
            api_requests: table.counter("api_requests_total",
                "Requests sent to the Defender API, retries included, by status code (`error`: no reply).",
                &["tenant", "endpoint", "code"]),
            api_request_duration: table.histogram("api_request_duration_seconds",
                "Time from sending a request to the Defender API to the end of its reply.",
                &["endpoint"], &API_BUCKETS),
            api_retries: table.counter("api_retries_total",
                "Requests to the Defender API that were sent again.", &["tenant"]),
            api_throttled: table.counter("api_throttled_responses_total",
                "Replies 429 of the Defender API.", &["tenant"]),
            api_throttle_wait: table.vector(CounterVec::new(opts("api_throttle_wait_seconds_total",
                "Time for which requests to the Defender API were held back."), &["tenant"])),
            api_quota: table.int_gauge("api_quota_requests",
                "Requests to the Defender API that the exporter allows itself per window.", &["tenant", "window"]),
            api_quota_used: table.int_gauge("api_quota_used_requests",
                "Requests sent to the Defender API within the last window.", &["tenant", "window"]),
            token_refreshes: table.counter("token_refreshes_total", "Access tokens taken from Entra.", &["tenant"]),
            token_refresh_failures: table.counter("token_refresh_failures_total",
                "Failed attempts to take an access token from Entra.", &["tenant"]),
            token_expiry: table.gauge("token_expiry_timestamp_seconds",
                "When the newest access token expires.", &["tenant"]),
            last_poll: table.gauge("last_poll_timestamp_seconds",
                "When the newest call of a poll was answered or failed.", &["tenant"]),
            last_poll_success: table.gauge("last_poll_success_timestamp_seconds",
                "When the API gave the newest good answer.", &["tenant"]),
            last_poll_duration: table.gauge("last_poll_duration_seconds",
                "How long the newest poll took, from its first call until nothing was due; at most one interval.",
                &["tenant"]),
            next_poll: table.gauge("next_poll_timestamp_seconds",
                "When the next machine or machine list is due; in the past while machines wait for the quota.",
                &["tenant"]),
            due_machines: table.int_gauge("due_machines",
                "Machines that wait to be asked.", &["tenant"]),
            unmatched_selectors: table.int_gauge("unmatched_selectors",
                "Selectors that match no machine of the newest machine list; absent before the first list.",
                &["tenant"]),
            poll_interval: table.gauge("poll_interval_seconds",
                "How often each machine is asked, from the configuration.", &["tenant"]),
            possible_interval: table.gauge("possible_poll_interval_seconds",
                "The shortest interval in which the quota allows to ask every machine.", &["tenant"]),
            source_snapshot: table.gauge("source_snapshot_timestamp_seconds",
                "When the source made the export that the data comes from.", &["tenant"]),
            poll_failures: table.counter("poll_failures_total",
                "Failed readings of a machine list, of a machine or of a whole tenant.", &["tenant", "reason"]),
            rejected_records: table.counter("rejected_records_total",
                "Records of API replies that could not be used.", &["tenant", "reason"]),
            duplicate_records: table.counter("duplicate_records_total",
                "Records of API replies that said again what another record had said.", &["tenant"]),
            rejected_snapshots: table.counter("rejected_snapshots_total",
                "Lists that were not believed; the old one stays.", &["tenant", "reason"]),
            state_writes: table.add(IntCounter::with_opts(opts("state_writes_total",
                "Changes of the state that were written to disk."))),
            state_write_failures: table.add(IntCounter::with_opts(opts("state_write_failures_total",
                "Changes of the state that could not be written to disk; they are tried again."))),
            state_restored: table.add(IntGauge::with_opts(opts("state_restored",
                "1 when the state of an earlier run was found on disk at start."))),
            series: table.int_gauge("series",
                "Series of fleet data in the newest exposition, by detail level.", &["detail"]),
            series_limit: table.add(IntGauge::with_opts(opts("series_limit",
                "Most series of fleet data that are exposed, from the configuration; 0 is no limit."))),
            suppressed_series: table.int_gauge("suppressed_series",
                "Series of fleet data that are left out because of the limit, by detail level.", &["detail"]),
            detail_level: table.int_gauge("detail_level",
                "1 for the deepest detail level of the newest exposition, 0 for the others.", &["detail"]),
            exposition_bytes: table.int_gauge("exposition_bytes",
                "Size of the newest exposition of fleet data, without the self metrics.", &["format", "encoding"]),
            render_duration: table.add(Histogram::with_opts(histogram_opts("render_duration_seconds",
                "Time to render and compress the fleet data, once per change.", &RENDER_BUCKETS))),
            http_requests: table.counter("http_requests_total",
                "Requests answered by the exporter.", &["path", "code"]),
            http_request_duration: table.histogram("http_request_duration_seconds",
                "Time to answer a request to the exporter.", &["path"], &HTTP_BUCKETS),
            config_last_reload_successful: table.gauge("config_last_reload_successful",
                "1 when the newest reading of the configuration file was applied.", &[]),
            config_last_reload_success: table.gauge("config_last_reload_success_timestamp_seconds",
                "When the configuration in force was applied.", &[]),
            client_certificate_expiry: table.gauge("client_certificate_expiry_timestamp_seconds",
                "When the client certificate of the tenant expires; absent without one.", &["tenant"]),
            web_certificate_expiry: table.gauge("web_certificate_expiry_timestamp_seconds",
                "When the certificate of the exporter's own web server expires; absent without TLS.", &[]),
            facts_timestamp: table.gauge("facts_timestamp_seconds",
                "When the facts in use were published, by source.", &["source"]),
            facts_last_success: table.gauge("facts_last_success_timestamp_seconds",
                "When the facts in use were fetched from the source.", &["source"]),
            facts_updates: table.int_gauge("facts_updates",
                "KBs with facts; absent while facts are off.", &[]),
            facts_unknown_updates: table.int_gauge("facts_unknown_updates",
                "Missing KBs without facts; absent while facts are off.", &[]),
            facts_failures: table.counter("facts_failures_total",
                "Facts that could not be fetched, read or written; the old ones stay in use.", &["source", "reason"]),
            log_messages: table.counter("log_messages_total", "Log messages, dropped ones included.", &["level"]),
            log_messages_dropped: table.add(IntCounter::with_opts(opts("log_messages_dropped_total",
                "Log messages that were dropped because stderr did not take them in time."))),
            of_tenants: table.of_tenants.take(),
        }
    }

    /// Replaces the shard.
    pub(super) fn set_shard(&self, shard: Shard) {
        self.shard_info.reset();
        self.shard_info.with_label_values(&[shard.number().to_string(), shard.shards().to_string()]).set(1);
    }

    /// Removes every series of a tenant.
    pub(super) fn forget_tenant(&self, name: &str) {
        self.of_tenants.iter().for_each(|forget| forget(name));
    }
}

/// Creates and registers families. No call can fail: the names are constants of the table above, valid and
/// used once, as the unit tests show.
struct Table<'a> {
    registry: &'a Registry,
    names: RefCell<Vec<SelfFamily>>,
    of_tenants: RefCell<Vec<Forget>>,
}

impl<'a> Table<'a> {
    fn of(registry: &'a Registry) -> Self {
        Self { registry, names: RefCell::default(), of_tenants: RefCell::default() }
    }

    fn add<C: Collector + Clone + 'static>(&self, family: prometheus::Result<C>) -> C {
        let family = family.expect("Safe: names and labels of the table are valid");
        // A family without series has a type too.
        let kind = match family.collect().first().map(MetricFamily::get_field_type) {
            Some(MetricType::COUNTER) => "counter",
            Some(MetricType::HISTOGRAM) => "histogram",
            _ => "gauge",
        };
        self.names.borrow_mut().extend(family.desc().into_iter().map(|described| SelfFamily {
            name: described.fq_name.clone(),
            kind,
            help: described.help.clone(),
            labels: described.variable_labels.clone(),
        }));
        let registered = self.registry.register(Box::new(family.clone()));
        registered.expect("Safe: each name of the table is used once");
        family
    }

    fn vector<B: MetricVecBuilder + 'static>(
        &self,
        family: prometheus::Result<MetricVec<B>>,
    ) -> MetricVec<B> {
        let family = self.add(family);
        let labels = family.desc().into_iter().flat_map(|description| &description.variable_labels);
        if labels.into_iter().any(|label| label == "tenant") {
            let family = family.clone();
            self.of_tenants.borrow_mut().push(Box::new(move |tenant| forget(&family, tenant)));
        }
        family
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.vector(IntCounterVec::new(opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.vector(GaugeVec::new(opts(name, help), labels))
    }

    fn int_gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.vector(IntGaugeVec::new(opts(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.vector(HistogramVec::new(histogram_opts(name, help, buckets), labels))
    }
}

fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, tenant: &str) {
    for series in family.collect().iter().flat_map(MetricFamily::get_metric) {
        let labels: HashMap<_, _> =
            series.get_label().iter().map(|label| (label.name(), label.value())).collect();
        if labels.get("tenant") == Some(&tenant) {
            // An error means that another thread removed it.
            drop(family.remove(&labels));
        }
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("mde_exporter_{name}"), help)
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec())
}

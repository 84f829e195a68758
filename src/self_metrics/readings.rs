//! What the self metrics say of each tenant at this moment, for people to read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus::GaugeVec;
use prometheus::core::Collector;

use super::{QuotaWindow, SelfMetrics};

/// What is known of a tenant besides its fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantReadings {
    /// Calls to the API in the last minute and in the last hour.
    pub quota: Option<[QuotaWindow; 2]>,
    /// How often each machine is asked.
    pub poll_interval: Option<Duration>,
    /// When the newest access token expires; none before the first.
    pub token_expiry: Option<Timestamp>,
}

impl SelfMetrics {
    /// The readings of every tenant of which something is known.
    #[must_use]
    pub fn readings(&self) -> BTreeMap<String, TenantReadings> {
        let mut readings: BTreeMap<String, TenantReadings> = BTreeMap::new();
        for (tenant, read) in &*self.quota_readers() {
            readings.entry(tenant.to_string()).or_default().quota = Some(read());
        }
        for (tenant, seconds) in values(&self.families.poll_interval) {
            readings.entry(tenant).or_default().poll_interval = Duration::try_from_secs_f64(seconds).ok();
        }
        for (tenant, seconds) in values(&self.families.token_expiry) {
            let since = SignedDuration::try_from_secs_f64(seconds).ok();
            let at = since.and_then(|since| Timestamp::from_duration(since).ok());
            readings.entry(tenant).or_default().token_expiry = at;
        }
        readings
    }
}

/// The values of a family whose only label is the tenant. To ask for one tenant would make its series.
fn values(family: &GaugeVec) -> impl Iterator<Item = (String, f64)> {
    family.collect().into_iter().flat_map(|family| {
        let value = |metric: &prometheus::proto::Metric| {
            let tenant = metric.get_label().first()?.value().to_owned();
            Some((tenant, metric.get_gauge().get_value()))
        };
        family.get_metric().iter().filter_map(value).collect::<Vec<_>>()
    })
}

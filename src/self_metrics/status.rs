//! The live state of each tenant: the values of its gauges that people are shown too.
//!
//! The typed values here are the only copy: a scrape writes them into their gauges, a snapshot samples them
//! as [`TenantStatus`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::families::Families;
use super::{SelfMetrics, number, seconds};

/// API calls in one window of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaWindow {
    /// Calls that the exporter allows itself.
    pub allowed: u64,
    /// Calls made.
    pub used: u64,
}

/// State of a tenant at one time, in addition to its fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantStatus {
    /// API calls in the last minute and in the last hour.
    pub quota: Option<[QuotaWindow; 2]>,
    /// Interval between two assessments of a machine, from the configuration.
    pub poll_interval: Option<Duration>,
    /// Expiry of the newest access token; none before the first.
    pub token_expiry: Option<Timestamp>,
}

/// Reads the quota windows of the last minute and the last hour.
pub(super) type QuotaReader = Box<dyn Fn() -> [QuotaWindow; 2] + Send + Sync>;

/// Live values of one tenant. The quota is read when it is needed, because its use changes with time.
#[derive(Default)]
pub(super) struct LiveTenant {
    pub(super) quota: Option<QuotaReader>,
    pub(super) poll_interval: Option<Duration>,
    pub(super) token_expiry: Option<Timestamp>,
}

impl LiveTenant {
    fn status(&self) -> TenantStatus {
        TenantStatus {
            quota: self.quota.as_ref().map(|read| read()),
            poll_interval: self.poll_interval,
            token_expiry: self.token_expiry,
        }
    }
}

/// Live values by tenant.
#[derive(Default)]
pub(super) struct LiveTenants(Mutex<BTreeMap<Arc<str>, LiveTenant>>);

impl LiveTenants {
    pub(super) fn update(&self, tenant: &Arc<str>, update: impl FnOnce(&mut LiveTenant)) {
        update(self.tenants().entry(Arc::clone(tenant)).or_default());
    }

    pub(super) fn remove(&self, tenant: &str) {
        self.tenants().remove(tenant);
    }

    /// Writes the values into their gauges.
    pub(super) fn write_gauges(&self, families: &Families) {
        for (tenant, live) in &*self.tenants() {
            let tenant = &**tenant;
            let TenantStatus { quota, poll_interval, token_expiry } = live.status();
            for (window, name) in quota.into_iter().flatten().zip(["1m", "1h"]) {
                families.api_quota.with_label_values(&[tenant, name]).set(number(window.allowed));
                families.api_quota_used.with_label_values(&[tenant, name]).set(number(window.used));
            }
            if let Some(interval) = poll_interval {
                families.poll_interval.with_label_values(&[tenant]).set(interval.as_secs_f64());
            }
            if let Some(expiry) = token_expiry {
                families.token_expiry.with_label_values(&[tenant]).set(seconds(expiry));
            }
        }
    }

    /// Every field is replaced at once, so the values are usable after a panic elsewhere.
    fn tenants(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, LiveTenant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SelfMetrics {
    /// Samples the state of the tenant `name`; empty if nothing was reported of it.
    #[must_use]
    pub fn tenant_status(&self, name: &str) -> TenantStatus {
        self.tenants.tenants().get(name).map(LiveTenant::status).unwrap_or_default()
    }
}

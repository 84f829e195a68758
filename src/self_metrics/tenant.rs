//! The events of one tenant.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{QuotaWindow, SelfMetrics, families::Families, seconds};
use crate::model::{ApiOperation, FailureReason, RejectReason, SnapshotRejectReason};

/// Counts what happens for one tenant. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TenantMetrics {
    metrics: Arc<SelfMetrics>,
    tenant: Arc<str>,
}

impl TenantMetrics {
    /// Makes every series whose labels are known in advance exist; those that exist stay as they are.
    pub(super) fn start(metrics: Arc<SelfMetrics>, name: &str) -> Self {
        let families = &metrics.families;
        for endpoint in ApiOperation::ALL {
            families.api_requests.with_label_values(&[name, endpoint.as_str(), "200"]);
            families.api_request_duration.with_label_values(&[name, endpoint.as_str()]);
        }
        for reason in FailureReason::ALL {
            families.poll_failures.with_label_values(&[name, reason.as_str()]);
        }
        for reason in RejectReason::ALL {
            families.rejected_records.with_label_values(&[name, reason.as_str()]);
        }
        for reason in SnapshotRejectReason::ALL {
            families.rejected_snapshots.with_label_values(&[name, reason.as_str()]);
        }
        families.api_throttle_wait.with_label_values(&[name]);
        for counter in [
            &families.api_retries,
            &families.api_throttled,
            &families.token_refreshes,
            &families.token_refresh_failures,
            &families.duplicate_records,
        ] {
            counter.with_label_values(&[name]);
        }
        Self { metrics, tenant: name.into() }
    }

    /// Whose events these are.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.tenant
    }

    /// A request to the API ended after `took`, with the status `code`, or without a reply.
    pub fn request_finished(&self, endpoint: ApiOperation, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        let endpoint = endpoint.as_str();
        let families = self.families();
        families.api_requests.with_label_values(&[&*self.tenant, endpoint, &code]).inc();
        let durations = families.api_request_duration.with_label_values(&[&*self.tenant, endpoint]);
        durations.observe(took.as_secs_f64());
    }

    /// A request is about to be sent again.
    pub fn request_retried(&self) {
        self.families().api_retries.with_label_values(&[&*self.tenant]).inc();
    }

    /// The API answered 429.
    pub fn throttled(&self) {
        self.families().api_throttled.with_label_values(&[&*self.tenant]).inc();
    }

    /// Requests were held back for `wait`, by the quota or because the API asked for it.
    pub fn throttle_waited(&self, wait: Duration) {
        let counter = self.families().api_throttle_wait.with_label_values(&[&*self.tenant]);
        counter.inc_by(wait.as_secs_f64());
    }

    /// Where to read how the quota stands in the last minute and in the last hour. Read at each
    /// encoding, since the numbers change by themselves as time goes on.
    pub fn quota_from(&self, read: impl Fn() -> [QuotaWindow; 2] + Send + Sync + 'static) {
        let mut readers = self.metrics.quota_readers();
        readers.insert(Arc::clone(&self.tenant), Box::new(read));
    }

    /// A token was taken; it is valid until `expires`.
    pub fn token_refreshed(&self, expires: Timestamp) {
        let families = self.families();
        families.token_refreshes.with_label_values(&[&*self.tenant]).inc();
        families.token_expiry.with_label_values(&[&*self.tenant]).set(seconds(expires));
    }

    /// No token could be taken.
    pub fn token_refresh_failed(&self) {
        self.families().token_refresh_failures.with_label_values(&[&*self.tenant]).inc();
    }

    /// How often each machine is asked, from the configuration.
    pub fn poll_interval(&self, interval: Duration) {
        let gauge = self.families().poll_interval.with_label_values(&[&*self.tenant]);
        gauge.set(interval.as_secs_f64());
    }

    /// The shortest interval in which the quota allows to ask every machine.
    pub fn possible_interval(&self, interval: Duration) {
        let gauge = self.families().possible_interval.with_label_values(&[&*self.tenant]);
        gauge.set(interval.as_secs_f64());
    }

    /// The source may be another one from now on: what is special to one is not known.
    pub fn forget_source(&self) {
        for family in [&self.families().source_snapshot, &self.families().possible_interval] {
            // An error says that there was none.
            drop(family.remove_label_values(&[&*self.tenant]));
        }
    }

    /// The data comes from an export that the source made at `at`.
    pub fn source_snapshot(&self, at: Timestamp) {
        self.families().source_snapshot.with_label_values(&[&*self.tenant]).set(seconds(at));
    }

    /// A poll ended at `at`, well or not.
    pub fn poll_finished(&self, at: Timestamp, took: Duration) {
        let families = self.families();
        families.last_poll.with_label_values(&[&*self.tenant]).set(seconds(at));
        families.last_poll_duration.with_label_values(&[&*self.tenant]).set(took.as_secs_f64());
    }

    /// Polls of an earlier run ended so; none when there was no such poll.
    pub fn poll_restored(&self, last: Option<Timestamp>, last_success: Option<Timestamp>) {
        let families = self.families();
        for (family, at) in [(&families.last_poll, last), (&families.last_poll_success, last_success)] {
            if let Some(at) = at {
                family.with_label_values(&[&*self.tenant]).set(seconds(at));
            }
        }
    }

    /// A machine list is not believed.
    pub fn list_rejected(&self, reason: SnapshotRejectReason) {
        self.families().rejected_snapshots.with_label_values(&[&*self.tenant, reason.as_str()]).inc();
    }

    /// A poll ended at `at` without a failure.
    pub fn poll_succeeded(&self, at: Timestamp) {
        self.families().last_poll_success.with_label_values(&[&*self.tenant]).set(seconds(at));
    }

    /// The next poll starts at `at`.
    pub fn next_poll(&self, at: Timestamp) {
        self.families().next_poll.with_label_values(&[&*self.tenant]).set(seconds(at));
    }

    /// A poll, or one machine of it, failed.
    pub fn poll_failed(&self, reason: FailureReason) {
        self.families().poll_failures.with_label_values(&[&*self.tenant, reason.as_str()]).inc();
    }

    /// `count` records of a reply could not be used.
    pub fn record_rejected(&self, reason: RejectReason, count: u64) {
        self.families().rejected_records.with_label_values(&[&*self.tenant, reason.as_str()]).inc_by(count);
    }

    /// `count` records of a reply said again what another one had said.
    pub fn duplicates_dropped(&self, count: u64) {
        self.families().duplicate_records.with_label_values(&[&*self.tenant]).inc_by(count);
    }

    fn families(&self) -> &Families {
        &self.metrics.families
    }
}

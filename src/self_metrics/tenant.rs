//! Events of one tenant.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::families::Families;
use super::{QuotaWindow, SelfMetrics, number, seconds};
use crate::model::{ApiOperation, FailureReason, RejectReason, SnapshotRejectReason};

/// Records the events of one tenant. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TenantMetrics {
    metrics: Arc<SelfMetrics>,
    tenant: Arc<str>,
}

impl TenantMetrics {
    /// Creates every series whose labels are known in advance; existing series keep their values.
    pub(super) fn start(metrics: Arc<SelfMetrics>, name: &str) -> Self {
        let families = &metrics.families;
        for endpoint in ApiOperation::ALL {
            families.api_requests.with_label_values(&[name, endpoint.as_str(), "200"]);
            families.api_request_duration.with_label_values(&[endpoint.as_str()]);
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
        families.due_machines.with_label_values(&[name]);
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

    /// Name of the tenant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.tenant
    }

    /// Counts an API request that ended after `took` with the status `code`, or without a reply.
    pub fn request_finished(&self, endpoint: ApiOperation, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        let endpoint = endpoint.as_str();
        let families = self.families();
        families.api_requests.with_label_values(&[&*self.tenant, endpoint, &code]).inc();
        let durations = families.api_request_duration.with_label_values(&[endpoint]);
        durations.observe(took.as_secs_f64());
    }

    /// Counts a retry.
    pub fn request_retried(&self) {
        self.families().api_retries.with_label_values(&[&*self.tenant]).inc();
    }

    /// Counts a reply 429.
    pub fn throttled(&self) {
        self.families().api_throttled.with_label_values(&[&*self.tenant]).inc();
    }

    /// Adds the time for which requests waited for the quota or a Retry-After.
    pub fn throttle_waited(&self, wait: Duration) {
        let counter = self.families().api_throttle_wait.with_label_values(&[&*self.tenant]);
        counter.inc_by(wait.as_secs_f64());
    }

    /// Sets the reader of the quota windows of the last minute and the last hour. It is called at each scrape
    /// and for each snapshot, because the use of a window changes with time.
    pub fn quota_from(&self, read: impl Fn() -> [QuotaWindow; 2] + Send + Sync + 'static) {
        self.metrics.tenants.update(&self.tenant, |live| live.quota = Some(Box::new(read)));
    }

    /// Counts a token refresh; the token is valid until `expires`.
    pub fn token_refreshed(&self, expires: Timestamp) {
        self.families().token_refreshes.with_label_values(&[&*self.tenant]).inc();
        self.metrics.tenants.update(&self.tenant, |live| live.token_expiry = Some(expires));
    }

    /// Counts a failed token refresh.
    pub fn token_refresh_failed(&self) {
        self.families().token_refresh_failures.with_label_values(&[&*self.tenant]).inc();
    }

    /// Sets the time at which the client certificate expires; none if there is no readable one.
    pub fn client_certificate(&self, expires: Option<Timestamp>) {
        let family = &self.families().client_certificate_expiry;
        match expires {
            Some(expires) => family.with_label_values(&[&*self.tenant]).set(seconds(expires)),
            // An error means that there was none.
            None => drop(family.remove_label_values(&[&*self.tenant])),
        }
    }

    /// Sets the configured interval between two assessments of a machine.
    pub fn poll_interval(&self, interval: Duration) {
        self.metrics.tenants.update(&self.tenant, |live| live.poll_interval = Some(interval));
    }

    /// Sets the shortest poll interval that the quota allows for the machines in scope.
    pub fn possible_interval(&self, interval: Duration) {
        let gauge = self.families().possible_interval.with_label_values(&[&*self.tenant]);
        gauge.set(interval.as_secs_f64());
    }

    /// Removes the values that only one source has; the source may have changed.
    pub fn forget_source(&self) {
        for family in [&self.families().source_snapshot, &self.families().possible_interval] {
            // An error means that there was none.
            drop(family.remove_label_values(&[&*self.tenant]));
        }
    }

    /// Sets the time at which Defender generated the current export.
    pub fn source_snapshot(&self, at: Timestamp) {
        self.families().source_snapshot.with_label_values(&[&*self.tenant]).set(seconds(at));
    }

    /// Records a poll that took `took`, successful or not.
    pub fn poll_finished(&self, took: Duration) {
        self.families().last_poll_duration.with_label_values(&[&*self.tenant]).set(took.as_secs_f64());
    }

    /// Records that a call of a poll was answered or failed at `at`.
    pub fn poll_called(&self, at: Timestamp) {
        self.families().last_poll.with_label_values(&[&*self.tenant]).set(seconds(at));
    }

    /// Sets the number of machines that wait to be read.
    pub fn due_machines(&self, machines: usize) {
        self.families().due_machines.with_label_values(&[&*self.tenant]).set(number(machines as u64));
    }

    /// Sets the number of selectors that match no machine of the newest list.
    pub fn unmatched_selectors(&self, selectors: usize) {
        self.families().unmatched_selectors.with_label_values(&[&*self.tenant]).set(number(selectors as u64));
    }

    /// Restores the times of the newest call and the newest good answer of an earlier run.
    pub fn poll_restored(&self, last: Option<Timestamp>, last_success: Option<Timestamp>) {
        let families = self.families();
        for (family, at) in [(&families.last_poll, last), (&families.last_poll_success, last_success)] {
            if let Some(at) = at {
                family.with_label_values(&[&*self.tenant]).set(seconds(at));
            }
        }
    }

    /// Counts a machine list or export that is not used.
    pub fn list_rejected(&self, reason: SnapshotRejectReason) {
        self.families().rejected_snapshots.with_label_values(&[&*self.tenant, reason.as_str()]).inc();
    }

    /// Records a good answer at `at`.
    pub fn poll_succeeded(&self, at: Timestamp) {
        self.families().last_poll_success.with_label_values(&[&*self.tenant]).set(seconds(at));
    }

    /// Sets the time at which the next call is due.
    pub fn next_poll(&self, at: Timestamp) {
        self.families().next_poll.with_label_values(&[&*self.tenant]).set(seconds(at));
    }

    /// Counts a poll, or one machine of it, that failed.
    pub fn poll_failed(&self, reason: FailureReason) {
        self.families().poll_failures.with_label_values(&[&*self.tenant, reason.as_str()]).inc();
    }

    /// Counts records of a reply that are not used.
    pub fn record_rejected(&self, reason: RejectReason, count: u64) {
        self.families().rejected_records.with_label_values(&[&*self.tenant, reason.as_str()]).inc_by(count);
    }

    /// Counts records of a reply that repeat another record.
    pub fn duplicates_dropped(&self, count: u64) {
        self.families().duplicate_records.with_label_values(&[&*self.tenant]).inc_by(count);
    }

    fn families(&self) -> &Families {
        &self.metrics.families
    }
}

//! The poll task of one tenant: resolves the scope, reads the missing updates of the machines that are due,
//! and submits each change of the fleet to the publication.
//!
//! - `scope` fetches the machine list and applies it to the fleet.
//! - `source` reads the missing updates, by `fetch` (machine by machine, oldest first) or `import` (one
//!   export of all machines).
//! - `plan` decides which machines are due.
//!
//! One task polls one tenant, and one poll runs at a time. So a tenant is never polled twice at once and
//! never waits for another. A poll may be cancelled at any await point, as on shutdown: each reply is applied
//! when it arrives, and the rest stays due. A failed call changes no data.

mod context;
mod discover;
mod fetch;
mod import;
mod paced_sender;
mod plan;
mod quota_advisor;
mod report;
mod scope;
mod shrink_guard;
mod source;
mod unreadable_log;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Poll, Tenant};
use crate::defender::{ApiError, Client};
use crate::fleet::{PollStatus, TenantFleet};
use crate::model::{IgnoredUpdates, Source};
use crate::publish::FleetSender;
use crate::self_metrics::TenantMetrics;

use context::PollContext;
pub use discover::{MachineLists, Scope, scope_without_list};
use paced_sender::PacedSender;
use quota_advisor::QuotaAdvisor;
use report::{LoggedFailures, PollReport};
use scope::ScopeTracker;
use source::DataSource;
use unreadable_log::UnreadableLog;

/// The time without [`progress`](Poller::progress) after which a poller counts as stalled. It exceeds the
/// longest call of the client, which is two hours including the wait for the quota.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(150);

/// The extent of one poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PollMode {
    /// The machine list and the machines that are due.
    Due,
    /// The machine list and all machines, due or not.
    Everything,
}

/// Polls one tenant.
#[derive(Debug)]
pub struct Poller {
    context: PollContext,
    scope: ScopeTracker,
    source: DataSource,
    quota_advisor: QuotaAdvisor,
    logged: LoggedFailures,
    /// Rises while the poller waits for the next poll.
    waits: Arc<AtomicU64>,
}

impl Poller {
    /// A poller of `tenant` that starts with the data in `fleet`.
    #[must_use]
    pub fn new(
        tenant: &Tenant,
        poll: Poll,
        client: impl Into<Arc<Client>>,
        mut fleet: TenantFleet,
        publisher: FleetSender,
        metrics: TenantMetrics,
        clock: Clock,
    ) -> Self {
        metrics.poll_interval(poll.interval);
        fleet.source = tenant.source;
        Self {
            scope: ScopeTracker::new(tenant.machines.clone(), &mut fleet),
            source: DataSource::new(&fleet),
            quota_advisor: QuotaAdvisor::new(tenant.source),
            logged: LoggedFailures::default(),
            waits: Arc::default(),
            context: PollContext {
                fleet,
                client: client.into(),
                interval: poll.interval,
                freshness: poll.freshness,
                ignored: Arc::default(),
                unreadable_log: UnreadableLog::default(),
                sender: PacedSender::new(publisher),
                metrics,
                clock,
            },
        }
    }

    /// The same poller, which drops the `ignored` updates from every reply. Its fleet must not hold them.
    #[must_use]
    pub fn ignoring(mut self, ignored: Arc<IgnoredUpdates>) -> Self {
        self.context.ignored = ignored;
        self
    }

    /// Returns a function whose result rises while the poller makes progress, or waits for the next poll.
    pub fn progress(&self) -> impl Fn() -> u64 + Send + use<> {
        let client = Arc::clone(&self.context.client);
        let waits = Arc::clone(&self.waits);
        move || client.calls_made() + waits.load(Ordering::Relaxed)
    }

    /// The current data.
    #[must_use]
    pub fn fleet(&self) -> &TenantFleet {
        &self.context.fleet
    }

    /// Polls until `stop`, and returns the fleet. Restored data that is still fresh is not fetched again. No
    /// call is in flight when this returns.
    pub async fn run(mut self, stop: CancellationToken) -> TenantFleet {
        self.announce();
        while let Some(next) = self.context.fleet.status.next_poll {
            let waited = stop.run_until_cancelled(self.wait_until(next)).await;
            if waited.is_none() || stop.run_until_cancelled(self.poll()).await.is_none() {
                break;
            }
        }
        self.source.shutdown().await;
        self.context.sender.flush(&self.context.fleet);
        self.context.fleet
    }

    /// Exports and submits the restored data before the first poll.
    fn announce(&mut self) {
        let PollContext { fleet, metrics, clock, .. } = &mut self.context;
        metrics.poll_restored(fleet.status.last_poll, fleet.status.last_success);
        metrics.forget_source();
        if let Some(version) = fleet.export_version.filter(|_| fleet.source == Source::Export) {
            metrics.source_snapshot(version.generated_at);
        }
        let now = clock.now();
        let next = self.next_due().unwrap_or(Timestamp::MIN).max(now);
        self.context.metrics.next_poll(next);
        self.context.fleet.status.next_poll = Some(next);
        self.update_quota_advice();
        self.context.sender.submit(&self.context.fleet);
    }

    /// Waits in steps of at most a minute, so that a change of the wall clock does not stretch the wait.
    async fn wait_until(&self, next: Timestamp) {
        while let Ok(left) = Duration::try_from(next.duration_since(self.context.clock.now())) {
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left.min(Duration::from_mins(1))).await;
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls the machine list if it is due, then the machines that are due.
    pub async fn poll(&mut self) {
        self.poll_in(PollMode::Due).await;
    }

    /// Polls the machine list and all machines, fresh or not.
    pub async fn poll_all(&mut self) {
        self.poll_in(PollMode::Everything).await;
    }

    async fn poll_in(&mut self, mode: PollMode) {
        let started = Instant::now();
        let mut report = PollReport::default();
        let PollContext { fleet, interval, clock, .. } = &self.context;
        if self.scope.is_due(fleet, clock.now(), *interval, mode) {
            self.refresh_scope(&mut report).await;
        }
        if !report.stopped {
            self.source.poll(&mut self.context, mode, &mut report).await;
        }
        self.finish(&report, started.elapsed());
    }

    /// Fetches the machine list and applies it. After a failure the scope stays as it is.
    async fn refresh_scope(&mut self, report: &mut PollReport) {
        let now = self.context.clock.now();
        let calls_before = self.context.client.calls_made();
        let scope = match self.scope.fetch(&self.context).await {
            Ok(scope) => scope,
            Err(error) => return report.failed(&error, error.stops_the_poll() || is_unreachable(&error)),
        };
        if self.scope.selectors_add_machines(&scope, &self.context.fleet) {
            self.source.forget_export();
        }
        self.scope.apply(scope, now, &mut self.context);
        self.quota_advisor.set_list_calls(self.context.client.calls_made() - calls_before);
        self.update_quota_advice();
    }

    fn update_quota_advice(&mut self) {
        let PollContext { fleet, interval, client, metrics, .. } = &self.context;
        self.quota_advisor.update(&fleet.tenant, fleet.machines.len(), *interval, client, metrics);
    }

    /// The time at which the list, its recheck or a machine comes due; none while the scope is not the one
    /// of the current selectors.
    fn next_due(&self) -> Option<Timestamp> {
        let list = self.scope.next_due(&self.context.fleet, self.context.interval)?;
        Some(self.source.next_due(&self.context).map_or(list, |data| data.min(list)))
    }

    /// Records the result of a poll in status, metrics and log, and sets the time of the next one.
    fn finish(&mut self, report: &PollReport, took: Duration) {
        let now = self.context.clock.now();
        let soon = now + self.context.interval.min(plan::FAILURE_PAUSE);
        let next = match self.next_due() {
            Some(next) if !report.is_incomplete() => next.max(now),
            _ => soon,
        };
        let up = report.is_up();
        let PollContext { fleet, metrics, sender, .. } = &mut self.context;
        metrics.poll_finished(now, took);
        metrics.next_poll(next);
        if up {
            metrics.poll_succeeded(now);
        }
        for reason in report.reasons() {
            metrics.poll_failed(reason);
        }
        report.log(&fleet.tenant, took, next, &mut self.logged);
        fleet.status = PollStatus {
            up,
            last_poll: Some(now),
            last_success: if up { Some(now) } else { fleet.status.last_success },
            next_poll: Some(next),
            last_error: report.last_error(),
        };
        sender.submit(fleet);
    }
}

/// Returns whether the API could not be reached at all, so that further calls are pointless.
#[must_use]
pub fn is_unreachable(error: &ApiError) -> bool {
    matches!(error, ApiError::Network { .. } | ApiError::Timeout { .. })
}

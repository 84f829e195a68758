//! The poll task of one tenant: resolves the scope, reads the missing updates of the machines that are due,
//! and submits each change of the fleet to the publication.
//!
//! - `scope` fetches the machine list and applies it to the fleet.
//! - `source` reads the missing updates, by `fetch` (machine by machine, oldest first) or `import` (one
//!   export of all machines).
//! - `due_queue` decides which machine is next, `api_health` whether a call makes sense.
//! - `work` makes the calls.
//!
//! Polling is continuous: the machine list, the export and each machine become due on their own, and a new
//! machine is read next. One task polls one tenant, so a tenant is never polled twice at once and never waits
//! for another. It may be cancelled at any await point, as on shutdown: each reply is applied when it arrives,
//! and the rest stays due. A failed call changes no data.

mod api_health;
mod clock_watch;
mod context;
mod discover;
mod due_queue;
mod fetch;
mod first_reading;
mod import;
mod not_found;
mod paced_sender;
mod quota_advisor;
mod report;
mod scope;
mod shrink_guard;
mod source;
mod unreadable_log;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Poll, Tenant};
use crate::defender::{ApiError, Client};
use crate::facts::{self, Facts, FactsReader};
use crate::fleet::TenantFleet;
use crate::model::{IgnoredUpdates, Source};
use crate::publish::FleetSender;
use crate::self_metrics::TenantMetrics;

use api_health::ApiHealth;
use clock_watch::ClockWatch;
pub(crate) use clock_watch::log_times_set_back;
use context::PollContext;
pub use discover::{MachineLists, Scope, scope_without_list};
use first_reading::FirstReading;
use paced_sender::PacedSender;
use quota_advisor::QuotaAdvisor;
use report::{LoggedFailures, PollReport};
use scope::ScopeTracker;
use source::DataSource;
use unreadable_log::UnreadableLog;

/// The time without [`progress`](Poller::progress) after which a poller counts as stalled. It exceeds the
/// longest call of the client, which is two hours including the wait for the quota.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(150);

/// The longest wait without a look at the wall clock, which may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The number of machines that fail in a row until a poll of everything gives up. It has no later attempt.
const FAILURES_OF_EVERYTHING: u32 = 10;

/// The extent of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PollMode {
    /// What is due.
    Due,
    /// All machines once.
    Everything,
}

/// Polls one tenant.
#[derive(Debug)]
pub struct Poller {
    context: PollContext,
    scope: ScopeTracker,
    source: DataSource,
    health: ApiHealth,
    /// The time before which a failed machine list is not repeated.
    list_retry_at: Option<Instant>,
    /// The time before which a failed export is not repeated.
    export_retry_at: Option<Instant>,
    clock_watch: ClockWatch,
    first_reading: FirstReading,
    quota_advisor: QuotaAdvisor,
    report: PollReport,
    logged: LoggedFailures,
    /// Rises while the poller waits.
    waits: Arc<AtomicU64>,
    wake: Arc<Notify>,
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
        let now = clock.now();
        if let Some(lead) = fleet.set_back_times(now) {
            log_times_set_back(&fleet.tenant, lead);
        }
        Self {
            scope: ScopeTracker::new(tenant.machines.clone(), &mut fleet),
            source: DataSource::new(&fleet),
            health: ApiHealth::new(fleet.status.up, poll.interval),
            list_retry_at: None,
            export_retry_at: None,
            clock_watch: ClockWatch::new(now),
            first_reading: FirstReading::default(),
            quota_advisor: QuotaAdvisor::new(tenant.source),
            report: PollReport::default(),
            logged: LoggedFailures::default(),
            waits: Arc::default(),
            wake: Arc::default(),
            context: PollContext {
                fleet,
                client: client.into(),
                interval: poll.interval,
                freshness: poll.freshness,
                ignored: Arc::default(),
                facts: facts::fixed(Facts::default()),
                unreadable_log: UnreadableLog::default(),
                sender: PacedSender::new(publisher),
                metrics,
                clock,
            },
        }
        .planned()
    }

    /// Plans the calls for the restored machines.
    fn planned(mut self) -> Self {
        self.source.scope_changed(&self.context);
        self
    }

    /// The same poller, which drops the `ignored` updates from every reply. Its fleet must not hold them.
    #[must_use]
    pub fn ignoring(mut self, ignored: Arc<IgnoredUpdates>) -> Self {
        self.context.ignored = ignored;
        self
    }

    /// The same poller, which finds the supersedence of updates in `facts`.
    #[must_use]
    pub fn knowing(mut self, facts: FactsReader) -> Self {
        self.context.facts = facts;
        self
    }

    /// Returns a function whose result rises while the poller makes progress, or waits until something is due.
    pub fn progress(&self) -> impl Fn() -> u64 + Send + use<> {
        let client = Arc::clone(&self.context.client);
        let waits = Arc::clone(&self.waits);
        move || client.calls_made() + waits.load(Ordering::Relaxed)
    }

    /// Returns the signal that makes the running poller try a failed API at once, as after a reload.
    #[must_use]
    pub fn wake_signal(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
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
        while stop.run_until_cancelled(self.work(PollMode::Due)).await.is_some() {
            self.rest();
            if stop.run_until_cancelled(self.wait()).await.is_none() {
                break;
            }
        }
        self.source.shutdown().await;
        self.context.sender.flush(&self.context.fleet);
        self.context.fleet
    }

    /// Exports and submits the restored data before the first call.
    fn announce(&mut self) {
        let PollContext { fleet, metrics, .. } = &mut self.context;
        metrics.poll_restored(fleet.status.last_poll, fleet.status.last_success);
        metrics.forget_source();
        if let Some(version) = fleet.export_version.filter(|_| fleet.source == Source::Export) {
            metrics.source_snapshot(version.generated_at);
        }
        self.update_progress();
        self.update_quota_advice();
        self.set_next_poll();
        self.context.sender.submit(&self.context.fleet);
    }

    /// Polls what is due, once.
    pub async fn poll(&mut self) {
        self.try_now();
        self.work(PollMode::Due).await;
        self.finish();
    }

    /// Polls the machine list and all machines, fresh or not. The status is the one of the whole poll then.
    pub async fn poll_all(&mut self) {
        self.try_now();
        self.health.fail_after(FAILURES_OF_EVERYTHING);
        self.refresh_scope().await;
        self.source.make_all_due();
        self.work(PollMode::Everything).await;
        let is_success = self.report.is_success() && self.health.is_up();
        self.context.fleet.status.up = is_success;
        self.finish();
    }
}

/// Returns whether the API could not be reached at all, so that further calls are pointless.
#[must_use]
pub fn is_unreachable(error: &ApiError) -> bool {
    matches!(error, ApiError::Network { .. } | ApiError::Timeout { .. })
}

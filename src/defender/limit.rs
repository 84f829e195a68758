//! The quotas of one application in one tenant: sliding windows over the calls made, and the pauses that the API
//! requests.
//!
//! Every request to the API, including retries, passes [`Limiter::reserve`] first and counts for a minute
//! and for an hour, so that no window of that length ever holds more calls than the configured share,
//! wherever it starts. (A bucket that refills would let almost twice the hourly limit through in the first
//! hour.) All calls of a tenant count against one quota; the export list also has a quota of its own.
//!
//! Callers queue in order of arrival. A caller that waits for the quota of the export list alone lets the
//! others pass.
//!
//! A reply with `Retry-After` pauses the whole tenant for as long as the API requests. A 429 also pauses it
//! without one, and reduces the allowance of the window that it names, see [`window`](super::window). The
//! recorder keeps calls over a restart. Pauses and reductions are not kept: the API repeats its 429 to the first
//! call of a new process.

mod call_counts;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pause::RequestedPause;
use super::quota_history::QuotaHistory;
use super::window::{Ledger, sustainable_interval};
use crate::clock::Clock;
use crate::config::{Quota, Tenant};
use crate::model::ApiOperation;
use crate::self_metrics::TenantMetrics;
use call_counts::CallCounts;

/// The API's limits for the export list, per minute and per hour
/// (<https://learn.microsoft.com/defender-endpoint/api/get-assessment-software-vulnerabilities>).
const EXPORT_LIST: [u32; 2] = [5, 20];

/// Grants calls within the quotas. Cheap to clone; clones share the quotas.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    calls: Arc<Mutex<CallCounts>>,
    queues: Arc<CallQueues>,
    history: Arc<QuotaHistory>,
    clock: Clock,
    metrics: TenantMetrics,
    /// The number of calls granted to this client since the start.
    made: Arc<AtomicU64>,
}

/// The queues of callers. The holder of a lock is at the head of its queue.
#[derive(Debug, Default)]
struct CallQueues {
    common: tokio::sync::Mutex<()>,
    export_list: tokio::sync::Mutex<()>,
}

/// The API requested a pause that is longer than the caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuotaPaused {
    /// The time until calls are granted again.
    pub remaining: Duration,
}

/// The head of the queue for one call. No other caller is granted a call while the reservation lives.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    limiter: &'a Limiter,
    endpoint: ApiOperation,
    patience: Duration,
    _own: Option<tokio::sync::MutexGuard<'a, ()>>,
    _common: Option<tokio::sync::MutexGuard<'a, ()>>,
}

/// A granted call. Drop it when the reply has arrived or will not arrive.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Limiter,
    endpoint: ApiOperation,
    at: Instant,
}

impl Limiter {
    /// Creates a limiter that grants the configured share of each quota, at least one call per window. The
    /// calls of `history` count like granted ones. Each call is recorded there before it is granted.
    #[must_use]
    pub(super) fn new(tenant: &Tenant, history: QuotaHistory, clock: Clock, metrics: TenantMetrics) -> Self {
        let mut calls = CallCounts {
            ledgers: shares(&tenant.quota).map(Ledger::new),
            paused_until: None,
            requested_pause: None,
        };
        let now = Instant::now();
        for (age, endpoint) in history.ages(clock.now()) {
            // The monotonic clock of a machine that has just started may not reach back so far. The call then
            // counts as made now.
            let at = now.checked_sub(age).unwrap_or(now);
            calls.ledgers_of(endpoint).iter_mut().for_each(|ledger| ledger.add(at));
        }
        let (calls, queues) = (Arc::new(Mutex::new(calls)), Arc::default());
        let limiter =
            Self { calls, queues, history: Arc::new(history), clock, metrics, made: Arc::default() };
        limiter.register_reader();
        limiter
    }

    /// Registers the reader of the quota windows with the self metrics.
    fn register_reader(&self) {
        let calls = Arc::clone(&self.calls);
        self.metrics.quota_from(move || lock(&calls).common_windows(Instant::now()));
    }

    /// Continues the calls, pauses and reductions of `older` with the quota of `tenant`. Calls that `older`
    /// still grants count here too.
    pub(super) fn inherit(&mut self, older: &Self, tenant: &Tenant) {
        self.calls = Arc::clone(&older.calls);
        self.queues = Arc::clone(&older.queues);
        self.set_quota(&[tenant]);
        self.register_reader();
    }

    /// Shares one quota with `other`, which calls for the same application under another name. The calls of
    /// both count.
    pub(super) fn join(&mut self, other: &Self) {
        if Arc::ptr_eq(&self.calls, &other.calls) {
            return;
        }
        let own = std::mem::replace(&mut self.calls, Arc::clone(&other.calls));
        self.queues = Arc::clone(&other.queues);
        let (own, mut common) = (lock(&own), lock(&self.calls));
        for (ledger, own) in common.ledgers.iter_mut().zip(&own.ledgers) {
            ledger.add_all(own);
        }
        common.paused_until = common.paused_until.max(own.paused_until);
        let pauses = [common.requested_pause, own.requested_pause];
        common.requested_pause = pauses.into_iter().flatten().reduce(RequestedPause::joined);
        drop((own, common));
        self.register_reader();
    }

    /// Applies, from now on, the smallest share of the quotas of `tenants`, which use the same application.
    pub(super) fn set_quota(&self, tenants: &[&Tenant]) {
        let smallest = |index: usize, window: usize| {
            tenants.iter().map(|tenant| shares(&tenant.quota)[index][window]).min()
        };
        self.with_calls(|calls| {
            for (index, ledger) in calls.ledgers.iter_mut().enumerate() {
                if let (Some(minute), Some(hour)) = (smallest(index, 0), smallest(index, 1)) {
                    ledger.set_allowance([minute, hour]);
                }
            }
        });
    }

    /// The time that the configured quota needs for `calls` more calls.
    pub(super) fn time_for(&self, calls: u64) -> Duration {
        let (configured, used) =
            self.with_calls(|counts| (counts.configured(), counts.ledgers[0].used(Instant::now())));
        let left_in_hour = configured[1].saturating_sub(used[1]);
        if calls <= left_in_hour as u64 {
            // The hour does not limit them.
            return sustainable_interval(calls, [configured[0], usize::MAX]);
        }
        sustainable_interval(calls, configured)
    }

    /// Returns whether a call or a pause still counts.
    pub(super) fn has_quota_state(&self) -> bool {
        let now = Instant::now();
        self.with_calls(|calls| {
            calls.ledgers.iter().any(|ledger| ledger.used(now) != [0, 0])
                || calls.paused_until.is_some_and(|until| until > now)
        })
    }

    /// Waits until one more call is within every quota that it counts against. The download of an export
    /// file counts against none and does not wait.
    ///
    /// # Errors
    /// Returns an error if the API requested a pause that lasts longer than `patience`.
    pub(super) async fn reserve(
        &self,
        endpoint: ApiOperation,
        patience: Duration,
    ) -> Result<Reservation<'_>, QuotaPaused> {
        let own = match endpoint {
            ApiOperation::ExportFile => {
                return Ok(Reservation { limiter: self, endpoint, patience, _own: None, _common: None });
            }
            ApiOperation::Export => Some(self.queues.export_list.lock().await),
            ApiOperation::Machines | ApiOperation::FindByTag | ApiOperation::MissingKbs => None,
        };
        loop {
            while let Some(until) = self.with_calls(|calls| calls.own_busy_until(endpoint)) {
                self.sleep_until(until).await;
            }
            let common = self.queues.common.lock().await;
            while self.with_calls(|calls| calls.own_busy_until(endpoint)).is_none() {
                match self.with_calls(|calls| calls.common_busy_until(patience, self.metrics.name()))? {
                    Some(until) => self.sleep_until(until).await,
                    None => {
                        return Ok(Reservation {
                            limiter: self,
                            endpoint,
                            patience,
                            _own: own,
                            _common: Some(common),
                        });
                    }
                }
            }
        }
    }

    /// The pause that a `Retry-After` of the API requested, if it has not ended.
    pub(super) fn requested_pause(&self) -> Option<RequestedPause> {
        self.with_calls(|calls| calls.requested_pause.filter(RequestedPause::is_running))
    }

    /// The number of calls granted by this process.
    pub(super) fn calls_made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// The configured share of the tenant's quota, per minute and per hour, without reductions.
    pub(super) fn configured(&self) -> [usize; 2] {
        self.with_calls(|calls| calls.configured())
    }

    /// The shortest interval in which the configured share allows `calls` repeatedly.
    pub(super) fn sustainable_interval(&self, calls: u64) -> Duration {
        sustainable_interval(calls, self.configured())
    }

    async fn sleep_until(&self, until: Instant) {
        let start = Instant::now();
        tokio::time::sleep_until(until).await;
        self.metrics.throttle_waited(start.elapsed());
    }

    /// Runs `operation` with the calls locked; the lock cannot be held over an await.
    fn with_calls<T>(&self, operation: impl FnOnce(&mut CallCounts) -> T) -> T {
        operation(&mut lock(&self.calls))
    }
}

impl Reservation<'_> {
    /// Records the call, then counts and grants it. The queue is held meanwhile, so that a slow disk does not
    /// bunch up calls that were granted at different times.
    ///
    /// # Errors
    /// Returns an error if the API requested a long pause meanwhile; the call is not counted then.
    pub(super) async fn take(self) -> Result<Permit, QuotaPaused> {
        let Self { limiter, endpoint, patience, .. } = self;
        let tenant = limiter.metrics.name();
        let permit = |at| Permit { limiter: limiter.clone(), endpoint, at };
        if endpoint == ApiOperation::ExportFile {
            return Ok(permit(Instant::now()));
        }
        loop {
            limiter.history.record(limiter.clock.now(), endpoint).await;
            if let Some(at) = limiter.with_calls(|calls| calls.take(endpoint, patience, tenant))? {
                limiter.made.fetch_add(1, Ordering::Relaxed);
                return Ok(permit(at));
            }
            // A 429 arrived meanwhile.
            while let Some(until) =
                limiter.with_calls(|calls| calls.busy_until(endpoint, patience, tenant))?
            {
                limiter.sleep_until(until).await;
            }
        }
    }
}

impl Permit {
    /// Pauses every call for `wait`, as the `Retry-After` of a reply requests.
    pub(super) fn retry_after(&self, wait: Duration) {
        let mut calls = lock(&self.limiter.calls);
        let new = RequestedPause::starting_now(wait);
        let running = calls.requested_pause.filter(RequestedPause::is_running);
        calls.requested_pause = Some(running.map_or(new, |old| old.joined(new)));
        calls.pause_until(new.until);
    }

    /// Pauses every call for `wait` after a 429 with the text `message`. A shorter pause never ends a longer
    /// one.
    pub(super) fn throttled(&self, wait: Duration, message: &str) {
        lock(&self.limiter.calls).throttled(self, wait, message);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (mut calls, now) = (lock(&self.limiter.calls), Instant::now());
        calls.ledgers_of(self.endpoint).iter_mut().for_each(|ledger| ledger.settle(self.at, now));
    }
}

/// The allowed calls per minute and per hour: of the tenant, and of the export list.
fn shares(quota: &Quota) -> [[usize; 2]; 2] {
    let Quota { per_minute, per_hour, share } = *quota;
    [[per_minute.get(), per_hour.get()], EXPORT_LIST].map(|limits| limits.map(|limit| allowed(limit, share)))
}

/// The share of a limit, rounded down, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a u32 is within usize"
)]
fn allowed(limit: u32, share: f64) -> usize {
    ((f64::from(limit) * share) as usize).max(1)
}

/// Every change is a single step, so the counts are valid even after a panic of another thread.
fn lock(calls: &Mutex<CallCounts>) -> MutexGuard<'_, CallCounts> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

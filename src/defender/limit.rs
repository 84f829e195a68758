//! The quotas of one tenant: sliding windows over the calls really made, and the pause after a 429.
//!
//! Every request to the API, retries too, passes [`Limiter::room`] first and counts for a minute
//! and for an hour, so no window of that length ever holds more than our share, wherever it starts.
//! (A bucket that refills would let almost twice the hourly limit through in the first hour.) All
//! calls of a tenant count in one quota; the export list counts in its own besides.
//!
//! Callers queue: whoever asked first goes first. Who waits for the windows of the export list alone
//! lets the others pass.
//!
//! A 429 stops the whole tenant until the API wants to be asked again, and cuts the allowance of the
//! window it names, see [`window`](super::window). Calls survive a restart by their journal, pauses
//! and cuts do not: a new process asks once and is told again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::quota_history::QuotaHistory;
use super::retry::named_windows;
use super::window::{Ledger, sustainable_interval};
use crate::clock::Clock;
use crate::config::{Quota, Tenant};
use crate::self_metrics::{ApiOperation, QuotaWindow, TenantMetrics};

/// What the API allows for the export list, a minute and an hour
/// (<https://learn.microsoft.com/defender-endpoint/api/get-assessment-software-vulnerabilities>).
const EXPORT_LIST: [u32; 2] = [5, 20];

/// Lets calls through as the quotas allow. Cheap to clone; clones share the quotas.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    calls: Arc<Mutex<Calls>>,
    turns: Arc<CallQueues>,
    history: Arc<QuotaHistory>,
    clock: Clock,
    metrics: TenantMetrics,
}

/// Whoever holds one is the next of its kind.
#[derive(Debug, Default)]
struct CallQueues {
    common: tokio::sync::Mutex<()>,
    export_list: tokio::sync::Mutex<()>,
}

/// The API asks for a pause that is longer than the caller would wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuotaPaused {
    /// Until calls are let through again.
    pub remaining: Duration,
}

/// Reservation for one call, which nobody else can take while this lives.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    limiter: &'a Limiter,
    endpoint: ApiOperation,
    patience: Duration,
    _own: Option<tokio::sync::MutexGuard<'a, ()>>,
    _common: Option<tokio::sync::MutexGuard<'a, ()>>,
}

/// A call that was let through. To be dropped when its reply is there, or when there will be none.
#[derive(Debug)]
pub(super) struct Permit {
    calls: Arc<Mutex<Calls>>,
    endpoint: ApiOperation,
    at: Instant,
}

#[derive(Debug)]
struct Calls {
    tenant: Arc<str>,
    /// That of the whole tenant, then that of the export list.
    ledgers: [Ledger; 2],
    paused_until: Option<Instant>,
    /// Calls let through since the start.
    made: u64,
}

impl Limiter {
    /// A limiter that lets through our share of each quota, at least one call in each window. The
    /// calls of `history` count like those that it lets through, which it notes there first.
    #[must_use]
    pub(super) fn new(tenant: &Tenant, history: QuotaHistory, clock: Clock, metrics: TenantMetrics) -> Self {
        let mut calls = Calls {
            tenant: Arc::clone(&tenant.name),
            ledgers: shares(&tenant.quota).map(Ledger::new),
            paused_until: None,
            made: 0,
        };
        let now = Instant::now();
        for (age, endpoint) in history.ages(clock.now()) {
            // The clock may not reach back so far on a machine that has just started: then as if now.
            let at = now.checked_sub(age).unwrap_or(now);
            calls.ledgers_of(endpoint).iter_mut().for_each(|ledger| ledger.add(at));
        }
        let (calls, turns) = (Arc::new(Mutex::new(calls)), Arc::default());
        let limiter = Self { calls, turns, history: Arc::new(history), clock, metrics };
        limiter.show();
        limiter
    }

    /// Lets the self metrics read how the quota stands.
    fn show(&self) {
        let seen = Arc::clone(&self.calls);
        self.metrics.quota_from(move || lock(&seen).common_windows(Instant::now()));
    }

    /// Goes on with the calls, pauses and cuts of `older` for `tenant`. Calls that `older` still lets
    /// through count here too.
    pub(super) fn continue_with(&mut self, older: &Self, tenant: &Tenant) {
        self.calls = Arc::clone(&older.calls);
        self.turns = Arc::clone(&older.turns);
        self.allow(tenant);
        self.show();
    }

    /// Lets through our share of the quotas of `tenant` from now on.
    pub(super) fn allow(&self, tenant: &Tenant) {
        self.ask(|calls| {
            calls.tenant = Arc::clone(&tenant.name);
            for (ledger, share) in calls.ledgers.iter_mut().zip(shares(&tenant.quota)) {
                ledger.allow(share);
            }
        });
    }

    /// Whether there is a call or a pause that counts.
    pub(super) fn has_quota_state(&self) -> bool {
        let now = Instant::now();
        self.ask(|calls| {
            calls.ledgers.iter().any(|ledger| ledger.used(now) != [0, 0])
                || calls.paused_until.is_some_and(|until| until > now)
        })
    }

    /// Waits until one more call is within every quota that it counts in. A download of an export
    /// file counts in none, and nothing holds it back.
    ///
    /// # Errors
    /// When the API asked for a pause that lasts longer than `patience`.
    pub(super) async fn room(
        &self,
        endpoint: ApiOperation,
        patience: Duration,
    ) -> Result<Reservation<'_>, QuotaPaused> {
        let own = match endpoint {
            ApiOperation::ExportFile => {
                return Ok(Reservation { limiter: self, endpoint, patience, _own: None, _common: None });
            }
            ApiOperation::Export => Some(self.turns.export_list.lock().await),
            ApiOperation::Machines | ApiOperation::FindByTag | ApiOperation::MissingKbs => None,
        };
        loop {
            while let Some(until) = self.ask(|calls| calls.own_busy_until(endpoint)) {
                self.sleep_until(until).await;
            }
            let common = self.turns.common.lock().await;
            while self.ask(|calls| calls.own_busy_until(endpoint)).is_none() {
                match self.ask(|calls| calls.common_busy_until(patience))? {
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

    /// Calls let through so far, by this process.
    pub(super) fn calls_made(&self) -> u64 {
        self.ask(|calls| calls.made)
    }

    /// Our share of the quota of the whole tenant, a minute and an hour, while the API does not object.
    pub(super) fn configured(&self) -> [usize; 2] {
        self.ask(|calls| calls.ledgers[0].windows.each_ref().map(|window| window.configured))
    }

    /// The shortest interval in which the configured share allows `calls`, again and again.
    pub(super) fn sustainable_interval(&self, calls: u64) -> Duration {
        sustainable_interval(calls, self.configured())
    }

    async fn sleep_until(&self, until: Instant) {
        let start = Instant::now();
        tokio::time::sleep_until(until).await;
        self.metrics.throttle_waited(start.elapsed());
    }

    /// A lock that cannot be held over an await.
    fn ask<T>(&self, question: impl FnOnce(&mut Calls) -> T) -> T {
        question(&mut lock(&self.calls))
    }
}

impl Reservation<'_> {
    /// Counts the call, after it was noted. Nobody else has a turn meanwhile, so a slow disk does not
    /// bring calls together that were let through apart.
    ///
    /// # Errors
    /// When the API asked for a long pause in the last moment; nothing is counted then.
    pub(super) async fn take(self) -> Result<Permit, QuotaPaused> {
        let Self { limiter, endpoint, patience, .. } = self;
        let permit = |at| Permit { calls: Arc::clone(&limiter.calls), endpoint, at };
        if endpoint == ApiOperation::ExportFile {
            return Ok(permit(Instant::now()));
        }
        loop {
            limiter.history.note(limiter.clock.now(), endpoint).await;
            if let Some(at) = limiter.ask(|calls| calls.take(endpoint, patience))? {
                return Ok(permit(at));
            }
            // A 429 came in the last moment.
            while let Some(until) = limiter.ask(|calls| calls.busy_until(endpoint, patience))? {
                limiter.sleep_until(until).await;
            }
        }
    }
}

impl Permit {
    /// The API answered 429 and wants no call for `wait`. `message` is its text. Whoever asks, nothing
    /// is let through until then; a shorter pause never ends a longer one.
    pub(super) fn throttled(&self, wait: Duration, message: &str) {
        lock(&self.calls).throttled(self, wait, message);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (mut calls, now) = (lock(&self.calls), Instant::now());
        calls.ledgers_of(self.endpoint).iter_mut().for_each(|ledger| ledger.settle(self.at, now));
    }
}

impl Calls {
    /// The quotas that calls of `endpoint` count in, the narrowest last.
    fn ledgers_of(&mut self, endpoint: ApiOperation) -> &mut [Ledger] {
        let count = match endpoint {
            ApiOperation::ExportFile => 0,
            ApiOperation::Machines | ApiOperation::FindByTag | ApiOperation::MissingKbs => 1,
            ApiOperation::Export => 2,
        };
        &mut self.ledgers[..count]
    }

    /// When to ask again because of a quota that not every call counts in.
    fn own_busy_until(&mut self, endpoint: ApiOperation) -> Option<Instant> {
        let now = Instant::now();
        self.ledgers_of(endpoint).iter_mut().skip(1).filter_map(|ledger| ledger.busy_until(now)).max()
    }

    /// When to ask again because of the quota of the tenant or a pause.
    fn common_busy_until(&mut self, patience: Duration) -> Result<Option<Instant>, QuotaPaused> {
        let now = Instant::now();
        self.tell_recoveries(now);
        let busy = self.ledgers[0].busy_until(now);
        let pause = self.paused_until.filter(|until| *until > now);
        match pause.filter(|until| *until > now + patience) {
            Some(until) => Err(QuotaPaused { remaining: until - now }),
            None => Ok(busy.max(pause)),
        }
    }

    fn busy_until(
        &mut self,
        endpoint: ApiOperation,
        patience: Duration,
    ) -> Result<Option<Instant>, QuotaPaused> {
        Ok(self.common_busy_until(patience)?.max(self.own_busy_until(endpoint)))
    }

    /// Counts a call, if there still is room for it. Tells from when on.
    fn take(&mut self, endpoint: ApiOperation, patience: Duration) -> Result<Option<Instant>, QuotaPaused> {
        if self.busy_until(endpoint, patience)?.is_some() {
            return Ok(None);
        }
        let now = Instant::now();
        self.ledgers_of(endpoint).iter_mut().for_each(|ledger| ledger.add(now));
        self.made += 1;
        Ok(Some(now))
    }

    fn throttled(&mut self, permit: &Permit, wait: Duration, message: &str) {
        let now = Instant::now();
        let tenant = Arc::clone(&self.tenant);
        let Some(ledger) = self.ledgers_of(permit.endpoint).last_mut() else { return };
        for (window, name) in ledger.windows.iter_mut().zip(named_windows(message)) {
            if let Some(name) = name
                && let Some(cut) = window.cut(permit.at, now)
            {
                tracing::warn!(tenant = &*tenant, endpoint = %permit.endpoint, window = name, from = cut.from, to = cut.to,
                    "the API allows fewer calls than expected: asking more slowly for now");
            }
        }
        let until = now + wait;
        self.paused_until = Some(self.paused_until.map_or(until, |old| old.max(until)));
    }

    fn tell_recoveries(&mut self, now: Instant) {
        let windows = self.ledgers.iter_mut().flat_map(|ledger| &mut ledger.windows);
        for (window, name) in windows.zip(["1m", "1h", "1m", "1h"]) {
            if window.has_recovered(now) {
                tracing::info!(
                    tenant = &*self.tenant,
                    window = name,
                    allowed = window.configured,
                    "the API did not object for long: asking at the full pace again"
                );
            }
        }
    }

    fn common_windows(&self, now: Instant) -> [QuotaWindow; 2] {
        let [common, _] = &self.ledgers;
        let used = common.used(now);
        [0, 1].map(|index| QuotaWindow {
            allowed: common.windows[index].allowed(now) as u64,
            used: used[index] as u64,
        })
    }
}

/// What is allowed a minute and an hour: to all calls of the tenant, and to the export list.
fn shares(quota: &Quota) -> [[usize; 2]; 2] {
    let Quota { per_minute, per_hour, share } = *quota;
    [[per_minute.get(), per_hour.get()], EXPORT_LIST].map(|limits| limits.map(|limit| allowed(limit, share)))
}

/// Our share of a limit, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a u32 is within usize"
)]
fn allowed(limit: u32, share: f64) -> usize {
    ((f64::from(limit) * share) as usize).max(1)
}

/// The counts stay right whatever a panicking thread did: every change is a single step.
fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! The quota of one tenant: sliding windows over the calls really made, and the pause after a 429.
//!
//! Every request to the API, retries too, passes [`Limiter::acquire`] first. A call is counted for a
//! minute and for an hour from the moment it is let through, so no window of that length ever holds
//! more than our share, wherever it starts. (A bucket that refills would let almost twice the hourly
//! limit through in the first hour.) Callers queue: whoever asked first goes first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

use crate::config::Quota;
use crate::selfmon::TenantMetrics;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Lets calls through as the quota allows. Cheap to clone; clones share the quota.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    calls: Arc<Mutex<Calls>>,
    queue: Arc<tokio::sync::Mutex<()>>,
    metrics: TenantMetrics,
}

/// The API asks for a pause that is longer than the caller would wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paused {
    /// Until calls are let through again.
    pub remaining: Duration,
}

#[derive(Debug)]
struct Calls {
    per_minute: usize,
    per_hour: usize,
    /// When each call of the last hour was let through, oldest first.
    made: VecDeque<Instant>,
    paused_until: Option<Instant>,
}

impl Limiter {
    /// A limiter that lets through our share of `quota`, at least one call in each window. `ages` of
    /// the calls that were made before count like calls of its own.
    #[must_use]
    pub(super) fn new(
        quota: &Quota,
        ages: impl IntoIterator<Item = Duration>,
        metrics: TenantMetrics,
    ) -> Self {
        let now = Instant::now();
        // The clock may not reach back so far on a machine that has just started: then as if now.
        let mut made: Vec<_> = ages.into_iter().map(|age| now.checked_sub(age).unwrap_or(now)).collect();
        made.sort_unstable();
        let calls = Calls {
            per_minute: allowed(quota.per_minute.get(), quota.share),
            per_hour: allowed(quota.per_hour.get(), quota.share),
            made: made.into(),
            paused_until: None,
        };
        metrics.quota(number(calls.per_minute), number(calls.per_hour));
        let calls = Arc::new(Mutex::new(calls));
        let used = Arc::clone(&calls);
        metrics.quota_used_from(move || {
            let (minute, hour) = lock(&used).used(Instant::now());
            (number(minute), number(hour))
        });
        Self { calls, queue: Arc::default(), metrics }
    }

    /// Waits until one more call is within the quota and counts it.
    ///
    /// # Errors
    /// When the API asked for a pause that lasts longer than `patience`; nothing is counted then.
    pub(super) async fn acquire(&self, patience: Duration) -> Result<(), Paused> {
        let _turn = self.queue.lock().await;
        let asked = Instant::now();
        let mut waited = false;
        let take = || lock(&self.calls).try_take(Instant::now(), patience);
        while let Some(until) = take()? {
            tokio::time::sleep_until(until).await;
            waited = true;
        }
        if waited {
            self.metrics.throttle_waited(asked.elapsed());
        }
        Ok(())
    }

    /// Lets nothing through for `pause`, whoever asks. A shorter pause never ends a longer one.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut calls = lock(&self.calls);
        calls.paused_until = Some(calls.paused_until.map_or(until, |old| old.max(until)));
    }
}

impl Calls {
    /// Counts a call at `now`, or says when to ask again.
    fn try_take(&mut self, now: Instant, patience: Duration) -> Result<Option<Instant>, Paused> {
        self.forget(now);
        let pause = self.paused_until.filter(|until| *until > now);
        if let Some(until) = pause.filter(|until| *until > now + patience) {
            return Err(Paused { remaining: until - now });
        }
        let full = |window: Duration, limit: usize| {
            let blocking = self.made.len().checked_sub(limit)?;
            Some(self.made[blocking] + window).filter(|free| *free > now)
        };
        let wait =
            [full(MINUTE, self.per_minute), full(HOUR, self.per_hour), pause].into_iter().flatten().max();
        if wait.is_none() {
            self.made.push_back(now);
        }
        Ok(wait)
    }

    /// Calls made in the last minute and in the last hour.
    fn used(&mut self, now: Instant) -> (usize, usize) {
        self.forget(now);
        let minute = self.made.iter().rev().take_while(|at| now - **at < MINUTE).count();
        (minute, self.made.len())
    }

    fn forget(&mut self, now: Instant) {
        while self.made.front().is_some_and(|at| now - *at >= HOUR) {
            self.made.pop_front();
        }
    }
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

/// For a metric; no window holds more calls than a u32 limit.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The counts stay right whatever a panicking thread did: every change is a single step.
fn lock(calls: &Mutex<Calls>) -> std::sync::MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::selfmon::SelfMetrics;

    fn limiter(per_minute: u32, per_hour: u32, share: f64) -> Limiter {
        let quota = Quota {
            per_minute: NonZeroU32::new(per_minute).unwrap(),
            per_hour: NonZeroU32::new(per_hour).unwrap(),
            share,
        };
        Limiter::new(&quota, [], Arc::new(SelfMetrics::new("test")).tenant("contoso"))
    }

    async fn take(limiter: &Limiter, count: usize) -> Vec<Duration> {
        let start = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..count {
            limiter.acquire(HOUR).await.unwrap();
            taken.push(start.elapsed());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn calls_within_the_share_pass_at_once_and_the_next_waits_a_minute() {
        let taken = take(&limiter(50, 1500, 0.8), 41).await;
        assert_eq!(taken[39], Duration::ZERO);
        assert!(taken[40] >= MINUTE && taken[40] < MINUTE + Duration::from_millis(10), "{:?}", taken[40]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_hour_holds_as_well_as_the_minute() {
        let taken = take(&limiter(50, 100, 1.0), 101).await;
        assert!(taken[99] < 2 * MINUTE);
        assert!(taken[100] >= HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_every_caller_back() {
        let limiter = limiter(50, 1500, 1.0);
        limiter.pause(Duration::from_secs(30));
        limiter.pause(Duration::from_secs(5));
        let start = Instant::now();
        let other = limiter.clone();
        let (a, b) = tokio::join!(limiter.acquire(HOUR), other.acquire(HOUR));
        assert!(a.is_ok() && b.is_ok());
        assert!(start.elapsed() >= Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_longer_than_the_callers_patience_is_an_answer_at_once() {
        let limiter = limiter(50, 1500, 1.0);
        limiter.pause(HOUR);
        let paused = limiter.acquire(MINUTE).await.unwrap_err();
        assert_eq!(paused.remaining, HOUR);
        tokio::time::advance(HOUR).await;
        assert_eq!(limiter.acquire(MINUTE).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_an_earlier_run_count() {
        tokio::time::advance(HOUR).await;
        let quota = Quota {
            per_minute: NonZeroU32::new(10).unwrap(),
            per_hour: NonZeroU32::new(12).unwrap(),
            share: 1.0,
        };
        let metrics = Arc::new(SelfMetrics::new("test")).tenant("contoso");
        let minutes_ago = [59, 30, 10].map(|minutes| minutes * MINUTE);
        let taken = take(&Limiter::new(&quota, minutes_ago, metrics), 11).await;
        assert_eq!(taken[8], Duration::ZERO);
        assert!(taken[9] >= MINUTE && taken[9] < 2 * MINUTE, "{:?}", taken[9]);
        assert!(taken[10] >= 30 * MINUTE, "{:?}", taken[10]);
    }

    proptest! {
        #[test]
        fn no_sliding_window_ever_holds_more_than_the_share(
            per_minute in 1..20u32, per_hour in 1..60u32, share in 0.05..1.0f64, count in 1..150usize
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            let taken = runtime.block_on(async { take(&limiter(per_minute, per_hour, share), count).await });
            for (window, limit) in [(MINUTE, allowed(per_minute, share)), (HOUR, allowed(per_hour, share))] {
                for (index, at) in taken.iter().enumerate().skip(limit) {
                    prop_assert!((*at).checked_sub(taken[index - limit]).unwrap() >= window);
                }
            }
        }
    }
}

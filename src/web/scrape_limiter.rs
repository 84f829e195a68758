//! The limit of concurrent scrapes: `--web.max-requests`.
//!
//! A scrape holds a permit from its request until the last piece of its reply is sent. A reply without
//! progress for [`STALLED`] can lose its permit to another scrape, so that clients that do not read do not
//! block clients that do. The stalled reply is not aborted; the time limits of its connection apply
//! ([`Limits`](super::Limits)).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A reply without progress for this time has stalled. A client that reads takes a piece far more often.
const STALLED: Duration = Duration::from_secs(5);

/// The permits of a server.
#[derive(Clone, Debug)]
pub struct ScrapeLimiter {
    /// `None` means no limit.
    limit: Option<usize>,
    /// The time of the last progress of each scrape.
    taken: Arc<Mutex<Vec<LastProgress>>>,
}

type LastProgress = Arc<Mutex<Instant>>;

impl ScrapeLimiter {
    /// Allows `limit` concurrent scrapes; 0 means no limit.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit: (limit > 0).then_some(limit), taken: Arc::default() }
    }

    /// Takes a permit, if necessary from a stalled scrape. `None` if all permits are in use.
    pub(super) fn take(&self) -> Option<ScrapePermit> {
        let now = Instant::now();
        let mut taken = lock(&self.taken);
        if self.limit.is_some_and(|limit| taken.len() >= limit) {
            let stalled = taken.iter().position(|progress| now - *lock(progress) >= STALLED)?;
            taken.swap_remove(stalled);
        }
        let last_progress = Arc::new(Mutex::new(now));
        taken.push(Arc::clone(&last_progress));
        Some(ScrapePermit { taken: Arc::clone(&self.taken), last_progress })
    }
}

/// The permit of a scrape, returned on drop.
#[derive(Debug)]
pub(super) struct ScrapePermit {
    taken: Arc<Mutex<Vec<LastProgress>>>,
    last_progress: LastProgress,
}

impl ScrapePermit {
    /// Records that the client has read more of the reply.
    pub(super) fn record_progress(&self) {
        *lock(&self.last_progress) = Instant::now();
    }
}

impl Drop for ScrapePermit {
    fn drop(&mut self) {
        lock(&self.taken).retain(|progress| !Arc::ptr_eq(progress, &self.last_progress));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_allowed_gets_none_until_one_is_free() {
        let slots = ScrapeLimiter::new(2);
        let (first, second) = (slots.take(), slots.take());
        assert!(first.is_some() && second.is_some());
        assert!(slots.take().is_none());
        drop(first);
        let third = slots.take();
        assert!(third.is_some() && slots.take().is_none());
    }

    #[test]
    fn none_is_refused_without_a_limit() {
        let slots = ScrapeLimiter::new(0);
        let taken: Vec<_> = (0..1_000).map(|_| slots.take()).collect();
        assert!(taken.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_has_stalled_loses_its_slot_and_no_other_does() {
        let slots = ScrapeLimiter::new(2);
        let stalled = slots.take();
        let moving = slots.take().unwrap();
        let almost = STALLED.mul_f32(0.9);
        tokio::time::advance(almost).await;
        moving.record_progress();
        assert!(slots.take().is_none());
        tokio::time::advance(STALLED.saturating_sub(almost)).await;
        let third = slots.take();
        assert!(third.is_some() && slots.take().is_none());
        // Its slot is another's now.
        drop(stalled);
        assert!(slots.take().is_none());
    }
}

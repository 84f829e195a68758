//! How many scrapes are served at once: `--web.max-requests`.
//!
//! A scrape has a slot from its request until the last piece of its reply is on its way. A reply that has not
//! moved for [`STALLED`] can lose it to another scrape: nothing is done for it at the moment, and so many
//! clients that do not read must not keep those from their answer that do. It is not ended for that; how long
//! it may go on is a limit of its connection ([`Limits`](super::Limits)).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A client that reads takes a piece far more often.
const STALLED: Duration = Duration::from_secs(5);

/// The slots of a server.
#[derive(Clone, Debug)]
pub struct ScrapeLimiter {
    /// None is no limit.
    most: Option<usize>,
    /// When the reply in each slot last moved.
    taken: Arc<Mutex<Vec<Moved>>>,
}

type Moved = Arc<Mutex<Instant>>;

impl ScrapeLimiter {
    /// At most so many scrapes at once; 0 is no limit.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: (most > 0).then_some(most), taken: Arc::default() }
    }

    /// A slot, unless all of them are in use.
    pub(super) fn take(&self) -> Option<ScrapePermit> {
        let now = Instant::now();
        let mut taken = lock(&self.taken);
        if self.most.is_some_and(|most| taken.len() >= most) {
            let stalled = taken.iter().position(|moved| now - *lock(moved) >= STALLED)?;
            taken.swap_remove(stalled);
        }
        let moved = Arc::new(Mutex::new(now));
        taken.push(Arc::clone(&moved));
        Some(ScrapePermit { slots: Arc::clone(&self.taken), moved })
    }
}

/// The slot of a scrape, free again when this is dropped.
#[derive(Debug)]
pub(super) struct ScrapePermit {
    slots: Arc<Mutex<Vec<Moved>>>,
    moved: Moved,
}

impl ScrapePermit {
    /// The client has read more.
    pub(super) fn moves(&self) {
        *lock(&self.moved) = Instant::now();
    }
}

impl Drop for ScrapePermit {
    fn drop(&mut self) {
        lock(&self.slots).retain(|moved| !Arc::ptr_eq(moved, &self.moved));
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
        moving.moves();
        assert!(slots.take().is_none());
        tokio::time::advance(STALLED.saturating_sub(almost)).await;
        let third = slots.take();
        assert!(third.is_some() && slots.take().is_none());
        // Its slot is another's now.
        drop(stalled);
        assert!(slots.take().is_none());
    }
}

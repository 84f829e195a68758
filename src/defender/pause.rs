//! The pauses that hosts request with `Retry-After`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A pause that a host requested and that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedPause {
    /// The time until which nothing is sent.
    pub until: Instant,
    /// The requested length, from the reply to [`until`](Self::until).
    pub length: Duration,
}

impl RequestedPause {
    pub(super) fn starting_now(length: Duration) -> Self {
        Self { until: Instant::now() + length, length }
    }

    /// The pause that covers both.
    #[must_use]
    pub(super) fn joined(self, other: Self) -> Self {
        Self { until: self.until.max(other.until), length: self.length.max(other.length) }
    }

    pub(super) fn is_running(&self) -> bool {
        self.until > Instant::now()
    }
}

/// The pause of one host. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct HostPause(Arc<Mutex<Option<RequestedPause>>>);

impl HostPause {
    /// Starts a pause now. A shorter pause never ends a longer one.
    pub(super) fn start(&self, length: Duration) {
        let new = RequestedPause::starting_now(length);
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = Some(pause.filter(RequestedPause::is_running).map_or(new, |old| old.joined(new)));
    }

    /// The pause, if it has not ended.
    pub(super) fn running(&self) -> Option<RequestedPause> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).filter(RequestedPause::is_running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shorter_pause_never_ends_a_longer_one() {
        let pause = HostPause::default();
        assert_eq!(pause.running(), None);
        let start = Instant::now();
        pause.start(Duration::from_secs(90));
        pause.start(Duration::from_secs(5));
        let running = pause.running().unwrap();
        assert_eq!(
            (running.until - start, running.length),
            (Duration::from_secs(90), Duration::from_secs(90))
        );
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(pause.running(), None);
        pause.start(Duration::from_secs(5));
        assert_eq!(pause.running().unwrap().length, Duration::from_secs(5), "the old length is over");
    }
}

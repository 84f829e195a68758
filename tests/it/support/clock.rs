//! A wall clock that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mde_exporter::clock::Clock;

/// A wall clock that only moves when a test advances it.
#[derive(Clone)]
pub(crate) struct ManualClock {
    start: Timestamp,
    moved_secs: Arc<AtomicI64>,
}

impl ManualClock {
    /// Starts at a whole second, like an HTTP date.
    pub(crate) fn new() -> Self {
        let start = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        Self { start, moved_secs: Arc::default() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.start + SignedDuration::from_secs(self.moved_secs.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.moved_secs.fetch_add(by.as_secs().cast_signed(), Ordering::SeqCst);
    }

    pub(crate) fn as_clock(&self) -> Clock {
        let manual = self.clone();
        Clock::new(move || manual.now())
    }
}

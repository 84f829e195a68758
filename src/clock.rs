//! The wall clock as a value.
//!
//! Timestamps that leave the process (first seen, last poll) come from a [`Clock`], so tests can set them.
//! Waiting uses tokio's clock, which tests pause.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// A source of timestamps. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Returns a clock that calls `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns a clock that starts at `start` and follows tokio's clock, so paused time applies to both.
    #[must_use]
    pub fn following_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self::new(move || start + origin.elapsed())
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

//! Views of pages, which decide whether snapshots get their overview before a reader asks for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time for which a page counts as viewed. Pages refresh once a minute.
pub(super) const RECENT: Duration = Duration::from_mins(5);

/// The time at which a reader last asked for the overview of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Views(Mutex<Option<Instant>>);

impl Views {
    /// Notes that a reader asks for an overview now.
    pub(super) fn note(&self) {
        *self.newest() = Some(Instant::now());
    }

    /// Returns whether a reader asked for an overview within [`RECENT`].
    pub(super) fn are_recent(&self) -> bool {
        self.newest().is_some_and(|newest| newest.elapsed() < RECENT)
    }

    /// The value is replaced at once, so it is usable after a panic elsewhere.
    fn newest(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

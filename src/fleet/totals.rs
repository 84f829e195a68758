//! Counts of missing updates over time.

use std::time::Duration;

/// Counts of the missing updates that appeared and disappeared. They never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Missing updates that were detected, those of the first assessment included.
    pub detected: u64,
    /// Missing updates that were fixed.
    pub resolved: u64,
    /// Missing updates that ended because a newer update of the same chain took their place. They are neither
    /// fixed nor dropped.
    pub superseded: u64,
    /// Missing updates that were dropped with their machine, after a change of the source, or because their
    /// KB is ignored now. They are neither missing nor fixed.
    pub dropped: u64,
    /// The times from first seen to fixed.
    pub resolution: ResolutionHistogram,
}

/// A histogram of the times from first seen to fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolutionHistogram {
    /// Counts by the first bound that is not exceeded; the last bucket is beyond every bound.
    pub buckets: [u64; Self::BOUNDS_DAYS.len() + 1],
    /// The sum of the times, in milliseconds.
    pub sum_millis: u64,
}

impl ResolutionHistogram {
    /// The upper bounds in days.
    pub const BOUNDS_DAYS: [u32; 8] = [1, 3, 7, 14, 30, 60, 90, 180];

    /// Counts a missing update that was fixed after `open`.
    pub fn observe(&mut self, open: Duration) {
        let within = |days: &u32| open <= Duration::from_hours(24 * u64::from(*days));
        let bucket = Self::BOUNDS_DAYS.iter().position(within).unwrap_or(Self::BOUNDS_DAYS.len());
        self.buckets[bucket] += 1;
        self.sum_millis = self.sum_millis.saturating_add(u64::try_from(open.as_millis()).unwrap_or(u64::MAX));
    }
}

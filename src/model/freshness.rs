//! The ages at which data changes its meaning.

use std::time::Duration;

/// The ages at which the data of a machine becomes stale, expires, or is no longer assessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Older data is served and counted as stale. Default: 13h, a little more than two poll intervals.
    pub stale_after: Duration,
    /// Older data is no longer served. Default: 48h.
    pub expire_after: Duration,
    /// A machine that Defender has not seen for this time is not assessed. Default: 30d, after which
    /// Defender itself removes the vulnerabilities of a machine.
    pub inactive_after: Duration,
}

impl Freshness {
    /// The ages of a configuration that sets none.
    pub const DEFAULT: Self = Self {
        stale_after: Duration::from_hours(13),
        expire_after: Duration::from_hours(48),
        inactive_after: Duration::from_hours(30 * 24),
    };
}

impl Default for Freshness {
    fn default() -> Self {
        Self::DEFAULT
    }
}

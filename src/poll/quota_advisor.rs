//! Compares the poll interval with the quota, and warns if the interval is too short for it.
//!
//! The warning is logged once, and again when the possible interval has changed by more than a tenth.

use std::time::Duration;

use crate::defender::Client;
use crate::model::Source;
use crate::self_metrics::TenantMetrics;

/// The number of calls that a poll needs, and the last warning about it.
#[derive(Debug)]
pub(super) struct QuotaAdvisor {
    source: Source,
    /// The number of calls that the newest machine list took.
    list_calls: u64,
    /// The possible interval of the last warning; none while the quota is sufficient.
    warned_interval: Option<Duration>,
}

impl QuotaAdvisor {
    pub(super) fn new(source: Source) -> Self {
        Self { source, list_calls: 1, warned_interval: None }
    }

    /// Records that the newest machine list took `calls` calls.
    pub(super) fn set_list_calls(&mut self, calls: u64) {
        self.list_calls = calls;
    }

    /// Exports the shortest interval that the quota allows for `machines`, and warns if `interval` is
    /// shorter. Does nothing with the source `export`, which makes no calls for single machines.
    pub(super) fn update(
        &mut self,
        tenant: &str,
        machines: usize,
        interval: Duration,
        client: &Client,
        metrics: &TenantMetrics,
    ) {
        if self.source != Source::Machines || machines == 0 {
            return;
        }
        let possible = client.sustainable_interval(self.list_calls + machines as u64);
        metrics.possible_interval(possible);
        if self.needs_warning(interval, possible) {
            let seconds =
                |duration: Duration| humantime::format_duration(Duration::from_secs(duration.as_secs()));
            tracing::warn!(
                tenant,
                machines,
                calls_per_hour = client.hourly_allowance(),
                interval = %humantime::format_duration(interval),
                possible_interval = %seconds(possible + Duration::from_millis(999)),
                "poll interval is too short for the quota; machines are read less often: raise poll.interval, \
                 use source: export, or raise quota.share or the limits if Microsoft allows more"
            );
        }
    }

    /// Returns whether `possible` exceeds `interval`, and differs enough from the last warning.
    fn needs_warning(&mut self, interval: Duration, possible: Duration) -> bool {
        if possible <= interval {
            self.warned_interval = None;
            return false;
        }
        let has_changed = self.warned_interval.is_none_or(|warned| warned.abs_diff(possible) > warned / 10);
        if has_changed {
            self.warned_interval = Some(possible);
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// The possible intervals, checked one after the other, that cause a warning.
    fn warnings(possible: &[u32]) -> Vec<u32> {
        let mut advisor = QuotaAdvisor::new(Source::Machines);
        let warned = possible.iter().filter(|minutes| advisor.needs_warning(HOUR, **minutes * HOUR / 60));
        warned.copied().collect()
    }

    #[test]
    fn an_interval_that_is_long_enough_causes_no_warning() {
        assert!(warnings(&[0, 59, 60]).is_empty());
    }

    #[test]
    fn an_interval_that_is_too_short_is_logged_once() {
        assert_eq!(warnings(&[61, 61, 62, 60, 61, 66]), [61, 61]);
    }

    #[test]
    fn a_fleet_that_changes_by_over_a_tenth_is_logged_again() {
        assert_eq!(warnings(&[100, 109, 111, 120, 95]), [100, 111, 95]);
    }
}

//! Whether the quota allows the interval: what each interval asks for against what it may.
//!
//! Owns the warning, which comes once, and again when things have changed by a tenth.

use std::time::Duration;

use crate::defender::Client;
use crate::model::Source;
use crate::self_metrics::TenantMetrics;

/// The calls of an interval, and what was last said of them.
#[derive(Debug)]
pub(super) struct QuotaAdvisor {
    source: Source,
    /// Calls that the newest machine list took.
    list_calls: u64,
    warned_of: Option<Duration>,
}

impl QuotaAdvisor {
    pub(super) fn new(source: Source) -> Self {
        Self { source, list_calls: 1, warned_of: None }
    }

    /// The newest machine list took so many calls.
    pub(super) fn list_took(&mut self, calls: u64) {
        self.list_calls = calls;
    }

    /// Exports the shortest interval that the quota allows for `machines`, and warns when `interval` is
    /// shorter. With an export as the source no machine is asked, and nothing is said.
    pub(super) fn look(
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
        if self.is_worth_a_warning(interval, possible) {
            let seconds =
                |duration: Duration| humantime::format_duration(Duration::from_secs(duration.as_secs()));
            tracing::warn!(
                tenant,
                machines,
                calls_per_hour = client.hourly_allowance(),
                interval = %humantime::format_duration(interval),
                possible_interval = %seconds(possible + Duration::from_millis(999)),
                "the interval is too short for the quota, machines are read less often: raise poll.interval, \
                 use source: export, or raise quota.share or the limits if Microsoft allows more"
            );
        }
    }

    /// Whether `possible` is longer than `interval`, and that was not said before of about as long a one.
    fn is_worth_a_warning(&mut self, interval: Duration, possible: Duration) -> bool {
        if possible <= interval {
            self.warned_of = None;
            return false;
        }
        let is_news = self.warned_of.is_none_or(|said| said.abs_diff(possible) > said / 10);
        if is_news {
            self.warned_of = Some(possible);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// Which of the possible intervals, one after the other, are warned of.
    fn warnings(possible: &[u32]) -> Vec<u32> {
        let mut pace = QuotaAdvisor::new(Source::Machines);
        let said = possible.iter().filter(|minutes| pace.is_worth_a_warning(HOUR, **minutes * HOUR / 60));
        said.copied().collect()
    }

    #[test]
    fn an_interval_that_is_long_enough_is_nothing_to_warn_of() {
        assert!(warnings(&[0, 59, 60]).is_empty());
    }

    #[test]
    fn an_interval_that_is_too_short_is_said_once() {
        assert_eq!(warnings(&[61, 61, 62, 60, 61, 66]), [61, 61]);
    }

    #[test]
    fn a_fleet_that_changes_by_more_than_a_tenth_is_said_again() {
        assert_eq!(warnings(&[100, 109, 111, 120, 95]), [100, 111, 95]);
    }
}

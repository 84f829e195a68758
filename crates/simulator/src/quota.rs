//! Call quotas in sliding windows of a minute and an hour.
//!
//! The counting follows the real API as far as it is known: per API, in every window and not per calendar
//! minute. A caller that retries before `Retry-After` has passed is rejected again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Admitted calls, with the limits per minute and per hour.
#[derive(Debug)]
pub(super) struct CallQuota {
    per_minute: Option<u32>,
    per_hour: Option<u32>,
    admitted: VecDeque<Instant>,
    rejected: Option<(Instant, QuotaExceeded)>,
    early_calls: u64,
}

/// The reason for rejecting a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QuotaExceeded {
    limit: u32,
    window: Duration,
    /// Whole seconds, for the `Retry-After` header.
    pub(super) retry_after_secs: u64,
}

impl QuotaExceeded {
    /// The text of the API's error.
    pub(super) fn message(self) -> String {
        let window = if self.window == MINUTE { "00:01:00" } else { "01:00:00" };
        format!("API calls quota exceeded! maximum allowed {} per {window}", self.limit)
    }
}

impl CallQuota {
    pub(super) fn new(per_minute: Option<u32>, per_hour: Option<u32>) -> Self {
        Self { per_minute, per_hour, admitted: VecDeque::new(), rejected: None, early_calls: 0 }
    }

    /// The number of calls that arrived before the `Retry-After` of an earlier rejection had passed.
    pub(super) fn early_calls(&self) -> u64 {
        self.early_calls
    }

    /// Admits and counts a call made at `now`, or returns the reason for rejecting it.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), QuotaExceeded> {
        if let Some((until, exceeded)) = self.rejected
            && now < until
        {
            self.early_calls += 1;
            return Err(QuotaExceeded { retry_after_secs: whole_seconds(until - now), ..exceeded });
        }
        while self.admitted.front().is_some_and(|&at| now >= at + HOUR) {
            self.admitted.pop_front();
        }
        for (limit, window) in [(self.per_hour, HOUR), (self.per_minute, MINUTE)] {
            let Some(limit) = limit else { continue };
            let first = self.admitted.partition_point(|&at| now >= at + window);
            if self.admitted.len() - first >= limit as usize {
                let free_at = self.admitted.get(first).map_or(now + window, |&at| at + window);
                let retry_after_secs = whole_seconds(free_at - now);
                let exceeded = QuotaExceeded { limit, window, retry_after_secs };
                self.rejected = Some((now + Duration::from_secs(retry_after_secs), exceeded));
                return Err(exceeded);
            }
        }
        self.admitted.push_back(now);
        Ok(())
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    let up = u64::from(duration.subsec_nanos() > 0);
    (duration.as_secs() + up).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn minute_quota_is_a_sliding_window_with_the_real_text() {
        let start = Instant::now();
        let mut quota = CallQuota::new(Some(2), Some(1500));
        assert_eq!(quota.admit(start), Ok(()));
        assert_eq!(quota.admit(start + secs(50)), Ok(()));
        let rejected = quota.admit(start + secs(55)).expect_err("over the quota");
        assert_eq!(rejected.message(), "API calls quota exceeded! maximum allowed 2 per 00:01:00");
        assert_eq!(rejected.retry_after_secs, 5);
        assert_eq!(quota.admit(start + secs(60)), Ok(()), "the first call has left the window");
        assert!(quota.admit(start + secs(61)).is_err(), "the second has not");
    }

    #[test]
    fn early_retry_is_rejected_again() {
        let start = Instant::now();
        let mut quota = CallQuota::new(Some(1), None);
        quota.admit(start).expect("first");
        quota.admit(start).expect_err("second");
        let early = quota.admit(start + secs(59)).expect_err("before Retry-After");
        assert_eq!(early.retry_after_secs, 1);
        assert_eq!(quota.early_calls(), 1);
        assert_eq!(quota.admit(start + secs(60)), Ok(()));
    }

    #[test]
    fn hour_quota_names_the_hour() {
        let start = Instant::now();
        let mut quota = CallQuota::new(Some(50), Some(1));
        quota.admit(start).expect("first");
        let rejected = quota.admit(start + secs(600)).expect_err("over the quota");
        assert_eq!(rejected.message(), "API calls quota exceeded! maximum allowed 1 per 01:00:00");
        assert_eq!(rejected.retry_after_secs, 3000);
    }
}

//! Call quotas in sliding windows of a minute and an hour.
//!
//! The counting is the real one as far as it is known: per API, in every window and not per calendar minute,
//! and a caller that comes back before `Retry-After` has passed keeps being turned away.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Calls made, against limits.
#[derive(Debug)]
pub(super) struct Quota {
    per_minute: Option<u32>,
    per_hour: Option<u32>,
    admitted: VecDeque<Instant>,
    refused: Option<(Instant, Exceeded)>,
    impatient: u64,
}

/// Why a call was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded {
    limit: u32,
    window: Duration,
    /// Whole seconds, for the header.
    pub(super) retry_after_secs: u64,
}

impl Exceeded {
    /// The API's own words.
    pub(super) fn message(self) -> String {
        let window = if self.window == MINUTE { "00:01:00" } else { "01:00:00" };
        format!("API calls quota exceeded! maximum allowed {} per {window}", self.limit)
    }
}

impl Quota {
    pub(super) fn new(per_minute: Option<u32>, per_hour: Option<u32>) -> Self {
        Self { per_minute, per_hour, admitted: VecDeque::new(), refused: None, impatient: 0 }
    }

    /// Calls that came before the `Retry-After` of an earlier refusal had passed.
    pub(super) fn impatient(&self) -> u64 {
        self.impatient
    }

    /// Counts a call made at `now`, or says why it may not be made.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Exceeded> {
        if let Some((until, exceeded)) = self.refused
            && now < until
        {
            self.impatient += 1;
            return Err(Exceeded { retry_after_secs: whole_seconds(until - now), ..exceeded });
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
                let exceeded = Exceeded { limit, window, retry_after_secs };
                self.refused = Some((now + Duration::from_secs(retry_after_secs), exceeded));
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
        let mut quota = Quota::new(Some(2), Some(1500));
        assert_eq!(quota.admit(start), Ok(()));
        assert_eq!(quota.admit(start + secs(50)), Ok(()));
        let refused = quota.admit(start + secs(55)).expect_err("over the quota");
        assert_eq!(refused.message(), "API calls quota exceeded! maximum allowed 2 per 00:01:00");
        assert_eq!(refused.retry_after_secs, 5);
        assert_eq!(quota.admit(start + secs(60)), Ok(()), "the first call has left the window");
        assert!(quota.admit(start + secs(61)).is_err(), "the second has not");
    }

    #[test]
    fn impatient_caller_keeps_being_refused() {
        let start = Instant::now();
        let mut quota = Quota::new(Some(1), None);
        quota.admit(start).expect("first");
        quota.admit(start).expect_err("second");
        let early = quota.admit(start + secs(59)).expect_err("before Retry-After");
        assert_eq!(early.retry_after_secs, 1);
        assert_eq!(quota.impatient(), 1);
        assert_eq!(quota.admit(start + secs(60)), Ok(()));
    }

    #[test]
    fn hour_quota_names_the_hour() {
        let start = Instant::now();
        let mut quota = Quota::new(Some(50), Some(1));
        quota.admit(start).expect("first");
        let refused = quota.admit(start + secs(600)).expect_err("over the quota");
        assert_eq!(refused.message(), "API calls quota exceeded! maximum allowed 1 per 01:00:00");
        assert_eq!(refused.retry_after_secs, 3000);
    }
}

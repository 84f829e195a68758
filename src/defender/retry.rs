//! The delays between the attempts of one request.
//!
//! A request has a few attempts; a poll as a whole is not retried. The backoff doubles with full jitter, so
//! that callers that failed together do not retry together. A delay is never shorter than the `Retry-After`
//! of the API.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// The longest pause that a call waits for. With a longer one the call fails, and the API counts as unusable.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// The number of attempts of one request, and the delays between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Total number of attempts, at least 1.
    pub attempts: u32,
    /// Upper bound of the first delay; doubles with each attempt.
    pub base: Duration,
    /// Upper bound of every delay.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, base: Duration::from_millis(500), cap: Duration::from_secs(30) }
    }
}

impl RetryPolicy {
    /// The delay after the failed attempt `attempt` (from 1): a share `random` (0 to 1) of the doubled bound.
    /// `None` if no attempt is left.
    #[must_use]
    pub fn wait(&self, attempt: u32, random: f64) -> Option<Duration> {
        let left = attempt < self.attempts;
        let doubled = self.base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)));
        left.then(|| doubled.min(self.cap).mul_f64(random.clamp(0.0, 1.0)))
    }
}

/// The delay that a reply requests: `Retry-After` in seconds, as the API documents
/// (<https://learn.microsoft.com/defender-endpoint/api/common-errors>), or as an HTTP date, which
/// RFC 9110 section 10.2.3 also allows. At most one day.
///
/// A date is compared with the `Date` of the reply, so that a wrong clock of this machine does not shorten the
/// delay; without that header, with `now`.
#[must_use]
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<f64>() {
        Ok(seconds) if seconds >= 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        Ok(_) => Duration::ZERO,
        Err(_) => {
            let sent = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?)).unwrap_or(now);
            Duration::try_from(http_date(value)?.duration_since(sent)).unwrap_or_default()
        }
    };
    Some(wait.min(Duration::from_hours(24)))
}

/// Rounds up to whole seconds, for messages.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// Parses an HTTP date: the format that is generated today, and the two obsolete ones (RFC 9110 section
/// 5.6.7).
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    let obsolete = |format: &str| {
        let date = BrokenDownTime::parse(format, text).ok()?.to_datetime().ok()?;
        TimeZone::UTC.to_timestamp(date).ok()
    };
    let today = DateTimeParser::new().parse_timestamp(text).ok();
    today.or_else(|| obsolete("%A, %d-%b-%y %H:%M:%S GMT")).or_else(|| obsolete("%a %b %e %H:%M:%S %Y"))
}

/// The delay after a 429 without a usable `Retry-After`. The message names the exhausted quota:
/// `maximum allowed 1500 per 01:00:00` or `... 45 per 00:01:00`.
#[must_use]
pub(super) fn throttle_default(message: &str) -> Duration {
    if message.contains("01:00:00") { Duration::from_mins(5) } else { Duration::from_mins(1) }
}

/// The names of the quota windows, a minute and an hour, that the message of a 429 mentions; both names if it
/// mentions neither.
#[must_use]
pub(super) fn named_windows(message: &str) -> [Option<&'static str>; 2] {
    let named = [("00:01:00", "1m"), ("01:00:00", "1h")];
    let blamed = named.map(|(text, name)| message.contains(text).then_some(name));
    if blamed == [None; 2] { named.map(|(_, name)| Some(name)) } else { blamed }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hint(value: &str) -> Option<Duration> {
        let now = "2026-03-10T17:00:00Z".parse().unwrap();
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]), now)
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(hint("17"), Some(Duration::from_secs(17)));
        assert_eq!(hint(" 1.5 "), Some(Duration::from_millis(1500)));
        assert_eq!(hint("Tue, 10 Mar 2026 17:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(hint("Tuesday, 10-Mar-26 17:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(hint("Tue Mar 10 17:00:30 2026"), Some(Duration::from_secs(30)));
    }

    #[test]
    fn retry_after_date_is_compared_with_the_date_of_the_reply() {
        let headers = HeaderMap::from_iter([
            (RETRY_AFTER, "Tue, 10 Mar 2026 08:00:14 GMT".parse().unwrap()),
            (DATE, "Tue, 10 Mar 2026 08:00:00 GMT".parse().unwrap()),
        ]);
        let nine_hours_ahead = "2026-03-10T17:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers, nine_hours_ahead), Some(Duration::from_secs(14)));
    }

    #[test]
    fn odd_hints_never_give_an_odd_wait() {
        assert_eq!(hint("Tue, 10 Mar 2026 16:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(hint("-5"), Some(Duration::ZERO));
        assert_eq!(hint("1e99"), Some(Duration::from_hours(24)));
        assert_eq!(hint("soon"), None);
        assert_eq!(hint("NaN"), Some(Duration::ZERO));
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn the_text_tells_the_hourly_quota_from_the_minute_quota() {
        let hourly = throttle_default("API calls quota exceeded! maximum allowed 1500 per 01:00:00");
        assert_eq!(hourly, Duration::from_mins(5));
        assert_eq!(throttle_default("maximum allowed 45 per 00:01:00"), Duration::from_mins(1));
        assert_eq!(named_windows("maximum allowed 1500 per 01:00:00"), [None, Some("1h")]);
        assert_eq!(named_windows("maximum allowed 45 per 00:01:00"), [Some("1m"), None]);
        assert_eq!(named_windows("too many requests"), [Some("1m"), Some("1h")]);
    }

    proptest! {
        #[test]
        fn waits_stay_within_the_doubled_bound_and_the_cap(attempt in 1..100u32, random in 0.0..1.0f64) {
            let policy = RetryPolicy { attempts: 50, ..RetryPolicy::default() };
            match policy.wait(attempt, random) {
                None => prop_assert!(attempt >= 50),
                Some(wait) => {
                    prop_assert!(wait <= policy.cap);
                    prop_assert!(wait <= policy.base.saturating_mul(2u32.saturating_pow(attempt - 1)));
                }
            }
        }
    }
}

//! Days of settings and catalogues.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The time at which something ends whose last day is `day`: 00:00 UTC of the next day. The latest time for a day
/// without a next one.
#[must_use]
pub fn end_of_day(day: Date) -> Timestamp {
    let end = day.tomorrow().and_then(|day| TimeZone::UTC.to_timestamp(day.into()));
    end.unwrap_or(Timestamp::MAX)
}

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

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn day_ends_at_the_next_midnight_utc() {
        assert_eq!(end_of_day(date(2026, 12, 31)), "2027-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(end_of_day(date(2028, 2, 28)), "2028-02-29T00:00:00Z".parse().unwrap());
        assert_eq!(end_of_day(Date::MAX), Timestamp::MAX);
    }
}

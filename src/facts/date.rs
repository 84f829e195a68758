//! Days and times, as the sources write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

/// Parses a time such as `2026-06-09T07:00:00`, which is in UTC unless an offset follows. `Z` may be there once, twice
/// or not at all, and the time of day may be missing. A time before 1970, such as `0001-01-01T00:00:00`, stands for an
/// absent one.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let local = || Offset::UTC.to_timestamp(text.trim_end_matches(['Z', 'z']).parse::<DateTime>().ok()?).ok();
    let time: Timestamp = text.parse().ok().or_else(local)?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

/// Parses the day at the start of `text`, such as `2026-05-22` or `2026-05-22T00:00:00+0000`.
pub(super) fn day(text: &str) -> Option<Date> {
    let day: Date = text.trim().get(..10)?.parse().ok()?;
    (day.year() > 1970).then_some(day)
}

/// The 00:00 UTC at which the day of `time` begins.
pub(super) fn day_of(time: Timestamp) -> Timestamp {
    start_of(Offset::UTC.to_datetime(time).date()).unwrap_or(time)
}

/// The 00:00 UTC at which `day` begins.
pub(super) fn start_of(day: Date) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_of_the_sources() {
        for (text, expected) in [
            ("2026-06-09T07:00:00", "2026-06-09T07:00:00Z"),
            ("2016-04-12T07:00:00Z", "2016-04-12T07:00:00Z"),
            (" 2016-04-12T07:00:00ZZ ", "2016-04-12T07:00:00Z"),
            ("2026-10-30T17:02:45.3665Z", "2026-10-30T17:02:45.3665Z"),
            ("2026-08-22T08:52:34+00:00", "2026-08-22T08:52:34Z"),
            ("2026-08-22T08:52:34-0700", "2026-08-22T15:52:34Z"),
            ("2026-06-09", "2026-06-09T00:00:00Z"),
        ] {
            assert_eq!(time(text).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in ["", "0001-01-01T00:00:00", "0001-01-01T00:00:00Z", "2026-06-31T00:00:00", "June", "Z"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn day_is_the_first_ten_characters() {
        let expected = Some(jiff::civil::date(2025, 9, 6));
        for text in ["2025-09-06", "2025-09-06T12:55:00Z", " 2025-09-06T00:00:00+0000", "2025-09-06 "] {
            assert_eq!(day(text), expected, "{text}");
        }
        for text in ["", "2025-9-6", "2025-02-30", "0001-01-01", "2025-09-0€"] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn day_begins_at_midnight_utc() {
        assert_eq!(start_of(jiff::civil::date(2026, 12, 31)), "2026-12-31T00:00:00Z".parse().ok());
    }
}

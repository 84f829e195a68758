//! Times of the export, which have no zone: `2020-12-30 11:07:15` with up to seven fraction digits.
//!
//! They are interpreted as UTC; the documentation names no zone
//! (<https://learn.microsoft.com/defender-endpoint/api/get-assessment-software-vulnerabilities>).
//! Every row has one, so a hand-written parser reads the fixed form; the library reads other ISO 8601 forms.

use std::num::NonZeroI64;

use jiff::{Timestamp, civil};

use crate::defender::json::YEAR_2000;

/// Tenths of a microsecond since 1970, the resolution of the API. Never zero, so that an optional one takes
/// eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackedTimestamp(NonZeroI64);

const PER_SECOND: i64 = 10_000_000;

impl PackedTimestamp {
    /// Parses `text`; times before the year 2000 are unset values.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (second, fraction) = fixed(text.as_bytes()).or_else(|| {
            let time: Timestamp = text.parse().ok()?;
            Some((time.as_second(), i64::from(time.subsec_nanosecond()) / 100))
        })?;
        // A civil date may be out of the range of a timestamp: `9999-12-31` is an unset value too.
        let is_set = (YEAR_2000..=Timestamp::MAX.as_second()).contains(&second);
        NonZeroI64::new(second * PER_SECOND + fraction).filter(|_| is_set).map(Self)
    }
}

impl From<PackedTimestamp> for Timestamp {
    fn from(moment: PackedTimestamp) -> Self {
        let nanoseconds = i128::from(moment.0.get()) * 100;
        Self::from_nanosecond(nanoseconds).expect("Safe: it came from a timestamp or a civil date")
    }
}

/// Parses the fixed form into seconds since 1970 and tenths of a microsecond.
fn fixed(text: &[u8]) -> Option<(i64, i64)> {
    let (head, rest) = text.split_at_checked(19)?;
    let separators = [head[4], head[7], head[10], head[13], head[16]];
    if !matches!(separators, [b'-', b'-', b' ' | b'T', b':', b':']) {
        return None;
    }
    let [century, year, month, day] = [&head[..2], &head[2..4], &head[5..7], &head[8..10]].map(two_digits);
    let [hour, minute, second] = [&head[11..13], &head[14..16], &head[17..19]].map(two_digits);
    let (hour, minute, second) = (hour?, minute?, second?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let year = i16::from(century?) * 100 + i16::from(year?);
    let date = civil::Date::new(year, month?.cast_signed(), day?.cast_signed()).ok()?;
    let days_seconds = date.duration_since(civil::date(1970, 1, 1)).as_secs();
    let in_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some((days_seconds + in_day, fraction(rest.strip_suffix(b"Z").unwrap_or(rest))?))
}

fn two_digits(text: &[u8]) -> Option<u8> {
    let (tens, ones) = (text[0].wrapping_sub(b'0'), text[1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| tens * 10 + ones)
}

/// Parses an empty text, or a point and digits; the eighth and later digits are ignored.
fn fraction(text: &[u8]) -> Option<i64> {
    let Some((b'.', digits)) = text.split_first() else {
        return text.is_empty().then_some(0);
    };
    let fits = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let digit = |place: usize| digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    fits.then(|| (0..7).fold(0, |sum, place| sum * 10 + digit(place)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        PackedTimestamp::parse(text).map(|moment| Timestamp::from(moment).to_string())
    }

    #[test]
    fn times_without_a_zone_are_utc() {
        assert_eq!(read("2020-12-30 11:07:15").unwrap(), "2020-12-30T11:07:15Z");
        assert_eq!(read("2025-09-09 17:30:00.1234567").unwrap(), "2025-09-09T17:30:00.1234567Z");
        assert_eq!(read("2025-09-09 17:30:00.5").unwrap(), "2025-09-09T17:30:00.5Z");
        assert_eq!(read("2025-09-09 17:30:00.123456789").unwrap(), "2025-09-09T17:30:00.1234567Z");
    }

    #[test]
    fn iso_forms_are_read_too() {
        assert_eq!(read("2025-09-09T17:30:00Z").unwrap(), "2025-09-09T17:30:00Z");
        assert_eq!(read("2025-09-09T17:30:00.25").unwrap(), "2025-09-09T17:30:00.25Z");
        assert_eq!(read("2025-09-09T19:30:00+02:00").unwrap(), "2025-09-09T17:30:00Z");
    }

    #[test]
    fn unset_and_unreadable_times_are_none() {
        for text in [
            "",
            "0001-01-01 00:00:00",
            "1999-12-31 23:59:59",
            "9999-12-31 23:59:59",
            "\u{7f}\u{7f}25-01-01 00:00:00",
            "2025-02-30 00:00:00",
            "2025-01-01 24:00:00",
            "2025-01-01 00:60:00",
            "2025-01-01 00:00:00.",
            "2025-01-01 00:00:00.x",
            "2025-01-01 00:00:0x",
            "soon",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("2000-01-01 00:00:00").unwrap(), "2000-01-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn both_ways_of_reading_agree(second in YEAR_2000..=253_402_207_200_i64, tenths in 0..PER_SECOND) {
            let time = Timestamp::new(second, i32::try_from(tenths * 100).unwrap()).unwrap();
            let iso = time.to_string();
            prop_assert_eq!(read(&iso.replace('T', " ").replace('Z', "")), Some(iso.clone()));
            prop_assert_eq!(read(&iso), Some(iso));
        }

        #[test]
        fn any_text_as_a_time_does_not_panic(text in ".*", digits in "[0-9 T:.Z-]{19,30}") {
            drop((read(&text), read(&digits)));
        }
    }
}

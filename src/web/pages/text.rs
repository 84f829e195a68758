//! Text of the page: times and numbers, and text from outside with invisible characters spelt out.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::text::spelt_out;
pub(super) use crate::text::{grouped, share, visible};

/// The longest error in characters, because it may contain text of the API.
const LONGEST_ERROR: usize = 2000;

/// The longest text in characters where space is short.
const SHORT: usize = 40;

/// A text from outside where space is short.
pub(super) struct ShortText {
    /// The text, cut if it is long.
    pub(super) shown: String,
    /// The whole text if it is cut.
    pub(super) whole: Option<String>,
}

impl ShortText {
    pub(super) fn of(text: &str) -> Self {
        let whole = text.chars().nth(SHORT).map(|_| visible(text));
        Self { shown: spelt_out(text, SHORT), whole }
    }
}

/// A time, exact and relative to now.
pub(super) struct ShownTime {
    pub(super) exact: String,
    pub(super) words: String,
}

impl ShownTime {
    pub(super) fn past(at: Timestamp, now: Timestamp) -> Self {
        Self { exact: exact(at), words: ago(now, at) }
    }

    pub(super) fn coming(at: Timestamp, now: Timestamp) -> Self {
        Self { exact: exact(at), words: until(now, at) }
    }

    /// The day and minute of `at`, with the time since it.
    pub(super) fn dated(at: Timestamp, now: Timestamp) -> Self {
        let minute = TimeZone::UTC.to_datetime(at).strftime("%H:%M");
        Self { exact: exact(at), words: format!("{} {minute}, {}", day(at, now), ago(now, at)) }
    }

    /// The time since `at`.
    pub(super) fn since(at: Timestamp, now: Timestamp) -> Self {
        let lasted = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        Self { exact: exact(at), words: in_words(lasted) }
    }
}

/// A day, with the time that has passed since it or that is left until it.
pub(super) struct ShownDay {
    pub(super) exact: String,
    /// The day, such as `14 Aug`; with the year unless it is less than eleven months away.
    pub(super) day: String,
    /// Such as `104 days` or `in 5 days`.
    pub(super) age: String,
}

impl ShownDay {
    /// The day of `at`, with the time since it.
    pub(super) fn past(at: Timestamp, now: Timestamp) -> Self {
        Self { exact: exact(at), day: day(at, now), age: ShownTime::since(at, now).words }
    }

    /// The day of a deadline, with the time since it or until it.
    pub(super) fn deadline(at: Timestamp, now: Timestamp) -> Self {
        let age = if at > now { ShownTime::coming(at, now).words } else { ShownTime::past(at, now).words };
        Self { exact: exact(at), day: day(at, now), age }
    }
}

/// The number of days within which a day is shown without its year.
const DAYS_WITHOUT_YEAR: i64 = 330;

/// The UTC day of `at`.
pub(super) fn day(at: Timestamp, now: Timestamp) -> String {
    let is_near = at.duration_since(now).abs().as_hours() < DAYS_WITHOUT_YEAR * 24;
    let day = TimeZone::UTC.to_datetime(at).date();
    day.strftime(if is_near { "%-d %b" } else { "%-d %b %Y" }).to_string()
}

fn exact(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    match Duration::try_from(now.duration_since(at)) {
        Ok(age) if age >= Duration::from_secs(1) => format!("{} ago", in_words(age)),
        // The clock may have been set back.
        _ => "just now".to_owned(),
    }
}

fn until(now: Timestamp, at: Timestamp) -> String {
    match Duration::try_from(at.duration_since(now)) {
        Ok(wait) if wait >= Duration::from_secs(1) => format!("in {}", in_words(wait)),
        _ => "due now".to_owned(),
    }
}

/// Formats a duration in its largest unit.
fn in_words(length: Duration) -> String {
    let seconds = length.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    counted(count, unit)
}

/// A length of time of the configuration, such as `30 days` or `2h 30m`.
pub(super) fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds > 0 && seconds.is_multiple_of(86_400) {
        return counted(seconds / 86_400, "day");
    }
    humantime::format_duration(length).to_string()
}

/// Formats a number of things, as `1 hour` and `2 hours`.
pub(super) fn counted(count: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// Returns an error as it is shown, like a name; it may contain text of the API.
pub(super) fn visible_error(error: &str) -> String {
    spelt_out(error, LONGEST_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_readable() {
        let now = Timestamp::UNIX_EPOCH;
        let cases = [
            (0, "just now", "due now", "0 seconds"),
            (1, "1 second ago", "in 1 second", "1 second"),
            (59, "59 seconds ago", "in 59 seconds", "59 seconds"),
            (60, "1 minute ago", "in 1 minute", "1 minute"),
            (7199, "1 hour ago", "in 1 hour", "1 hour"),
            (86_400, "24 hours ago", "in 24 hours", "24 hours"),
            (172_800, "2 days ago", "in 2 days", "2 days"),
        ];
        for (seconds, past, future, lasted) in cases {
            let length = Duration::from_secs(seconds);
            assert_eq!(ShownTime::past(now - length, now).words, past);
            assert_eq!(ShownTime::coming(now + length, now).words, future);
            assert_eq!(ShownTime::since(now - length, now).words, lasted);
        }
        let hour = Duration::from_hours(1);
        assert_eq!(ShownTime::past(now + hour, now).words, "just now");
        assert_eq!(ShownTime::coming(now - hour, now).words, "due now");
        assert_eq!(ShownTime::since(now + hour, now).words, "0 seconds");
    }

    #[test]
    fn things_are_counted() {
        assert_eq!(counted(1, "machine"), "1 machine");
        assert_eq!(counted(2000, "machine"), "2,000 machines");
    }

    #[test]
    fn long_text_is_cut_and_kept() {
        let text = "ö".repeat(SHORT);
        let short = ShortText::of(&text);
        assert_eq!((short.shown, short.whole), (text.clone(), None));
        let long = format!("{text}x");
        let short = ShortText::of(&long);
        assert_eq!((short.shown, short.whole), (format!("{text}…"), Some(long)));
    }

    #[test]
    fn long_error_is_cut() {
        let whole = "ö".repeat(LONGEST_ERROR);
        assert_eq!(visible_error(&whole), whole);
        assert_eq!(visible_error(&"ö".repeat(100_000)), format!("{whole}…"));
    }
}

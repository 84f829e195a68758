//! Simulated days, and the batches of updates released each month.
//!
//! A simulated day takes a fixed real time (half a minute in the demo), or the day stays the same until a
//! test changes it. Everything that changes in the fleet is a function of the day, so nothing has to be
//! updated as time passes. Batches are released on Update Tuesday, the second Tuesday of a month.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use jiff::civil::{Date, Weekday, date};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Number of batches that a machine can miss. Older ones are superseded and no longer reported.
const BATCHES_LISTED: usize = 8;

const EPOCH: Date = date(1970, 1, 1);

/// A simulated day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(i32);

impl Day {
    pub(super) fn of(date: Date) -> Self {
        let days = date.duration_since(EPOCH).as_hours() / 24;
        Self(i32::try_from(days).unwrap_or(i32::MAX))
    }

    pub(super) fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// The start of the day, at midnight UTC.
    pub(super) fn midnight(self) -> Timestamp {
        Timestamp::UNIX_EPOCH
            .saturating_add(SignedDuration::from_hours(i64::from(self.0) * 24))
            .unwrap_or(Timestamp::MAX)
    }

    pub(super) fn date(self) -> Date {
        EPOCH.saturating_add(SignedDuration::from_hours(i64::from(self.0) * 24))
    }
}

/// The current day of the simulated calendar.
#[derive(Debug)]
pub(super) struct SimulatedCalendar {
    start: Day,
    origin: Instant,
    day_length: Option<Duration>,
    skipped: AtomicI32,
}

impl SimulatedCalendar {
    /// `day_length` is the real time that one day takes. If none, the day changes only through
    /// [`skip`](Self::skip).
    pub(super) fn new(start: Date, day_length: Option<Duration>) -> Self {
        Self { start: Day::of(start), origin: Instant::now(), day_length, skipped: AtomicI32::new(0) }
    }

    pub(super) fn today(&self) -> Day {
        let elapsed = match self.day_length {
            Some(length) if !length.is_zero() => {
                i32::try_from(self.origin.elapsed().as_nanos() / length.as_nanos()).unwrap_or(i32::MAX)
            }
            _ => 0,
        };
        self.start.plus(elapsed.saturating_add(self.skipped.load(Ordering::Relaxed)))
    }

    pub(super) fn skip(&self, days: i32) {
        self.skipped.fetch_add(days, Ordering::Relaxed);
    }
}

/// The security updates of one month, as months since the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Batch(i32);

impl Batch {
    /// January 2024, the month from which KB numbers are counted.
    pub(super) const JANUARY_2024: Self = Self(2024 * 12);

    /// The batches that a machine may miss on `day`, newest first.
    pub(super) fn listed_on(day: Day) -> impl Iterator<Item = Self> {
        Self::released_by(day).take(BATCHES_LISTED)
    }

    /// All batches released by `day`, newest first, without end.
    pub(super) fn released_by(day: Day) -> impl Iterator<Item = Self> {
        let this_month = Self::of_month(day);
        let newest = if this_month.released() <= day { this_month.0 } else { this_month.0 - 1 };
        (0..).map(move |back| Self(newest - back))
    }

    /// The batch of the month that contains `day`, whether or not it is released.
    pub(super) fn of_month(day: Day) -> Self {
        let date = day.date();
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    pub(super) fn plus(self, months: i32) -> Self {
        Self(self.0 + months)
    }

    pub(super) fn months_since(self, other: Self) -> i32 {
        self.0 - other.0
    }

    /// The title of the batch in getmissingkbs: `March 2020 Security Updates`.
    pub(super) fn title(self) -> String {
        format!("{} Security Updates", self.first_day().strftime("%B %Y"))
    }

    /// The first part of the ids of its documents: `2020-Mar`.
    pub(super) fn id(self) -> String {
        self.first_day().strftime("%Y-%b").to_string()
    }

    /// The batch with this title, if it is a title of a batch.
    pub(super) fn of_title(title: &str) -> Option<Self> {
        let month = title.trim().strip_suffix("Security Updates")?;
        let date = Date::strptime("%d %B %Y", format!("1 {}", month.trim())).ok()?;
        Some(Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1))
    }

    /// The day of release: Update Tuesday of the month.
    pub(super) fn released(self) -> Day {
        let first = self.first_day();
        Day::of(first.nth_weekday_of_month(2, Weekday::Tuesday).unwrap_or(first))
    }

    pub(super) fn first_day(self) -> Date {
        let year = i16::try_from(self.0.div_euclid(12)).unwrap_or(i16::MAX);
        let month = i8::try_from(self.0.rem_euclid(12) + 1).unwrap_or(1);
        Date::new(year, month, 1).unwrap_or(EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_is_released_on_the_second_tuesday() {
        let before = Day::of(date(2025, 9, 8));
        let on_the_day = Day::of(date(2025, 9, 9));
        let newest = |day| Batch::listed_on(day).next().map(Batch::title);
        assert_eq!(newest(before).as_deref(), Some("August 2025 Security Updates"));
        assert_eq!(newest(on_the_day).as_deref(), Some("September 2025 Security Updates"));
    }

    #[test]
    fn batch_is_parsed_from_its_title() {
        for batch in Batch::listed_on(Day::of(date(2026, 1, 20))) {
            assert_eq!(Batch::of_title(&batch.title()), Some(batch));
        }
        assert_eq!(Batch::of_title("2025-09 Cumulative Update"), None);
    }

    #[test]
    fn listed_batches_span_years() {
        let titles: Vec<_> = Batch::listed_on(Day::of(date(2026, 1, 20))).map(Batch::title).collect();
        assert_eq!(titles.len(), 8);
        assert_eq!(titles[0], "January 2026 Security Updates");
        assert_eq!(titles[1], "December 2025 Security Updates");
    }

    #[tokio::test(start_paused = true)]
    async fn days_pass_with_real_time_and_when_skipped() {
        let time = SimulatedCalendar::new(date(2025, 9, 1), Some(Duration::from_mins(1)));
        let start = time.today();
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(time.today(), start.plus(1));
        time.skip(30);
        assert_eq!(time.today(), start.plus(31));
    }
}

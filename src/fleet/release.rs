//! The release time of the updates of a monthly batch, from the title of the batch.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::Offset;

use crate::model::MonthlyBatch;

/// The release time of a batch with the title `<Month> <Year> Security Updates`, in any case, optionally with
/// `Microsoft` in front: the second Tuesday of that month, 17:00 UTC. None for any other title.
///
/// Microsoft releases at 10:00 Pacific time (MSRC, "Security Update Guide"): 17:00 UTC in summer,
/// 18:00 in winter. One time for the whole year is precise enough for deadlines of days.
#[must_use]
pub fn release_time(title: &str) -> Option<Timestamp> {
    let MonthlyBatch { year, month } = MonthlyBatch::of_title(title)?;
    let first = Date::new(year, month, 1).ok()?;
    let tuesday = first.nth_weekday_of_month(2, Weekday::Tuesday).ok()?;
    Offset::UTC.to_timestamp(tuesday.at(17, 0, 0, 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(title: &str) -> Option<String> {
        release_time(title).map(|time| time.to_string())
    }

    #[test]
    fn monthly_batch_is_released_on_the_second_tuesday() {
        for (title, expected) in [
            ("March 2020 Security Updates", "2020-03-10T17:00:00Z"),
            ("september 2020 SECURITY updates", "2020-09-08T17:00:00Z"),
            ("Microsoft  December 2024  Security Updates ", "2024-12-10T17:00:00Z"),
            // The first of the month is a Tuesday, and the day after a Tuesday.
            ("October 2024 Security Updates", "2024-10-08T17:00:00Z"),
            ("May 2024 Security Updates", "2024-05-14T17:00:00Z"),
        ] {
            assert_eq!(release(title).as_deref(), Some(expected), "{title}");
        }
    }

    #[test]
    fn any_other_title_has_no_release_time() {
        for title in [
            "",
            "KB5001234",
            "March 20XX Security Updates",
            "March 20200 Security Updates",
            "March +202 Security Updates",
            "Mar 2020 Security Updates",
            "2020 March Security Updates",
            "March 2020 Security Updates for Edge",
            "March 2020",
            "Microsoft",
            "März 2020 Security Updates",
        ] {
            assert_eq!(release(title), None, "{title}");
        }
    }

    #[test]
    fn any_year_has_a_release_time() {
        for month in ["January", "February", "December"] {
            for year in [1, 1999, 2024, 9998] {
                assert!(release_time(&format!("{month} {year:04} Security Updates")).is_some());
            }
        }
    }
}

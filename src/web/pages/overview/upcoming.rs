//! The machines that become overdue in the next days.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::headline::selected;
use crate::web::pages::context::PageContext;
use crate::web::pages::query::DayRange;
use crate::web::pages::selection::next_deadline_day;
use crate::web::pages::text::{counted, day, grouped};

/// The number of days that are shown, from today.
pub(super) const DAYS: u8 = 7;
/// The height of the highest bar, and the distance between bars, in the units of the picture.
const HEIGHT: u64 = 80;
const STEP: u64 = 80;

/// A bar for each day.
pub(super) struct UpcomingChart {
    /// The number of machines over all days, and the link to them.
    pub(super) total: (String, String),
    /// The first day, also after the last bar, on which a machine becomes overdue; none if no machine does.
    pub(super) next: Option<NextDay>,
    pub(super) bars: Vec<UpcomingBar>,
}

/// The machines that become overdue on the first day that has such a machine.
pub(super) struct NextDay {
    pub(super) day: String,
    /// The number of machines, and the link to them.
    pub(super) machines: (String, String),
}

/// The machines that become overdue on one day.
pub(super) struct UpcomingBar {
    /// The day, such as `Tue 1`.
    pub(super) label: String,
    pub(super) count: String,
    pub(super) is_zero: bool,
    pub(super) link: String,
    pub(super) x: u64,
    pub(super) middle: u64,
    pub(super) top: u64,
    pub(super) height: u64,
    /// The alternative text.
    pub(super) text: String,
}

pub(super) fn upcoming(context: &PageContext) -> UpcomingChart {
    let first = day_of(context.snapshot.at);
    let policy = &context.snapshot.overview().policies[context.query.policy];
    let mut counts = [0_u64; DAYS as usize];
    let mut next: Option<(Date, u64)> = None;
    let places = selected(context).flat_map(|(_, _, tenant)| tenant.machines.clone());
    for day in places.filter_map(|place| next_deadline_day(&policy.machines[place])) {
        let place = day.since(first).ok().and_then(|span| usize::try_from(span.get_days()).ok());
        if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
            *count += 1;
        }
        next = match next {
            Some((earliest, _)) if earliest < day => next,
            Some((earliest, count)) if earliest == day => Some((day, count + 1)),
            _ => Some((day, 1)),
        };
    }
    let last = first.saturating_add(i64::from(DAYS - 1).days());
    let highest = counts.into_iter().max().unwrap_or_default().max(1);
    let days = (0_i64..).zip(counts).map(|(day, count)| {
        let date = first.saturating_add(day.days());
        let x = 10 + STEP * day.unsigned_abs();
        let height = if count == 0 { 1 } else { (count * HEIGHT / highest).max(3) };
        UpcomingBar {
            label: date.strftime("%a %-d").to_string(),
            count: grouped(count),
            is_zero: count == 0,
            link: context.machines(|query| query.deadline = Some(DayRange::day(date))),
            x,
            middle: x + 29,
            top: 20 + HEIGHT - height,
            height,
            text: format!("{}: {}", date.strftime("%-d %B"), counted(count, "machine")),
        }
    });
    let of_days = |first, last| context.machines(|query| query.deadline = Some(DayRange { first, last }));
    UpcomingChart {
        total: (counted(counts.iter().sum(), "machine"), of_days(first, last)),
        next: next.map(|(date, count)| NextDay {
            day: shown_day(date, context.now),
            machines: (counted(count, "machine"), of_days(date, date)),
        }),
        bars: days.collect(),
    }
}

fn shown_day(date: Date, now: Timestamp) -> String {
    let start = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    start.map_or_else(|_| date.to_string(), |start| day(start, now))
}

fn day_of(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

//! The chart of a burn-down: the machines that miss an update, by days since its release.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::text::{counted, day, grouped};
use crate::fleet::burn_down::{UpdateBurnDown, day_of, days_between};

/// The width of the picture in its own units; the height is in the template.
const WIDTH: f64 = 560.0;

/// The corners of the area of the numbers.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 545.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 150.0;

/// The fewest days that the chart shows.
const FEWEST_DAYS: i32 = 21;

/// Numbers that begin at most this many days after the start are shown with the days before them.
const LATEST_FIRST_DAY: i32 = 14;

/// The chart of one update.
pub(super) struct BurnDownChart {
    /// `release`, or `first seen` if that is unknown.
    pub(super) start: &'static str,
    /// The paths of the areas and of the lines, one for each run of days with numbers.
    pub(super) areas: Vec<String>,
    pub(super) lines: Vec<String>,
    /// The places of single days between days on which nothing was known.
    pub(super) dots: Vec<(String, String)>,
    /// Place and label of each mark below the chart.
    pub(super) ticks: Vec<(String, i32)>,
    /// The highest number.
    pub(super) highest: String,
    /// The deadline, if it is the same on every machine.
    pub(super) limit: Option<ChartLimit>,
    /// The alternative text.
    pub(super) text: String,
    /// Day after the start, date and number of machines, as a table.
    pub(super) days: Vec<(i32, String, String)>,
}

/// The mark of a deadline.
pub(super) struct ChartLimit {
    pub(super) x: String,
    pub(super) label: String,
    pub(super) label_x: String,
    /// The side of the label: `start` or `end`, as in SVG.
    pub(super) anchor: &'static str,
}

/// The numbers of several tenants together: of each day since the first one, the sum, or none if the number of a tenant
/// is unknown. A tenant in which no machine had missed the update before counts as 0.
pub(super) fn sum<'a>(
    burn_downs: impl IntoIterator<Item = &'a UpdateBurnDown>,
    now: Timestamp,
) -> BTreeMap<Date, u64> {
    let today = day_of(now);
    let tenants: Vec<(Date, BTreeMap<Date, u32>)> = burn_downs
        .into_iter()
        .map(|update| (update.first_day(), update.days_until(now).collect()))
        .filter(|(_, days): &(Date, BTreeMap<_, _>)| !days.is_empty())
        .collect();
    let Some(first) = tenants.iter().map(|(first, _)| *first).min() else { return BTreeMap::new() };
    let days = first.series(1.day()).take_while(|day| *day <= today);
    let of_day = |day: Date| {
        let numbers = tenants.iter().map(|(first, numbers)| {
            if day < *first { Some(0) } else { numbers.get(&day).copied().map(u64::from) }
        });
        Some((day, numbers.sum::<Option<u64>>()?))
    };
    // An update has numbers for a few weeks, in whichever tenant.
    days.take(400).filter_map(of_day).collect()
}

impl BurnDownChart {
    /// The chart of `numbers`, with the days since `released`, or since `first_seen` if the release is unknown. None
    /// without a number.
    pub(super) fn of(
        kb: &str,
        numbers: &BTreeMap<Date, u64>,
        released: Option<Timestamp>,
        first_seen: Timestamp,
        deadline: Option<Date>,
        now: Timestamp,
    ) -> Option<Self> {
        let origin = day_of(released.unwrap_or(first_seen));
        let start = if released.is_some() { "release" } else { "first seen" };
        let points: Vec<(i32, u64)> =
            numbers.iter().map(|(day, machines)| (days_between(origin, *day), *machines)).collect();
        let (first, last) = (points.first()?.0, points.last()?.0);
        let limit = deadline.map(|deadline| days_between(origin, deadline));
        let scale = ChartScale::new(first, last, limit, points.iter().map(|(_, machines)| *machines).max()?);
        let (mut areas, mut lines, mut dots) = (Vec::new(), Vec::new(), Vec::new());
        for run in points.chunk_by(|(day, _), (next, _)| next - day == 1) {
            match run {
                [(day, machines)] => dots.push((number(scale.x(*day)), number(scale.y(*machines)))),
                run => {
                    lines.push(scale.line(run));
                    areas.push(scale.area(run));
                }
            }
        }
        let days = numbers.iter().zip(&points);
        let days: Vec<_> = days
            .map(|((date, machines), (offset, _))| (*offset, shown(*date, now), grouped(*machines)))
            .collect();
        let text = alternative(kb, start, points.first()?.1, &days)?;
        Some(Self {
            start,
            areas,
            lines,
            dots,
            ticks: scale.ticks(),
            highest: grouped(scale.highest),
            limit: limit.and_then(|day| scale.limit(day)),
            text,
            days,
        })
    }
}

/// The alternative text: the first and the last number. The table beside the picture has all of them.
fn alternative(kb: &str, start: &str, at_first: u64, days: &[(i32, String, String)]) -> Option<String> {
    let ((first, first_day, _), (last, last_day, at_last)) = (days.first()?, days.last()?);
    let missed = counted(at_first, "machine");
    Some(if days.len() == 1 {
        format!("{missed} missed {kb} on {first_day}, day {first} after {start}")
    } else {
        format!(
            "{missed} missed {kb} on {first_day}, day {first} after {start}, and {at_last} on {last_day}, day {last}"
        )
    })
}

fn shown(date: Date, now: Timestamp) -> String {
    TimeZone::UTC.to_timestamp(date.into()).map_or_else(|_| date.to_string(), |at| day(at, now))
}

/// The places of days and numbers in the picture.
struct ChartScale {
    first: i32,
    last: i32,
    highest: u64,
}

impl ChartScale {
    fn new(first: i32, last: i32, limit: Option<i32>, highest: u64) -> Self {
        let first = if (0..=LATEST_FIRST_DAY).contains(&first) { 0 } else { first.div_euclid(7) * 7 };
        let shown = limit.filter(|limit| *limit <= last.max(first) + UpdateBurnDown::DAYS);
        let last = last.max(shown.unwrap_or(last)).max(first + FEWEST_DAYS);
        let weeks = (last - first + 6) / 7;
        Self { first, last: first + 7 * weeks, highest: highest.max(1) }
    }

    fn x(&self, day: i32) -> f64 {
        LEFT + (RIGHT - LEFT) * f64::from(day - self.first) / f64::from(self.last - self.first)
    }

    fn y(&self, machines: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a picture needs few digits")]
        let share = machines as f64 / self.highest as f64;
        BOTTOM - (BOTTOM - TOP) * share
    }

    fn line(&self, run: &[(i32, u64)]) -> String {
        let mut path = String::new();
        for (place, (day, machines)) in run.iter().enumerate() {
            let command = if place == 0 { 'M' } else { 'L' };
            write!(path, "{command}{} {}", number(self.x(*day)), number(self.y(*machines)))
                .expect("Safe: a string takes everything");
        }
        path
    }

    fn area(&self, run: &[(i32, u64)]) -> String {
        let ends = [run.first(), run.last()].map(|end| end.map_or(LEFT, |(day, _)| self.x(*day)));
        let [first, last] = ends.map(number);
        format!("{}L{last} {BOTTOM}L{first} {BOTTOM}Z", self.line(run))
    }

    /// A mark each week, or every two weeks if there are many.
    fn ticks(&self) -> Vec<(String, i32)> {
        let step = if self.last - self.first > 63 { 14 } else { 7 };
        let step = usize::try_from(step).expect("Safe: it is positive");
        (self.first..=self.last).step_by(step).map(|day| (number(self.x(day)), day)).collect()
    }

    fn limit(&self, day: i32) -> Option<ChartLimit> {
        let is_shown = (self.first..=self.last).contains(&day);
        let x = self.x(day);
        let is_left = x < WIDTH * 0.7;
        is_shown.then(|| ChartLimit {
            x: number(x),
            label: format!("deadline, day {day}"),
            label_x: number(if is_left { x + 5.0 } else { x - 5.0 }),
            anchor: if is_left { "start" } else { "end" },
        })
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn now() -> Timestamp {
        "2026-07-20T12:00:00Z".parse().unwrap()
    }

    fn update(first_day: &str, machines: &[Option<u32>]) -> UpdateBurnDown {
        let first_seen = format!("{first_day}T12:00:00Z").parse().unwrap();
        UpdateBurnDown::new(first_seen, None, first_day.parse().unwrap(), machines.to_vec()).unwrap()
    }

    fn chart(numbers: &[(i8, u64)], deadline: Option<Date>) -> BurnDownChart {
        let numbers = numbers.iter().map(|(day, machines)| (date(2026, 6, *day), *machines)).collect();
        let released = "2026-06-09T17:00:00Z".parse().unwrap();
        BurnDownChart::of("KB1", &numbers, Some(released), released, deadline, now()).unwrap()
    }

    #[test]
    fn numbers_of_tenants_are_added_where_all_are_known() {
        let one = update("2026-06-09", &[Some(5), Some(4), None, Some(2), Some(1)]);
        let other = update("2026-06-10", &[Some(10), Some(9), Some(8)]);
        let sums: Vec<_> =
            sum([&one, &other], now()).into_iter().map(|(day, sum)| (day.day(), sum)).collect();
        assert_eq!(sums, [(9, 5), (10, 14), (12, 10)]);
        let early = "2026-06-10T00:00:00Z".parse().unwrap();
        assert_eq!(sum([&one, &other], early).len(), 2, "later days come from a clock that was ahead");
        assert!(sum([], now()).is_empty());
    }

    #[test]
    fn chart_begins_at_the_release_and_breaks_at_unknown_days() {
        let chart = chart(&[(9, 100), (10, 80), (12, 50), (14, 20), (15, 0)], Some(date(2026, 6, 23)));
        assert_eq!(chart.lines, ["M52 20L75.5 46", "M169.4 124L192.9 150"]);
        assert_eq!(chart.areas[0], "M52 20L75.5 46L75.5 150L52 150Z");
        assert_eq!(chart.dots, [("122.4".to_owned(), "85".to_owned())]);
        let days: Vec<_> = chart.ticks.iter().map(|(_, day)| *day).collect();
        assert_eq!(days, [0, 7, 14, 21]);
        let limit = chart.limit.unwrap();
        assert_eq!((&*limit.label, &*limit.x, limit.anchor), ("deadline, day 14", "380.7", "start"));
        assert_eq!(
            chart.text,
            "100 machines missed KB1 on 9 Jun, day 0 after release, and 0 on 15 Jun, day 6"
        );
    }

    #[test]
    fn every_chart_stays_in_its_picture() {
        for (numbers, deadline) in [
            (&[(9, 0)][..], None),
            (&[(9, 1)], Some(date(2026, 6, 9))),
            (&[(29, 7), (30, 7)], Some(date(2036, 6, 9))),
            (&[(1, 7), (30, 3)], Some(date(2026, 6, 1))),
            (&[(9, u64::MAX), (10, 1)], Some(date(2026, 7, 21))),
        ] {
            let chart = chart(numbers, deadline);
            let paths =
                chart.lines.iter().chain(&chart.areas).flat_map(|path| path.split(['M', 'L', 'Z', ' ']));
            let dots = chart.dots.iter().flat_map(|(x, y)| [x.as_str(), y.as_str()]);
            for text in paths.chain(dots).filter(|text| !text.is_empty()) {
                let place: f64 = text.parse().unwrap();
                assert!((20.0..=RIGHT).contains(&place), "{numbers:?} {text}");
            }
            assert!(chart.ticks.len() > 3 && !chart.text.is_empty());
        }
    }
}

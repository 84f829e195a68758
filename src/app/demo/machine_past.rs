//! The times at which the exporter would have read a machine in the months before the demo.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use mde_simulator::MissingKb;

use super::DAY_STARTS_AT;
use crate::fleet::MachineFacts;
use crate::model::Freshness;

const DAY_HOURS: i64 = 24;

/// The machines, by their place among 200, whose data ended before the demo, and the time since then: one with stale
/// data, one that was never read, and one with expired data.
const SILENT: [(usize, Option<SignedDuration>); 3] =
    [(14, Some(SignedDuration::from_hours(20))), (15, None), (17, Some(SignedDuration::from_hours(72)))];

/// The number of machines among which each of [`SILENT`] is one.
const SILENT_EVERY: usize = 200;

/// One in so many machines, if it misses updates, joined the fleet in the last two weeks.
const JOINED_LATE_EVERY: usize = 11;

/// A period in which the exporter read a machine once a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadingPeriod {
    first: Timestamp,
    last: Timestamp,
    /// False if something can have changed after the last reading.
    lasts: bool,
    /// The time of a simulated day at which the machine is read.
    phase: SignedDuration,
}

/// A change of the missing updates, as the exporter read it.
#[derive(Debug)]
pub(super) struct PastReading {
    pub(super) at: Timestamp,
    pub(super) missing: Vec<MissingKb>,
}

/// The history of a fleet: the times between which it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistorySpan {
    pub(super) start: Timestamp,
    pub(super) now: Timestamp,
    /// The time between two reads of a machine today.
    pub(super) interval: Duration,
}

/// A number below `range` that differs from position to position.
fn spread(position: usize, range: u32) -> u32 {
    u32::try_from(position * 7_919 % range as usize).unwrap_or_default()
}

/// Returns whether the data of the machine at this position of the list ended before the demo.
pub(super) fn is_silent(position: usize) -> bool {
    silent(position).is_some()
}

/// The place in [`SILENT`] of a machine whose data ended.
fn silent(position: usize) -> Option<usize> {
    let place = position % SILENT_EVERY;
    SILENT.iter().position(|(silent, _)| *silent == place)
}

impl HistorySpan {
    /// The period in which a machine was read. None if it never was.
    pub(super) fn period(
        &self,
        position: usize,
        facts: &MachineFacts,
        misses_updates: bool,
    ) -> Option<ReadingPeriod> {
        let phase = SignedDuration::from_secs(spread(position, 86_400).into());
        let whole = ReadingPeriod { first: self.start, last: self.newest_read(position), lasts: true, phase };
        if !facts.is_supported() {
            return None;
        }
        if let Some(place) = silent(position) {
            let (_, silent_for) = SILENT[place];
            return silent_for.map(|since| ReadingPeriod { last: self.now - since, lasts: false, ..whole });
        }
        if let Some(seen) = facts.last_seen.filter(|_| facts.is_inactive(self.now, &Freshness::DEFAULT)) {
            return Some(ReadingPeriod { last: seen, lasts: false, ..whole });
        }
        if misses_updates && position % JOINED_LATE_EVERY == JOINED_LATE_EVERY / 2 + 1 {
            let days = 1 + i64::from(spread(position / JOINED_LATE_EVERY, 13));
            let first = self.now - SignedDuration::from_hours(DAY_HOURS * days) + phase / 13;
            return Some(ReadingPeriod { first: first.min(whole.last), ..whole });
        }
        Some(whole)
    }

    /// The newest read of a machine. The reads of all machines are spread over an interval.
    fn newest_read(&self, position: usize) -> Timestamp {
        self.now - self.interval * spread(position, 1_000) / 1_000
    }
}

impl ReadingPeriod {
    /// The time until which the data counts; none if that is not in the history.
    pub(super) fn counts_until(&self, now: Timestamp) -> Option<Timestamp> {
        let expired = self.last + Freshness::DEFAULT.expire_after;
        Some(expired).filter(|expired| !self.lasts && *expired <= now)
    }

    /// The time of the last reading.
    pub(super) fn last(&self) -> Timestamp {
        self.last
    }

    /// The readings of a machine whose missing updates changed as in `past`. The last one repeats what was known.
    pub(super) fn readings(&self, past: Vec<(Date, Vec<MissingKb>)>) -> Vec<PastReading> {
        let mut readings: Vec<PastReading> = Vec::new();
        for (day, missing) in past {
            let mut at = read_on(day, self.phase).max(self.first);
            if at > self.last {
                if !self.lasts {
                    break;
                }
                at = self.last;
            }
            // Of several changes before the same reading, it shows the newest state.
            readings.retain(|earlier| earlier.at < at);
            readings.push(PastReading { at, missing });
        }
        if let Some(newest) = readings.last().filter(|newest| newest.at < self.last) {
            readings.push(PastReading { at: self.last, missing: newest.missing.clone() });
        }
        readings
    }
}

/// The time at which a machine with this phase is read on a simulated day.
fn read_on(day: Date, phase: SignedDuration) -> Timestamp {
    let midnight = TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight()));
    midnight.unwrap_or(Timestamp::MAX).saturating_add(DAY_STARTS_AT + phase).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::model::MachineId;

    const NOW: &str = "2026-11-30T12:00:00Z";

    fn span() -> HistorySpan {
        let now: Timestamp = NOW.parse().unwrap();
        HistorySpan { start: now - SignedDuration::from_hours(2_400), now, interval: Duration::from_secs(10) }
    }

    fn facts() -> MachineFacts {
        MachineFacts {
            os_platform: "Windows11".into(),
            ..MachineFacts::unlisted(MachineId::parse("m1").unwrap())
        }
    }

    fn missing(kbs: &[&str]) -> Vec<MissingKb> {
        kbs.iter().map(|kb| MissingKb::new(kb, "title")).collect()
    }

    #[test]
    fn machines_are_read_until_now_and_silent_ones_until_earlier() {
        let HistorySpan { start, now, .. } = span();
        let period = |position| span().period(position, &facts(), false);
        let of_all = period(0).unwrap();
        assert_eq!((of_all.first, of_all.lasts), (start, true));
        assert!(of_all.last <= now && of_all.last > now - SignedDuration::from_secs(11));
        for (position, hours) in [(14, 20), (217, 72)] {
            let silent = period(position).unwrap();
            assert_eq!((silent.last, silent.lasts), (now - SignedDuration::from_hours(hours), false));
        }
        assert_eq!(period(15), None);
        let ubuntu = MachineFacts { os_platform: "Ubuntu".into(), ..facts() };
        assert_eq!(span().period(0, &ubuntu, false), None);
        let seen = now - SignedDuration::from_hours(45 * 24);
        let inactive = MachineFacts { last_seen: Some(seen), ..facts() };
        assert_eq!(span().period(0, &inactive, false).unwrap().last, seen);
    }

    #[test]
    fn some_machines_with_missing_updates_joined_in_the_last_two_weeks() {
        let now = span().now;
        let joined = |position| span().period(position, &facts(), true).unwrap().first;
        let late: Vec<_> =
            (0..2_000).filter(|position| *position % 200 > 17 && joined(*position) > span().start).collect();
        assert!((150..200).contains(&late.len()), "{}", late.len());
        assert!(late.iter().all(|position| joined(*position) > now - SignedDuration::from_hours(14 * 24)));
    }

    #[test]
    fn changes_are_read_within_the_period_and_the_last_reading_is_at_its_end() {
        let period = span().period(0, &facts(), false).unwrap();
        let past = vec![
            (date(2026, 8, 1), missing(&["5000001"])),
            (date(2026, 8, 20), missing(&["5000002"])),
            (date(2026, 11, 10), missing(&["5000002", "5000003"])),
            (date(2026, 11, 30), missing(&["5000003"])),
        ];
        let readings = period.readings(past.clone());
        let read = |reading: &PastReading| (reading.at, reading.missing.len());
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let expected = [(period.first, 1), (time("2026-11-10T18:00:00Z"), 2), (period.last, 1)];
        assert_eq!(
            readings.iter().map(read).collect::<Vec<_>>(),
            expected,
            "of changes before the start, the last"
        );
        assert_eq!(readings[0].missing[0].id, "5000002");
        let silent = ReadingPeriod { last: time("2026-11-29T00:00:00Z"), lasts: false, ..period };
        let readings = silent.readings(past);
        assert_eq!(readings.iter().map(read).collect::<Vec<_>>()[1..], [expected[1], (silent.last, 2)]);
    }
}

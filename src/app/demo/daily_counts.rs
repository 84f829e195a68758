//! The number of machines that missed each update on each day of the history, for the burn-down.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::machine_past::PastReading;
use crate::facts::Facts;
use crate::fleet::burn_down::{BurnDown, UpdateBurnDown, day_of, days_between};
use crate::fleet::release::release_time;
use crate::model::KbId;

/// The changes of the number of machines that miss each update.
#[derive(Default)]
pub(super) struct DailyCounts(HashMap<KbId, CountedUpdate>);

/// The changes of the number of machines that miss an update.
struct CountedUpdate {
    title: String,
    first_seen: Timestamp,
    /// The difference between the end of a day and the end of the day before it.
    changes: BTreeMap<Date, i64>,
}

impl DailyCounts {
    /// Counts a machine with these readings. Its last data counts until `until`, if not to the end of the history.
    pub(super) fn add_machine(&mut self, readings: &[PastReading], until: Option<Timestamp>) {
        for (index, reading) in readings.iter().enumerate() {
            let until = readings.get(index + 1).map_or(until, |next| Some(next.at));
            for missing in &reading.missing {
                if let Some(kb) = KbId::parse(&missing.id) {
                    self.add(kb, &missing.title, reading.at, until);
                }
            }
        }
    }

    /// Counts a machine that missed an update from `from` on; until `until`, if not to the end of the history.
    fn add(&mut self, kb: KbId, title: &str, from: Timestamp, until: Option<Timestamp>) {
        let update = self.0.entry(kb).or_insert_with(|| CountedUpdate {
            title: title.to_owned(),
            first_seen: from,
            changes: BTreeMap::new(),
        });
        update.first_seen = update.first_seen.min(from);
        *update.changes.entry(day_of(from)).or_default() += 1;
        if let Some(until) = until {
            *update.changes.entry(day_of(until)).or_default() -= 1;
        }
    }

    /// The burn-down at `now` of a history that began at `start`. It has no update that was missing before.
    pub(super) fn burn_down(self, start: Timestamp, now: Timestamp, facts: &Facts) -> BurnDown {
        let known_from = day_of(start).saturating_add(2.days());
        let seen = self.0.into_iter().filter(|(_, update)| day_of(update.first_seen) > known_from);
        seen.filter_map(|(kb, update)| Some((kb, update.burn_down(kb, day_of(now), facts)?))).collect()
    }
}

impl CountedUpdate {
    /// The burn-down. None if its days are over and nobody misses the update any more.
    fn burn_down(&self, kb: KbId, today: Date, facts: &Facts) -> Option<UpdateBurnDown> {
        let first_day = day_of(self.first_seen);
        let is_over = days_between(first_day, today) > UpdateBurnDown::DAYS;
        if is_over && self.changes.values().sum::<i64>() == 0 {
            return None;
        }
        let last = first_day.saturating_add(UpdateBurnDown::DAYS.days()).min(today);
        let mut machines = 0_i64;
        let mut changes = self.changes.iter().peekable();
        let counts = first_day.series(1.day()).take_while(|day| *day <= last).map(|day| {
            while let Some((_, change)) = changes.next_if(|(changed, _)| **changed <= day) {
                machines += change;
            }
            u32::try_from(machines).ok()
        });
        let counts = counts.collect();
        let released = facts.released(kb, &self.title).or_else(|| release_time(&self.title));
        let released = released.map(|released| released.min(self.first_seen));
        UpdateBurnDown::new(self.first_seen, released, first_day, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn kb(number: u32) -> KbId {
        KbId::new(number).unwrap()
    }

    #[test]
    fn machines_are_counted_at_the_end_of_each_day() {
        let mut counts = DailyCounts::default();
        let title = "November 2026 Security Updates";
        let mut add =
            |from, until: Option<&str>| counts.add(kb(5_000_001), title, time(from), until.map(time));
        add("2026-11-10T18:00:00Z", Some("2026-11-12T01:00:00Z"));
        add("2026-11-11T03:00:00Z", Some("2026-11-11T23:00:00Z"));
        add("2026-11-11T05:00:00Z", None);
        let (start, now) = (time("2026-06-01T00:00:00Z"), time("2026-11-13T12:00:00Z"));
        let burn_down = counts.burn_down(start, now, &Facts::default());
        let update = burn_down.update(kb(5_000_001)).unwrap();
        assert_eq!(update.machines(), [1, 2, 1, 1].map(Some));
        assert_eq!(update.first_seen(), time("2026-11-10T18:00:00Z"));
        assert_eq!(update.released(), Some(time("2026-11-10T17:00:00Z")));
    }

    #[test]
    fn updates_that_are_over_or_older_than_the_history_have_no_burn_down() {
        let mut counts = DailyCounts::default();
        let title = "June 2026 Security Updates";
        let end = Some(time("2026-07-01T00:00:00Z"));
        counts.add(kb(5_000_001), title, time("2026-06-10T00:00:00Z"), end);
        counts.add(kb(5_000_002), title, time("2026-06-10T00:00:00Z"), None);
        counts.add(kb(5_000_003), title, time("2026-06-01T00:00:00Z"), None);
        let (start, now) = (time("2026-06-01T00:00:00Z"), time("2026-11-13T12:00:00Z"));
        let burn_down = counts.burn_down(start, now, &Facts::default());
        let updates: Vec<_> = burn_down.updates().collect();
        assert_eq!(updates.len(), 1);
        assert_eq!((updates[0].0, updates[0].1.machines().len()), (kb(5_000_002), 43));
    }
}

//! The burn-down of updates: for each update, the number of assessed machines that miss it at the end of each UTC
//! day.
//!
//! The current day has the newest number until it ends. A day without a number is one on which nothing was known.
//! Numbers are recorded from the first-seen time of an update, which is never before its release, for
//! [`UpdateBurnDown::DAYS`] days, also after the last machine has installed it. They are kept as long as a machine
//! misses the update. So their number has a bound, whatever the clock shows.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan as _};

use super::summary::{Summary, UpdateSummary};
use crate::model::KbId;

/// The burn-down of the updates of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BurnDown {
    updates: BTreeMap<KbId, UpdateBurnDown>,
}

/// The burn-down of one update in a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateBurnDown {
    /// The earliest time at which a machine was seen missing the update.
    first_seen: Timestamp,
    /// The release time, if known.
    released: Option<Timestamp>,
    /// The day of the first number.
    first_day: Date,
    /// The numbers of machines from `first_day` on; none for a day on which nothing was known. The first and the last
    /// are known.
    machines: Vec<Option<u32>>,
}

impl BurnDown {
    /// Records the counts of `summary` for the day of `now`. A tenant of whose machines nothing is known changes
    /// nothing. Without a change, `this` keeps its `Arc`.
    pub fn record(this: &mut Arc<Self>, summary: &Summary, now: Timestamp) {
        if summary.has_assessed {
            Self::record_updates(this, &summary.updates, now);
        }
    }

    /// Records the counts of `updates`, which are all that the assessed machines miss.
    fn record_updates(this: &mut Arc<Self>, updates: &BTreeMap<KbId, UpdateSummary>, now: Timestamp) {
        let today = day_of(now);
        for (kb, update) in updates {
            match this.updates.get(kb) {
                Some(known) if known.holds(today, update) => {}
                Some(_) => Arc::make_mut(this).change(*kb, |known| known.record(today, update)),
                None if in_window(update.first_seen, today) => {
                    let started = UpdateBurnDown::starting(today, update);
                    Arc::make_mut(this).updates.insert(*kb, started);
                }
                None => {}
            }
        }
        let installed: Vec<_> = this
            .updates
            .iter()
            .filter(|(kb, known)| !updates.contains_key(kb) && !known.holds_zero(today))
            .map(|(kb, _)| *kb)
            .collect();
        for kb in installed {
            Arc::make_mut(this).change(kb, |known| known.record_zero(today));
        }
    }

    /// Changes an update, and removes it if no number is left.
    fn change(&mut self, kb: KbId, change: impl FnOnce(&mut UpdateBurnDown)) {
        if let btree_map::Entry::Occupied(mut known) = self.updates.entry(kb) {
            change(known.get_mut());
            if known.get().machines.is_empty() {
                known.remove();
            }
        }
    }

    /// The burn-down of an update. None if no number of it is known.
    #[must_use]
    pub fn update(&self, kb: KbId) -> Option<&UpdateBurnDown> {
        self.updates.get(&kb)
    }

    /// The updates with a burn-down, by KB.
    pub fn updates(&self) -> impl Iterator<Item = (KbId, &UpdateBurnDown)> {
        self.updates.iter().map(|(kb, update)| (*kb, update))
    }
}

impl FromIterator<(KbId, UpdateBurnDown)> for BurnDown {
    fn from_iter<I: IntoIterator<Item = (KbId, UpdateBurnDown)>>(updates: I) -> Self {
        Self { updates: updates.into_iter().collect() }
    }
}

impl UpdateBurnDown {
    /// The number of days that follow the day of the first-seen time and have a number.
    pub const DAYS: i32 = 42;

    /// The burn-down with these numbers from `first_day` on. None unless the first and the last are known and all
    /// are within [`DAYS`](Self::DAYS) after `first_seen`.
    #[must_use]
    pub fn new(
        first_seen: Timestamp,
        released: Option<Timestamp>,
        first_day: Date,
        machines: Vec<Option<u32>>,
    ) -> Option<Self> {
        let offset = days_between(day_of(first_seen), first_day);
        let end = offset.checked_add(i32::try_from(machines.len()).ok()?)?;
        let ends_are_known = machines.first()?.is_some() && machines.last()?.is_some();
        let is_valid = ends_are_known && offset >= 0 && end <= Self::DAYS + 1;
        is_valid.then_some(Self { first_seen, released, first_day, machines })
    }

    fn starting(today: Date, update: &UpdateSummary) -> Self {
        let &UpdateSummary { first_seen, released, .. } = update;
        Self { first_seen, released, first_day: today, machines: vec![Some(machines(update))] }
    }

    /// The earliest time at which a machine was seen missing the update.
    #[must_use]
    pub fn first_seen(&self) -> Timestamp {
        self.first_seen
    }

    /// The release time, if known.
    #[must_use]
    pub fn released(&self) -> Option<Timestamp> {
        self.released
    }

    /// The day of the first number.
    #[must_use]
    pub fn first_day(&self) -> Date {
        self.first_day
    }

    /// The numbers of machines from [`first_day`](Self::first_day) on, with none for a day on which nothing was known.
    #[must_use]
    pub fn machines(&self) -> &[Option<u32>] {
        &self.machines
    }

    /// The days with a number, up to the day of `now`. Later days can only come from a clock that was ahead.
    pub fn days_until(&self, now: Timestamp) -> impl Iterator<Item = (Date, u32)> {
        let today = day_of(now);
        let days = self.first_day.series(1.day()).zip(&self.machines);
        days.take_while(move |(day, _)| *day <= today).filter_map(|(day, machines)| Some((day, (*machines)?)))
    }

    fn on(&self, day: Date) -> Option<u32> {
        let offset = usize::try_from(days_between(self.first_day, day)).ok()?;
        self.machines.get(offset).copied().flatten()
    }

    /// Returns whether recording `update` would change nothing.
    fn holds(&self, today: Date, update: &UpdateSummary) -> bool {
        self.first_seen <= update.first_seen
            && self.released == update.released
            && (!in_window(self.first_seen, today) || self.on(today) == Some(machines(update)))
    }

    /// Returns whether recording that no machine misses the update would change nothing. A first-seen time in the
    /// future comes from a clock that was ahead, or the clock is behind now. Both change nothing.
    fn holds_zero(&self, today: Date) -> bool {
        self.on(today) == Some(0) || today < day_of(self.first_seen)
    }

    fn record(&mut self, today: Date, update: &UpdateSummary) {
        self.released = update.released;
        if update.first_seen < self.first_seen {
            self.first_seen = update.first_seen;
            self.drop_outside();
        }
        if in_window(self.first_seen, today) {
            self.put(today, machines(update));
        }
    }

    /// Records that no machine misses the update; without numbers after its days are over.
    fn record_zero(&mut self, today: Date) {
        if in_window(self.first_seen, today) {
            self.put(today, 0);
        } else {
            self.machines.clear();
        }
    }

    /// Drops the numbers of days that are too late after an earlier first-seen time became known.
    fn drop_outside(&mut self) {
        let first_seen = day_of(self.first_seen);
        let kept = Self::DAYS + 1 - days_between(first_seen, self.first_day);
        self.machines.truncate(usize::try_from(kept).unwrap_or(0));
        while self.machines.pop_if(|machines| machines.is_none()).is_some() {}
    }

    fn put(&mut self, day: Date, machines: u32) {
        if self.machines.is_empty() {
            self.first_day = day;
        }
        let offset = days_between(self.first_day, day);
        if offset < 0 {
            let earlier = usize::try_from(-offset).expect("Safe: it is positive, and at most the window");
            self.machines.splice(0..0, std::iter::repeat_n(None, earlier));
            self.first_day = day;
        }
        let place = usize::try_from(offset.max(0)).expect("Safe: it is not negative");
        if place >= self.machines.len() {
            self.machines.resize(place + 1, None);
        }
        self.machines[place] = Some(machines);
    }
}

/// Returns whether a number of `day` is recorded for an update with this first-seen time.
fn in_window(first_seen: Timestamp, day: Date) -> bool {
    (0..=UpdateBurnDown::DAYS).contains(&days_between(day_of(first_seen), day))
}

fn machines(update: &UpdateSummary) -> u32 {
    u32::try_from(update.missing_machines).unwrap_or(u32::MAX)
}

/// The UTC day of a time.
#[must_use]
pub fn day_of(at: Timestamp) -> Date {
    Offset::UTC.to_datetime(at).date()
}

/// The number of days from `start` to `end`; negative if `end` is earlier.
#[must_use]
pub fn days_between(start: Date, end: Date) -> i32 {
    let hours = start.duration_until(end).as_hours();
    i32::try_from(hours / 24).expect("Safe: the calendar has fewer days")
}

#[cfg(test)]
mod tests;

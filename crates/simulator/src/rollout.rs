//! A rollout: the machines that miss updates install all of them, one machine after another.
//!
//! Some machines that miss updates are left out, and so are those that are never patched.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::calendar::Day;
use super::machine::SimulatedMachine;
use super::updates::Update;

/// The machines that a rollout reaches, out of a hundred that miss updates and are patched at all.
const REACHED: usize = 80;

/// A rollout that started.
#[derive(Debug)]
pub(super) struct Rollout {
    started: Timestamp,
    /// The day of the start; later updates are not part of the rollout.
    day: Day,
    /// The time from one machine to the next.
    every: Duration,
    /// The place of each machine in the order, from 1, by its index.
    places: HashMap<usize, u64>,
}

impl Rollout {
    /// A rollout to those of `machines`, which miss updates on `day`, that are ever patched.
    pub(super) fn new<'a>(
        machines: impl Iterator<Item = &'a SimulatedMachine>,
        day: Day,
        started: Timestamp,
        every: Duration,
    ) -> Self {
        let mut machines: Vec<_> = machines.filter(|machine| !machine.is_neglected()).collect();
        machines.sort_by_key(|machine| machine.place());
        machines.truncate((machines.len() * REACHED).div_ceil(100));
        let places = (1..).zip(machines).map(|(place, machine)| (machine.index, place)).collect();
        Self { started, day, every, places }
    }

    /// The number of machines that it has reached at `now`.
    pub(super) fn reached(&self, now: Timestamp) -> u64 {
        let elapsed = Duration::try_from(now.duration_since(self.started)).unwrap_or_default();
        let reached = elapsed.as_millis() / self.every.as_millis().max(1);
        u64::try_from(reached).unwrap_or(u64::MAX).min(self.places.len() as u64)
    }

    /// Returns whether it has installed an update on a machine.
    pub(super) fn has_installed(&self, machine: &SimulatedMachine, update: Update, now: Timestamp) -> bool {
        update.batch.released() <= self.day
            && self.places.get(&machine.index).is_some_and(|place| *place <= self.reached(now))
    }
}

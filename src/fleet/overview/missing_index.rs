//! The machines that miss each update, and the state of the update on each of them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use jiff::Timestamp;

use crate::fleet::MissingUpdate;
use crate::fleet::policy::{KeyHashing, UpdateState};
use crate::fleet::summary::UpdateSummary;
use crate::model::KbId;

/// The machines of one tenant by the updates that they miss.
///
/// It takes 20 bytes for each missing update, and one more for each policy. Readers of it need not look at the machines.
#[derive(Clone, Debug, Default)]
pub struct MissingIndex {
    /// The KBs that a machine misses, sorted.
    kbs: Box<[KbId]>,
    /// The place in the lists below of the first machine of each KB; the last element is the end of the lists.
    starts: Box<[usize]>,
    /// Places in [`Overview::machines`](super::Overview::machines), in order for each KB.
    machines: Box<[u32]>,
    /// In microseconds since 1970.
    first_seen: Box<[i64]>,
    /// In microseconds since 1970.
    oldest_first_seen: Box<[i64]>,
    /// The states under each policy.
    states: Box<[Box<[UpdateState]>]>,
}

/// A missing update of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingEntry {
    /// The place of the machine in [`Overview::machines`](super::Overview::machines).
    pub machine: usize,
    /// The first-seen time in microseconds since 1970.
    pub first_seen: i64,
    /// The first-seen time of the update or of the oldest one that it stands for, in microseconds since 1970.
    pub oldest_first_seen: i64,
    /// The state of the missing update.
    pub state: UpdateState,
}

impl MissingEntry {
    /// The time that is that many microseconds after 1970; the end of time if there is none.
    #[must_use]
    pub fn time(microseconds: i64) -> Timestamp {
        Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX)
    }
}

impl MissingIndex {
    /// The machines that miss `kb`, in their order, each with the state of the update under the policy with this index.
    pub fn entries(&self, kb: KbId, policy: usize) -> impl Iterator<Item = MissingEntry> + '_ {
        let range = self.range(kb);
        let times = self.first_seen[range.clone()].iter().zip(&self.oldest_first_seen[range.clone()]);
        let states = self.states.get(policy).map_or(&[][..], |states| &states[range.clone()]);
        let entries = self.machines[range].iter().zip(times).zip(states);
        entries.map(|((&machine, (&first_seen, &oldest_first_seen)), &state)| MissingEntry {
            machine: machine as usize,
            first_seen,
            oldest_first_seen,
            state,
        })
    }

    /// The places of the machines that miss `kb`, in their order.
    pub fn machines(&self, kb: KbId) -> impl Iterator<Item = usize> + '_ {
        self.machines[self.range(kb)].iter().map(|&machine| machine as usize)
    }

    /// The number of machines for which `kb` is overdue under the policy with this index.
    #[must_use]
    pub fn overdue_machines(&self, kb: KbId, policy: usize) -> u64 {
        let states = self.states.get(policy).map_or(&[][..], |states| &states[self.range(kb)]);
        states.iter().filter(|state| **state == UpdateState::Overdue).count() as u64
    }

    /// The place in the lists of the machines that miss `kb`.
    fn range(&self, kb: KbId) -> Range<usize> {
        match self.kbs.binary_search(&kb) {
            Ok(index) => self.starts[index]..self.starts[index + 1],
            Err(_) => 0..0,
        }
    }
}

/// Makes the index of a tenant, machine by machine.
pub(super) struct MissingIndexBuilder {
    index: MissingIndex,
    /// The index of each KB.
    kbs: HashMap<KbId, usize, KeyHashing>,
    /// The place in the lists of the next machine of each KB.
    next: Vec<usize>,
    /// The places in the lists of the missing updates of the newest machine.
    newest: Vec<usize>,
}

impl MissingIndexBuilder {
    /// A builder for the machines that `updates` counts.
    pub(super) fn new(updates: &BTreeMap<KbId, UpdateSummary>, policies: usize) -> Self {
        let mut starts = Vec::with_capacity(updates.len() + 1);
        let mut end = 0;
        for update in updates.values() {
            starts.push(end);
            end += usize::try_from(update.missing_machines).expect("Safe: a number of machines in memory");
        }
        let next = starts.clone();
        starts.push(end);
        let index = MissingIndex {
            kbs: updates.keys().copied().collect(),
            starts: starts.into(),
            machines: vec![0; end].into(),
            first_seen: vec![0; end].into(),
            oldest_first_seen: vec![0; end].into(),
            states: vec![vec![UpdateState::Unknown; end].into(); policies].into(),
        };
        let kbs = updates.keys().copied().zip(0..).collect();
        Self { index, kbs, next, newest: Vec::new() }
    }

    /// Adds the next machine with its missing updates.
    pub(super) fn add(&mut self, machine: usize, updates: &[MissingUpdate]) {
        let machine = u32::try_from(machine).expect("Safe: fewer machines than that fit in memory");
        self.newest.clear();
        for missing in updates {
            let next = &mut self.next[self.kbs[&missing.update.kb]];
            self.index.machines[*next] = machine;
            self.index.first_seen[*next] = missing.first_seen.as_microsecond();
            self.index.oldest_first_seen[*next] = missing.oldest_first_seen().as_microsecond();
            self.newest.push(*next);
            *next += 1;
        }
    }

    /// Sets the state of the missing update at `place` in the list of the newest machine.
    pub(super) fn set_state(&mut self, policy: usize, place: usize, state: UpdateState) {
        self.index.states[policy][self.newest[place]] = state;
    }

    pub(super) fn finish(self) -> MissingIndex {
        self.index
    }
}

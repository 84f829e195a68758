//! Windows versions of the machines and their servicing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::OTHER;
use crate::facts::servicing::ServicingEnd;
use crate::facts::{ServicingTable, VersionServicing};
use crate::fleet::MachineFacts;
use crate::fleet::servicing::MachineServicing;
use crate::model::{ServicingEdition, ServicingState, bounded_label, end_of_day};

/// The key of the machines with one version of Windows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineVersion {
    /// As in [`MachineFacts`].
    pub os_platform: String,
    /// As in [`MachineFacts`].
    pub os_version: String,
}

/// The machines with one version of Windows, without unsupported ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionSummary {
    by_state: [u64; ServicingState::ALL.len()],
    /// By [`ServicingEdition`], the end of servicing of the editions that at least one of the machines may have. Of
    /// several builds, the earliest end. None if the day is not known.
    pub ends: [Option<Timestamp>; ServicingEdition::ALL.len()],
}

impl VersionSummary {
    /// The number of machines in `state`.
    #[must_use]
    pub fn machines(&self, state: ServicingState) -> u64 {
        self.by_state[state as usize]
    }

    /// The number of machines.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_state.iter().sum()
    }
}

/// The versions while they are counted.
#[derive(Debug)]
pub(super) struct VersionCollector<'a> {
    table: &'a ServicingTable,
    /// Versions that the exposition cuts to the same label values are one.
    numbers: HashMap<(Cow<'a, str>, Cow<'a, str>), usize>,
    counts: Vec<VersionSummary>,
    /// For each version, the builds and editions whose ends are known.
    seen: Vec<Vec<(u32, MachineServicing)>>,
}

impl<'a> VersionCollector<'a> {
    pub(super) fn new(table: &'a ServicingTable) -> Self {
        Self { table, numbers: HashMap::new(), counts: Vec::new(), seen: Vec::new() }
    }

    /// Counts a machine that is not unsupported.
    pub(super) fn add(&mut self, facts: &'a MachineFacts, servicing: &MachineServicing) {
        let key = (bounded_label(&facts.os_platform), bounded_label(&facts.os_version));
        let number = *self.numbers.entry(key).or_insert(self.counts.len());
        if number == self.counts.len() {
            self.counts.push(VersionSummary::default());
            self.seen.push(Vec::new());
        }
        let summary = &mut self.counts[number];
        summary.by_state[servicing.state as usize] += 1;
        let Some(build) = facts.os_build else { return };
        if self.seen[number].contains(&(build, *servicing)) {
            return;
        }
        self.seen[number].push((build, *servicing));
        let Some(version) = self.table.version(&facts.os_platform, build) else { return };
        for edition in ServicingEdition::ALL.into_iter().filter(|edition| servicing.may_have(*edition)) {
            let known = &mut summary.ends[edition as usize];
            *known = end(version, edition).into_iter().chain(*known).min();
        }
    }

    pub(super) fn finish(self) -> BTreeMap<MachineVersion, VersionSummary> {
        let named = self.numbers.into_iter().map(|((platform, version), number)| {
            let key = MachineVersion { os_platform: platform.into_owned(), os_version: version.into_owned() };
            (key, self.counts[number])
        });
        named.collect()
    }
}

/// The end of servicing of an edition of a version; none if its day is not known.
fn end(version: &VersionServicing, edition: ServicingEdition) -> Option<Timestamp> {
    let end = match edition {
        ServicingEdition::Extended => version.extended,
        _ => version.editions.get(&edition).copied().flatten(),
    };
    match end? {
        ServicingEnd::On(last_day) => Some(end_of_day(last_day)),
        ServicingEnd::Passed(_) => None,
    }
}

/// Makes the ends of servicing of each version the same in all of `summaries`: the earliest ones.
pub(super) fn share_ends<'a>(
    summaries: impl Iterator<Item = &'a mut BTreeMap<MachineVersion, VersionSummary>>,
) {
    let mut summaries: Vec<_> = summaries.collect();
    let mut earliest: BTreeMap<&MachineVersion, [Option<Timestamp>; ServicingEdition::ALL.len()]> =
        BTreeMap::new();
    for (version, summary) in summaries.iter().flat_map(|versions| versions.iter()) {
        let ends = earliest.entry(version).or_default();
        for (known, end) in ends.iter_mut().zip(summary.ends) {
            *known = end.into_iter().chain(*known).min();
        }
    }
    let earliest: BTreeMap<MachineVersion, _> =
        earliest.into_iter().map(|(version, ends)| (version.clone(), ends)).collect();
    for (version, summary) in summaries.iter_mut().flat_map(|versions| versions.iter_mut()) {
        summary.ends = earliest[version];
    }
}

/// Reduces the versions to at most `bound`, but at least 1. Those with the fewest machines become one with platform
/// and version `other`, of which no end is known.
pub(super) fn fold(versions: &mut BTreeMap<MachineVersion, VersionSummary>, bound: usize) {
    if versions.len() <= bound {
        return;
    }
    let mut sorted: Vec<_> = std::mem::take(versions).into_iter().collect();
    // Stable: of versions of equal size, the first ones in text order stay.
    sorted.sort_by_key(|(_, summary)| std::cmp::Reverse(summary.total()));
    let folded = sorted.split_off(bound.saturating_sub(1));
    versions.extend(sorted);
    let key = MachineVersion { os_platform: OTHER.to_owned(), os_version: OTHER.to_owned() };
    let other = versions.entry(key).or_default();
    for (_, summary) in folded {
        other.by_state.iter_mut().zip(summary.by_state).for_each(|(sum, count)| *sum += count);
    }
}

//! Windows versions of the machines and their servicing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::OTHER;
use crate::facts::servicing::ServicingEnd;
use crate::facts::{ServicingTable, VersionServicing};
use crate::fleet::MachineFacts;
use crate::fleet::servicing::{EditionSet, MachineServicing};
use crate::model::{ServicingEdition, ServicingState, end_of_day};

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

    /// Adds other machines of the version.
    pub(super) fn merge(&mut self, other: &Self) {
        self.by_state.iter_mut().zip(other.by_state).for_each(|(sum, count)| *sum += count);
        for (known, end) in self.ends.iter_mut().zip(other.ends) {
            *known = end.into_iter().chain(*known).min();
        }
    }

    /// The number of machines.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_state.iter().sum()
    }
}

/// The machines of one version while they are counted.
#[derive(Debug, Default)]
pub(super) struct VersionCell {
    pub(super) summary: VersionSummary,
    /// The builds whose ends are known, each with the editions that a machine may have.
    seen: Vec<(u32, EditionSet)>,
}

impl VersionCell {
    /// Counts a machine that is not unsupported.
    pub(super) fn add(&mut self, table: &ServicingTable, facts: &MachineFacts, servicing: &MachineServicing) {
        self.summary.by_state[servicing.state as usize] += 1;
        let editions = servicing.editions;
        let Some(build) = facts.os_build.filter(|build| !self.seen.contains(&(*build, editions))) else {
            return;
        };
        // Builds that are not in the table are many, and are not kept.
        let Some(version) = table.version(&facts.os_platform, build) else { return };
        self.seen.push((build, editions));
        for edition in ServicingEdition::ALL.into_iter().filter(|edition| editions.has(*edition)) {
            let known = &mut self.summary.ends[edition as usize];
            *known = end(version, edition).into_iter().chain(*known).min();
        }
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

/// The versions that [`fold`] keeps, those with the most machines first.
pub(super) fn kept(
    versions: &BTreeMap<MachineVersion, VersionSummary>,
    bound: usize,
) -> Vec<(&MachineVersion, &VersionSummary)> {
    let mut sorted: Vec<_> = versions.iter().collect();
    // Stable: of versions of equal size, the first ones in text order stay.
    sorted.sort_by_key(|(_, summary)| std::cmp::Reverse(summary.total()));
    if sorted.len() > bound {
        sorted.truncate(bound.saturating_sub(1));
    }
    sorted
}

/// Reduces the versions to at most `bound`, but at least 1. Those with the fewest machines become one with platform
/// and version `other`, of which no end is known.
pub(super) fn fold(versions: &mut BTreeMap<MachineVersion, VersionSummary>, bound: usize) {
    let kept = kept(versions, bound).into_iter().map(|(key, summary)| (key.clone(), *summary));
    let kept: BTreeMap<_, _> = kept.collect();
    let all = std::mem::replace(versions, kept);
    let folded: Vec<_> = all.into_iter().filter(|(key, _)| !versions.contains_key(key)).collect();
    if folded.is_empty() {
        return;
    }
    let key = MachineVersion { os_platform: OTHER.to_owned(), os_version: OTHER.to_owned() };
    let other = versions.entry(key).or_default();
    for (_, summary) in folded {
        other.by_state.iter_mut().zip(summary.by_state).for_each(|(sum, count)| *sum += count);
    }
}

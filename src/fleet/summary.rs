//! Counts over a [`TenantFleet`] for the metrics of level `fleet` and for the status page.
//!
//! One pass over the machines. Only assessed machines (state `fresh` or `stale`) contribute missing
//! updates; the others are only counted by state. The result depends on no order but that of the machine ids.

mod cells;
mod collector;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use self::cells::{CellCounts, CellSums, Cells};
use super::owners::OTHER;
use super::servicing::{CompiledServicing, MachineServicing, TenantServicing};
use super::{EffectiveFacts, MachineState, MissingUpdate, Owners, TenantFleet, UpdateFacts};
use crate::facts::Facts;
use crate::model::{
    CvssScore, Freshness, KbId, OwnLabel, ServicingSettings, ServicingState, Severity, VendorSeverity,
};

pub use collector::UpdateCollector;
pub use versions::{MachineVersion, VersionSummary};

/// The counts over the fleet of a tenant at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The machines by platform, device group and owner; only groups with a machine appear.
    pub groups: BTreeMap<MachineGroup, GroupSummary>,
    /// The owners of the machines.
    pub owners: Owners,
    /// The servicing of each machine, in the order of the fleet.
    pub servicing: Vec<MachineServicing>,
    /// The place in `groups` for each machine, in the order of the fleet.
    group_of_machine: Vec<usize>,
    /// The missing updates by severity; the last element counts those of unknown severity.
    by_severity: [u64; Severity::ALL.len() + 1],
    /// True if the missing updates of a machine are known, be it that it misses none.
    pub has_assessed: bool,
    /// The sum of the CVEs that the missing updates address. None if no machine is assessed, or if no missing
    /// update reports it.
    pub addressed_cves: Option<u64>,
    /// The earliest first-seen time, of missing updates and their links.
    pub oldest_first_seen: Option<Timestamp>,
    /// Every update that an assessed machine misses.
    pub updates: BTreeMap<KbId, UpdateSummary>,
    /// The missing updates by Microsoft's rating; the last element counts those without one.
    by_vendor_severity: [u64; VendorSeverity::ALL.len() + 1],
    /// The updates whose place a newer missing update takes, each with that update: its successor on a machine, or
    /// the newest of the chain that any machine misses.
    pub superseded: BTreeSet<(KbId, KbId)>,
    /// The versions of Windows with a machine that is not unsupported, and their servicing.
    pub versions: BTreeMap<MachineVersion, VersionSummary>,
}

/// The key of a group of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineGroup {
    /// As in [`MachineFacts`](super::MachineFacts).
    pub os_platform: String,
    /// As in [`MachineFacts`](super::MachineFacts).
    pub device_group: String,
    /// The place of the owner in [`Summary::owners`].
    pub owner: usize,
}

/// Counts of the machines of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSummary {
    by_state: [u64; MachineState::ALL.len()],
    /// Assessed machines without a missing update whose servicing has not ended.
    pub compliant: u64,
    /// Assessed machines that miss an update which fixes an exploited CVE. 0 until
    /// [`count_exploited`](Summary::count_exploited) has counted them.
    pub missing_exploited: u64,
}

impl GroupSummary {
    /// The number of machines in `state`.
    #[must_use]
    pub fn machines(&self, state: MachineState) -> u64 {
        self.by_state[state as usize]
    }

    /// Adds the machines of another group.
    fn merge(&mut self, other: &Self) {
        self.compliant += other.compliant;
        self.missing_exploited += other.missing_exploited;
        for (sum, count) in self.by_state.iter_mut().zip(other.by_state) {
            *sum += count;
        }
    }
}

/// One update over all machines that miss it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSummary {
    /// The title and the products. If machines report different ones: the greatest title in text order, so
    /// that it does not flap, and the union of the products.
    pub facts: UpdateFacts,
    /// The number of assessed machines that miss it.
    pub missing_machines: u64,
    /// The highest `machineMissedOn`, when reported.
    pub reported_machines: Option<u32>,
    /// The highest `cveAddressed`, when reported.
    pub addressed_cves: Option<u32>,
    /// The earliest first-seen time.
    pub first_seen: Timestamp,
    /// The earliest first-seen time of the update or of an update that it superseded on a machine.
    pub oldest_first_seen: Timestamp,
    /// The release time by the facts, else if the title names a monthly batch. Not later than `first_seen`, which is
    /// proof that the update was out.
    pub released: Option<Timestamp>,
}

impl Summary {
    /// The counts over `fleet` at `now`, without own labels and settings about servicing.
    #[must_use]
    pub fn of(fleet: &TenantFleet, now: Timestamp, freshness: &Freshness, facts: &Facts) -> Self {
        let settings = ServicingSettings::default();
        let servicing = CompiledServicing::new(&settings, facts.servicing(), now);
        Self::by_owner(fleet, &servicing, &[], freshness, facts)
    }

    /// The counts over `fleet` at the time of `servicing`, with groups by these own labels, too.
    #[must_use]
    pub fn by_owner(
        fleet: &TenantFleet,
        servicing: &CompiledServicing<'_>,
        labels: &[OwnLabel],
        freshness: &Freshness,
        facts: &Facts,
    ) -> Self {
        let mut cells = Cells::default();
        let mut updates = UpdateCollector::new(facts);
        let mut tenant_servicing = TenantServicing::new(servicing, &fleet.tenant);
        let now = servicing.now();
        let mut summary = Self {
            owners: Owners::of(fleet, labels),
            servicing: Vec::with_capacity(fleet.machines.len()),
            ..Self::default()
        };
        for (place, machine) in fleet.machines.values().enumerate() {
            let servicing = tenant_servicing.of_machine(&machine.facts);
            summary.servicing.push(servicing);
            let CellCounts { group, version } = cells.of(&machine.facts, summary.owners.of_machine(place));
            let state = machine.state(now, freshness);
            group.by_state[state as usize] += 1;
            if state != MachineState::Unsupported {
                version.add(facts.servicing(), &machine.facts, &servicing);
            }
            let Some(missing_updates) = machine.assessed_updates(now, freshness) else {
                continue;
            };
            summary.has_assessed = true;
            if missing_updates.is_empty() {
                group.compliant += u64::from(servicing.state != ServicingState::Ended);
                continue;
            }
            if let Some(cves) = addressed_cves(missing_updates) {
                *summary.addressed_cves.get_or_insert(0) += cves;
            }
            for missing in missing_updates {
                let EffectiveFacts { cvss, vendor_severity, .. } = updates.add(missing);
                let severity = missing.update.severity.or(cvss.map(CvssScore::severity));
                summary.by_severity[severity_index(severity)] += 1;
                summary.by_vendor_severity[vendor_index(vendor_severity)] += 1;
                let links = missing.links().iter();
                summary.superseded.extend(links.map(|link| (link.kb, missing.update.kb)));
            }
        }
        if summary.has_assessed && updates.is_empty() {
            summary.addressed_cves = Some(0);
        }
        let CellSums { groups, group_of_machine, versions } = cells.finish();
        (summary.groups, summary.group_of_machine, summary.versions) = (groups, group_of_machine, versions);
        summary.updates = updates.finish();
        summary.oldest_first_seen = summary.updates.values().map(|update| update.oldest_first_seen).min();
        summary.superseded.extend(superseded(&summary.updates, facts));
        summary
    }

    /// The place in [`groups`](Self::groups) of the machine at `place` of the fleet.
    #[must_use]
    pub fn group_of_machine(&self, place: usize) -> usize {
        self.group_of_machine[place]
    }

    /// The number of machines in `state`, over all groups.
    #[must_use]
    pub fn machines(&self, state: MachineState) -> u64 {
        self.groups.values().map(|group| group.machines(state)).sum()
    }

    /// The number of missing updates of this severity; none stands for an unknown severity.
    #[must_use]
    pub fn missing_updates(&self, severity: Option<Severity>) -> u64 {
        self.by_severity[severity_index(severity)]
    }

    /// The number of missing updates of this rating of Microsoft; none stands for an unknown one.
    #[must_use]
    pub fn missing_updates_by_vendor(&self, severity: Option<VendorSeverity>) -> u64 {
        self.by_vendor_severity[vendor_index(severity)]
    }

    /// Counts the machines that miss exploited updates, given how many each one misses, in the order of the fleet.
    pub fn count_exploited(&mut self, by_machine: &[u64]) {
        let mut groups: Vec<_> = self.groups.values_mut().collect();
        for (place, exploited) in self.group_of_machine.iter().zip(by_machine) {
            groups[*place].missing_exploited += u64::from(*exploited > 0);
        }
    }

    /// Merges the groups that differ in their owner alone, and the owners.
    pub fn fold_owners(&mut self) {
        self.owners.fold();
        for (key, group) in std::mem::take(&mut self.groups) {
            self.groups.entry(MachineGroup { owner: 0, ..key }).or_default().merge(&group);
        }
    }

    /// Makes the ends of servicing of each version the same in all of `summaries`: the earliest ones.
    pub fn share_ends<'a>(summaries: impl Iterator<Item = &'a mut Self>) {
        versions::share_ends(summaries.map(|summary| &mut summary.versions));
    }

    /// The versions that [`fold_versions`](Self::fold_versions) would keep.
    pub fn kept_versions(&self, bound: usize) -> impl Iterator<Item = (&MachineVersion, &VersionSummary)> {
        versions::kept(&self.versions, bound).into_iter()
    }

    /// Reduces the versions to at most `bound`, but at least 1. Those with the fewest machines become one with platform
    /// and version `other`, of which no end is known.
    pub fn fold_versions(&mut self, bound: usize) {
        versions::fold(&mut self.versions, bound);
    }

    /// Reduces the groups to at most `bound`, but at least 1. The groups with the fewest machines become one
    /// with platform and device group `other`, which includes a real group of that name. The owners have to be folded
    /// before.
    pub fn fold_groups(&mut self, bound: usize) {
        if self.groups.len() <= bound {
            return;
        }
        let mut groups: Vec<_> = std::mem::take(&mut self.groups).into_iter().collect();
        // Stable: of groups of equal size, the first ones in text order stay.
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.by_state.iter().sum::<u64>()));
        let folded = groups.split_off(bound.saturating_sub(1));
        self.groups.extend(groups);
        let other = self.groups.entry(MachineGroup::from((OTHER, OTHER))).or_default();
        for (_, group) in folded {
            other.merge(&group);
        }
    }
}

fn severity_index(severity: Option<Severity>) -> usize {
    severity.map_or(Severity::ALL.len(), |severity| severity as usize)
}

fn vendor_index(severity: Option<VendorSeverity>) -> usize {
    severity.map_or(VendorSeverity::ALL.len(), |severity| severity as usize)
}

/// The missing updates of which a newer one is missing too, each with the newest.
fn superseded(updates: &BTreeMap<KbId, UpdateSummary>, facts: &Facts) -> BTreeMap<KbId, KbId> {
    let mut newest: BTreeMap<KbId, KbId> = BTreeMap::new();
    for &newer in updates.keys().filter(|kb| facts.kb(**kb).is_some()) {
        let older = facts.older_than(newer).into_iter().filter(|older| updates.contains_key(older));
        for older in older.filter(|older| facts.supersedes(newer, *older)) {
            newest.entry(older).and_modify(|by| *by = facts.newer_of(*by, newer)).or_insert(newer);
        }
    }
    newest
}

impl From<(&str, &str)> for MachineGroup {
    fn from((os_platform, device_group): (&str, &str)) -> Self {
        Self { os_platform: os_platform.to_owned(), device_group: device_group.to_owned(), owner: 0 }
    }
}

/// The sum of the CVEs that `missing_updates` address, over those that report it. None if there are missing
/// updates but none reports it. The same CVE can count more than once.
#[must_use]
pub fn addressed_cves(missing_updates: &[MissingUpdate]) -> Option<u64> {
    if missing_updates.is_empty() {
        return Some(0);
    }
    missing_updates
        .iter()
        .filter_map(|missing| missing.update.cves)
        .map(u64::from)
        .reduce(|sum, cves| sum + cves)
}

#[cfg(test)]
mod tests;

//! The series limit: it chooses the deepest detail level and reduces the fleet level if necessary.
//!
//! A level is served completely or not at all. The deepest level is the last one with which all series
//! together stay within the limit. If the fleet level alone exceeds the limit, it is reduced in this order,
//! as little as necessary, and with the same result for the same data:
//! 1. All values of own labels become `other`.
//! 2. Device groups are merged into one, and so are versions of Windows, so sums stay right. Both get half of the
//!    series that the other families leave, and whatever updates do not need.
//! 3. Updates are left out with all their families, those that the fewest machines miss first.
//! 4. Families are left out, from the end of the table.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::families::{
    FleetScope, SERIES_OF_VERSION, series_of_ends, series_of_group, series_of_kb, series_of_update,
};
use crate::fleet::summary::MachineVersion;
use crate::model::{DetailLevel, KbId};

/// The result of the series limit for one exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesBudget {
    /// The limit; 0 is none.
    pub limit: u64,
    /// The configured level.
    pub wanted: DetailLevel,
    /// The deepest level that is served.
    pub deepest: DetailLevel,
    /// Series that are served, indexed by level.
    pub series: [u64; DetailLevel::ALL.len()],
    /// Series of configured levels that are left out, indexed by level.
    pub suppressed: [u64; DetailLevel::ALL.len()],
}

impl SeriesBudget {
    /// Chooses the deepest level. `fleet` holds the number of series of the fleet level before and after its
    /// reduction, `deeper` those of the other levels.
    pub(super) fn choose(limit: u64, wanted: DetailLevel, fleet: (u64, u64), deeper: [u64; 2]) -> Self {
        let (wanted_fleet, served_fleet) = fleet;
        let all = [wanted_fleet, deeper[0], deeper[1]];
        let is_within = |level: &DetailLevel| is_within(all[..=*level as usize].iter().sum(), limit);
        let deepest = DetailLevel::ALL.into_iter().take_while(|level| *level <= wanted && is_within(level));
        let deepest = deepest.last().unwrap_or(DetailLevel::Fleet);
        let mut budget = Self { limit, wanted, deepest, series: [0; 3], suppressed: [0; 3] };
        for level in DetailLevel::ALL.into_iter().take_while(|level| *level <= wanted) {
            let index = level as usize;
            budget.series[index] = match level {
                DetailLevel::Fleet => served_fleet,
                _ if level <= deepest => all[index],
                _ => 0,
            };
            budget.suppressed[index] = all[index] - budget.series[index];
        }
        budget
    }
}

/// Returns whether a number of series may be served.
pub(super) fn is_within(series: u64, limit: u64) -> bool {
    limit == 0 || series <= limit
}

/// Reduces the fleet level from `series` to `limit`, as far as groups and updates allow. The owners are folded before.
pub(super) fn fit_to_limit(scopes: &mut [FleetScope<'_>], series: u64, limit: u64) {
    let of_updates = series_of_updates(scopes);
    let others = series.saturating_sub(series_of_groups(scopes, usize::MAX) + of_updates);
    let available = limit.saturating_sub(others);
    let for_groups = available.saturating_sub(of_updates).max(available / 2);
    let largest = |scope: &FleetScope<'_>| scope.summary.groups.len().max(scope.summary.versions.len());
    let largest = scopes.iter().map(largest).max().unwrap_or(0);
    // The number of series grows with the bound, so a binary search finds the largest that fits.
    let (mut fits, mut exceeds) = (1, largest + 1);
    while exceeds - fits > 1 {
        let bound = fits.midpoint(exceeds);
        if series_of_groups(scopes, bound) <= for_groups { fits = bound } else { exceeds = bound }
    }
    for scope in scopes.iter_mut() {
        scope.summary.fold_groups(fits);
        scope.summary.fold_versions(fits);
    }
    leave_out_updates(scopes, available.saturating_sub(series_of_groups(scopes, usize::MAX)));
}

/// The number of series of groups and versions if each tenant has at most `bound` of both.
fn series_of_groups(scopes: &[FleetScope<'_>], bound: usize) -> u64 {
    let mut versions_with_ends: BTreeMap<&MachineVersion, u64> = BTreeMap::new();
    let mut sum = 0;
    for FleetScope { summary, facts, .. } in scopes {
        let (groups, versions) = (summary.groups.len().min(bound), summary.versions.len().min(bound));
        sum += groups as u64 * series_of_group(facts) + versions as u64 * SERIES_OF_VERSION;
        let kept = summary.kept_versions(bound);
        versions_with_ends.extend(kept.map(|(key, version)| (key, series_of_ends(version))));
    }
    sum + versions_with_ends.values().sum::<u64>()
}

/// The number of series of all updates.
fn series_of_updates(scopes: &[FleetScope<'_>]) -> u64 {
    let mut kbs: BTreeMap<KbId, u64> = BTreeMap::new();
    let mut sum = 0;
    for FleetScope { summary, facts, .. } in scopes {
        for (kb, update) in &summary.updates {
            sum += series_of_update(update);
            kbs.entry(*kb).or_insert_with(|| series_of_kb(facts, *kb));
        }
    }
    sum + kbs.values().sum::<u64>()
}

/// Keeps the updates that most machines miss, as many as fit into `available` series.
fn leave_out_updates(scopes: &mut [FleetScope<'_>], available: u64) {
    let mut updates: Vec<_> = scopes
        .iter()
        .enumerate()
        .flat_map(|(tenant, scope)| {
            let of_tenant = scope.summary.updates.iter();
            of_tenant.map(move |(kb, update)| {
                (
                    update.missing_machines,
                    series_of_update(update),
                    series_of_kb(scope.facts, *kb),
                    tenant,
                    *kb,
                )
            })
        })
        .collect();
    updates.sort_by_key(|(machines, _, _, tenant, kb)| (Reverse(*machines), *tenant, *kb));
    let (mut used, mut kbs) = (0, BTreeSet::new());
    let left_out = updates.into_iter().skip_while(|(_, of_tenant, of_kb, _, kb)| {
        used += of_tenant + if kbs.insert(*kb) { *of_kb } else { 0 };
        used <= available
    });
    for (.., tenant, kb) in left_out {
        scopes[tenant].summary.updates.remove(&kb);
    }
}

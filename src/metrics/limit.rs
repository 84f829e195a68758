//! The series limit: how deep an exposition may go, and what gives way in the fleet level.
//!
//! Levels are whole. The deepest one is served with which all series together stay within the limit;
//! when even the fleet level has more, it gives way in this order, always as little as it must and
//! always the same for the same data:
//! 1. Groups of machines are folded into one, so sums stay right. Half of the room that the other
//!    families leave is theirs, and what updates do not need.
//! 2. Updates are left out, those that the fewest machines miss first, with all their families.
//! 3. Families are left out, from the end of the table.

use super::families::{FleetScope, SERIES_OF_GROUP, series_of_update};
use crate::model::DetailLevel;

/// What the limit made of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesBudget {
    /// The limit that was in force; 0 is none.
    pub limit: u64,
    /// The deepest level that was asked for.
    pub wanted: DetailLevel,
    /// The deepest level that is served.
    pub deepest: DetailLevel,
    /// Series that are served, by level.
    pub series: [u64; DetailLevel::ALL.len()],
    /// Series that were asked for and are left out, by level.
    pub suppressed: [u64; DetailLevel::ALL.len()],
}

impl SeriesBudget {
    /// Chooses the level: `fleet` are the series of the fleet level before and after it gave way,
    /// `deeper` those of the other levels.
    pub(super) fn choose(limit: u64, wanted: DetailLevel, fleet: (u64, u64), deeper: [u64; 2]) -> Self {
        let (asked, given) = fleet;
        let all = [asked, deeper[0], deeper[1]];
        let is_within = |level: &DetailLevel| is_within(all[..=*level as usize].iter().sum(), limit);
        let deepest = DetailLevel::ALL.into_iter().take_while(|level| *level <= wanted && is_within(level));
        let deepest = deepest.last().unwrap_or(DetailLevel::Fleet);
        let mut served = Self { limit, wanted, deepest, series: [0; 3], suppressed: [0; 3] };
        for level in DetailLevel::ALL.into_iter().take_while(|level| *level <= wanted) {
            let index = level as usize;
            served.series[index] = match level {
                DetailLevel::Fleet => given,
                _ if level <= deepest => all[index],
                _ => 0,
            };
            served.suppressed[index] = all[index] - served.series[index];
        }
        served
    }
}

/// Whether a number of series may be served.
pub(super) fn is_within(series: u64, limit: u64) -> bool {
    limit == 0 || series <= limit
}

/// Makes the tenants' `series` give way to `limit`, as far as groups and updates can.
pub(super) fn fit_to_limit(scopes: &mut [FleetScope<'_>], series: u64, limit: u64) {
    let updates = |scopes: &[FleetScope<'_>]| -> u64 {
        scopes.iter().flat_map(|scope| scope.summary.updates.values()).map(series_of_update).sum()
    };
    let groups = |scopes: &[FleetScope<'_>], bound: usize| -> u64 {
        let count = |scope: &FleetScope<'_>| scope.summary.groups.len().min(bound) as u64;
        scopes.iter().map(count).sum::<u64>() * SERIES_OF_GROUP
    };
    let others = series.saturating_sub(groups(scopes, usize::MAX) + updates(scopes));
    let room = limit.saturating_sub(others);
    let room_for_groups = room.saturating_sub(updates(scopes)).max(room / 2);
    let largest = scopes.iter().map(|scope| scope.summary.groups.len()).max().unwrap_or(0);
    // The number of series grows with the bound.
    let (mut fits, mut exceeds) = (1, largest + 1);
    while exceeds - fits > 1 {
        let bound = fits.midpoint(exceeds);
        if groups(scopes, bound) <= room_for_groups { fits = bound } else { exceeds = bound }
    }
    for scope in scopes.iter_mut() {
        scope.summary.fold_groups(fits);
    }
    leave_out_updates(scopes, room.saturating_sub(groups(scopes, usize::MAX)));
}

/// Keeps the updates that most machines miss, as many as have room.
fn leave_out_updates(scopes: &mut [FleetScope<'_>], room: u64) {
    let mut updates: Vec<_> = scopes
        .iter()
        .enumerate()
        .flat_map(|(tenant, scope)| {
            let of_tenant = scope.summary.updates.iter();
            of_tenant
                .map(move |(kb, update)| (update.missing_machines, series_of_update(update), tenant, *kb))
        })
        .collect();
    updates.sort_by_key(|(machines, _, tenant, kb)| (std::cmp::Reverse(*machines), *tenant, *kb));
    let mut used = 0;
    let left_out = updates.into_iter().skip_while(|(_, series, ..)| {
        used += series;
        used <= room
    });
    for (_, _, tenant, kb) in left_out {
        scopes[tenant].summary.updates.remove(&kb);
    }
}

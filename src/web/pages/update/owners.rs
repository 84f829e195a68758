//! The owners of the machines that miss an update.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::ShownUpdate;
use crate::fleet::policy::{PolicyState, UpdateState};
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{counted, grouped, visible};

/// The most owners that are shown.
const OWNERS: usize = 12;

/// The owners of the machines that miss the update, those with most overdue machines first. Without own labels, the
/// platforms.
pub(super) struct OwnerTable {
    pub(super) heading: &'static str,
    /// The names of the own labels.
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<OwnerRow>,
    /// The number of owners that are left out; none if all are shown.
    pub(super) more: Option<String>,
}

/// One owner.
pub(super) struct OwnerRow {
    /// The values of the own labels; empty for machines without one.
    pub(super) values: Vec<String>,
    pub(super) machines: String,
    pub(super) overdue: String,
    /// The links to the machines and to the overdue ones; none for an unknown platform, which no parameter selects.
    pub(super) links: Option<(String, String)>,
    pub(super) is_overdue: bool,
}

/// All machines of the selected tenants, whatever else the query selects.
pub(super) fn owners(context: &PageContext, update: &ShownUpdate<'_>) -> OwnerTable {
    let snapshot = &context.snapshot;
    let has_labels = !snapshot.labels.is_empty();
    let mut owners = machines_of_owners(context, update, has_labels);
    owners.sort();
    owners.sort_by_key(|(_, (machines, overdue))| (Reverse(*overdue), Reverse(*machines)));
    let more = owners.len().saturating_sub(OWNERS) as u64;
    owners.truncate(OWNERS);
    let row = |(values, (machines, overdue)): (Vec<&str>, (u64, u64))| {
        let of_owner = context.query.kept().with(|query| select(query, &values, has_labels));
        let late = of_owner.with(|query| query.policy_state = Some(PolicyState::Overdue));
        OwnerRow {
            values: values.iter().map(|value| visible(value)).collect(),
            machines: grouped(machines),
            overdue: grouped(overdue),
            links: (has_labels || !values[0].is_empty())
                .then(|| (context.link_to_self(&of_owner), context.link_to_self(&late))),
            is_overdue: overdue > 0,
        }
    };
    let labels = snapshot.labels.iter().map(|label| label.name.to_string());
    OwnerTable {
        heading: if has_labels { "Owners" } else { "Platforms" },
        columns: if has_labels { labels.collect() } else { vec!["Platform".to_owned()] },
        rows: owners.into_iter().map(row).collect(),
        more: (more > 0).then(|| counted(more, if has_labels { "more owner" } else { "more platform" })),
    }
}

/// The values of each owner, or the platform, with the numbers of machines and of overdue ones.
fn machines_of_owners<'a>(
    context: &'a PageContext,
    update: &ShownUpdate<'_>,
    has_labels: bool,
) -> Vec<(Vec<&'a str>, (u64, u64))> {
    let overview = context.snapshot.overview();
    let mut by_owner = vec![(0, 0); overview.owners.len()];
    let mut by_platform: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for known in &update.tenants {
        let of_tenant = &overview.tenants[known.tenant];
        let groups = &of_tenant.summary.groups;
        let mut by_group = vec![(0, 0); groups.len()];
        for entry in of_tenant.missing.entries(update.kb, context.query.policy) {
            let count = if has_labels {
                &mut by_owner[overview.machines[entry.machine].owner as usize]
            } else {
                let place = entry.machine - of_tenant.machines.start;
                &mut by_group[of_tenant.summary.group_of_machine(place)]
            };
            count.0 += 1;
            count.1 += u64::from(entry.state == UpdateState::Overdue);
        }
        for (group, count) in groups.keys().zip(by_group) {
            let of_platform = by_platform.entry(&group.os_platform).or_default();
            *of_platform = (of_platform.0 + count.0, of_platform.1 + count.1);
        }
    }
    let owners = overview.owners.iter().map(|values| values.iter().map(|value| &**value).collect());
    let platforms = in_any_case(by_platform).into_iter().map(|(platform, count)| (vec![platform], count));
    owners.zip(by_owner).chain(platforms).filter(|(_, (machines, _))| *machines > 0).collect()
}

/// The platforms with one spelling each, because the parameter selects in any case.
fn in_any_case(spellings: BTreeMap<&str, (u64, u64)>) -> Vec<(&str, (u64, u64))> {
    let mut platforms: BTreeMap<String, (&str, (u64, u64))> = BTreeMap::new();
    for (spelling, (machines, overdue)) in spellings.into_iter().filter(|(_, (machines, _))| *machines > 0) {
        let (_, count) = platforms.entry(spelling.to_lowercase()).or_insert((spelling, (0, 0)));
        count.0 += machines;
        count.1 += overdue;
    }
    platforms.into_values().collect()
}

fn select(query: &mut PageQuery, values: &[&str], has_labels: bool) {
    if has_labels {
        query.labels = values.iter().map(|value| Some((*value).to_owned())).collect();
    } else {
        query.platform = values.first().map(|value| (*value).to_owned());
    }
}

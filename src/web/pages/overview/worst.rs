//! What is worst: the exploited updates that are still missing, and the machines that are overdue the longest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::ROOMY_POLICIES;
use super::headline::selected;
use crate::fleet::EffectiveFacts;
use crate::fleet::policy::PolicyState;
use crate::model::{FactsSource, KbId};
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::{last_day, page_link, shown_name};
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{ShownDay, counted, day, grouped, visible};

/// The number of rows of each card, and that beside several tenants or many policies.
const ROWS: [usize; 2] = [4, 3];

/// The exploited updates that are still missing.
pub(super) struct ExploitedCard {
    /// The number of machines that miss one, and the link to them.
    pub(super) machines: (String, String),
    /// The number of updates, and the link to them.
    pub(super) updates: (String, String),
    pub(super) rows: Vec<ExploitedRow>,
    pub(super) has_policy: bool,
}

/// One exploited update.
pub(super) struct ExploitedRow {
    pub(super) kb: String,
    pub(super) link: String,
    pub(super) title: String,
    pub(super) machines: String,
    pub(super) overdue: String,
    pub(super) overdue_link: String,
    pub(super) is_overdue: bool,
    /// The day on which it was added to the catalogue of known exploited vulnerabilities, and its due day there.
    pub(super) listed: Option<String>,
    pub(super) due: Option<String>,
}

/// The machines that are overdue the longest.
pub(super) struct OverdueCard {
    /// The number of overdue machines and the link to them.
    pub(super) all: (String, String),
    /// The name of the first own label.
    pub(super) label: Option<String>,
    pub(super) rows: Vec<OverdueRow>,
}

/// One overdue machine.
pub(super) struct OverdueRow {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) platform: String,
    /// The value of the first own label.
    pub(super) owner: String,
    /// The overdue updates and the link to them; none if only the end of servicing is overdue.
    pub(super) updates: Option<(String, String)>,
    /// True if the version of Windows is past end of servicing.
    pub(super) is_ended: bool,
    /// None if the day of the end of servicing is unknown.
    pub(super) since: Option<ShownDay>,
}

fn rows(context: &PageContext) -> usize {
    let has_many_policies = context.snapshot.policies.len() > ROOMY_POLICIES;
    ROWS[usize::from(has_many_policies || selected(context).nth(1).is_some())]
}

impl ExploitedCard {
    /// None without facts that say which updates are exploited.
    pub(super) fn of(context: &PageContext) -> Option<Self> {
        let snapshot = &context.snapshot;
        let overview = snapshot.overview();
        snapshot.facts.has(FactsSource::Msrc).then_some(())?;
        let mut updates: BTreeMap<KbId, (u64, u64, String)> = BTreeMap::new();
        // The list of updates has a row for each tenant.
        let mut listed = 0;
        for (_, _, of_tenant) in selected(context) {
            for (kb, summary) in &of_tenant.summary.updates {
                if EffectiveFacts::of(&snapshot.facts, [*kb]).exploited == Some(true) {
                    let row = updates.entry(*kb).or_default();
                    listed += 1;
                    row.0 += summary.missing_machines;
                    row.1 += of_tenant.missing.overdue_machines(*kb, context.query.policy);
                    row.2.clone_from(&summary.facts.title);
                }
            }
        }
        let places = selected(context).flat_map(|(_, _, tenant)| tenant.machines.clone());
        let misses =
            |place: &usize| overview.machines[*place].missing.is_some_and(|missing| missing.exploited > 0);
        let machines = places.filter(misses).count() as u64;
        let number = counted(listed, "update");
        let mut rows: Vec<_> = updates.into_iter().collect();
        rows.sort_by_key(|(kb, (machines, overdue, _))| {
            (Reverse(*overdue), Reverse(*machines), Reverse(*kb))
        });
        rows.truncate(self::rows(context));
        let row = |(kb, (machines, overdue, title)): (KbId, (u64, u64, String))| {
            let known = EffectiveFacts::of(&snapshot.facts, [kb]).known_exploited;
            let page = format!("updates/{kb}");
            let late = context.query.kept().with(|query| query.policy_state = Some(PolicyState::Overdue));
            ExploitedRow {
                kb: format!("KB{kb}"),
                link: context.link(&page, &context.query.kept()),
                title: visible(&title),
                machines: grouped(machines),
                overdue: grouped(overdue),
                overdue_link: context.link(&page, &late),
                is_overdue: overdue > 0,
                listed: known.map(|known| day(known.since, context.now)),
                due: known.and_then(|known| known.due).map(|due| day(last_day(due), context.now)),
            }
        };
        Some(Self {
            machines: (counted(machines, "machine"), context.machines(|query| query.exploited = Some(true))),
            updates: (number, context.updates(|query| query.exploited = Some(true))),
            rows: rows.into_iter().map(row).collect(),
            has_policy: context.policy_name().is_some(),
        })
    }
}

impl OverdueCard {
    pub(super) fn of(context: &PageContext) -> Self {
        let overview = context.snapshot.overview();
        let policy = &overview.policies[context.query.policy];
        let places = selected(context).flat_map(|(_, _, tenant)| tenant.machines.clone());
        let mut places: Vec<_> =
            places.filter(|&place| policy.state(place) == PolicyState::Overdue).collect();
        let all = context.machines(|query| query.policy_state = Some(PolicyState::Overdue));
        let number = counted(places.len() as u64, "machine");
        let key =
            |place: &usize| (policy.machines[*place].overdue_since, overview.machines[*place].name_rank);
        let rows = rows(context).min(places.len());
        if rows < places.len() {
            places.select_nth_unstable_by_key(rows, key);
            places.truncate(rows);
        }
        places.sort_unstable_by_key(key);
        let labels = &context.snapshot.labels;
        Self {
            all: (number, all),
            label: labels.first().map(|label| label.name.to_string()),
            rows: places.into_iter().map(|place| OverdueRow::of(context, place)).collect(),
        }
    }
}

impl OverdueRow {
    fn of(context: &PageContext, place: usize) -> Self {
        let overview = context.snapshot.overview();
        let (summary, judgement) =
            (&overview.machines[place], &overview.policies[context.query.policy].machines[place]);
        let facts = &summary.machine.facts;
        let late = |query: &mut PageQuery| query.policy_state = Some(PolicyState::Overdue);
        let owner = overview.owners[summary.owner as usize].first();
        let overdue = judgement.overdue.filter(|overdue| *overdue > 0);
        Self {
            name: visible(shown_name(summary)),
            link: page_link(context, place, |_| ()),
            platform: visible(format!("{} {}", facts.os_platform, facts.os_version).trim()),
            owner: owner.map(|value| visible(value)).unwrap_or_default(),
            updates: overdue.map(|overdue| (grouped(u64::from(overdue)), page_link(context, place, late))),
            is_ended: summary.servicing.decides(summary.state),
            since: judgement.overdue_since.map(|at| ShownDay::past(at, context.now)),
        }
    }
}

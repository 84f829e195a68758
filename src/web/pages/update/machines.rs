//! The table of the machines that miss an update.

use super::missing::{MissingMachines, selecting};
use super::{ORDERS, ShownUpdate};
use crate::fleet::overview::MachineSummary;
use crate::fleet::policy::{PolicyState, UpdateState, UpdateVerdict};
use crate::fleet::{MachineState, MissingUpdate};
use crate::web::pages::context::PageContext;
use crate::web::pages::list::{DownloadLinks, SortHead};
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{ShortText, ShownDay, grouped, visible};

/// The number of machines on a page.
const ROWS: usize = 50;

/// The machines that miss the update and match the query.
pub(super) struct MissingMachineTable {
    /// The number of machines, or the place of the rows among them.
    pub(super) count: String,
    /// The machines by the state of the update, as links; the first one is all.
    pub(super) chips: Vec<MissingMachineChip>,
    /// The filters in effect, without the tenant and the KB of the page.
    pub(super) filters: Vec<ShortText>,
    /// The link to the page without these filters.
    pub(super) unfiltered: String,
    pub(super) has_tenants: bool,
    /// The names of the own labels.
    pub(super) labels: Vec<String>,
    /// The name of the policy; none without policies.
    pub(super) policy: Option<String>,
    pub(super) by_state: SortHead,
    pub(super) by_first_seen: SortHead,
    pub(super) by_name: SortHead,
    pub(super) rows: Vec<MissingMachineRow>,
    /// None if no machine misses the update.
    pub(super) downloads: Option<DownloadLinks>,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
}

/// A number of machines.
pub(super) struct MissingMachineChip {
    pub(super) text: String,
    pub(super) link: String,
    pub(super) is_current: bool,
}

/// One machine.
pub(super) struct MissingMachineRow {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) tenant: String,
    pub(super) platform: String,
    /// The values of the own labels; empty without one.
    pub(super) labels: Vec<String>,
    pub(super) since: ShownDay,
    /// The oldest update that it superseded on the machine, with the day since which that was missing.
    pub(super) stands_for: Option<String>,
    pub(super) deadline: Option<ShownDay>,
    pub(super) state: &'static str,
    pub(super) class: &'static str,
    /// The exception that covers it, and its last day.
    pub(super) exception: Option<String>,
    pub(super) is_stale: bool,
}

pub(super) fn machine_table(
    context: &PageContext,
    update: &ShownUpdate<'_>,
    missing: &mut MissingMachines<'_>,
) -> MissingMachineTable {
    let query = &context.query;
    let total = missing.count();
    let first = query.page.max(1).saturating_sub(1).saturating_mul(ROWS);
    let shown = missing.sorted(first..first.saturating_add(ROWS)).to_vec();
    let verdicts = missing.verdicts(&shown);
    let page = |page: usize| context.link_to_self(&PageQuery { page, ..query.clone() });
    let head = |order, direction| SortHead::of(context, ORDERS[0], order, direction);
    MissingMachineTable {
        count: if total <= ROWS {
            grouped(total as u64)
        } else if shown.is_empty() {
            format!("none of {}", grouped(total as u64))
        } else {
            let [from, to] = [first + 1, first + shown.len()].map(|place| grouped(place as u64));
            format!("{from} to {to} of {}", grouped(total as u64))
        },
        chips: chips(context, missing),
        filters: filters(context, query),
        unfiltered: context.link_to_self(&query.kept()),
        has_tenants: update.tenants.len() > 1,
        labels: context.snapshot.labels.iter().map(|label| label.name.to_string()).collect(),
        policy: context.policy_name().map(visible),
        by_state: head(ORDERS[0], "descending"),
        by_first_seen: head(ORDERS[1], "ascending"),
        by_name: head(ORDERS[2], "ascending"),
        rows: shown
            .iter()
            .zip(&verdicts)
            .map(|(row, verdict)| machine_row(context, missing.update(row), verdict))
            .collect(),
        downloads: (update.machines() > 0)
            .then(|| DownloadLinks::of(context, &format!("updates/{}", update.kb), "machines")),
        previous: (first > 0).then(|| page(query.page.saturating_sub(1).min(total.div_ceil(ROWS)).max(1))),
        next: (first.saturating_add(ROWS) < total).then(|| page(query.page.max(1) + 1)),
    }
}

fn machine_row(
    context: &PageContext,
    (summary, missing): (&MachineSummary, &MissingUpdate),
    verdict: &UpdateVerdict,
) -> MissingMachineRow {
    let snapshot = &context.snapshot;
    let overview = snapshot.overview();
    let facts = &summary.machine.facts;
    let past = |at| ShownDay::past(at, context.now);
    let oldest = missing.links().iter().min_by_key(|link| link.first_seen);
    let (state, class) = state_words(verdict.state);
    let of_tenant = PageQuery { tenant: Some(summary.tenant), ..context.query.kept() };
    let name = if facts.name.is_empty() { facts.id.as_str() } else { &facts.name };
    MissingMachineRow {
        name: visible(name),
        link: context.link(&format!("machines/{}", facts.id), &of_tenant),
        tenant: visible(&snapshot.fleets[summary.tenant].tenant),
        platform: visible(&format!("{} {}", facts.os_platform, facts.os_version)),
        labels: overview.owners[summary.owner as usize].iter().map(|value| visible(value)).collect(),
        since: past(missing.first_seen),
        stands_for: oldest.filter(|link| link.first_seen < missing.first_seen).map(|link| {
            let since = past(link.first_seen);
            format!("for KB{} since {}, {}", link.kb, since.day, since.age)
        }),
        deadline: verdict.deadline.map(|at| ShownDay::deadline(at, context.now)),
        state,
        class,
        exception: verdict.exception.map(|index| {
            let exception = &snapshot.exceptions[index];
            format!("{} until {}", visible(&exception.name), exception.until)
        }),
        is_stale: summary.state == MachineState::Stale,
    }
}

/// The machines that match the query by the state of the update, whichever it selects.
fn chips(context: &PageContext, missing: &MissingMachines<'_>) -> Vec<MissingMachineChip> {
    let query = &context.query;
    let chip = |name: &str, count: u64, state: Option<PolicyState>| MissingMachineChip {
        text: format!("{name} {}", grouped(count)),
        link: context.link_to_self(&query.with(|query| query.policy_state = state)),
        is_current: query.policy_state == state,
    };
    let mut chips = vec![chip("all", missing.total, None)];
    if context.policy_name().is_some() {
        let of_state = |(state, count): (&UpdateState, &u64)| {
            chip(state_words(*state).0, *count, Some(selecting(*state)))
        };
        chips.extend(missing.by_state.iter().map(of_state));
    }
    chips
}

/// The state of a missing update in words, and the class of its mark.
fn state_words(state: UpdateState) -> (&'static str, &'static str) {
    match state {
        UpdateState::Unlimited => ("no deadline", "none"),
        state => (state.as_str(), state.as_str()),
    }
}

/// The filters of `query` in words, without the state of the update.
fn filters(context: &PageContext, query: &PageQuery) -> Vec<ShortText> {
    let kept = query.kept().parameters(&context.snapshot);
    let all = query.parameters(&context.snapshot).into_iter();
    let filters = all
        .filter(|pair| !kept.contains(pair) && !matches!(&*pair.0, "policy_state" | "sort" | "page" | "kb"));
    let words = |(name, value): (String, String)| {
        let value = if value.is_empty() { "none" } else { &value };
        ShortText::of(&format!("{}: {value}", name.replace('_', " ")))
    };
    filters.map(words).collect()
}

//! `GET /machines`: the machines that a query selects, with the filters that narrow it.

mod chips;
mod headline;
mod order;
mod rows;
#[cfg(test)]
pub(super) mod tests;
mod values;

use std::ops::Range;

use askama::Template;

use self::chips::states;
use self::headline::{emptiness, headline};
use self::order::MachineOrder;
use self::rows::{ListedMachine, has_tenant};
use self::values::{FilterValues, values};
use super::Answer;
use super::context::PageContext;
use super::layout::Layout;
use super::query::PageQuery;
use super::selection::Selection;
use super::text::{grouped, visible};
use crate::fleet::MachineState;
use crate::fleet::policy::PolicyState;

pub(super) use self::chips::{ALL, Chip, FilterChip, filters, policies, servicing_words};
pub(super) use self::order::ORDERS;
pub(super) use self::rows::{last_day, shown_name};

/// The number of machines on a page.
const ROWS: usize = 50;

/// The most own labels that have a column each beside a column of tenants, and without one; more share a column.
const LABEL_COLUMNS: [usize; 2] = [1, 2];

pub(super) fn page(context: &PageContext, _: &str) -> askama::Result<Answer> {
    Answer::of(&MachinesPage::of(context))
}

#[derive(Template)]
#[template(path = "machines.html")]
struct MachinesPage {
    layout: Layout,
    /// The states, each with the number of machines and the link to them.
    states: Vec<Chip>,
    /// The filters in effect, each with the link that removes it.
    filters: Vec<FilterChip>,
    /// The filters that can be added.
    values: Vec<FilterValues>,
    /// The parameters that the form for a KB keeps.
    kept: Vec<(String, String)>,
    /// The link of the form.
    action: String,
    /// The place of the rows in the list, such as `1 to 50 of 1,865`; empty without a machine.
    position: String,
    order: &'static str,
    policies: Vec<Chip>,
    csv: String,
    json: String,
    columns: Columns,
    rows: Vec<ListedMachine>,
    /// The sentence in place of rows, and the name and target of a link behind it.
    empty: Option<(String, Option<(&'static str, String)>)>,
    previous: Option<String>,
    next: Option<String>,
    page_of_pages: String,
}

/// The columns of the table.
struct Columns {
    machine: SortHead,
    has_tenant: bool,
    /// The names of the own labels that have a column each.
    labels: Vec<String>,
    /// True if the own labels share one column.
    has_shared_labels: bool,
    missing: SortHead,
    exploited: SortHead,
    overdue: Option<SortHead>,
    oldest: SortHead,
    /// The KB that the query names.
    kb: Option<String>,
}

/// The head of a column that sorts.
pub(super) struct SortHead {
    pub(super) link: String,
    /// The value of `aria-sort`; empty if the list is in another order.
    pub(super) sorted: &'static str,
}

/// Sorts machines in the order of the query.
pub(super) fn sorted(context: &PageContext, places: &[usize]) -> Vec<usize> {
    MachineOrder::of(context).page_of(context, places, 0..places.len())
}

/// The machines that a query selects, and the numbers of machines in each state.
struct SelectedMachines {
    /// Places in the overview, in their order.
    places: Vec<usize>,
    /// The machines by state under the policy, whatever state the query selects.
    by_policy_state: [u64; PolicyState::ALL.len()],
    /// The machines by state of data; whatever state the query selects if there are no policies.
    by_state: [u64; MachineState::ALL.len()],
    /// The number of machines, whatever state the query selects.
    total: u64,
}

impl SelectedMachines {
    fn of(context: &PageContext) -> Self {
        let PageContext { snapshot, query, .. } = context;
        let has_policies = context.policy_name().is_some();
        let mut wide = query.clone();
        if has_policies {
            wide.policy_state = None;
        } else {
            wide.state = None;
        }
        let overview = snapshot.overview();
        let selection = Selection::new(snapshot, &wide);
        let policy = selection.under_policy();
        let mut places = selection.machines();
        let mut selected = Self {
            places: Vec::new(),
            by_policy_state: Default::default(),
            by_state: Default::default(),
            total: places.len() as u64,
        };
        for &place in &places {
            selected.by_policy_state[policy.state(place) as usize] += 1;
            selected.by_state[overview.machines[place].state as usize] += 1;
        }
        match (has_policies, query.policy_state, query.state) {
            (true, Some(state), _) => places.retain(|&place| policy.state(place) == state),
            (false, _, Some(state)) => places.retain(|&place| overview.machines[place].state == state),
            _ => {}
        }
        selected.places = places;
        selected
    }

    fn count(&self) -> u64 {
        self.places.len() as u64
    }
}

impl MachinesPage {
    fn of(context: &PageContext) -> Self {
        let query = &context.query;
        let machines = SelectedMachines::of(context);
        let order = MachineOrder::of(context);
        let count = machines.places.len();
        let pages = count.div_ceil(ROWS).max(1);
        let page = query.page.max(1);
        let start = page.saturating_sub(1).saturating_mul(ROWS).min(count);
        let range = start..start.saturating_add(ROWS).min(count);
        let shown = order.page_of(context, &machines.places, range.clone());
        let to_page = |page| context.link_to_self(&PageQuery { page, ..query.clone() });
        let download =
            |kind: &str| context.link(&format!("machines.{kind}"), &PageQuery { page: 1, ..query.clone() });
        let mut kept = query.clone();
        (kept.kb, kept.page) = (None, 1);
        let columns = Columns::of(context, order);
        Self {
            layout: Layout::new(context, headline(context, &machines), "machines"),
            states: states(context, &machines),
            filters: filters(context),
            values: values(context, &machines.places),
            kept: kept.parameters(&context.snapshot),
            action: context.link("machines", &PageQuery::default()),
            position: position(&range, count),
            order: order.words(),
            policies: policies(context),
            csv: download("csv"),
            json: download("json"),
            rows: shown.into_iter().map(|place| ListedMachine::of(context, place)).collect(),
            columns,
            empty: range.is_empty().then(|| emptiness(context, count, pages)),
            previous: (page > 1).then(|| to_page((page - 1).min(pages))),
            next: (page < pages).then(|| to_page(page + 1)),
            page_of_pages: format!("Page {} of {}", grouped(page.min(pages) as u64), grouped(pages as u64)),
        }
    }
}

/// The place of the rows in the list.
pub(super) fn position(range: &Range<usize>, count: usize) -> String {
    let [start, end, count] = [range.start + 1, range.end, count].map(|number| grouped(number as u64));
    if range.is_empty() { String::new() } else { format!("{start} to {end} of {count}") }
}

impl Columns {
    fn of(context: &PageContext, order: MachineOrder) -> Self {
        let head = |wanted: MachineOrder| SortHead {
            link: context.link_to_self(&context.query.with(|query| query.sort = wanted.parameter(context))),
            sorted: if wanted == order { wanted.direction() } else { "" },
        };
        let labels = &context.snapshot.labels;
        let has_tenant = has_tenant(context);
        let has_shared_labels = labels.len() > LABEL_COLUMNS[usize::from(!has_tenant)];
        let shown = labels.iter().filter(|_| !has_shared_labels);
        Self {
            machine: head(MachineOrder::Name),
            has_tenant,
            labels: shown.map(|label| label.name.to_string()).collect(),
            has_shared_labels,
            missing: head(MachineOrder::Missing),
            exploited: head(MachineOrder::Exploited),
            overdue: context.policy_name().map(|_| head(MachineOrder::Overdue)),
            oldest: head(MachineOrder::Oldest),
            kb: context.query.kb.as_ref().and_then(|kb| kb.kb).map(|kb| visible(&format!("KB{kb}"))),
        }
    }
}

//! `GET /machines`: the machines that a query selects, with the filters that narrow it.

mod headline;
mod order;
mod rows;
mod states;
#[cfg(test)]
pub(super) mod tests;
mod values;

use askama::Template;

use self::headline::{headline, sentence_about_nothing};
use self::order::MachineOrder;
use self::rows::{ListedMachine, has_tenant};
use self::states::states;
use self::values::{FilterValues, values};
use super::Answer;
use super::chips::Chip;
use super::context::PageContext;
use super::layout::Layout;
use super::list::{ListFrame, ShownList, SortHead, shown_range};
use super::selection::Selection;
use super::text::visible;
use crate::fleet::MachineState;
use crate::fleet::policy::PolicyState;

pub(super) use self::order::ORDERS;
pub(super) use self::rows::{last_day, page_link, shown_name};

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
    list: ListFrame,
    /// The filters that can be added.
    values: Vec<FilterValues>,
    columns: Columns,
    rows: Vec<ListedMachine>,
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
        let machines = SelectedMachines::of(context);
        let order = MachineOrder::of(context);
        let range = shown_range(context, machines.places.len());
        let shown = order.page_of(context, &machines.places, range);
        let columns = Columns::of(context, order);
        Self {
            layout: Layout::new(context, headline(context, &machines), "machines"),
            states: states(context, &machines),
            values: values(context, &machines.places),
            list: ListFrame::of(
                context,
                ShownList {
                    name: "Machines",
                    rows: "machines",
                    count: machines.places.len(),
                    order: order.words(),
                    unset: |query| query.kb = None,
                    nothing: sentence_about_nothing(context),
                },
            ),
            rows: shown.into_iter().map(|place| ListedMachine::of(context, place)).collect(),
            columns,
        }
    }
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

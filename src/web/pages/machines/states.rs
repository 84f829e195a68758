//! The states above the list.

use super::SelectedMachines;
use crate::fleet::MachineState;
use crate::fleet::policy::PolicyState;
use crate::web::pages::chips::{ALL, Chip};
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::grouped;

/// The states in the order of the page.
const SHOWN: [PolicyState; PolicyState::ALL.len()] = [
    PolicyState::Overdue,
    PolicyState::Due,
    PolicyState::Accepted,
    PolicyState::Compliant,
    PolicyState::Unknown,
    PolicyState::Unsupported,
];

/// The states under the policy, or those of the data without policies.
pub(super) fn states(context: &PageContext, machines: &SelectedMachines) -> Vec<Chip> {
    let query = &context.query;
    let has_policies = context.policy_name().is_some();
    let chip = |text: &str, count, is_current, change: &dyn Fn(&mut PageQuery)| Chip {
        text: text.to_owned(),
        is_state: has_policies && text != ALL,
        count: grouped(count),
        link: context.link_to_self(&query.with(change)),
        is_current,
    };
    let mut chips = Vec::new();
    if has_policies {
        let all = |query: &mut PageQuery| query.policy_state = None;
        chips.push(chip(ALL, machines.total, query.policy_state.is_none(), &all));
        chips.extend(SHOWN.map(|state| {
            let is_current = query.policy_state == Some(state);
            let count = machines.by_policy_state[state as usize];
            chip(state.as_str(), count, is_current, &|query| query.policy_state = Some(state))
        }));
    } else {
        chips.push(chip(ALL, machines.total, query.state.is_none(), &|query| query.state = None));
        chips.extend(MachineState::ALL.map(|state| {
            let is_current = query.state == Some(state);
            let count = machines.by_state[state as usize];
            chip(state.as_str(), count, is_current, &|query| query.state = Some(state))
        }));
    }
    chips
}

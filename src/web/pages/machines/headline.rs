//! The sentences about the machines that a query selects.

use super::SelectedMachines;
use crate::fleet::policy::PolicyState;
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{counted, grouped, visible};

/// The answer of the page.
pub(super) fn headline(context: &PageContext, machines: &SelectedMachines) -> String {
    let query = &context.query;
    let count = machines.count();
    if count == 0 {
        return sentence_about_nothing(context);
    }
    let has_policies = context.policy_name().is_some();
    let of_state = |state: PolicyState| machines.by_policy_state[state as usize];
    let noun = match query.policy_state {
        Some(state) if has_policies => counted(count, &format!("{} machine", state.as_str())),
        _ => counted(count, "machine"),
    };
    let is_one = count == 1;
    let verb = if is_one { "misses" } else { "miss" };
    let answer = match (&query.kb, query.exploited) {
        (Some(kb), _) => {
            let kb = kb.kb.map_or_else(|| visible(&kb.text), |kb| format!("KB{kb}"));
            format!("{noun} {verb} {kb}")
        }
        (None, Some(true)) => format!("{noun} {verb} an exploited update"),
        (None, _) => match query.policy_state.filter(|_| has_policies && is_wide(query)) {
            Some(state) => return share_in_state(state, count, machines.total),
            None if is_wide(query) => noun,
            None => format!("{noun} {}", if is_one { "matches" } else { "match" }),
        },
    };
    if !has_policies || query.policy_state.is_some() {
        return answer;
    }
    let (overdue, unknown) = (of_state(PolicyState::Overdue), of_state(PolicyState::Unknown));
    let is_judged = machines.count() > unknown + of_state(PolicyState::Unsupported);
    let overdue = match (overdue, is_judged) {
        (0, false) => None,
        (0, true) if is_one => Some("not past its deadline".to_owned()),
        (0, true) => Some("none of them past their deadline".to_owned()),
        (_, _) if is_one => Some("past its deadline".to_owned()),
        (overdue, _) => Some(format!("{} of them past their deadline", grouped(overdue))),
    };
    let unknown = match unknown {
        0 => None,
        _ if is_one => Some("which cannot be judged".to_owned()),
        unknown => Some(format!("{} cannot be judged", grouped(unknown))),
    };
    let parts: Vec<_> = [Some(answer), overdue, unknown].into_iter().flatten().collect();
    parts.join(", ")
}

/// Returns whether only the tenant and the state limit the machines.
fn is_wide(query: &PageQuery) -> bool {
    !PageQuery { tenant: None, policy_state: None, ..query.clone() }.is_filtered()
}

fn share_in_state(state: PolicyState, count: u64, total: u64) -> String {
    let is_one = count == 1;
    let verb = match state {
        PolicyState::Overdue if is_one => "is past its deadline",
        PolicyState::Overdue => "are past their deadline",
        PolicyState::Unknown => "cannot be judged",
        PolicyState::Compliant | PolicyState::Due | PolicyState::Accepted | PolicyState::Unsupported => {
            let verb = if is_one { "is" } else { "are" };
            return format!("{} of {} {verb} {}", grouped(count), counted(total, "machine"), state.as_str());
        }
    };
    format!("{} of {} {verb}", grouped(count), counted(total, "machine"))
}

/// The headline of an empty list.
pub(super) fn sentence_about_nothing(context: &PageContext) -> String {
    let sentence = if context.query.is_filtered() {
        "No machine matches"
    } else if context.snapshot.fleets.iter().any(|fleet| fleet.listed_at.is_some()) {
        "No machine is in scope: the selectors match none"
    } else {
        "No machine list yet"
    };
    sentence.to_owned()
}

//! The share of machines within their deadlines, for each policy.

use super::headline::selected;
use crate::fleet::policy::{PolicyState, PolicyStates};
use crate::model::{DeadlineStart, Policy, RuleDeadline};
use crate::web::pages::context::PageContext;
use crate::web::pages::text::{counted, grouped, length, share, visible};

/// The states of a bar, from left to right.
pub(super) const SHOWN: [PolicyState; 5] = [
    PolicyState::Compliant,
    PolicyState::Due,
    PolicyState::Accepted,
    PolicyState::Overdue,
    PolicyState::Unknown,
];

/// The width of a bar in the units of its picture.
const WIDTH: u64 = 1000;

/// The machines under one policy.
pub(super) struct PolicyRow {
    pub(super) name: String,
    /// Its deadline, or the number of its rules.
    pub(super) summary: String,
    /// The link to the page under this policy.
    pub(super) link: String,
    pub(super) is_current: bool,
    /// The share within deadline; none if no machine can be judged.
    pub(super) share: Option<String>,
    pub(super) bar: StateBar,
    /// The states of [`SHOWN`], each with the number of machines and the link to them.
    pub(super) states: Vec<StateCount>,
}

/// The machines in one state.
pub(super) struct StateCount {
    pub(super) state: &'static str,
    pub(super) count: String,
    pub(super) link: String,
}

/// A bar of the machines by state.
pub(super) struct StateBar {
    /// The alternative text.
    pub(super) text: String,
    /// The state, the start and the width of each part.
    pub(super) parts: Vec<(&'static str, u64, u64)>,
}

/// One row for each policy.
pub(super) fn policies(context: &PageContext) -> Vec<PolicyRow> {
    let policies = context.snapshot.policies.iter().enumerate();
    let row = |(policy, of): (usize, &Policy)| {
        let states: PolicyStates = selected(context).map(|(_, _, overview)| overview.policies[policy]).sum();
        PolicyRow {
            name: visible(&of.name),
            summary: summary(of),
            link: context.link_to_self(&context.query.with(|query| query.policy = policy)),
            is_current: policy == context.query.policy,
            share: share(states.within_deadline(), states.judged()),
            bar: StateBar::of(&states),
            states: SHOWN.map(|state| StateCount::of(context, policy, state, &states)).into(),
        }
    };
    policies.map(row).collect()
}

/// The deadline of a policy with one rule for every update, or the number of rules.
fn summary(policy: &Policy) -> String {
    match policy.single_deadline() {
        Some(RuleDeadline::Within { time, from }) => {
            let from = match from {
                DeadlineStart::FirstSeen => "first seen",
                DeadlineStart::Released => "release",
                DeadlineStart::KnownExploited => "the entry in KEV",
            };
            format!("every update: {} from {from}", length(time))
        }
        Some(RuleDeadline::KnownExploitedDue) => "updates in KEV: the due day there".to_owned(),
        Some(RuleDeadline::Unlimited) => "no deadline".to_owned(),
        None => counted(policy.rules.len() as u64, "rule"),
    }
}

impl StateCount {
    fn of(context: &PageContext, policy: usize, state: PolicyState, states: &PolicyStates) -> Self {
        Self {
            state: state.as_str(),
            count: grouped(states.machines(state)),
            link: context.machines(|query| (query.policy, query.policy_state) = (policy, Some(state))),
        }
    }
}

impl StateBar {
    pub(super) fn of(states: &PolicyStates) -> Self {
        let counts = SHOWN.map(|state| (state.as_str(), states.machines(state)));
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let mut before = 0;
        let parts = counts.into_iter().filter(|(_, count)| *count > 0).map(|(state, count)| {
            // The ends are rounded, not the widths, so that the parts meet. A part is never invisible.
            let start = before * WIDTH / total;
            before += count;
            (state, start, (before * WIDTH / total - start).max(4))
        });
        let parts = parts.collect();
        let words = counts.map(|(state, count)| format!("{} {state}", grouped(count)));
        Self { text: words.join(", "), parts }
    }
}

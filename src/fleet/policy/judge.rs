//! Everything that people ask about one machine under every policy, in one pass over its missing updates.

use jiff::Timestamp;

use super::tenant::TenantPolicies;
use super::{PolicyState, UpdateState};
use crate::fleet::{Machine, MissingUpdate};

/// A machine under one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineJudgement {
    /// The state.
    pub state: PolicyState,
    /// The missing updates that are overdue; none if the machine is not assessed or the policy lacks facts.
    pub overdue: Option<u32>,
    /// The earliest time from which one of its missing updates, or its version of Windows, counts as late.
    pub late_since: Option<Timestamp>,
    /// The earliest deadline that has passed, or the end of servicing; none if it is not overdue or the end has no day.
    pub overdue_since: Option<Timestamp>,
    /// The earliest deadline that has not passed; none without such a deadline.
    pub next_deadline: Option<Timestamp>,
}

impl MachineJudgement {
    /// A machine that is not assessed.
    pub(in crate::fleet) const NOT_ASSESSED: Self = Self {
        state: PolicyState::Unknown,
        overdue: None,
        late_since: None,
        overdue_since: None,
        next_deadline: None,
    };
}

/// What does not depend on the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineExtent {
    /// The missing updates that fix an exploited CVE, themselves or by a link.
    pub exploited: u32,
    /// The missing updates that an exception covers.
    pub accepted: u32,
}

impl TenantPolicies<'_> {
    /// Judges a machine: writes one element of `judgements` for each policy, and calls `decided` with the index of each
    /// policy, the place of each missing update, and its state. `ended` is the end of servicing if that decides about the
    /// machine; its day may be unknown.
    pub fn judge(
        &mut self,
        machine: &Machine,
        missing_updates: Option<&[MissingUpdate]>,
        ended: Option<Option<Timestamp>>,
        judgements: &mut [MachineJudgement],
        mut decided: impl FnMut(usize, usize, UpdateState),
    ) -> MachineExtent {
        let mut extent = MachineExtent::default();
        let servicing = ended.map(|_| self.count_ended(machine));
        judgements.fill(MachineJudgement::NOT_ASSESSED);
        let mut worst: Vec<Option<UpdateState>> = vec![None; judgements.len()];
        if missing_updates.is_some() {
            self.read_machine(machine);
            for (policy, judgement) in judgements.iter_mut().enumerate() {
                let is_judged = !self.lacks_facts(policy) || missing_updates.is_some_and(<[_]>::is_empty);
                judgement.overdue = is_judged.then_some(0);
            }
        }
        for (place, missing) in missing_updates.into_iter().flatten().enumerate() {
            let (profile, starts) = self.read(missing);
            let is_accepted = self.count_exceptions(profile);
            extent.exploited += u32::from(self.is_exploited(profile) == Some(true));
            extent.accepted += u32::from(is_accepted);
            for (policy, judgement) in judgements.iter_mut().enumerate() {
                let state = self.state(policy, profile, starts, is_accepted);
                let timing = self.timing(policy, profile, starts, state);
                decided(policy, place, state);
                worst[policy] = worst[policy].into_iter().chain([state]).min();
                judgement.late_since = earliest(judgement.late_since, Some(timing.late_since));
                match state {
                    UpdateState::Overdue => {
                        judgement.overdue = judgement.overdue.map(|count| count + 1);
                        judgement.overdue_since = earliest(judgement.overdue_since, timing.deadline);
                    }
                    UpdateState::Due => {
                        judgement.next_deadline = earliest(judgement.next_deadline, timing.deadline);
                    }
                    UpdateState::Accepted | UpdateState::Unlimited | UpdateState::Unknown => {}
                }
            }
        }
        for (judgement, worst) in judgements.iter_mut().zip(worst) {
            judgement.state = PolicyState::of_machine(machine, missing_updates.map(|_| worst), servicing);
            if let Some(end) = ended {
                judgement.late_since = earliest(judgement.late_since, end);
                if servicing == Some(UpdateState::Overdue) {
                    judgement.overdue_since = earliest(judgement.overdue_since, end);
                }
            }
        }
        extent
    }
}

fn earliest(one: Option<Timestamp>, two: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(two).min()
}

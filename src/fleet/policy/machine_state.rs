//! The state of one machine from those of its missing updates.

use super::{PolicyState, UpdateState};
use crate::fleet::Machine;

impl PolicyState {
    /// The state of `machine` by the states of its missing updates, none if the machine is not assessed, and by that of
    /// its servicing, none unless an end of servicing decides it.
    #[must_use]
    pub fn of_machine(
        machine: &Machine,
        updates: Option<impl IntoIterator<Item = UpdateState>>,
        servicing: Option<UpdateState>,
    ) -> Self {
        if updates.is_none() && servicing.is_none() {
            return if machine.facts.is_supported() { Self::Unknown } else { Self::Unsupported };
        }
        // The least state is the worst one.
        match updates.into_iter().flatten().chain(servicing).min() {
            Some(UpdateState::Overdue) => Self::Overdue,
            Some(UpdateState::Accepted) => Self::Accepted,
            Some(UpdateState::Due) => Self::Due,
            Some(UpdateState::Unknown) => Self::Unknown,
            // An unreadable id may stand for an update with a deadline.
            Some(UpdateState::Unlimited) if machine.has_unreadable_ids() => Self::Unknown,
            None | Some(UpdateState::Unlimited) => Self::Compliant,
        }
    }

    /// Returns whether it says that the machine is within its deadlines or not.
    #[must_use]
    pub fn is_judged(self) -> bool {
        !matches!(self, Self::Unknown | Self::Unsupported)
    }
}

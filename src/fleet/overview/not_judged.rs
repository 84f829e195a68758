//! Reasons why a machine cannot be judged.

use crate::fleet::policy::PolicyState;
use crate::fleet::{Machine, MachineState, Onboarding};

/// The reason why a policy does not say whether a machine is within its deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotJudged {
    /// Defender did not find the machine in several calls.
    NotFound,
    /// It was never read.
    NeverRead,
    /// It was last read longer ago than `expire_after`.
    Expired,
    /// The newest answer has an update id that is no KB.
    UnreadableId,
    /// The policy needs facts that were never loaded.
    LacksFacts,
    /// Defender has not seen it for `inactive_after`.
    Inactive,
    /// It is not a Windows machine.
    NotWindows,
    /// It is not onboarded.
    NotOnboarded,
}

impl NotJudged {
    /// Every reason: first those of machines that are `unknown`, then those of devices that are `unsupported`.
    pub const ALL: [Self; 8] = [
        Self::NotFound,
        Self::NeverRead,
        Self::Expired,
        Self::UnreadableId,
        Self::LacksFacts,
        Self::Inactive,
        Self::NotWindows,
        Self::NotOnboarded,
    ];

    /// The value of the parameter `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NeverRead => "never_read",
            Self::Expired => "expired",
            Self::UnreadableId => "unreadable_id",
            Self::LacksFacts => "lacks_facts",
            Self::Inactive => "inactive",
            Self::NotWindows => "not_windows",
            Self::NotOnboarded => "not_onboarded",
        }
    }

    /// Returns whether it is a reason of a device that is `unsupported`.
    #[must_use]
    pub fn is_unsupported(self) -> bool {
        matches!(self, Self::NotWindows | Self::NotOnboarded)
    }

    /// The reason of a machine with data in `state` that is `policy_state` under a policy; none if that state says
    /// whether it is within its deadlines.
    pub(super) fn of(machine: &Machine, state: MachineState, policy_state: PolicyState) -> Option<Self> {
        if policy_state.is_judged() {
            return None;
        }
        Some(match state {
            MachineState::Unsupported if machine.facts.onboarding == Onboarding::NotOnboarded => {
                Self::NotOnboarded
            }
            MachineState::Unsupported => Self::NotWindows,
            MachineState::Inactive => Self::Inactive,
            MachineState::Fresh | MachineState::Stale if machine.has_unreadable_ids() => Self::UnreadableId,
            MachineState::Fresh | MachineState::Stale => Self::LacksFacts,
            MachineState::Unknown if machine.attempt.is_some_and(|attempt| attempt.not_found) => {
                Self::NotFound
            }
            MachineState::Unknown if machine.assessment.is_none() => Self::NeverRead,
            MachineState::Unknown => Self::Expired,
        })
    }
}

//! Patch deadlines.

use std::sync::Arc;
use std::time::Duration;

/// A deadline by which a machine must have installed an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Value of the label `policy`.
    pub name: Arc<str>,
    /// Time between the start and the deadline, from 1s to 3650d.
    pub deadline: Duration,
    /// The event from which the deadline is measured.
    pub from: DeadlineStart,
}

impl Default for Policy {
    /// 14 days, as some regulators require, from first seen, which every missing update has.
    fn default() -> Self {
        Self { name: "14d".into(), deadline: Duration::from_hours(14 * 24), from: DeadlineStart::FirstSeen }
    }
}

/// The event from which a deadline is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineStart {
    /// The update was first seen missing on the machine. The default.
    FirstSeen,
    /// The update was released; first seen where the release is not known.
    Released,
}

impl DeadlineStart {
    /// Every start.
    pub const ALL: [Self; 2] = [Self::FirstSeen, Self::Released];

    /// The value of `from` in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstSeen => "first_seen",
            Self::Released => "released",
        }
    }
}

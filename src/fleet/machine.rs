//! A machine in scope, its data, and the state that follows from both.

use std::time::Duration;

use jiff::Timestamp;

use super::unreadable::UnreadableIds;
use super::{Chain, Link, MachineFacts, MissingUpdate};
use crate::model::{Freshness, IgnoredUpdates, Source};

/// The state of a machine, by the age of its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineState {
    /// Read within `stale_after`.
    Fresh,
    /// Read longer ago than `stale_after`, but within `expire_after`; still served.
    Stale,
    /// Not seen by Defender for `inactive_after`: replies about it are not trusted.
    Inactive,
    /// Never read, or so long ago that the data expired.
    Unknown,
    /// Not a Windows machine, or not onboarded: Defender lists no missing updates of it, and it is not asked.
    Unsupported,
}

impl MachineState {
    /// Every state, in the order of exposition.
    pub const ALL: [Self; 5] = [Self::Fresh, Self::Stale, Self::Inactive, Self::Unknown, Self::Unsupported];

    /// The value of the label `state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Inactive => "inactive",
            Self::Unknown => "unknown",
            Self::Unsupported => "unsupported",
        }
    }

    /// Returns whether the missing updates of the machine are served and counted.
    #[must_use]
    pub fn is_assessed(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale)
    }

    /// Returns whether an answer about the machine is trusted, so that it is worth a call.
    #[must_use]
    pub fn is_asked(self) -> bool {
        !matches!(self, Self::Inactive | Self::Unsupported)
    }
}

/// The last good data of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The time at which it was fetched.
    pub fetched_at: Timestamp,
    /// The time that it describes, from which its age is counted. With an export this is the generation time
    /// of the export version, which is earlier than `fetched_at`.
    pub as_of: Timestamp,
    /// The source that delivered it.
    pub source: Source,
    /// The missing updates, sorted by KB, each KB once.
    pub missing_updates: Vec<MissingUpdate>,
    /// The unreadable ids of the answers, and the missing updates that they hold. Rare.
    pub unreadable: Option<Box<UnreadableIds>>,
}

impl Assessment {
    /// The assessment from a call for one machine, which describes the time of the call.
    #[must_use]
    pub fn of_now(now: Timestamp, missing_updates: Vec<MissingUpdate>) -> Self {
        Self { fetched_at: now, as_of: now, source: Source::Machines, missing_updates, unreadable: None }
    }

    /// Makes the data count as expired, because a part of it is lost. The first-seen times stay for the next answer.
    pub fn expire(&mut self) {
        self.as_of = Timestamp::UNIX_EPOCH;
    }
}

/// The newest attempt to read a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The time at which it ended.
    pub at: Timestamp,
    /// True if it returned data.
    pub succeeded: bool,
    /// True if the API did not find the machine in several calls.
    pub not_found: bool,
}

impl Attempt {
    /// An attempt that ended at `at`, with data or because of another failure than a 404.
    #[must_use]
    pub fn ended(at: Timestamp, succeeded: bool) -> Self {
        Self { at, succeeded, not_found: false }
    }
}

/// A machine in scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The facts from the machine list.
    pub facts: MachineFacts,
    /// The last good data.
    pub assessment: Option<Assessment>,
    /// The newest attempt, successful or not.
    pub attempt: Option<Attempt>,
}

impl MachineFacts {
    /// Returns whether Defender has not seen the machine for `inactive_after` at `now`.
    #[must_use]
    pub fn is_inactive(&self, now: Timestamp, freshness: &Freshness) -> bool {
        self.last_seen.is_some_and(|at| is_older(at, freshness.inactive_after, now))
    }
}

impl Machine {
    /// The state of the machine at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp, freshness: &Freshness) -> MachineState {
        let older = |at, limit| is_older(at, limit, now);
        if !self.facts.is_supported() {
            return MachineState::Unsupported;
        }
        if self.facts.is_inactive(now, freshness) {
            return MachineState::Inactive;
        }
        match &self.assessment {
            None => MachineState::Unknown,
            Some(assessment) if older(assessment.as_of, freshness.expire_after) => MachineState::Unknown,
            Some(assessment) if older(assessment.as_of, freshness.stale_after) => MachineState::Stale,
            Some(_) => MachineState::Fresh,
        }
    }

    /// The missing updates of the last assessment, whether they are served or not.
    #[must_use]
    pub fn missing_updates(&self) -> &[MissingUpdate] {
        self.assessment.as_ref().map_or(&[], |assessment| &assessment.missing_updates)
    }

    /// Returns whether the newest answer about the machine contains an id that is no KB.
    #[must_use]
    pub fn has_unreadable_ids(&self) -> bool {
        let unreadable = self.assessment.as_ref().and_then(|assessment| assessment.unreadable.as_ref());
        unreadable.is_some_and(|unreadable| unreadable.is_in_newest_answer())
    }

    /// Returns whether its data contains an `ignored` KB or id.
    #[must_use]
    pub fn is_concerned_by(&self, ignored: &IgnoredUpdates) -> bool {
        let unreadable = self.assessment.as_ref().and_then(|assessment| assessment.unreadable.as_deref());
        let is_ignored = |missing: &MissingUpdate| {
            let mut links = missing.links().iter();
            ignored.kbs.contains(&missing.update.kb) || links.any(|link| ignored.kbs.contains(&link.kb))
        };
        self.missing_updates().iter().any(is_ignored)
            || unreadable.is_some_and(|unreadable| unreadable.is_concerned_by(ignored))
    }

    /// Drops the missing updates and links of `ignored` KBs, and the `ignored` ids. Returns the number of missing
    /// updates that it dropped.
    pub fn ignore(&mut self, ignored: &IgnoredUpdates) -> u64 {
        let Some(assessment) = &mut self.assessment else { return 0 };
        let before = assessment.missing_updates.len();
        assessment.missing_updates.retain(|missing| !ignored.kbs.contains(&missing.update.kb));
        for missing in &mut assessment.missing_updates {
            let is_kept = |link: &Link| !ignored.kbs.contains(&link.kb);
            let links = missing.links().iter().copied().filter(is_kept);
            missing.chain = Chain::of(links.collect());
        }
        let unreadable = assessment.unreadable.take();
        assessment.unreadable = unreadable.and_then(|unreadable| (*unreadable).without(ignored));
        (before - assessment.missing_updates.len()) as u64
    }

    /// The missing updates that are served and counted at `now`. None while the machine is not assessed, or no
    /// missing update is known and the answer contains unreadable ids. That differs from a machine without
    /// missing updates.
    #[must_use]
    pub fn assessed_updates(&self, now: Timestamp, freshness: &Freshness) -> Option<&[MissingUpdate]> {
        let missing_updates = &self.assessment.as_ref()?.missing_updates;
        let is_known = !missing_updates.is_empty() || !self.has_unreadable_ids();
        (is_known && self.state(now, freshness).is_assessed()).then_some(missing_updates)
    }
}

/// The age of `at` at `now`; zero for a time in the future, as after a clock was set back.
pub(super) fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

/// Returns whether `at` is more than `limit` before `now`.
pub(super) fn is_older(at: Timestamp, limit: Duration, now: Timestamp) -> bool {
    age(at, now) > limit
}

//! Protects the fleet against a machine list or an export that lacks most machines.
//!
//! A list that lacks more than half of the machines is more often a fault of the source than a change of the
//! fleet (<https://github.com/MicrosoftDocs/microsoft-365-docs/issues/9061>). The guard holds it until a
//! recheck, some minutes later, confirms it.

use std::time::Duration;

use jiff::Timestamp;

/// The minimum time between the first fetch and the recheck.
const RECHECK_AFTER: Duration = Duration::from_mins(5);

/// Compares each new list or export with its predecessor.
#[derive(Debug, Default)]
pub(super) struct ShrinkGuard {
    /// The time of the first fetch that was held; none while nothing is held.
    held_since: Option<Timestamp>,
}

/// The decision about a list or an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It replaces its predecessor.
    Accept,
    /// It lacks too many machines; its predecessor stays.
    Hold {
        /// True for the first one in a row.
        is_first: bool,
    },
}

impl ShrinkGuard {
    /// Decides about a list of `now` that lacks `lost` of the `known` machines of its predecessor.
    pub(super) fn check(&mut self, lost: usize, known: usize, now: Timestamp) -> Verdict {
        if lost * 2 <= known {
            self.held_since = None;
            return Verdict::Accept;
        }
        match self.held_since {
            Some(since) if now >= since + RECHECK_AFTER => {
                self.held_since = None;
                Verdict::Accept
            }
            Some(_) => Verdict::Hold { is_first: false },
            None => {
                self.held_since = Some(now);
                Verdict::Hold { is_first: true }
            }
        }
    }

    /// Sets a time in the future back to `now`.
    pub(super) fn set_back_times(&mut self, now: Timestamp) {
        self.held_since = self.held_since.map(|since| since.min(now));
    }

    /// The time from which a second fetch can confirm what is held; none while nothing is held.
    pub(super) fn recheck_at(&self) -> Option<Timestamp> {
        self.held_since.map(|since| since + RECHECK_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + minutes.minutes()
    }

    #[test]
    fn a_list_that_keeps_half_is_accepted_at_once() {
        let mut guard = ShrinkGuard::default();
        assert_eq!(guard.check(5, 10, at(0)), Verdict::Accept);
        assert_eq!(guard.recheck_at(), None);
        assert_eq!(guard.check(0, 0, at(0)), Verdict::Accept);
    }

    #[test]
    fn a_list_that_loses_more_than_half_is_held_for_five_minutes() {
        let mut guard = ShrinkGuard::default();
        assert_eq!(guard.check(6, 10, at(0)), Verdict::Hold { is_first: true });
        assert_eq!(guard.recheck_at(), Some(at(5)));
        assert_eq!(guard.check(6, 10, at(4)), Verdict::Hold { is_first: false });
        assert_eq!(guard.check(6, 10, at(5)), Verdict::Accept);
    }

    #[test]
    fn a_complete_list_in_between_ends_the_hold() {
        let mut guard = ShrinkGuard::default();
        guard.check(10, 10, at(0));
        assert_eq!(guard.check(0, 10, at(2)), Verdict::Accept);
        assert_eq!(guard.check(10, 10, at(6)), Verdict::Hold { is_first: true });
    }
}

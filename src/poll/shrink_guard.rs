//! Whether a machine list or an export is to be believed.
//!
//! One that loses more than half of the machines is more often a fault of the source than a truth
//! about the fleet (<https://github.com/MicrosoftDocs/microsoft-365-docs/issues/9061>). It has to be
//! seen twice, some minutes apart, before it replaces the old one.

use std::time::Duration;

use jiff::Timestamp;

/// Time between the two sightings, at least.
const SECOND_LOOK: Duration = Duration::from_mins(5);

/// Remembers the first sighting of a list or export that shrank.
#[derive(Debug, Default)]
pub(super) struct ShrinkGuard {
    suspected: Option<Timestamp>,
}

/// What is to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It replaces the old one.
    Accept,
    /// It lost so many machines; the old one stays.
    Hold {
        /// Nobody was told yet.
        first: bool,
    },
}

impl ShrinkGuard {
    /// Judges one that lacks `lost` of the `known` machines of the old one.
    pub(super) fn judge(&mut self, lost: usize, known: usize, now: Timestamp) -> Verdict {
        if lost * 2 <= known {
            self.suspected = None;
            return Verdict::Accept;
        }
        match self.suspected {
            Some(since) if now >= since + SECOND_LOOK => {
                self.suspected = None;
                Verdict::Accept
            }
            Some(_) => Verdict::Hold { first: false },
            None => {
                self.suspected = Some(now);
                Verdict::Hold { first: true }
            }
        }
    }

    /// When a suspected one is to be looked at again.
    pub(super) fn recheck_at(&self) -> Option<Timestamp> {
        self.suspected.map(|since| since + SECOND_LOOK)
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
    fn one_that_keeps_half_is_believed_at_once() {
        let mut plausibility = ShrinkGuard::default();
        assert_eq!(plausibility.judge(5, 10, at(0)), Verdict::Accept);
        assert_eq!(plausibility.recheck_at(), None);
        assert_eq!(plausibility.judge(0, 0, at(0)), Verdict::Accept);
    }

    #[test]
    fn one_that_loses_more_than_half_needs_a_second_sighting_five_minutes_later() {
        let mut plausibility = ShrinkGuard::default();
        assert_eq!(plausibility.judge(6, 10, at(0)), Verdict::Hold { first: true });
        assert_eq!(plausibility.recheck_at(), Some(at(5)));
        assert_eq!(plausibility.judge(6, 10, at(4)), Verdict::Hold { first: false });
        assert_eq!(plausibility.judge(6, 10, at(5)), Verdict::Accept);
    }

    #[test]
    fn a_good_one_in_between_clears_the_suspicion() {
        let mut plausibility = ShrinkGuard::default();
        plausibility.judge(10, 10, at(0));
        assert_eq!(plausibility.judge(0, 10, at(2)), Verdict::Accept);
        assert_eq!(plausibility.judge(10, 10, at(6)), Verdict::Hold { first: true });
    }
}

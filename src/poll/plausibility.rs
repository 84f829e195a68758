//! Whether a machine list is to be believed.
//!
//! A list that loses more than half of the machines is more often a fault of the source than a truth
//! about the fleet (<https://github.com/MicrosoftDocs/microsoft-365-docs/issues/9061>). It has to be
//! seen twice, some minutes apart, before it replaces the old one.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{MachineFacts, MachineId, TenantFleet};

/// Time between the two sightings, at least.
const SECOND_LOOK: Duration = Duration::from_mins(5);

/// Remembers the first sighting of a list that shrank.
#[derive(Debug, Default)]
pub(super) struct Plausibility {
    suspected: Option<Timestamp>,
}

/// What is to be done with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the scope now.
    Believed,
    /// It lost so many machines; the old one stays.
    Suspected {
        /// Machines of the old list that are not on the new one.
        lost: usize,
        /// Nobody was told yet.
        first: bool,
    },
}

impl Plausibility {
    /// Judges `listed` as the successor of the scope of `fleet`.
    pub(super) fn judge(&mut self, fleet: &TenantFleet, listed: &[MachineFacts], now: Timestamp) -> Verdict {
        let listed: BTreeSet<&MachineId> = listed.iter().map(|facts| &facts.id).collect();
        let lost = fleet.machines.keys().filter(|id| !listed.contains(id)).count();
        if lost * 2 <= fleet.machines.len() {
            self.suspected = None;
            return Verdict::Believed;
        }
        match self.suspected {
            Some(since) if now >= since + SECOND_LOOK => {
                self.suspected = None;
                Verdict::Believed
            }
            Some(_) => Verdict::Suspected { lost, first: false },
            None => {
                self.suspected = Some(now);
                Verdict::Suspected { lost, first: true }
            }
        }
    }

    /// When a suspected list is to be looked at again.
    pub(super) fn second_look(&self) -> Option<Timestamp> {
        self.suspected.map(|since| since + SECOND_LOOK)
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::fleet::Ages;

    fn facts(machines: std::ops::Range<u32>) -> Vec<MachineFacts> {
        machines
            .map(|number| MachineFacts::unlisted(MachineId::parse(&format!("m{number}")).unwrap()))
            .collect()
    }

    fn fleet() -> TenantFleet {
        let day = Duration::from_hours(24);
        let ages = Ages { stale_after: day, expire_after: day, inactive_after: day };
        let mut fleet = TenantFleet::new("contoso".into());
        fleet.apply_list(facts(0..10), at(0), &ages);
        fleet
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + minutes.minutes()
    }

    #[test]
    fn a_list_that_keeps_half_is_believed_at_once() {
        let mut plausibility = Plausibility::default();
        assert_eq!(plausibility.judge(&fleet(), &facts(5..20), at(0)), Verdict::Believed);
        assert_eq!(plausibility.second_look(), None);
        assert_eq!(plausibility.judge(&TenantFleet::new("new".into()), &[], at(0)), Verdict::Believed);
    }

    #[test]
    fn a_list_that_loses_more_than_half_needs_a_second_sighting_five_minutes_later() {
        let mut plausibility = Plausibility::default();
        let (fleet, shrunk) = (fleet(), facts(6..20));
        assert_eq!(plausibility.judge(&fleet, &shrunk, at(0)), Verdict::Suspected { lost: 6, first: true });
        assert_eq!(plausibility.second_look(), Some(at(5)));
        assert_eq!(plausibility.judge(&fleet, &shrunk, at(4)), Verdict::Suspected { lost: 6, first: false });
        assert_eq!(plausibility.judge(&fleet, &shrunk, at(5)), Verdict::Believed);
    }

    #[test]
    fn a_good_list_in_between_clears_the_suspicion() {
        let mut plausibility = Plausibility::default();
        let fleet = fleet();
        plausibility.judge(&fleet, &[], at(0));
        assert_eq!(plausibility.judge(&fleet, &facts(0..10), at(2)), Verdict::Believed);
        assert_eq!(plausibility.judge(&fleet, &[], at(6)), Verdict::Suspected { lost: 10, first: true });
    }
}

//! Decides which machines to fetch, and when the next poll is due. Pure.
//!
//! A machine is due one interval after its newest attempt, whatever the exporter did in between. So a
//! restart or a reload fetches no machine early. Machines that come due within the next tenth of an
//! interval are fetched too, which keeps the machines of one poll together. Inactive and unsupported machines
//! are not fetched, because an answer about them would not be trusted.

use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{Machine, TenantFleet};
use crate::model::{Freshness, MachineId};

/// The time until a failed attempt is repeated, unless the interval is shorter.
pub(super) const FAILURE_PAUSE: Duration = Duration::from_mins(5);

/// The machines to fetch in a poll at `now`, in the order in which to fetch them.
///
/// Machines that were never fetched come first, then the others by their newest attempt, oldest first. A
/// failed attempt counts like a successful one, so a machine that always fails delays no other. Ties are
/// broken by id, so the plan is the same on every run.
pub(super) fn due(
    fleet: &TenantFleet,
    now: Timestamp,
    interval: Duration,
    freshness: &Freshness,
) -> Vec<MachineId> {
    let soon = now + interval / 10;
    ordered(fleet, now, freshness, |machine| match machine.attempt {
        // An attempt in the future: the clock was set back meanwhile.
        Some(attempt) => attempt.at > now || due_at(machine, interval) <= soon,
        None => true,
    })
}

/// Every machine in scope that is asked, in the order of [`due`].
pub(super) fn all(fleet: &TenantFleet, now: Timestamp, freshness: &Freshness) -> Vec<MachineId> {
    ordered(fleet, now, freshness, |_| true)
}

fn ordered(
    fleet: &TenantFleet,
    now: Timestamp,
    freshness: &Freshness,
    is_wanted: impl Fn(&Machine) -> bool,
) -> Vec<MachineId> {
    let asked = fleet.machines.iter().filter(|(_, machine)| machine.state(now, freshness).is_asked());
    let mut wanted: Vec<_> = asked.filter(|(_, machine)| is_wanted(machine)).collect();
    wanted.sort_by_key(|(id, machine)| (machine.attempt.map(|attempt| attempt.at), *id));
    wanted.into_iter().map(|(id, _)| id.clone()).collect()
}

/// The time at which the first machine comes due; none if no machine is asked.
pub(super) fn next_due(
    fleet: &TenantFleet,
    now: Timestamp,
    interval: Duration,
    freshness: &Freshness,
) -> Option<Timestamp> {
    let asked = fleet.machines.values().filter(|machine| machine.state(now, freshness).is_asked());
    asked.map(|machine| due_at(machine, interval)).min()
}

/// A machine without an attempt has been due since the beginning of time.
fn due_at(machine: &Machine, interval: Duration) -> Timestamp {
    machine.attempt.map_or(Timestamp::MIN, |attempt| {
        attempt.at + if attempt.succeeded { interval } else { interval.min(FAILURE_PAUSE) }
    })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::{MachineFacts, Onboarding};

    const HOUR: Duration = Duration::from_hours(1);
    const FRESHNESS: Freshness = Freshness::DEFAULT;

    fn fleet(ids: &[&str]) -> TenantFleet {
        let mut fleet = TenantFleet::new("contoso".into());
        let facts = ids.iter().map(|id| MachineFacts::unlisted(MachineId::parse(id).unwrap()));
        fleet.apply_list(facts.collect(), at(0), &FRESHNESS);
        fleet
    }

    fn id(text: &str) -> MachineId {
        MachineId::parse(text).unwrap()
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + minutes.minutes()
    }

    #[test]
    fn new_machines_come_first_then_the_oldest_attempt() {
        let mut fleet = fleet(&["a", "b", "c", "d"]);
        fleet.apply_answer(&id("a"), at(10), vec![], &FRESHNESS);
        fleet.apply_answer(&id("c"), at(5), vec![], &FRESHNESS);
        assert_eq!(due(&fleet, at(120), HOUR, &FRESHNESS), [id("b"), id("d"), id("c"), id("a")]);
    }

    #[test]
    fn a_fresh_machine_waits_and_a_nearly_due_one_does_not() {
        let mut fleet = fleet(&["a", "b"]);
        fleet.apply_answer(&id("a"), at(0), vec![], &FRESHNESS);
        fleet.apply_answer(&id("b"), at(5), vec![], &FRESHNESS);
        assert_eq!(due(&fleet, at(53), HOUR, &FRESHNESS), []);
        assert_eq!(due(&fleet, at(54), HOUR, &FRESHNESS), [id("a")]);
        assert_eq!(all(&fleet, at(54), &FRESHNESS), [id("a"), id("b")]);
        assert_eq!(next_due(&fleet, at(0), HOUR, &FRESHNESS), Some(at(60)));
    }

    #[test]
    fn a_failed_machine_is_due_soon_but_not_within_the_interval() {
        let mut fleet = fleet(&["a"]);
        fleet.apply_failure(&id("a"), at(0));
        assert_eq!(next_due(&fleet, at(0), HOUR, &FRESHNESS), Some(at(5)));
        assert_eq!(next_due(&fleet, at(0), Duration::from_mins(1), &FRESHNESS), Some(at(1)));
    }

    #[test]
    fn inactive_and_unsupported_machines_are_not_fetched() {
        let mut fleet = TenantFleet::new("contoso".into());
        let listed = |name: &str| MachineFacts::unlisted(id(name));
        let machines = vec![
            MachineFacts { os_platform: "macOS".to_owned(), ..listed("mac") },
            MachineFacts { onboarding: Onboarding::NotOnboarded, ..listed("discovered") },
            MachineFacts { last_seen: Some(at(0)), ..listed("old") },
        ];
        let month = at(31 * 24 * 60);
        fleet.apply_list(machines, month, &FRESHNESS);
        assert_eq!(all(&fleet, month, &FRESHNESS), []);
        assert_eq!(next_due(&fleet, month, HOUR, &FRESHNESS), None);
        let seen = MachineFacts { last_seen: Some(month), ..listed("old") };
        fleet.apply_list(vec![listed("new"), seen], month, &FRESHNESS);
        assert_eq!(due(&fleet, month, HOUR, &FRESHNESS), [id("new"), id("old")]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_machines_due() {
        let mut fleet = fleet(&["a"]);
        fleet.apply_answer(&id("a"), at(6000), vec![], &FRESHNESS);
        assert_eq!(due(&fleet, at(0), HOUR, &FRESHNESS), [id("a")]);
    }

    proptest! {
        #[test]
        fn every_machine_is_fetched_when_polls_are_cut_short(machines in 1..40usize, budget in 1..10usize, failing in 0..40usize) {
            let ids: Vec<String> = (0..machines).map(|index| format!("m{index}")).collect();
            let mut fleet = fleet(&ids.iter().map(String::as_str).collect::<Vec<_>>());
            let mut fetched = std::collections::BTreeSet::new();
            for round in 0..machines.div_ceil(budget) {
                let now = at(i64::try_from(round).unwrap() * 60);
                for machine in due(&fleet, now, HOUR, &FRESHNESS).into_iter().take(budget) {
                    if machine == id(&format!("m{failing}")) {
                        fleet.apply_failure(&machine, now);
                    } else {
                        fleet.apply_answer(&machine, now, vec![], &FRESHNESS);
                    }
                    fetched.insert(machine);
                }
            }
            prop_assert_eq!(fetched.len(), machines);
        }
    }
}

//! The machines to read, in the order in which to read them. Pure.
//!
//! A machine is due one interval after its newest attempt, whatever the exporter did in between. So a restart
//! or a reload fetches no machine early. After a failure it is due sooner, the sooner the fewer failures came
//! before.
//!
//! Of the machines that are due, those that were never fetched come first, the newest of them before the
//! others, and then the rest by their newest attempt, oldest first. A failed attempt counts like a successful one, so a machine that always fails delays
//! no other. Inactive and unsupported machines are not asked.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{Attempt, Machine, TenantFleet};
use crate::model::{Freshness, MachineId};

/// The time until a first failed attempt is repeated, unless the interval is shorter. It doubles with each
/// further failure, up to the interval.
pub(super) const FAILURE_PAUSE: Duration = Duration::from_mins(5);

/// The place of a machine among those that are due, in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A machine without any attempt, with the number of the list that brought it.
    NeverAsked(Reverse<u64>),
    /// The time of the newest attempt.
    Attempted(Timestamp),
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct DueQueue {
    /// The machines that are due.
    due: BTreeSet<(Rank, MachineId)>,
    /// The machines that are not due yet, by the time at which they are.
    later: BTreeSet<(Timestamp, Rank, MachineId)>,
    /// The machines without any attempt, taken or not, with the number of the list that brought each.
    never_asked: HashMap<MachineId, u64>,
    /// The number of lists so far.
    lists: u64,
    /// The number of failures in a row of each machine whose newest attempt failed.
    failures: HashMap<MachineId, u32>,
}

impl DueQueue {
    /// Replaces the content by the machines of `fleet` that are to be asked, except those that `skip`
    /// selects.
    pub(super) fn rebuild(
        &mut self,
        fleet: &TenantFleet,
        now: Timestamp,
        interval: Duration,
        freshness: &Freshness,
        skip: impl Fn(&MachineId) -> bool,
    ) {
        self.due.clear();
        self.later.clear();
        self.failures.retain(|id, _| fleet.machines.contains_key(id));
        let asked = fleet.machines.iter().filter(|(_, machine)| is_asked(machine, now, freshness));
        let never_asked = asked.clone().filter(|(_, machine)| machine.attempt.is_none());
        self.lists += 1;
        let before = std::mem::take(&mut self.never_asked);
        let brought = |id| before.get(id).copied().unwrap_or(self.lists);
        self.never_asked = never_asked.map(|(id, _)| (id.clone(), brought(id))).collect();
        for (id, machine) in asked.filter(|(id, _)| !skip(id)) {
            self.insert(id, machine, interval);
        }
        self.advance(now);
    }

    /// Makes every machine due.
    pub(super) fn make_all_due(&mut self) {
        let later = std::mem::take(&mut self.later);
        self.due.extend(later.into_iter().map(|(_, rank, id)| (rank, id)));
    }

    /// Adds a machine that was taken, after an attempt.
    pub(super) fn attempted(&mut self, id: &MachineId, machine: &Machine, interval: Duration) {
        self.never_asked.remove(id);
        match machine.attempt {
            Some(attempt) if !attempt.succeeded => *self.failures.entry(id.clone()).or_default() += 1,
            _ => drop(self.failures.remove(id)),
        }
        self.insert(id, machine, interval);
    }

    /// Adds a machine that was taken but could not be asked; it is due at once.
    pub(super) fn put_back(&mut self, id: &MachineId, machine: &Machine) {
        self.due.insert((self.rank(id, machine), id.clone()));
    }

    fn rank(&self, id: &MachineId, machine: &Machine) -> Rank {
        match machine.attempt {
            None => Rank::NeverAsked(Reverse(self.never_asked.get(id).copied().unwrap_or(self.lists))),
            Some(attempt) => Rank::Attempted(attempt.at),
        }
    }

    fn insert(&mut self, id: &MachineId, machine: &Machine, interval: Duration) {
        match machine.attempt {
            None => self.put_back(id, machine),
            Some(attempt) => {
                let failures = self.failures.get(id).copied().unwrap_or(1);
                let at = attempt.at.saturating_add(pause(attempt, failures, interval));
                self.later.insert((at.unwrap_or(Timestamp::MAX), Rank::Attempted(attempt.at), id.clone()));
            }
        }
    }

    /// Makes the machines due whose time has come.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while self.later.first().is_some_and(|(at, ..)| *at <= now) {
            if let Some((_, rank, id)) = self.later.pop_first() {
                self.due.insert((rank, id));
            }
        }
    }

    /// Takes the next machine that is due.
    pub(super) fn take(&mut self) -> Option<MachineId> {
        self.due.pop_first().map(|(_, id)| id)
    }

    /// The number of machines that are due.
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }

    /// The number of machines without any attempt, those that were taken included.
    pub(super) fn never_asked(&self) -> usize {
        self.never_asked.len()
    }

    /// The time at which the next machine becomes due; none if there is none that is not due already.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(at, ..)| *at)
    }
}

/// Returns whether `machine` is to be read. Answers about inactive and unsupported machines are not trusted.
fn is_asked(machine: &Machine, now: Timestamp, freshness: &Freshness) -> bool {
    machine.state(now, freshness).is_asked()
}

/// The time from an attempt to the next one. A machine that the API does not find was asked several times
/// already.
fn pause(attempt: Attempt, failures: u32, interval: Duration) -> Duration {
    if attempt.succeeded || attempt.not_found {
        return interval;
    }
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
    FAILURE_PAUSE.saturating_mul(doubled).min(interval)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;
    use crate::facts::Facts;
    use crate::fleet::{MachineFacts, Onboarding};

    const HOUR: Duration = Duration::from_hours(1);
    const FRESHNESS: Freshness = Freshness::DEFAULT;

    fn id(text: &str) -> MachineId {
        MachineId::parse(text).unwrap()
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + minutes.minutes()
    }

    fn fleet(ids: &[&str]) -> TenantFleet {
        let mut fleet = TenantFleet::new("contoso".into());
        let facts = ids.iter().map(|text| MachineFacts::unlisted(id(text)));
        fleet.apply_list(facts.collect(), at(0), &FRESHNESS);
        fleet
    }

    fn queue(fleet: &TenantFleet, now: Timestamp) -> DueQueue {
        let mut queue = DueQueue::default();
        queue.rebuild(fleet, now, HOUR, &FRESHNESS, |_| false);
        queue
    }

    fn taken(mut queue: DueQueue) -> Vec<MachineId> {
        std::iter::from_fn(|| queue.take()).collect()
    }

    #[test]
    fn new_machines_come_first_then_the_oldest_attempt() {
        let mut fleet = fleet(&["a", "b", "c", "d"]);
        fleet.apply_answer(&id("a"), at(10), vec![], &FRESHNESS, &Facts::default());
        fleet.apply_failure(&id("c"), at(5));
        let queue = queue(&fleet, at(120));
        assert_eq!((queue.due(), queue.never_asked()), (4, 2));
        assert_eq!(taken(queue), [id("b"), id("d"), id("c"), id("a")]);
    }

    #[test]
    fn machine_of_a_later_list_comes_before_those_of_an_earlier_one() {
        let mut fleet = fleet(&["a", "b", "c"]);
        let mut queue = queue(&fleet, at(0));
        let ids = ["a", "b", "c", "z"].map(|text| MachineFacts::unlisted(id(text)));
        fleet.apply_list(ids.to_vec(), at(1), &FRESHNESS);
        queue.rebuild(&fleet, at(1), HOUR, &FRESHNESS, |_| false);
        assert_eq!(taken(queue), [id("z"), id("a"), id("b"), id("c")]);
    }

    #[test]
    fn machines_become_due_one_by_one() {
        let mut fleet = fleet(&["a", "b"]);
        fleet.apply_answer(&id("a"), at(0), vec![], &FRESHNESS, &Facts::default());
        fleet.apply_answer(&id("b"), at(5), vec![], &FRESHNESS, &Facts::default());
        let mut queue = queue(&fleet, at(59));
        assert_eq!((queue.due(), queue.next_due()), (0, Some(at(60))));
        queue.advance(at(60));
        assert_eq!((queue.due(), queue.next_due()), (1, Some(at(65))));
        assert_eq!(queue.take(), Some(id("a")));
        fleet.apply_answer(&id("a"), at(61), vec![], &FRESHNESS, &Facts::default());
        queue.attempted(&id("a"), &fleet.machines[&id("a")], HOUR);
        queue.make_all_due();
        assert_eq!(taken(queue), [id("b"), id("a")]);
    }

    #[test]
    fn failed_machine_is_due_soon_and_less_often_each_time() {
        let mut fleet = fleet(&["a"]);
        let mut queue = queue(&fleet, at(0));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            queue.advance(at(10_000));
            queue.take();
            fleet.apply_failure(&id("a"), at(0));
            queue.attempted(&id("a"), &fleet.machines[&id("a")], HOUR);
            pauses.push(queue.next_due().unwrap().as_second() / 60);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        assert_eq!(pause(fleet.machines[&id("a")].attempt.unwrap(), 1, HOUR / 60), HOUR / 60);
    }

    #[test]
    fn machine_that_is_not_found_waits_for_the_interval() {
        let mut fleet = fleet(&["a"]);
        fleet.apply_not_found(&id("a"), at(0));
        assert_eq!(queue(&fleet, at(0)).next_due(), Some(at(60)));
    }

    #[test]
    fn inactive_and_unsupported_machines_are_not_asked() {
        let mut fleet = TenantFleet::new("contoso".into());
        let listed = |name: &str| MachineFacts::unlisted(id(name));
        let machines = vec![
            MachineFacts { os_platform: "macOS".to_owned(), ..listed("mac") },
            MachineFacts { onboarding: Onboarding::NotOnboarded, ..listed("discovered") },
            MachineFacts { last_seen: Some(at(0)), ..listed("old") },
        ];
        let month = at(31 * 24 * 60);
        fleet.apply_list(machines, month, &FRESHNESS);
        let asked = queue(&fleet, month);
        assert_eq!((asked.due(), asked.never_asked(), asked.next_due()), (0, 0, None));
        let seen = MachineFacts { last_seen: Some(month), ..listed("old") };
        fleet.apply_list(vec![listed("new"), seen], month, &FRESHNESS);
        assert_eq!(taken(queue(&fleet, month)), [id("new"), id("old")]);
    }

    #[test]
    fn machine_that_could_not_be_asked_stays_first() {
        let mut fleet = fleet(&["a", "b"]);
        fleet.apply_answer(&id("a"), at(0), vec![], &FRESHNESS, &Facts::default());
        fleet.apply_answer(&id("b"), at(1), vec![], &FRESHNESS, &Facts::default());
        let mut queue = queue(&fleet, at(90));
        let first = queue.take().unwrap();
        queue.put_back(&first, &fleet.machines[&first]);
        assert_eq!(taken(queue), [id("a"), id("b")]);
    }

    proptest! {
        /// However many machines the quota allows per round, and whichever fail, all have their turn.
        #[test]
        fn no_machine_starves(
            machines in 1..40usize,
            per_round in 1..10usize,
            failing in proptest::collection::hash_set(0..40usize, 0..30),
        ) {
            let names: Vec<_> = (0..machines).map(|number| format!("m{number}")).collect();
            let mut fleet = fleet(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let mut queue = queue(&fleet, at(0));
            let mut fetched = HashSet::new();
            let rounds = machines.div_ceil(per_round);
            for round in 0..rounds {
                let now = at(i64::try_from(round).unwrap() * 61);
                queue.advance(now);
                for _ in 0..per_round {
                    let Some(id) = queue.take() else { break };
                    if failing.contains(&id.as_str()[1..].parse().unwrap()) {
                        fleet.apply_failure(&id, now);
                    } else {
                        fleet.apply_answer(&id, now, vec![], &FRESHNESS, &Facts::default());
                    }
                    queue.attempted(&id, &fleet.machines[&id], HOUR);
                    fetched.insert(id);
                }
            }
            prop_assert_eq!(fetched.len(), machines);
            prop_assert_eq!(queue.never_asked(), 0);
        }
    }
}

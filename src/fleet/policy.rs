//! Patch deadlines: which gaps are overdue, and how the machines of a tenant stand.
//!
//! A gap is overdue once more than the deadline has passed since its start. The start is when the
//! machine was first seen missing the update, or when the update was released. The release is a fact
//! of the update and not of the pair: it is that of [`UpdateSummary::released`], which is also what
//! is exported, whatever title the machine itself reports. Where it is not known, the start is first
//! seen.
//!
//! Only judged machines are compliant, due or overdue; a machine of which nothing can be said is
//! `unknown`, never compliant.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::summary::UpdateSummary;
use super::{MissingUpdate, TenantFleet};
use crate::model::{DeadlineStart, Freshness, KbId, Policy};

/// Counts the missing updates of a machine that are past the deadline of `policy` at `now`. At the exact
/// deadline an update is not overdue yet.
#[must_use]
pub fn count_overdue(
    policy: &Policy,
    missing_updates: &[MissingUpdate],
    updates: &BTreeMap<KbId, UpdateSummary>,
    now: Timestamp,
) -> u64 {
    // Nothing is overdue when the deadline reaches back beyond the calendar.
    let Ok(latest_start) = now.checked_sub(policy.deadline) else {
        return 0;
    };
    let released =
        |missing: &MissingUpdate| updates.get(&missing.update.kb).and_then(|update| update.released);
    let start = |missing: &MissingUpdate| match policy.from {
        DeadlineStart::FirstSeen => missing.first_seen,
        DeadlineStart::Released => released(missing).unwrap_or(missing.first_seen),
    };
    missing_updates.iter().filter(|missing| start(missing) < latest_start).count() as u64
}

/// The policy with the shortest deadline, the first of several; none when there is no policy.
#[must_use]
pub fn strictest(policies: &[Policy]) -> Option<&Policy> {
    policies.iter().min_by_key(|policy| policy.deadline)
}

/// How a machine stands under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// It is judged and misses nothing.
    Compliant,
    /// It has gaps, none of them overdue.
    Due,
    /// It has an overdue gap.
    Overdue,
    /// It is not judged: inactive, or no data that may be believed.
    Unknown,
}

impl PolicyState {
    /// Every state, in the order of exposition.
    pub const ALL: [Self; 4] = [Self::Compliant, Self::Due, Self::Overdue, Self::Unknown];

    /// Value of the label `state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Due => "due",
            Self::Overdue => "overdue",
            Self::Unknown => "unknown",
        }
    }
}

/// How the machines of a tenant stand under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySummary<'a> {
    /// The policy.
    pub policy: &'a Policy,
    by_state: [u64; PolicyState::ALL.len()],
}

impl<'a> PolicySummary<'a> {
    /// Judges the machines of `fleet` under each of `policies`, in their order. `updates` are those
    /// of the fleet's [`Summary`](super::summary::Summary) at the same `now`.
    #[must_use]
    pub fn of_each(
        policies: &'a [Policy],
        fleet: &TenantFleet,
        updates: &BTreeMap<KbId, UpdateSummary>,
        now: Timestamp,
        freshness: &Freshness,
    ) -> Vec<Self> {
        let mut summaries: Vec<_> =
            policies.iter().map(|policy| Self { policy, by_state: Default::default() }).collect();
        for machine in fleet.machines.values() {
            let missing_updates = machine.assessed_updates(now, freshness);
            for summary in &mut summaries {
                let state = match missing_updates {
                    None => PolicyState::Unknown,
                    Some([]) => PolicyState::Compliant,
                    Some(missing_updates)
                        if count_overdue(summary.policy, missing_updates, updates, now) > 0 =>
                    {
                        PolicyState::Overdue
                    }
                    Some(_) => PolicyState::Due,
                };
                summary.by_state[state as usize] += 1;
            }
        }
        summaries
    }

    /// Machines in `state`.
    #[must_use]
    pub fn machines(&self, state: PolicyState) -> u64 {
        self.by_state[state as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::fleet::summary::Summary;
    use crate::fleet::{Assessment, Machine, MachineFacts, ReportedUpdate, UpdateFacts};
    use crate::model::MachineId;

    const FRESHNESS: Freshness = Freshness::DEFAULT;

    /// 20 days after the release of that month's updates, at the same time of the day.
    const NOW: &str = "2024-07-01T17:00:00Z";
    const JUNE: &str = "June 2024 Security Updates";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn ago(age: Duration) -> Timestamp {
        now() - age
    }

    const fn days(days: u64) -> Duration {
        Duration::from_hours(24 * days)
    }

    fn policy(name: &str, deadline: Duration, from: DeadlineStart) -> Policy {
        Policy { name: name.into(), deadline, from }
    }

    fn missing(kb: u32, title: &str, age: Duration) -> MissingUpdate {
        let update = ReportedUpdate {
            kb: KbId::parse(&kb.to_string()).unwrap(),
            facts: Arc::new(UpdateFacts { title: title.to_owned(), products: Vec::new() }),
            cves: None,
            reported_machines: None,
            severity: None,
        };
        MissingUpdate { update, first_seen: ago(age) }
    }

    /// A fleet of the machines 0, 1 and so on, each read at its age with its gaps, if ever.
    fn fleet(readings: Vec<Option<(Duration, Vec<MissingUpdate>)>>) -> TenantFleet {
        let mut fleet = TenantFleet::new("t".into());
        for (number, assessment) in readings.into_iter().enumerate() {
            let id = MachineId::parse(&number.to_string()).unwrap();
            let facts = MachineFacts::unlisted(id.clone());
            let assessment =
                assessment.map(|(age, missing_updates)| Assessment::of_now(ago(age), missing_updates));
            fleet.machines.insert(id, Arc::new(Machine { facts, assessment, attempt: None }));
        }
        fleet
    }

    fn states(fleet: &TenantFleet, policies: &[Policy]) -> Vec<[u64; 4]> {
        let updates = Summary::of(fleet, now(), &FRESHNESS).updates;
        let summaries = PolicySummary::of_each(policies, fleet, &updates, now(), &FRESHNESS);
        assert!(summaries.iter().map(|summary| summary.policy).eq(policies));
        let states = |summary: &PolicySummary<'_>| PolicyState::ALL.map(|state| summary.machines(state));
        summaries.iter().map(states).collect()
    }

    #[test]
    fn missing_update_is_overdue_after_its_deadline_and_not_at_it() {
        let policy = policy("p", days(14), DeadlineStart::FirstSeen);
        let overdue = |age| count_overdue(&policy, &[missing(1, JUNE, age)], &BTreeMap::new(), now());
        assert_eq!(overdue(days(14)), 0);
        assert_eq!(overdue(days(14) + Duration::from_nanos(1)), 1);
        assert_eq!(overdue(Duration::ZERO), 0);
    }

    #[test]
    fn release_starts_the_deadline_for_every_machine_alike() {
        // The machine was enrolled yesterday: the update had been out for 19 days.
        let fleet = fleet(vec![
            Some((days(0), vec![missing(1, JUNE, days(1))])),
            Some((days(0), vec![missing(1, "", days(1)), missing(2, "", days(1))])),
            Some((days(0), vec![missing(2, "", days(1))])),
        ]);
        let from = |start, deadline| states(&fleet, &[policy("p", deadline, start)])[0];
        assert_eq!(from(DeadlineStart::FirstSeen, days(14)), [0, 3, 0, 0]);
        assert_eq!(
            from(DeadlineStart::Released, days(14)),
            [0, 1, 2, 0],
            "the second machine does not report the title, yet misses the same update"
        );
        assert_eq!(from(DeadlineStart::Released, days(20)), [0, 3, 0, 0], "released 20 days ago");
    }

    #[test]
    fn unknown_release_falls_back_to_first_seen() {
        let policy = policy("p", days(14), DeadlineStart::Released);
        let fleet = fleet(vec![
            Some((days(0), vec![missing(1, "KB of no batch", days(15))])),
            Some((days(0), vec![missing(1, "KB of no batch", days(13))])),
        ]);
        assert_eq!(states(&fleet, &[policy]), [[0, 1, 1, 0]]);
    }

    #[test]
    fn machine_stands_by_its_worst_missing_update_and_only_when_judged() {
        let old_and_new = || vec![missing(1, "", days(15)), missing(2, "", days(1))];
        let mut fleet = fleet(vec![
            Some((days(0), vec![])),
            Some((Duration::from_hours(14), vec![])),
            Some((days(0), vec![missing(2, "", days(1))])),
            Some((days(0), old_and_new())),
            Some((Duration::from_hours(14), old_and_new())),
            Some((days(3), old_and_new())),
            Some((days(0), vec![])),
            None,
        ]);
        let inactive = fleet.machines.get_mut(&MachineId::parse("6").unwrap()).unwrap();
        Arc::make_mut(inactive).facts.last_seen = Some(ago(days(31)));
        let policies = [
            policy("14d", days(14), DeadlineStart::FirstSeen),
            policy("1h", Duration::from_hours(1), DeadlineStart::FirstSeen),
        ];
        assert_eq!(states(&fleet, &policies), [[2, 1, 2, 3], [2, 0, 3, 3]]);
    }

    #[test]
    fn without_a_policy_nothing_is_counted() {
        assert_eq!(states(&fleet(vec![None]), &[]), Vec::<[u64; 4]>::new());
        assert_eq!(strictest(&[]), None);
    }

    #[test]
    fn strictest_is_the_first_of_the_shortest_deadlines() {
        let policies = [
            policy("long", days(30), DeadlineStart::FirstSeen),
            policy("first", days(7), DeadlineStart::Released),
            policy("second", days(7), DeadlineStart::FirstSeen),
        ];
        assert_eq!(strictest(&policies), Some(&policies[1]));
    }

    #[test]
    fn deadline_beyond_the_calendar_is_never_missed() {
        let forever = policy("p", Duration::MAX, DeadlineStart::FirstSeen);
        assert_eq!(count_overdue(&forever, &[missing(1, "", days(9999))], &BTreeMap::new(), now()), 0);
    }
}

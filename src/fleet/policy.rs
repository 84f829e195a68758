//! Patch deadlines: counts overdue updates, and machines by their state under a policy.
//!
//! A missing update is overdue once more time than the deadline has passed since its start. The start is the
//! first-seen time, or the release of the update. The release is a fact of the update and not of one machine:
//! it is [`UpdateSummary::released`], which is also exported, whatever title the machine itself reports.
//! Where it is unknown, the first-seen time is the start.
//!
//! Only assessed machines are compliant, due or overdue. Any other machine is `unknown` or `unsupported`, never
//! compliant.

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
    // A deadline that reaches back beyond the calendar is never exceeded.
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

/// The state of a machine under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// Assessed, without missing updates.
    Compliant,
    /// Assessed, with missing updates, none of them overdue.
    Due,
    /// Assessed, with an overdue update.
    Overdue,
    /// Not assessed: inactive, or without data that is still served.
    Unknown,
    /// Not assessed: not a Windows machine, or not onboarded.
    Unsupported,
}

impl PolicyState {
    /// Every state, in the order of the exposition.
    pub const ALL: [Self; 5] = [Self::Compliant, Self::Due, Self::Overdue, Self::Unknown, Self::Unsupported];

    /// The value of the label `state`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Due => "due",
            Self::Overdue => "overdue",
            Self::Unknown => "unknown",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Counts of the machines of a tenant under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySummary<'a> {
    /// The policy.
    pub policy: &'a Policy,
    by_state: [u64; PolicyState::ALL.len()],
}

impl<'a> PolicySummary<'a> {
    /// Counts the machines of `fleet` under each of `policies`, in their order. `updates` must come from the
    /// [`Summary`](super::summary::Summary) of the fleet at the same `now`.
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
                    None if !machine.facts.is_supported() => PolicyState::Unsupported,
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

    /// The number of machines in `state`.
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
    use crate::facts::Facts;
    use crate::fleet::summary::Summary;
    use crate::fleet::{Assessment, Machine, MachineFacts, ReportedUpdate, UpdateFacts};
    use crate::model::MachineId;

    const FRESHNESS: Freshness = Freshness::DEFAULT;

    /// 20 days after the release of the updates of June, at the same time of day.
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
            kb: KbId::new(kb).unwrap(),
            facts: Arc::new(UpdateFacts { title: title.to_owned(), products: Vec::new() }),
            cves: None,
            reported_machines: None,
            severity: None,
            cvss: None,
        };
        MissingUpdate { update, first_seen: ago(age), chain: None }
    }

    /// A fleet of the machines 0, 1 and so on, each with the age of its assessment and its missing updates.
    fn fleet(assessments: Vec<Option<(Duration, Vec<MissingUpdate>)>>) -> TenantFleet {
        let mut fleet = TenantFleet::new("t".into());
        for (number, assessment) in assessments.into_iter().enumerate() {
            let id = MachineId::parse(&number.to_string()).unwrap();
            let facts = MachineFacts::unlisted(id.clone());
            let assessment =
                assessment.map(|(age, missing_updates)| Assessment::of_now(ago(age), missing_updates));
            fleet.machines.insert(id, Arc::new(Machine { facts, assessment, attempt: None }));
        }
        fleet
    }

    fn states(fleet: &TenantFleet, policies: &[Policy]) -> Vec<[u64; 5]> {
        let updates = Summary::of(fleet, now(), &FRESHNESS, &Facts::default()).updates;
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
    fn release_starts_the_same_deadline_for_every_machine() {
        // The machine was enrolled yesterday: the update had been out for 19 days.
        let fleet = fleet(vec![
            Some((days(0), vec![missing(1, JUNE, days(1))])),
            Some((days(0), vec![missing(1, "", days(1)), missing(2, "", days(1))])),
            Some((days(0), vec![missing(2, "", days(1))])),
        ]);
        let from = |start, deadline| states(&fleet, &[policy("p", deadline, start)])[0];
        assert_eq!(from(DeadlineStart::FirstSeen, days(14)), [0, 3, 0, 0, 0]);
        assert_eq!(
            from(DeadlineStart::Released, days(14)),
            [0, 1, 2, 0, 0],
            "the second machine misses the same update, though it does not report the title"
        );
        assert_eq!(from(DeadlineStart::Released, days(20)), [0, 3, 0, 0, 0], "released 20 days ago");
    }

    #[test]
    fn unknown_release_falls_back_to_first_seen() {
        let policy = policy("p", days(14), DeadlineStart::Released);
        let fleet = fleet(vec![
            Some((days(0), vec![missing(1, "KB of no batch", days(15))])),
            Some((days(0), vec![missing(1, "KB of no batch", days(13))])),
        ]);
        assert_eq!(states(&fleet, &[policy]), [[0, 1, 1, 0, 0]]);
    }

    #[test]
    fn machine_state_follows_its_worst_missing_update() {
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
            Some((days(0), old_and_new())),
            Some((days(0), vec![])),
        ]);
        let inactive = fleet.machines.get_mut(&MachineId::parse("6").unwrap()).unwrap();
        Arc::make_mut(inactive).facts.last_seen = Some(ago(days(31)));
        for (number, last_seen) in [("8", 0), ("9", 31)] {
            let phone = fleet.machines.get_mut(&MachineId::parse(number).unwrap()).unwrap();
            let facts = &mut Arc::make_mut(phone).facts;
            (facts.os_platform, facts.last_seen) = ("iOS".to_owned(), Some(ago(days(last_seen))));
        }
        let policies = [
            policy("14d", days(14), DeadlineStart::FirstSeen),
            policy("1h", Duration::from_hours(1), DeadlineStart::FirstSeen),
        ];
        assert_eq!(states(&fleet, &policies), [[2, 1, 2, 3, 2], [2, 0, 3, 3, 2]]);
    }

    #[test]
    fn without_a_policy_nothing_is_counted() {
        assert_eq!(states(&fleet(vec![None]), &[]), Vec::<[u64; 5]>::new());
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
    fn deadline_beyond_the_calendar_is_never_exceeded() {
        let forever = policy("p", Duration::MAX, DeadlineStart::FirstSeen);
        assert_eq!(count_overdue(&forever, &[missing(1, "", days(9999))], &BTreeMap::new(), now()), 0);
    }
}

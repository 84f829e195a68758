//! The machines of all tenants in the order in which they need care, for people to look at.
//!
//! Most missing updates first; of equal ones the one with the oldest gap, then by name. Machines of which
//! nothing can be said stand behind those that are known to miss something and before those that are
//! known to miss nothing: what is unknown never looks as good as what is patched.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use super::policy;
use super::summary::Summary;
use super::{Machine, MachineState, TenantFleet};
use crate::model::{Freshness, Policy};

/// How tenants and machines stand at one time.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// One for each fleet, in their order.
    pub tenants: Vec<TenantOverview>,
    /// Every machine in scope, the one that needs care most first.
    pub machines: Vec<MachineSummary>,
}

/// How the machines of a tenant stand together.
#[derive(Clone, Debug)]
pub struct TenantOverview {
    /// Counts over its machines.
    pub summary: Summary,
    /// The time of which the oldest data speaks that is still served; none without such data.
    pub oldest_data: Option<Timestamp>,
}

/// How one machine stands.
#[derive(Clone, Debug)]
pub struct MachineSummary {
    /// Place of its tenant among the fleets.
    pub tenant: usize,
    /// What is known of it.
    pub machine: Arc<Machine>,
    /// Its name in lower case, to be searched in.
    pub lower_name: Box<str>,
    /// How far what is known may be believed.
    pub state: MachineState,
    /// What it misses; none when that is not known, which is not the same as nothing.
    pub backlog: Option<MissingCounts>,
}

/// What a judged machine misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingCounts {
    /// Missing updates.
    pub missing: usize,
    /// Those past the shortest deadline; none when there is no policy.
    pub overdue: Option<u64>,
    /// When the oldest gap was first seen; none when there is no gap.
    pub oldest: Option<Timestamp>,
}

impl Overview {
    /// Looks over `fleets` as they stand at `now`.
    #[must_use]
    pub fn of(
        fleets: &[Arc<TenantFleet>],
        now: Timestamp,
        freshness: &Freshness,
        policies: &[Policy],
    ) -> Self {
        let strictest = policy::strictest(policies);
        let mut overview = Self::default();
        for (tenant, fleet) in fleets.iter().enumerate() {
            let summary = Summary::of(fleet, now, freshness);
            let mut oldest_data: Option<Timestamp> = None;
            for machine in fleet.machines.values() {
                let backlog = machine.assessed_updates(now, freshness).map(|missing_updates| MissingCounts {
                    missing: missing_updates.len(),
                    overdue: strictest
                        .map(|policy| policy::count_overdue(policy, missing_updates, &summary.updates, now)),
                    oldest: missing_updates.iter().map(|missing| missing.first_seen).min(),
                });
                let judged = machine.assessment.as_ref().filter(|_| backlog.is_some());
                oldest_data = judged.map(|assessment| assessment.as_of).into_iter().chain(oldest_data).min();
                overview.machines.push(MachineSummary {
                    tenant,
                    machine: Arc::clone(machine),
                    lower_name: machine.facts.name.to_lowercase().into(),
                    state: machine.state(now, freshness),
                    backlog,
                });
            }
            overview.tenants.push(TenantOverview { summary, oldest_data });
        }
        // Stable: of machines alike the first tenant's come first, by their ids.
        overview.machines.sort_by(|a, b| a.need().cmp(&b.need()));
        overview
    }
}

impl MachineSummary {
    /// The least needs care most.
    fn need(&self) -> (u8, Reverse<usize>, Option<Timestamp>, &str) {
        let (group, missing, oldest) = match self.backlog {
            Some(MissingCounts { missing: 0, .. }) => (2, 0, None),
            Some(MissingCounts { missing, oldest, .. }) => (0, missing, oldest),
            None => (1, 0, None),
        };
        (group, Reverse(missing), oldest, &self.lower_name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::{Assessment, MachineFacts, MissingUpdate, ReportedUpdate};
    use crate::model::{DeadlineStart, KbId, MachineId};

    const FRESHNESS: Freshness = Freshness::DEFAULT;

    fn now() -> Timestamp {
        "2026-03-10T12:00:00Z".parse().unwrap()
    }

    fn hours_ago(hours: u64) -> Timestamp {
        now() - Duration::from_hours(hours)
    }

    /// A machine that was read so many hours ago, with gaps so many hours old.
    fn machine(name: &str, assessment: Option<(u64, &[u64])>) -> Machine {
        let missing = |(number, hours): (usize, &u64)| MissingUpdate {
            update: ReportedUpdate {
                kb: KbId::new(u32::try_from(number).unwrap()).unwrap(),
                facts: Arc::default(),
                cves: None,
                reported_machines: None,
                severity: None,
            },
            first_seen: hours_ago(*hours),
        };
        let assessment = assessment.map(|(hours, missing_updates)| {
            Assessment::of_now(hours_ago(hours), missing_updates.iter().enumerate().map(missing).collect())
        });
        let facts =
            MachineFacts { name: name.to_owned(), ..MachineFacts::unlisted(MachineId::parse("x").unwrap()) };
        Machine { facts, assessment, attempt: None }
    }

    /// A fleet whose ids are in the order of `machines`.
    fn fleet(tenant: &str, machines: Vec<Machine>) -> Arc<TenantFleet> {
        let mut fleet = TenantFleet::new(tenant.into());
        for (number, mut machine) in machines.into_iter().enumerate() {
            machine.facts.id = MachineId::parse(&format!("{number:04}")).unwrap();
            fleet.machines.insert(machine.facts.id.clone(), Arc::new(machine));
        }
        Arc::new(fleet)
    }

    fn names(overview: &Overview) -> Vec<&str> {
        overview.machines.iter().map(|standing| standing.machine.facts.name.as_str()).collect()
    }

    #[test]
    fn machines_are_ordered_by_their_need_and_unknown_ones_before_patched_ones() {
        let mut inactive = machine("inactive", Some((1, &[500, 500, 500, 500])));
        inactive.facts.last_seen = Some(hours_ago(721));
        let one = fleet(
            "one",
            vec![
                machine("patched", Some((1, &[]))),
                machine("also patched", Some((14, &[]))),
                machine("unread", None),
                machine("expired", Some((49, &[500, 500, 500]))),
                inactive,
                machine("one new", Some((1, &[1]))),
                machine("one old", Some((1, &[2]))),
                machine("Two b", Some((1, &[9, 10]))),
            ],
        );
        let two =
            fleet("two", vec![machine("two a", Some((20, &[10, 3]))), machine("PATCHED", Some((1, &[])))]);
        let overview = Overview::of(&[one, two], now(), &FRESHNESS, &[]);
        assert_eq!(
            names(&overview),
            [
                "two a",
                "Two b",
                "one old",
                "one new",
                "expired",
                "inactive",
                "unread",
                "also patched",
                "patched",
                "PATCHED"
            ]
        );
        let known = |standing: &MachineSummary| standing.backlog.is_some() == standing.state.is_assessed();
        assert!(overview.machines.iter().all(known));
        let first = &overview.machines[0];
        assert_eq!((first.tenant, first.state), (1, MachineState::Stale));
        let oldest = Some(hours_ago(10));
        assert_eq!(first.backlog, Some(MissingCounts { missing: 2, overdue: None, oldest }));
    }

    #[test]
    fn overdue_is_judged_by_the_strictest_policy() {
        let policy = |hours| Policy {
            name: "p".into(),
            deadline: Duration::from_hours(hours),
            from: DeadlineStart::FirstSeen,
        };
        let fleet = fleet("t", vec![machine("a", Some((1, &[5, 15, 25])))]);
        let overview = Overview::of(&[fleet], now(), &FRESHNESS, &[policy(20), policy(10)]);
        assert_eq!(overview.machines[0].backlog.unwrap().overdue, Some(2));
    }

    #[test]
    fn oldest_data_is_that_of_machines_that_are_served() {
        let served = fleet(
            "a",
            vec![machine("", Some((3, &[]))), machine("", Some((20, &[]))), machine("", Some((49, &[])))],
        );
        let unknown = fleet("b", vec![machine("", None), machine("", Some((49, &[])))]);
        let overview = Overview::of(&[served, unknown], now(), &FRESHNESS, &[]);
        let oldest: Vec<_> = overview.tenants.iter().map(|tenant| tenant.oldest_data).collect();
        assert_eq!(oldest, [Some(hours_ago(20)), None]);
        assert_eq!(overview.tenants[0].summary.machines(MachineState::Unknown), 1);
    }
}

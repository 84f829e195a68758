//! The machines of all tenants by priority, for the status page.
//!
//! Machines with the most missing updates come first, then those with the oldest one, then by name. Machines
//! past end of servicing come after those with missing updates, then those that are not assessed, then those without
//! missing updates: an unknown machine never looks as good as a patched one. Unsupported machines come last.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use super::policy::{CompiledPolicies, PolicyCounts, PolicyStates};
use super::servicing::{CompiledServicing, MachineServicing};
use super::summary::Summary;
use super::{Machine, MachineState, MissingUpdate, TenantFleet};
use crate::facts::Facts;
use crate::model::{Exception, Freshness, Policy, ServicingSettings};

/// The tenants and machines at one time.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// One for each fleet, in their order.
    pub tenants: Vec<TenantOverview>,
    /// Every machine in scope, by priority.
    pub machines: Vec<MachineSummary>,
}

/// The machines of a tenant together.
#[derive(Clone, Debug)]
pub struct TenantOverview {
    /// The counts over its machines.
    pub summary: Summary,
    /// The time that the oldest data in service describes; none without such data.
    pub oldest_data: Option<Timestamp>,
    /// Its machines by state under each policy, in the order of the policies.
    pub policies: Vec<PolicyStates>,
    /// As in [`PolicyCounts`].
    pub exception_updates: Vec<Option<u64>>,
    /// As in [`PolicyCounts`].
    pub exception_servicing: Vec<Option<u64>>,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct MachineSummary {
    /// The index of its tenant among the fleets.
    pub tenant: usize,
    /// The machine.
    pub machine: Arc<Machine>,
    /// Its name in lower case, for searches.
    pub lower_name: Box<str>,
    /// Its state.
    pub state: MachineState,
    /// Its missing updates; none while it is not assessed.
    pub missing: Option<MissingCounts>,
    /// The servicing of its version of Windows.
    pub servicing: MachineServicing,
}

/// Counts of the missing updates of an assessed machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingCounts {
    /// All missing updates.
    pub total: usize,
    /// The missing updates that are overdue under at least one policy; none when no policy can judge them.
    pub overdue: Option<u64>,
    /// The earliest first-seen time; none without a missing update.
    pub oldest: Option<Timestamp>,
}

impl Overview {
    /// The overview of `fleets` at `now`.
    #[must_use]
    pub fn of(
        fleets: &[Arc<TenantFleet>],
        now: Timestamp,
        freshness: &Freshness,
        (policies, exceptions, servicing): (&[Policy], &[Exception], &ServicingSettings),
        facts: &Facts,
    ) -> Self {
        let compiled = CompiledPolicies::new(policies, exceptions, now);
        let compiled_servicing = CompiledServicing::new(servicing, facts.servicing(), now);
        let mut overview = Self::default();
        for (tenant, fleet) in fleets.iter().enumerate() {
            let mut summary = Summary::by_owner(fleet, &compiled_servicing, &[], freshness, facts);
            let counts = PolicyCounts::of(&compiled, fleet, &summary, facts, freshness);
            let servicing = std::mem::take(&mut summary.servicing);
            let mut oldest_data: Option<Timestamp> = None;
            let machines = fleet.machines.values().zip(counts.overdue_updates).zip(servicing);
            for ((machine, overdue), servicing) in machines {
                let missing = machine.assessed_updates(now, freshness).map(|missing_updates| MissingCounts {
                    total: missing_updates.len(),
                    overdue,
                    oldest: missing_updates.iter().map(MissingUpdate::oldest_first_seen).min(),
                });
                let assessed = machine.assessment.as_ref().filter(|_| missing.is_some());
                oldest_data =
                    assessed.map(|assessment| assessment.as_of).into_iter().chain(oldest_data).min();
                overview.machines.push(MachineSummary {
                    tenant,
                    machine: Arc::clone(machine),
                    lower_name: machine.facts.name.to_lowercase().into(),
                    state: machine.state(now, freshness),
                    missing,
                    servicing,
                });
            }
            let policies = counts.summaries.iter().map(|summary| summary.states).collect();
            let PolicyCounts { exception_updates, exception_servicing, .. } = counts;
            overview.tenants.push(TenantOverview {
                summary,
                oldest_data,
                policies,
                exception_updates,
                exception_servicing,
            });
        }
        // Stable: machines of equal priority stay in the order of tenants and ids.
        overview.machines.sort_by(|a, b| a.priority().cmp(&b.priority()));
        overview
    }
}

impl MachineSummary {
    /// The sort key; the machine with the least one comes first.
    fn priority(&self) -> (u8, Reverse<usize>, Option<Timestamp>, &str) {
        let (group, total, oldest) = match self.missing {
            Some(MissingCounts { total: 0, .. }) | None if self.servicing.decides(self.state) => (0, 0, None),
            Some(MissingCounts { total: 0, .. }) => (2, 0, None),
            Some(MissingCounts { total, oldest, .. }) => (0, total, oldest),
            None if self.state == MachineState::Unsupported => (3, 0, None),
            None => (1, 0, None),
        };
        (group, Reverse(total), oldest, &self.lower_name)
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

    /// A machine whose assessment and missing updates are that many hours old.
    fn machine(name: &str, assessment: Option<(u64, &[u64])>) -> Machine {
        let missing = |(number, hours): (usize, &u64)| MissingUpdate {
            update: ReportedUpdate {
                kb: KbId::new(u32::try_from(number).unwrap()).unwrap(),
                facts: Arc::default(),
                cves: None,
                reported_machines: None,
                severity: None,
                cvss: None,
            },
            first_seen: hours_ago(*hours),
            chain: None,
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
        overview.machines.iter().map(|summary| summary.machine.facts.name.as_str()).collect()
    }

    #[test]
    fn machines_are_sorted_by_priority_with_unknown_before_patched() {
        let mut inactive = machine("inactive", Some((1, &[500, 500, 500, 500])));
        inactive.facts.last_seen = Some(hours_ago(721));
        let mut phone = machine("a phone", Some((1, &[500])));
        phone.facts.os_platform = "Android".to_owned();
        let one = fleet(
            "one",
            vec![
                phone,
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
        let overview = Overview::of(
            &[one, two],
            now(),
            &FRESHNESS,
            (&[], &[], &ServicingSettings::default()),
            &Facts::default(),
        );
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
                "PATCHED",
                "a phone"
            ]
        );
        let is_consistent =
            |summary: &MachineSummary| summary.missing.is_some() == summary.state.is_assessed();
        assert!(overview.machines.iter().all(is_consistent));
        let first = &overview.machines[0];
        assert_eq!((first.tenant, first.state), (1, MachineState::Stale));
        let oldest = Some(hours_ago(10));
        assert_eq!(first.missing, Some(MissingCounts { total: 2, overdue: None, oldest }));
    }

    #[test]
    fn update_is_overdue_if_it_is_under_any_policy() {
        let policy = |hours| Policy::single("p", Duration::from_hours(hours), DeadlineStart::FirstSeen);
        let fleet = fleet("t", vec![machine("a", Some((1, &[5, 15, 25])))]);
        let overview = Overview::of(
            &[fleet],
            now(),
            &FRESHNESS,
            (&[policy(20), policy(10)], &[], &ServicingSettings::default()),
            &Facts::default(),
        );
        assert_eq!(overview.machines[0].missing.unwrap().overdue, Some(2));
    }

    #[test]
    fn oldest_data_is_that_of_assessed_machines() {
        let served = fleet(
            "a",
            vec![machine("", Some((3, &[]))), machine("", Some((20, &[]))), machine("", Some((49, &[])))],
        );
        let unknown = fleet("b", vec![machine("", None), machine("", Some((49, &[])))]);
        let overview = Overview::of(
            &[served, unknown],
            now(),
            &FRESHNESS,
            (&[], &[], &ServicingSettings::default()),
            &Facts::default(),
        );
        let oldest: Vec<_> = overview.tenants.iter().map(|tenant| tenant.oldest_data).collect();
        assert_eq!(oldest, [Some(hours_ago(20)), None]);
        assert_eq!(overview.tenants[0].summary.machines(MachineState::Unknown), 1);
    }
}

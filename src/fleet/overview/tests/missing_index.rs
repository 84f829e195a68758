//! The index of missing updates says the same as the machines.

use proptest::prelude::*;

use super::*;
use crate::fleet::policy::UpdateState;
use crate::fleet::{Chain, Link};
use crate::model::{MachineCondition, TextPattern};

/// The number of KBs.
const KBS: u32 = 6;

/// A machine by its name, the age of its data in hours, and its missing updates: the age of each, and whether it stands
/// for an older one.
fn random_machine() -> impl Strategy<Value = Machine> {
    let missing = proptest::collection::btree_map(0..KBS, (0..40_u64, any::<bool>()), 0..5);
    let name = proptest::sample::select(&["a", "lab", "Lab"]);
    (name, proptest::sample::select(&[1_u64, 20, 60]), missing).prop_map(|(name, age, missing)| {
        let hours: Vec<_> = missing.values().map(|(hours, _)| *hours).collect();
        let mut machine = machine(name, Some((age, &hours[..])));
        let updates = &mut machine.assessment.as_mut().unwrap().missing_updates;
        for (update, (number, (hours, has_link))) in updates.iter_mut().zip(missing) {
            update.update.kb = kb(number);
            let link = Link { kb: kb(KBS), first_seen: hours_ago(hours + 10) };
            update.chain = Chain::of(has_link.then_some(link).into_iter().collect());
        }
        machine
    })
}

/// The entries of `kb` as the machines themselves say.
fn plain(
    overview: &Overview,
    policies: &mut TenantPolicies<'_>,
    (tenant, policy, kb): (usize, usize, KbId),
) -> Vec<MissingEntry> {
    let entry = |machine: usize| {
        let summary = &overview.machines[machine];
        let missing = &summary.updates()?[summary.place_of(kb)?];
        let verdict = policies.verdicts(policy, &summary.machine, slice::from_ref(missing))[0];
        Some(MissingEntry {
            machine,
            first_seen: missing.first_seen.as_microsecond(),
            oldest_first_seen: missing.oldest_first_seen().as_microsecond(),
            state: verdict.state,
        })
    };
    overview.tenants[tenant].machines.clone().filter_map(entry).collect()
}

proptest! {
    #[test]
    fn index_says_what_the_machines_say(
        machines in proptest::collection::vec(proptest::collection::vec(random_machine(), 0..6), 1..3),
    ) {
        let lab = Exception {
            name: "lab".into(),
            reason: String::new(),
            until: jiff::civil::date(2026, 12, 31),
            tenants: Vec::new(),
            conditions: vec![MachineCondition::Names(vec![TextPattern::new("lab")]).into()],
            not: Vec::new(),
        };
        let exceptions = [lab];
        let policy = |hours| Policy::single("p", Duration::from_hours(hours), DeadlineStart::FirstSeen);
        let policies = [policy(20), policy(10)];
        let fleets: Vec<_> = machines.into_iter().map(|machines| fleet("t", machines)).collect();
        let facts = Facts::default();
        let terms = OverviewTerms {
            now: now(),
            freshness: &FRESHNESS,
            policies: &policies,
            exceptions: &exceptions,
            servicing: &ServicingSettings::default(),
            labels: &[],
            facts: &facts,
        };
        let overview = Overview::of(&fleets, terms);
        let compiled = CompiledPolicies::new(&policies, &exceptions, now());
        for (tenant, of_tenant) in overview.tenants.iter().enumerate() {
            let mut rules = TenantPolicies::new(&compiled, &fleets[tenant], &of_tenant.summary.updates, &facts);
            for (policy, number) in (0..2).flat_map(|policy| (0..=KBS).map(move |number| (policy, number))) {
                let expected = plain(&overview, &mut rules, (tenant, policy, kb(number)));
                let overdue = expected.iter().filter(|entry| entry.state == UpdateState::Overdue).count();
                let index = &of_tenant.missing;
                prop_assert_eq!(index.overdue_machines(kb(number), policy), overdue as u64);
                let machines: Vec<_> = expected.iter().map(|entry| entry.machine).collect();
                prop_assert_eq!(index.machines(kb(number)).collect::<Vec<_>>(), machines);
                prop_assert_eq!(index.entries(kb(number), policy).collect::<Vec<_>>(), expected);
            }
        }
    }
}

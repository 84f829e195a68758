//! Patch deadlines, compared with counts of the exposed first-seen and release times.

use std::collections::BTreeMap;
use std::sync::Arc;

use mde_exporter::fleet::TenantFleet;
use mde_exporter::model::{DeadlineStart, Policy};
use proptest::prelude::*;

use crate::support::exposition::{Sample, parse};
use crate::support::fleets::{
    FIRST_SEEN, any_fleets, now, parsed, policy, special_case_fleets, special_case_policies, text_under,
};

#[test]
fn deadlines_are_exposed_once_and_before_any_data() {
    let unread = ["a", "b"].map(|tenant| Arc::new(TenantFleet::new(tenant.into())));
    let parsed = parsed(&unread);
    let shown = parsed.samples("mde_policy_deadline_seconds").map(|sample| (&sample.labels, sample.value));
    let expected = special_case_policies().map(|policy| {
        let labels = BTreeMap::from([("policy".to_owned(), policy.name.to_string())]);
        (labels, policy.deadline.as_secs_f64())
    });
    assert!(shown.eq(expected.iter().map(|(labels, value)| (labels, *value))));
    assert_eq!(parsed.count("mde_policy_machines"), 20.0, "2 tenants, 2 policies, all states");
}

#[test]
fn no_policies_give_no_policy_metrics() {
    let text = text_under(&special_case_fleets(), &[]);
    assert!(!text.contains("mde_policy_") && !text.contains("overdue"), "{text}");
}

/// Deadlines among the ages of missing updates, and around the age of the release.
fn any_policies() -> impl Strategy<Value = Vec<Policy>> {
    let from = prop::sample::select(vec![DeadlineStart::FirstSeen, DeadlineStart::Released]);
    let deadline = prop_oneof![1_u64..60, 205_u64..215];
    let numbered = |(number, (hours, from))| policy(&format!("{number}"), hours, from);
    prop::collection::vec((deadline, from), 0..4)
        .prop_map(move |policies| policies.into_iter().enumerate().map(numbered).collect())
}

proptest! {
    #[test]
    fn every_machine_has_one_state_under_every_policy(
        fleets in any_fleets(),
        policies in any_policies(),
    ) {
        let parsed = parse(&text_under(&fleets, &policies)).expect("the format");
        for fleet in &fleets {
            for policy in &policies {
                let states = ["compliant", "due", "overdue", "unknown", "unsupported"].map(|state| {
                    let labels = [("tenant", &*fleet.tenant), ("policy", &*policy.name), ("state", state)];
                    parsed.value("mde_policy_machines", &labels).expect("always exported")
                });
                prop_assert_eq!(states.iter().sum::<f64>(), fleet.machines.len() as f64);
            }
        }
    }

    /// Compares the policy metrics with counts of the exposed first-seen and release times.
    #[test]
    fn overdue_updates_are_past_the_shortest_deadline(
        fleets in any_fleets(),
        policies in any_policies(),
    ) {
        let parsed = parse(&text_under(&fleets, &policies)).expect("the format");
        let release = |tenant, kb| {
            parsed.value("mde_update_released_timestamp_seconds", &[("tenant", tenant), ("kb", kb)])
        };
        let key = |sample: &Sample| ["tenant", "machine_id"].map(|label| sample.label(label).to_owned());
        for policy in &policies {
            let mut overdue: BTreeMap<_, u64> =
                parsed.samples("mde_machine_missing_updates").map(|sample| (key(sample), 0)).collect();
            for missing in parsed.samples(FIRST_SEEN) {
                let released = release(missing.label("tenant"), missing.label("kb"));
                let start = match policy.from {
                    DeadlineStart::FirstSeen => missing.value,
                    DeadlineStart::Released => released.unwrap_or(missing.value),
                };
                let late = start + policy.deadline.as_secs_f64() < now().as_second() as f64;
                *overdue.get_mut(&key(missing)).unwrap() += u64::from(late);
            }
            for fleet in &fleets {
                let of_tenant = overdue.iter().filter(|([tenant, _], _)| **tenant == *fleet.tenant);
                let machines = of_tenant.filter(|(_, overdue)| **overdue > 0).count();
                let labels = [("tenant", &*fleet.tenant), ("policy", &*policy.name), ("state", "overdue")];
                prop_assert_eq!(parsed.value("mde_policy_machines", &labels), Some(machines as f64));
            }
            let strictest = policies.iter().min_by_key(|policy| policy.deadline).unwrap();
            if std::ptr::eq(policy, strictest) {
                let shown = parsed.samples("mde_machine_overdue_updates");
                let shown: BTreeMap<_, f64> = shown.map(|sample| (key(sample), sample.value)).collect();
                let expected = overdue.into_iter().map(|(key, count)| (key, count as f64)).collect();
                prop_assert_eq!(shown, expected);
            }
        }
    }
}

//! The rows of any query are those of a plain look at each machine.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::slice;

use proptest::prelude::*;

use super::super::ORDERS;
use super::super::missing::{MissingMachines, selecting};
use crate::fleet::burn_down::day_of;
use crate::fleet::overview::Overview;
use crate::fleet::policy::{CompiledPolicies, PolicyState, TenantPolicies, UpdateState, UpdateVerdict};
use crate::model::{Exception, KbId, MachineCondition, TextPattern};
use crate::web::WebState;
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::tests::{Fleet, kb, options, random_fleets, random_query, served};
use crate::web::pages::query::{PageQuery, WrittenKb};
use crate::web::pages::selection::Selection;

/// The fleets under two policies, with an exception for some machines.
fn state(fleets: Vec<Fleet>) -> WebState {
    let mut options = options();
    let servers = MachineCondition::Names(vec![TextPattern::new("Servers")]);
    let exception = Exception { conditions: vec![servers.into()], ..options.exceptions[0].clone() };
    options.exceptions = [exception].into();
    served(fleets, &options)
}

/// The places of the machines that miss `kb` and match the query in any state, each with its verdict.
fn plain(context: &PageContext, kb: KbId) -> Vec<(usize, UpdateVerdict)> {
    let PageContext { snapshot, query, .. } = context;
    let overview = snapshot.overview();
    let compiled = CompiledPolicies::new(&snapshot.policies, &snapshot.exceptions, snapshot.at);
    let wide = PageQuery {
        kb: Some(WrittenKb { text: kb.to_string(), kb: Some(kb) }),
        policy_state: None,
        ..query.clone()
    };
    let verdict = |place: usize| {
        let summary = &overview.machines[place];
        let missing = &summary.updates()?[summary.place_of(kb)?];
        let updates = &overview.tenants[summary.tenant].summary.updates;
        let fleet = &snapshot.fleets[summary.tenant];
        let mut rules = TenantPolicies::new(&compiled, fleet, updates, &snapshot.facts);
        Some((place, rules.verdicts(query.policy, &summary.machine, slice::from_ref(missing))[0]))
    };
    Selection::new(snapshot, &wide).machines().into_iter().filter_map(verdict).collect()
}

fn sort(overview: &Overview, kb: KbId, rows: &mut [(usize, UpdateVerdict)], order: &str) {
    let rank = |place: usize| overview.machines[place].name_rank;
    let oldest = |place: usize| {
        let summary = &overview.machines[place];
        summary.updates().unwrap()[summary.place_of(kb).unwrap()].oldest_first_seen()
    };
    match order {
        "name" => rows.sort_by_key(|(place, _)| rank(*place)),
        "oldest" => rows.sort_by_key(|(place, _)| (oldest(*place), rank(*place))),
        _ => rows.sort_by_key(|(place, verdict)| {
            (Reverse(verdict.state == UpdateState::Overdue), oldest(*place), rank(*place))
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn rows_order_and_counts_are_those_of_a_plain_look(
        fleets in random_fleets(),
        query in random_query(),
        number in 1..5_u32,
        sort_and_state in (0..=ORDERS.len(), 0..=PolicyState::ALL.len()),
        ranges in proptest::collection::vec((0..12_usize, 0..12_usize), 1..4),
    ) {
        let state = state(fleets);
        let known = ["name", "exploited"];
        let mut context = crate::web::pages::context(&state, "/updates/x", &query, &known).unwrap();
        context.query.sort = ORDERS.get(sort_and_state.0).copied();
        context.query.policy_state = PolicyState::ALL.get(sort_and_state.1).copied();
        let kb = kb(number);

        let mut expected = plain(&context, kb);
        let mut missing = MissingMachines::of(&context, kb);
        prop_assert_eq!(missing.total, expected.len() as u64);
        let mut by_state = BTreeMap::from([(UpdateState::Overdue, 0_u64)]);
        for (_, verdict) in &expected {
            *by_state.entry(verdict.state).or_default() += 1;
        }
        prop_assert_eq!(&missing.by_state, &by_state);

        let wanted = context.query.policy_state;
        expected.retain(|(_, verdict)| wanted.is_none_or(|wanted| wanted == selecting(verdict.state)));
        sort(context.snapshot.overview(), kb, &mut expected, context.query.sort.unwrap_or(ORDERS[0]));
        prop_assert_eq!(missing.count(), expected.len());
        for (start, length) in ranges {
            let end = (start + length).min(expected.len());
            let part = &expected[start.min(end)..end];
            let rows = missing.sorted(start..start + length).to_vec();
            let places: Vec<_> = rows.iter().map(|row| row.machine).collect();
            prop_assert_eq!(places, part.iter().map(|(place, _)| *place).collect::<Vec<_>>());
            let verdicts: Vec<_> = part.iter().map(|(_, verdict)| *verdict).collect();
            prop_assert_eq!(missing.verdicts(&rows), verdicts);
        }
        let mut days = expected.iter().map(|(_, verdict)| verdict.deadline.map(day_of));
        let first = days.next().flatten();
        prop_assert_eq!(missing.single_deadline(), first.filter(|day| days.all(|other| other == Some(*day))));
    }
}

//! Queries select the same machines and updates as a look at each machine does.

use std::collections::BTreeMap;
use std::slice;

use proptest::prelude::*;

use crate::fleet::overview::{MachineSummary, Overview};
use crate::fleet::policy::{CompiledPolicies, TenantPolicies, UpdateState};
use crate::model::KbId;
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::tests::{options, random_fleets, random_query, served};
use crate::web::pages::query::PageQuery;
use crate::web::pages::selection::Selection;
use crate::web::pages::updates::{ListedUpdate, listed_updates};

const ORDERS: [&str; 2] = ["name", "exploited"];

/// Returns whether a machine misses the KB of the query, and is found by its texts or by a KB.
fn matches(overview: &Overview, query: &PageQuery, summary: &MachineSummary) -> bool {
    let search = query.search.to_lowercase();
    let is_digits = search.len() >= 4 && search.bytes().all(|byte| byte.is_ascii_digit());
    let has = |kb: KbId| is_digits && kb.to_string().contains(&search);
    let kbs = || summary.updates().unwrap_or_default().iter().map(|missing| missing.update.kb);
    query.kb.as_ref().is_none_or(|kb| kbs().any(|other| Some(other) == kb.kb))
        && (overview.searched(summary).contains(&search) || kbs().any(has))
}

/// The updates that the machines of `places` miss, of the KB of the query.
fn plain_updates(context: &PageContext, places: &[usize]) -> Vec<ListedUpdate> {
    let PageContext { snapshot, query, .. } = context;
    let overview = snapshot.overview();
    let compiled = CompiledPolicies::new(&snapshot.policies, &snapshot.exceptions, snapshot.at);
    let mut listed: BTreeMap<(usize, KbId), ListedUpdate> = BTreeMap::new();
    for &place in places {
        let summary = &overview.machines[place];
        let tenant = summary.tenant;
        let updates = &overview.tenants[tenant].summary.updates;
        let mut rules = TenantPolicies::new(&compiled, &snapshot.fleets[tenant], updates, &snapshot.facts);
        for missing in summary.updates().unwrap_or_default() {
            let (kb, first_seen) = (missing.update.kb, missing.first_seen);
            if query.kb.as_ref().is_some_and(|wanted| wanted.kb != Some(kb)) {
                continue;
            }
            let verdict = rules.verdicts(query.policy, &summary.machine, slice::from_ref(missing))[0];
            let empty = ListedUpdate { tenant, kb, machines: 0, overdue: Some(0), first_seen };
            let update = listed.entry((tenant, kb)).or_insert(empty);
            update.machines += 1;
            update.overdue =
                update.overdue.map(|count| count + u64::from(verdict.state == UpdateState::Overdue));
            update.first_seen = update.first_seen.min(first_seen);
        }
    }
    listed.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn query_selects_what_a_look_at_each_machine_selects(fleets in random_fleets(), query in random_query()) {
        let state = served(fleets, &options());
        let mut context = crate::web::pages::context(&state, "/machines", &query, &ORDERS).unwrap();
        let query = context.query.clone();
        let overview = context.snapshot.overview();
        let without = PageQuery { search: String::new(), kb: None, ..query.clone() };
        let all = Selection::new(&context.snapshot, &without).machines();
        let expected: Vec<_> =
            all.into_iter().filter(|&place| matches(overview, &query, &overview.machines[place])).collect();
        prop_assert_eq!(Selection::new(&context.snapshot, &query).machines(), expected);

        // A search and exploitation select updates in another way.
        (context.query.search, context.query.exploited) = (String::new(), None);
        let of_machines = PageQuery { kb: None, ..context.query.clone() };
        let places = Selection::new(&context.snapshot, &of_machines).machines();
        prop_assert_eq!(listed_updates(&context), plain_updates(&context, &places));
    }
}

//! The tenants, the one that needs attention most first.

use std::cmp::Reverse;

use super::headline::{is_failing, selected};
use super::policies::StateBar;
use crate::fleet::TenantFleet;
use crate::fleet::overview::TenantOverview;
use crate::fleet::policy::PolicyState;
use crate::text::spelt_out;
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::text::{ShownTime, grouped, share, visible};

/// The most characters of an error in the table.
const ERROR_LENGTH: usize = 120;

/// One tenant.
pub(super) struct TenantRow {
    pub(super) name: String,
    pub(super) link: String,
    /// The share within deadline; none if no machine can be judged.
    pub(super) share: Option<String>,
    pub(super) bar: StateBar,
    /// Numbers with the links to their machines: all, overdue, missing an exploited update, unknown.
    pub(super) counts: Vec<TenantCount>,
    /// The start of the error of a tenant that cannot be read; its own page has all of it.
    pub(super) error: Option<String>,
    pub(super) oldest_data: Option<ShownTime>,
}

/// A number of machines of a tenant.
pub(super) struct TenantCount {
    pub(super) label: &'static str,
    pub(super) count: String,
    pub(super) link: String,
    pub(super) is_bad: bool,
}

/// The tenants that the query selects; none if that is one.
pub(super) fn tenants(context: &PageContext) -> Vec<TenantRow> {
    let mut tenants: Vec<_> = selected(context).collect();
    if tenants.len() < 2 {
        return Vec::new();
    }
    let policy = context.query.policy;
    tenants.sort_by_key(|(_, fleet, overview)| {
        let states = overview.policies[policy];
        let judged = states.judged().max(1);
        // Of equal shares the one with more overdue machines comes first.
        let share = states.within_deadline() * 1000 / judged;
        (!is_failing(fleet), share, Reverse(states.machines(PolicyState::Overdue)))
    });
    tenants.into_iter().map(|(tenant, fleet, overview)| row(context, tenant, fleet, overview)).collect()
}

fn row(context: &PageContext, tenant: usize, fleet: &TenantFleet, overview: &TenantOverview) -> TenantRow {
    let states = &overview.policies[context.query.policy];
    let machines = &context.snapshot.overview().machines[overview.machines.clone()];
    let exploited =
        machines.iter().filter(|summary| summary.missing.is_some_and(|missing| missing.exploited > 0));
    let count = |label, count: u64, is_bad: bool, change: fn(&mut PageQuery)| TenantCount {
        label,
        count: grouped(count),
        link: context.machines(|query| {
            query.tenant = Some(tenant);
            change(query);
        }),
        is_bad: is_bad && count > 0,
    };
    TenantRow {
        name: visible(&fleet.tenant),
        link: context.link("", &PageQuery { tenant: Some(tenant), ..context.query.kept() }),
        share: share(states.within_deadline(), states.judged()),
        bar: StateBar::of(states),
        counts: vec![
            count("Machines", machines.len() as u64, false, |_| {}),
            count("Overdue", states.machines(PolicyState::Overdue), true, |query| {
                query.policy_state = Some(PolicyState::Overdue);
            }),
            count("Exploited missing", exploited.count() as u64, true, |query| query.exploited = Some(true)),
            count("Unknown", states.machines(PolicyState::Unknown), false, |query| {
                query.policy_state = Some(PolicyState::Unknown);
            }),
        ],
        error: fleet
            .status
            .last_error
            .as_deref()
            .filter(|_| is_failing(fleet))
            .map(|error| spelt_out(error, ERROR_LENGTH)),
        oldest_data: overview.data.map(|(oldest, _)| ShownTime::past(oldest, context.now)),
    }
}

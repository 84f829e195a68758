//! The sentences at the top of the overview: the answer, and what it is based on.

use crate::fleet::overview::TenantOverview;
use crate::fleet::policy::{PolicyState, PolicyStates};
use crate::fleet::{MachineState, TenantFleet};
use crate::model::FactsSource;
use crate::web::pages::context::PageContext;
use crate::web::pages::text::{ShownTime, counted, day, grouped, visible};

/// The fleets that the query selects, each with its overview.
pub(super) fn selected(
    context: &PageContext,
) -> impl Iterator<Item = (usize, &TenantFleet, &TenantOverview)> {
    let snapshot = &context.snapshot;
    let pairs = snapshot.fleets.iter().zip(&snapshot.overview().tenants).enumerate();
    let is_selected = |tenant: usize| context.query.tenant.is_none_or(|wanted| wanted == tenant);
    pairs
        .filter(move |(tenant, _)| is_selected(*tenant))
        .map(|(tenant, (fleet, overview))| (tenant, &**fleet, overview))
}

/// Returns whether the poller of a tenant failed last.
pub(super) fn is_failing(fleet: &TenantFleet) -> bool {
    !fleet.status.up && fleet.status.last_poll.is_some()
}

/// The answer to "are we within our deadlines?".
pub(super) fn headline(context: &PageContext) -> String {
    let states: PolicyStates =
        selected(context).map(|(_, _, overview)| overview.policies[context.query.policy]).sum();
    let tenants = selected(context).count() as u64;
    if selected(context).all(|(_, fleet, _)| fleet.machines.is_empty()) {
        return no_machine(context);
    }
    if context.policy_name().is_none() {
        return misses_nothing(context);
    }
    let (judged, overdue) = (states.judged(), states.machines(PolicyState::Overdue));
    let unknown = states.machines(PolicyState::Unknown);
    if judged == 0 {
        return format!("No machine can be judged, {} unknown", grouped(unknown));
    }
    let late = selected(context).filter(|(_, _, overview)| {
        overview.policies[context.query.policy].machines(PolicyState::Overdue) > 0
    });
    let answer = match (overdue, tenants) {
        (0, _) if judged == 1 => "The judged machine is within its deadlines".to_owned(),
        (0, _) => format!("All {} are within their deadlines", counted(judged, "judged machine")),
        (_, 1) => {
            let verb = if overdue == 1 { "is past its deadline" } else { "are past their deadline" };
            format!("{} of {} {verb}", grouped(overdue), counted(judged, "judged machine"))
        }
        (_, _) => {
            let verb = if overdue == 1 { "is past its deadline" } else { "are past their deadline" };
            let late = grouped(late.count() as u64);
            format!("{} in {late} of {} {verb}", counted(overdue, "machine"), counted(tenants, "tenant"))
        }
    };
    let failing = selected(context).filter(|(_, fleet, _)| is_failing(fleet)).count() as u64;
    if tenants > 1 && failing > 0 {
        return format!("{answer}, {} cannot be read", counted(failing, "tenant"));
    }
    format!("{answer}, {} cannot be judged", grouped(unknown))
}

/// The headline while no machine is in scope.
fn no_machine(context: &PageContext) -> String {
    let is_listed = selected(context).any(|(_, fleet, _)| fleet.listed_at.is_some());
    let sentence =
        if is_listed { "No machine is in scope: the selectors match none" } else { "No machine list yet" };
    sentence.to_owned()
}

/// The machines that miss nothing, whatever the policies say.
pub(super) fn misses_nothing(context: &PageContext) -> String {
    let summaries = || selected(context).map(|(_, _, overview)| &overview.summary);
    let compliant: u64 =
        summaries().flat_map(|summary| summary.groups.values()).map(|group| group.compliant).sum();
    let assessed = MachineState::ALL.into_iter().filter(|state| state.is_assessed());
    let assessed: u64 =
        assessed.map(|state| summaries().map(|summary| summary.machines(state)).sum::<u64>()).sum();
    let (compliant, assessed) = (grouped(compliant), counted(assessed, "machine"));
    format!("{compliant} of {assessed} with data miss nothing and are still serviced")
}

/// The tenants, the policy, and the age of the data.
pub(super) fn lead(context: &PageContext) -> String {
    let tenants: Vec<_> = selected(context).collect();
    let names = match &tenants[..] {
        [(_, fleet, _)] => visible(&fleet.tenant),
        tenants => counted(tenants.len() as u64, "tenant"),
    };
    let policy = context.policy_name().map(|name| format!(", policy {}", visible(name))).unwrap_or_default();
    let data = tenants.iter().filter_map(|(_, _, overview)| overview.data);
    let range = data.reduce(|(oldest, newest), (other, late)| (oldest.min(other), newest.max(late)));
    let data = range.map_or_else(
        || "No data yet".to_owned(),
        |(oldest, newest)| {
            let [oldest, newest] = [oldest, newest].map(|at| ShownTime::past(at, context.now).words);
            if oldest == newest {
                format!("Data read {newest}")
            } else {
                format!("Data read between {newest} and {oldest}")
            }
        },
    );
    let facts = &context.snapshot.facts;
    let newest = FactsSource::ALL.into_iter().filter_map(|source| facts.fetched_at(source)).max();
    let facts = newest.map(|at| format!("; facts of {}", day(at, context.now))).unwrap_or_default();
    format!("{names}{policy}. {data}{facts}.")
}

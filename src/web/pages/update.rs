//! `GET /updates/{kb}`: which machines miss an update, since when, whose they are, and why it matters.
//!
//! The parameters select among the machines that miss it. `policy_state` is the state of the missing update on the
//! machine, so that the overdue ones are those that count as overdue in the list of updates; an update without a
//! deadline stands for `compliant`.

mod cves;
mod description;
mod headline;
mod machines;
mod missing;
mod owners;

#[cfg(test)]
mod tests;

use askama::Template;

use self::cves::{CveRow, cves};
use self::description::{PropertyText, UpdateProperty, facts, notes, products};
use self::headline::{headline, lead};
use self::machines::{MissingMachineTable, machine_table};
use self::missing::MissingMachines;
use self::owners::{OwnerTable, owners};
use super::Answer;
use super::chart::{self, BurnDownChart};
use super::context::PageContext;
use super::layout::Layout;
use super::query::kb_named;
use super::text::{grouped, visible};
use crate::fleet::burn_down::UpdateBurnDown;
use crate::fleet::policy::PolicyState;
use crate::fleet::summary::UpdateSummary;
use crate::fleet::{EffectiveFacts, TenantFleet};
use crate::model::KbId;

/// The orders of the machines, the default first.
pub(super) const ORDERS: &[&str] = &["overdue", "oldest", "name"];

/// The page of one update; `object` is its KB, with or without `KB`.
pub(super) fn page(context: &PageContext, object: &str) -> askama::Result<Answer> {
    match kb_named(object).and_then(|kb| ShownUpdate::of(context, kb)) {
        Some(update) => Answer::of(&UpdatePage::of(context, &update)),
        None => Ok(Answer::NotFound("no machine misses an update with this KB".to_owned())),
    }
}

/// Returns whether the page of an update exists.
pub(super) fn is_known(context: &PageContext, kb: KbId) -> bool {
    ShownUpdate::of(context, kb).is_some()
}

/// The places of the machines that miss an update and match the query, in its order.
pub(super) fn machines_missing(context: &PageContext, kb: KbId) -> Vec<usize> {
    let mut missing = MissingMachines::of(context, kb);
    let all = 0..missing.count();
    missing.sorted(all).iter().map(|row| row.machine).collect()
}

/// An update in the tenants that the query selects.
struct ShownUpdate<'a> {
    kb: KbId,
    /// The KB as people write it.
    name: String,
    tenants: Vec<TenantUpdate<'a>>,
}

/// An update in one tenant.
struct TenantUpdate<'a> {
    /// The index of the tenant.
    tenant: usize,
    fleet: &'a TenantFleet,
    /// None if no machine misses it any more.
    summary: Option<&'a UpdateSummary>,
    /// The daily numbers of machines that miss it.
    burn_down: Option<&'a UpdateBurnDown>,
    /// The machines on which it is overdue under the policy in effect.
    overdue: u64,
}

impl<'a> ShownUpdate<'a> {
    /// None if no tenant knows it, selected or not.
    fn of(context: &'a PageContext, kb: KbId) -> Option<Self> {
        let snapshot = &context.snapshot;
        let overview = snapshot.overview();
        let tenants = snapshot.fleets.iter().zip(&overview.tenants).enumerate();
        let known = tenants.filter_map(|(tenant, (fleet, of_tenant))| {
            let summary = of_tenant.summary.updates.get(&kb);
            let burn_down = snapshot.burn_downs.get(tenant).and_then(|burn_down| burn_down.update(kb));
            // A number of a day that is yet to come is from a clock that was ahead.
            let burn_down = burn_down.filter(|update| update.days_until(snapshot.at).next().is_some());
            let overdue = of_tenant.missing.overdue_machines(kb, context.query.policy);
            (summary.is_some() || burn_down.is_some()).then_some(TenantUpdate {
                tenant,
                fleet,
                summary,
                burn_down,
                overdue,
            })
        });
        let mut tenants: Vec<_> = known.collect();
        if tenants.is_empty() {
            return None;
        }
        tenants.retain(|known| context.query.tenant.is_none_or(|wanted| wanted == known.tenant));
        Some(Self { kb, name: format!("KB{kb}"), tenants })
    }

    fn summaries(&self) -> impl Iterator<Item = &'a UpdateSummary> {
        self.tenants.iter().filter_map(|known| known.summary)
    }

    /// The number of machines that miss it.
    fn machines(&self) -> u64 {
        self.summaries().map(|summary| summary.missing_machines).sum()
    }

    /// The number of machines on which it is overdue.
    fn overdue(&self) -> u64 {
        self.tenants.iter().map(|known| known.overdue).sum()
    }

    /// Its facts alone, without those of updates that it supersedes.
    fn facts(&self, context: &PageContext) -> EffectiveFacts {
        EffectiveFacts::of(&context.snapshot.facts, [self.kb])
    }

    /// The release time, if known: the earliest of all tenants.
    fn released(&self) -> Option<jiff::Timestamp> {
        let of_tenant = |known: &TenantUpdate<'_>| {
            let recorded = known.burn_down.and_then(UpdateBurnDown::released);
            known.summary.map_or(recorded, |summary| summary.released)
        };
        self.tenants.iter().filter_map(of_tenant).min()
    }

    /// The earliest time at which a machine was seen missing it; none if no selected tenant knows it.
    fn first_seen(&self) -> Option<jiff::Timestamp> {
        let recorded =
            self.tenants.iter().filter_map(|known| known.burn_down).map(UpdateBurnDown::first_seen);
        self.summaries().map(|summary| summary.first_seen).chain(recorded).min()
    }
}

#[derive(Template)]
#[template(path = "update.html")]
struct UpdatePage {
    layout: Layout,
    /// The link to all updates.
    all: String,
    is_exploited: bool,
    lead: String,
    /// Sentences about what limits the answer.
    notes: Vec<String>,
    products: Option<String>,
    facts: Vec<UpdateProperty>,
    chart: Option<BurnDownChart>,
    owners: OwnerTable,
    /// Name, link, machines and overdue machines with their links; empty unless several tenants are shown.
    tenants: Vec<UpdateTenantRow>,
    has_policy: bool,
    machines: MissingMachineTable,
    cves: Vec<CveRow>,
}

/// One tenant.
struct UpdateTenantRow {
    name: String,
    link: String,
    machines: String,
    overdue: String,
    overdue_link: String,
    is_overdue: bool,
}

impl UpdatePage {
    fn of(context: &PageContext, update: &ShownUpdate<'_>) -> Self {
        let mut missing = MissingMachines::of(context, update.kb);
        Self {
            layout: Layout::new(context, headline(context, update), "updates"),
            all: context.updates(|_| {}),
            is_exploited: update.facts(context).exploited == Some(true),
            lead: lead(context, update),
            notes: notes(context, update),
            products: products(update),
            facts: facts(context, update),
            chart: chart(context, update, &mut missing),
            owners: owners(context, update),
            tenants: tenants(context, update),
            has_policy: context.policy_name().is_some(),
            machines: machine_table(context, update, &mut missing),
            cves: cves(context, update.kb),
        }
    }
}

fn chart(
    context: &PageContext,
    update: &ShownUpdate<'_>,
    missing: &mut MissingMachines<'_>,
) -> Option<BurnDownChart> {
    let burn_downs = update.tenants.iter().filter_map(|known| known.burn_down);
    let numbers = chart::sum(burn_downs, context.snapshot.at);
    let (released, first_seen) = (update.released(), update.first_seen()?);
    let deadline = missing.single_deadline();
    BurnDownChart::of(&update.name, &numbers, released, first_seen, deadline, context.now)
}

fn tenants(context: &PageContext, update: &ShownUpdate<'_>) -> Vec<UpdateTenantRow> {
    if update.tenants.len() < 2 {
        return Vec::new();
    }
    let mut tenants: Vec<_> = update.tenants.iter().collect();
    let machines = |known: &TenantUpdate<'_>| known.summary.map_or(0, |summary| summary.missing_machines);
    tenants.sort_by_key(|known| std::cmp::Reverse((known.overdue, machines(known))));
    let row = |known: &TenantUpdate<'_>| {
        let of_tenant = context.query.kept().with(|query| query.tenant = Some(known.tenant));
        let late = of_tenant.with(|query| query.policy_state = Some(PolicyState::Overdue));
        UpdateTenantRow {
            name: visible(&known.fleet.tenant),
            link: context.link_to_self(&of_tenant),
            machines: grouped(machines(known)),
            overdue: grouped(known.overdue),
            overdue_link: context.link_to_self(&late),
            is_overdue: known.overdue > 0,
        }
    };
    tenants.into_iter().map(row).collect()
}

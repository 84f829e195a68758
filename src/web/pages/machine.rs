//! `GET /machines/{id}`: one machine and its missing updates, in every tenant that has the id.

mod facts;
mod sentence;
#[cfg(test)]
mod tests;
mod updates;

use askama::Template;

use self::facts::{MachineFact, facts};
use self::sentence::sentence;
use self::updates::{UpdateOrder, UpdateRow, chips, rows, selected_updates};
use super::Answer;
use super::chips::{Chip, policies};
use super::context::PageContext;
use super::layout::Layout;
use super::list::DownloadLinks;
use super::machines::shown_name;
use super::objects::machines_named;
use super::query::PageQuery;
use super::reason::reason_words;
use super::text::{counted, visible};
use crate::fleet::overview::{MachineSummary, NO_DEADLINE};
use crate::fleet::policy::{CompiledPolicies, TenantPolicies, UpdateVerdict};
use crate::model::{FactsSource, KbId, Policy};
use crate::publish::Snapshot;

pub(super) use self::updates::ORDERS;

pub(super) fn page(context: &PageContext, id: &str) -> askama::Result<Answer> {
    let places = machines_named(context, id);
    if places.is_empty() {
        let tenant = context.query.tenant.map(|tenant| &context.snapshot.fleets[tenant].tenant);
        let of_tenant = tenant.map(|tenant| format!(" of {}", visible(tenant))).unwrap_or_default();
        let sentence = format!("no machine in scope{of_tenant} has the id {}", visible(id));
        return Ok(Answer::NotFound(sentence));
    }
    Answer::of(&MachinePage::of(context, &places))
}

/// The KBs that the machine at `place` misses and the query selects, in its order.
pub(super) fn selected_kbs(context: &PageContext, place: usize) -> Vec<KbId> {
    let snapshot = &context.snapshot;
    let summary = &snapshot.overview().machines[place];
    let compiled = compiled(snapshot);
    let mut policies = policies_of(snapshot, &compiled, summary);
    let verdicts = verdicts(&mut policies, context.query.policy, summary);
    let selected = selected_updates(context, summary, &verdicts);
    selected.into_iter().map(|(missing, _)| missing.update.kb).collect()
}

fn compiled(snapshot: &Snapshot) -> CompiledPolicies<'_> {
    let policies = match &snapshot.policies[..] {
        [] => std::slice::from_ref::<Policy>(&NO_DEADLINE),
        policies => policies,
    };
    CompiledPolicies::new(policies, &snapshot.exceptions, snapshot.at)
}

fn policies_of<'a>(
    snapshot: &'a Snapshot,
    compiled: &'a CompiledPolicies<'a>,
    summary: &MachineSummary,
) -> TenantPolicies<'a> {
    let updates = &snapshot.overview().tenants[summary.tenant].summary.updates;
    TenantPolicies::new(compiled, &snapshot.fleets[summary.tenant], updates, &snapshot.facts)
}

/// The verdicts about the missing updates of a machine; none while it is not assessed.
fn verdicts(
    policies: &mut TenantPolicies<'_>,
    policy: usize,
    summary: &MachineSummary,
) -> Vec<UpdateVerdict> {
    let missing = summary.updates();
    missing.map(|missing| policies.verdicts(policy, &summary.machine, missing)).unwrap_or_default()
}

#[derive(Template)]
#[template(path = "machine.html")]
struct MachinePage {
    layout: Layout,
    list: String,
    machines: Vec<MachineSection>,
    order: UpdateOrder,
    policies: Vec<Chip>,
    has_policies: bool,
    downloads: DownloadLinks,
    /// True without facts about exploitation and severity.
    lacks_facts: bool,
}

/// The machine in one tenant.
struct MachineSection {
    tenant: String,
    /// The link to the machines of the tenant.
    tenant_link: String,
    /// The answer about the machine.
    sentence: String,
    facts: Vec<MachineFact>,
    /// The states of the missing updates, each with the number of updates and the link to them.
    chips: Vec<Chip>,
    rows: Vec<UpdateRow>,
    /// The sentence in place of rows.
    empty: &'static str,
    /// The reason why its missing updates are unknown; none while they are known.
    unknown: Option<String>,
}

impl MachinePage {
    fn of(context: &PageContext, places: &[usize]) -> Self {
        let PageContext { snapshot, query, .. } = context;
        let compiled = compiled(snapshot);
        let machines: Vec<_> =
            places.iter().map(|&place| MachineSection::of(context, &compiled, place)).collect();
        let headline = match &machines[..] {
            [machine] => machine.sentence.clone(),
            machines => {
                let summary = &snapshot.overview().machines[places[0]];
                let name = visible(shown_name(summary));
                format!("{name} is in {}", counted(machines.len() as u64, "tenant"))
            }
        };
        let id = &snapshot.overview().machines[places[0]].machine.facts.id;
        Self {
            layout: Layout::new(context, headline, "machines"),
            list: context.link("machines", &PageQuery { tenant: None, ..query.kept() }),
            machines,
            order: UpdateOrder::of(context),
            policies: policies(context),
            has_policies: context.policy_name().is_some(),
            downloads: DownloadLinks::of(context, &format!("machines/{id}"), "missing updates"),
            lacks_facts: !snapshot.facts.has(FactsSource::Msrc),
        }
    }
}

impl MachineSection {
    fn of(context: &PageContext, compiled: &CompiledPolicies<'_>, place: usize) -> Self {
        let PageContext { snapshot, query, .. } = context;
        let overview = snapshot.overview();
        let summary = &overview.machines[place];
        let fleet = &snapshot.fleets[summary.tenant];
        let mut policies = policies_of(snapshot, compiled, summary);
        let verdicts = verdicts(&mut policies, query.policy, summary);
        let servicing = summary.servicing.decides(summary.state);
        let servicing = servicing.then(|| policies.servicing_verdict(&summary.machine));
        let unknown = overview.not_judged(place, query.policy).filter(|_| summary.missing.is_none());
        Self {
            tenant: visible(&fleet.tenant),
            tenant_link: context
                .link("machines", &PageQuery { tenant: Some(summary.tenant), ..query.kept() }),
            sentence: sentence(context, place, &verdicts),
            facts: facts(context, place, servicing),
            chips: chips(context, &verdicts),
            rows: rows(context, summary, &verdicts),
            empty: if verdicts.is_empty() { "No update is missing." } else { "No missing update matches." },
            unknown: unknown.map(|reason| reason_words(context, reason)),
        }
    }
}

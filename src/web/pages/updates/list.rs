//! The updates that a query selects, and the machines that miss them.

use std::cmp::Reverse;

use jiff::Timestamp;
use memchr::memmem::Finder;

use crate::fleet::EffectiveFacts;
use crate::fleet::overview::{MissingEntry, TenantOverview};
use crate::fleet::policy::{UpdateState, lacking_for_policy};
use crate::fleet::summary::UpdateSummary;
use crate::model::{FactsSource, KbId};
use crate::publish::Snapshot;
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::selection::{MachineSet, Selection};

/// The values of the parameter `sort`, the default first.
pub(in crate::web::pages) const ORDERS: [&str; 5] = ["machines", "exploited", "overdue", "age", "kb"];

/// An update that machines of one tenant miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web::pages) struct ListedUpdate {
    /// The index of the tenant.
    pub(in crate::web::pages) tenant: usize,
    pub(in crate::web::pages) kb: KbId,
    /// The number of selected machines that miss it.
    pub(in crate::web::pages) machines: u64,
    /// The number of them for which it is overdue; none without a policy that can judge it.
    pub(in crate::web::pages) overdue: Option<u64>,
    /// The earliest time at which one of them was first seen missing it.
    pub(in crate::web::pages) first_seen: Timestamp,
}

/// The selected machines that miss one update.
#[derive(Clone, Copy)]
struct UpdateCounts {
    machines: u64,
    overdue: u64,
    first_seen: Timestamp,
}

/// The updates that match the query and that a selected machine misses, by tenant and KB. A search, a KB and
/// exploitation select updates, all other parameters machines.
pub(in crate::web::pages) fn listed_updates(context: &PageContext) -> Vec<ListedUpdate> {
    let mut listed = updates_with(context, &context.query);
    select_exploited(context, &mut listed);
    listed
}

/// Keeps the updates that the query selects by exploitation.
pub(super) fn select_exploited(context: &PageContext, listed: &mut Vec<ListedUpdate>) {
    if let Some(wanted) = context.query.exploited {
        listed.retain(|update| is_exploited(&context.snapshot, update.kb) == Some(wanted));
    }
}

/// The number of exploited updates; none without facts that say which ones are.
pub(super) fn exploited(context: &PageContext, listed: &[ListedUpdate]) -> Option<usize> {
    let snapshot = &context.snapshot;
    let exploited = listed.iter().filter(|update| is_exploited(snapshot, update.kb) == Some(true));
    snapshot.facts.has(FactsSource::Msrc).then(|| exploited.count())
}

/// The updates that match `query`, with any exploitation.
pub(super) fn updates_with(context: &PageContext, query: &PageQuery) -> Vec<ListedUpdate> {
    let snapshot = &context.snapshot;
    let selects = UpdateFilter::new(query);
    let of_machines = machine_query(query);
    let selected = has_machine_filter(query).then(|| MachineSet::of(&Selection::new(snapshot, &of_machines)));
    let mut listed = Vec::new();
    for (tenant, of_tenant) in snapshot.overview().tenants.iter().enumerate() {
        if query.tenant.is_some_and(|wanted| wanted != tenant) {
            continue;
        }
        let is_judged = is_judged(snapshot, query.policy, tenant);
        let updates = of_tenant.summary.updates.iter();
        for (&kb, update) in updates.filter(|(kb, update)| selects.matches(**kb, update)) {
            let counts = match &selected {
                Some(selected) => UpdateCounts::of_selected(of_tenant, kb, query.policy, selected),
                None => Some(UpdateCounts {
                    machines: update.missing_machines,
                    overdue: of_tenant.missing.overdue_machines(kb, query.policy),
                    first_seen: update.first_seen,
                }),
            };
            let listed_update = |counts: UpdateCounts| {
                let UpdateCounts { machines, overdue, first_seen } = counts;
                let overdue = is_judged.then_some(overdue);
                ListedUpdate { tenant, kb, machines, overdue, first_seen }
            };
            listed.extend(counts.map(listed_update));
        }
    }
    listed
}

/// Sorts updates in the order of the query.
pub(in crate::web::pages) fn sort(context: &PageContext, listed: &mut [ListedUpdate]) {
    let facts = &context.snapshot.facts;
    let exploited = |update: &ListedUpdate| {
        let facts = EffectiveFacts::of(facts, [update.kb]);
        let due = facts.known_exploited.and_then(|known| known.due).unwrap_or(Timestamp::MAX);
        (Reverse(facts.exploited), due)
    };
    let usual = |update: &ListedUpdate| (Reverse(update.machines), Reverse(update.kb), update.tenant);
    match context.query.sort.unwrap_or(ORDERS[0]) {
        "exploited" => listed.sort_by_cached_key(|update| (exploited(update), usual(update))),
        "overdue" => listed.sort_by_key(|update| (Reverse(update.overdue), usual(update))),
        "age" => listed.sort_by_key(|update| (update.first_seen, usual(update))),
        "kb" => listed.sort_by_key(|update| (update.kb, update.tenant)),
        _ => listed.sort_by_key(usual),
    }
}

/// The parameters that select machines.
pub(super) fn machine_query(query: &PageQuery) -> PageQuery {
    PageQuery { search: String::new(), kb: None, exploited: None, sort: None, page: 1, ..query.clone() }
}

/// Returns whether the query selects some machines of its tenants.
pub(super) fn has_machine_filter(query: &PageQuery) -> bool {
    PageQuery { tenant: None, ..machine_query(query) }.is_filtered()
}

/// Returns whether the policy in effect can say what is overdue in a tenant.
fn is_judged(snapshot: &Snapshot, policy: usize, tenant: usize) -> bool {
    let policy = snapshot.policies.get(policy);
    let source = snapshot.fleets[tenant].source;
    policy.is_some_and(|policy| lacking_for_policy(policy, [source].into_iter(), &snapshot.facts).is_empty())
}

impl UpdateCounts {
    /// The machines of a tenant that miss `kb` and are in `selected`; none if there is none.
    fn of_selected(
        of_tenant: &TenantOverview,
        kb: KbId,
        policy: usize,
        selected: &MachineSet,
    ) -> Option<Self> {
        let (mut machines, mut overdue, mut first_seen) = (0, 0, i64::MAX);
        for entry in of_tenant.missing.entries(kb, policy).filter(|entry| selected.contains(entry.machine)) {
            machines += 1;
            overdue += u64::from(entry.state == UpdateState::Overdue);
            first_seen = first_seen.min(entry.first_seen);
        }
        (machines > 0).then(|| Self { machines, overdue, first_seen: MissingEntry::time(first_seen) })
    }
}

fn is_exploited(snapshot: &Snapshot, kb: KbId) -> Option<bool> {
    EffectiveFacts::of(&snapshot.facts, [kb]).exploited
}

/// Selects updates by search and KB.
struct UpdateFilter<'a> {
    query: &'a PageQuery,
    /// The searched text in lower case; none without a search.
    finder: Option<Finder<'static>>,
    /// The digits of a searched KB.
    digits: Option<String>,
}

impl<'a> UpdateFilter<'a> {
    fn new(query: &'a PageQuery) -> Self {
        let search = query.search.to_lowercase();
        let digits = search.strip_prefix("kb").unwrap_or(&search).trim_start_matches([' ', '-']);
        let is_kb = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        Self {
            digits: is_kb.then(|| digits.to_owned()),
            finder: (!search.is_empty()).then(|| Finder::new(&search).into_owned()),
            query,
        }
    }

    fn matches(&self, kb: KbId, update: &UpdateSummary) -> bool {
        self.query.kb.as_ref().is_none_or(|wanted| wanted.kb == Some(kb)) && self.is_found(kb, update)
    }

    fn is_found(&self, kb: KbId, update: &UpdateSummary) -> bool {
        let Some(finder) = &self.finder else { return true };
        let contains = |text: &String| finder.find(text.to_lowercase().as_bytes()).is_some();
        self.digits.as_ref().is_some_and(|digits| kb.to_string().contains(digits.as_str()))
            || contains(&update.facts.title)
            || update.facts.products.iter().any(contains)
    }
}

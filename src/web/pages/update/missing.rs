//! The machines that miss an update and match the query.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::slice;

use jiff::civil::Date;

use crate::fleet::MissingUpdate;
use crate::fleet::burn_down::day_of;
use crate::fleet::overview::{MachineSummary, NO_DEADLINE, Overview};
use crate::fleet::policy::{CompiledPolicies, PolicyState, TenantPolicies, UpdateState, UpdateVerdict};
use crate::model::KbId;
use crate::publish::Snapshot;
use crate::web::pages::context::PageContext;
use crate::web::pages::query::{PageQuery, WrittenKb};
use crate::web::pages::selection::Selection;

/// The number of machines whose deadlines are compared.
const COMPARED: usize = 1000;

/// The largest number of machines that are counted by every state. Of more machines only the overdue ones are counted,
/// which the overview knows.
const COUNTED: usize = 10_000;

/// The machines that miss an update and match the query, in its order.
pub(super) struct MissingMachines<'a> {
    snapshot: &'a Snapshot,
    policy: usize,
    pub(super) rows: Vec<MissingMachine>,
    /// The number of machines, whatever state of the update the query selects.
    pub(super) total: u64,
    /// The same machines by the state of the update.
    pub(super) by_state: BTreeMap<UpdateState, u64>,
}

/// A machine that misses the update.
#[derive(Clone, Copy)]
pub(super) struct MissingMachine {
    /// The place of the machine in the overview.
    pub(super) machine: usize,
    /// The place of the update in its list.
    pub(super) update: usize,
    pub(super) is_overdue: bool,
}

impl<'a> MissingMachines<'a> {
    pub(super) fn of(context: &'a PageContext, kb: KbId) -> Self {
        let PageContext { snapshot, query, .. } = context;
        let overview = snapshot.overview();
        let rows = rows(snapshot, query, kb);
        let total = rows.len() as u64;
        let by_state = BTreeMap::from([(UpdateState::Overdue, 0)]);
        let mut missing = Self { snapshot, policy: query.policy, rows, total, by_state };
        missing.select(query.policy_state);
        let oldest = |row: &MissingMachine| row.of(overview).1.oldest_first_seen();
        let rank = |row: &MissingMachine| overview.machines[row.machine].name_rank;
        match query.sort {
            Some("name") => missing.rows.sort_by_cached_key(rank),
            Some("oldest") => missing.rows.sort_by_cached_key(|row| (oldest(row), rank(row))),
            _ => missing.rows.sort_by_cached_key(|row| (Reverse(row.is_overdue), oldest(row), rank(row))),
        }
        missing
    }

    /// Counts the machines by state, and keeps those in the state that stands for `selected`.
    fn select(&mut self, selected: Option<PolicyState>) {
        let needs_verdicts = selected.is_some_and(|state| state != PolicyState::Overdue);
        if self.rows.len() > COUNTED && !needs_verdicts {
            let overdue = self.rows.iter().filter(|row| row.is_overdue).count() as u64;
            self.by_state.insert(UpdateState::Overdue, overdue);
            self.rows.retain(|row| selected.is_none() || row.is_overdue);
            return;
        }
        let states: Vec<_> = self.verdicts(&self.rows).into_iter().map(|verdict| verdict.state).collect();
        for state in &states {
            *self.by_state.entry(*state).or_default() += 1;
        }
        let mut states = states.into_iter();
        self.rows.retain(|_| {
            let state = states.next();
            selected.is_none_or(|selected| state.is_some_and(|state| selecting(state) == selected))
        });
    }

    /// The verdicts about `rows`, in their order.
    pub(super) fn verdicts(&self, rows: &[MissingMachine]) -> Vec<UpdateVerdict> {
        let Snapshot { fleets, policies, exceptions, facts, at, .. } = self.snapshot;
        let overview = self.snapshot.overview();
        let policies = if policies.is_empty() { slice::from_ref(&*NO_DEADLINE) } else { &**policies };
        let compiled = CompiledPolicies::new(policies, exceptions, *at);
        let mut tenants: Vec<_> = fleets.iter().map(|_| None).collect();
        let verdict = |row: &MissingMachine| {
            let (summary, missing) = row.of(overview);
            let tenant = summary.tenant;
            let rules = tenants[tenant].get_or_insert_with(|| {
                let updates = &overview.tenants[tenant].summary.updates;
                TenantPolicies::new(&compiled, &fleets[tenant], updates, facts)
            });
            rules.verdicts(self.policy, &summary.machine, slice::from_ref(missing))[0]
        };
        rows.iter().map(verdict).collect()
    }

    /// The day of the deadline of the update if it is the same on all of these machines.
    pub(super) fn single_deadline(&self) -> Option<Date> {
        let verdicts = self.verdicts(&self.rows[..self.rows.len().min(COMPARED)]);
        let mut days = verdicts.iter().map(|verdict| verdict.deadline.map(day_of));
        let day = days.next()??;
        days.all(|other| other == Some(day)).then_some(day)
    }
}

impl MissingMachine {
    /// The machine and its missing update.
    pub(super) fn of(self, overview: &Overview) -> (&MachineSummary, &MissingUpdate) {
        let summary = &overview.machines[self.machine];
        (summary, &summary.machine.missing_updates()[self.update])
    }
}

/// The machines that miss the update and match the query, whatever state of the update it selects.
pub(super) fn rows(snapshot: &Snapshot, query: &PageQuery, kb: KbId) -> Vec<MissingMachine> {
    let overview = snapshot.overview();
    let policy = &overview.policies[query.policy];
    let wide = PageQuery {
        kb: Some(WrittenKb { text: kb.to_string(), kb: Some(kb) }),
        policy_state: None,
        ..query.clone()
    };
    let places = Selection::new(snapshot, &wide).machines();
    let row = |machine: usize| {
        let summary = &overview.machines[machine];
        let update = summary.place_of(kb)?;
        Some(MissingMachine { machine, update, is_overdue: policy.is_overdue(summary, update) })
    };
    places.into_iter().filter_map(row).collect()
}

/// The value of `policy_state` that selects the machines on which the update has `state`.
pub(super) fn selecting(state: UpdateState) -> PolicyState {
    match state {
        UpdateState::Overdue => PolicyState::Overdue,
        UpdateState::Accepted => PolicyState::Accepted,
        UpdateState::Due => PolicyState::Due,
        UpdateState::Unlimited => PolicyState::Compliant,
        UpdateState::Unknown => PolicyState::Unknown,
    }
}

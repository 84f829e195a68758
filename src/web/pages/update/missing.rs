//! The machines that miss an update and match the query.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice;

use jiff::civil::Date;

use crate::fleet::MissingUpdate;
use crate::fleet::burn_down::day_of;
use crate::fleet::overview::{MachineSummary, MissingEntry, NO_DEADLINE};
use crate::fleet::policy::{CompiledPolicies, PolicyState, TenantPolicies, UpdateState, UpdateVerdict};
use crate::model::KbId;
use crate::publish::Snapshot;
use crate::web::pages::context::PageContext;
use crate::web::pages::query::PageQuery;
use crate::web::pages::ranking::sorted_part;
use crate::web::pages::selection::Selection;

/// The number of machines whose deadlines are compared.
const COMPARED: usize = 1000;

/// The machines that miss an update and match the query.
pub(super) struct MissingMachines<'a> {
    snapshot: &'a Snapshot,
    policy: usize,
    kb: KbId,
    /// In no order.
    rows: Vec<MissingMachine>,
    /// The number of machines, whatever state of the update the query selects.
    pub(super) total: u64,
    /// The same machines by the state of the update.
    pub(super) by_state: BTreeMap<UpdateState, u64>,
}

/// A machine that misses the update. The fields are in the order of comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MissingMachine {
    /// False if the order puts it first because it is overdue.
    is_later: bool,
    /// The time by which the order ranks it.
    since: i64,
    name_rank: u32,
    /// The place of the machine in the overview.
    pub(super) machine: usize,
}

impl<'a> MissingMachines<'a> {
    pub(super) fn of(context: &'a PageContext, kb: KbId) -> Self {
        let PageContext { snapshot, query, .. } = context;
        let overview = snapshot.overview();
        // The KB is that of the page, and the state that of the update.
        let wide = PageQuery { kb: None, policy_state: None, ..query.clone() };
        let selection = Selection::new(snapshot, &wide);
        let mut by_state = [0_u64; UpdateState::ALL.len()];
        let mut rows = Vec::new();
        for of_tenant in selection.tenants() {
            let entries = of_tenant.missing.entries(kb, query.policy);
            for entry in entries.filter(|entry| selection.matches(entry.machine)) {
                by_state[entry.state as usize] += 1;
                if query.policy_state.is_none_or(|state| state == selecting(entry.state)) {
                    let name_rank = overview.machines[entry.machine].name_rank;
                    rows.push(MissingMachine::of(&entry, name_rank, query.sort));
                }
            }
        }
        let counts = UpdateState::ALL.into_iter().zip(by_state);
        Self {
            snapshot,
            policy: query.policy,
            kb,
            rows,
            total: by_state.iter().sum(),
            by_state: counts.filter(|(state, count)| *count > 0 || *state == UpdateState::Overdue).collect(),
        }
    }

    /// The number of machines in the state that the query selects.
    pub(super) fn count(&self) -> usize {
        self.rows.len()
    }

    /// The machines at `range` in the order of the query.
    pub(super) fn sorted(&mut self, range: Range<usize>) -> &[MissingMachine] {
        sorted_part(&mut self.rows, range)
    }

    /// The machine of a row and its missing update.
    pub(super) fn update(&self, row: &MissingMachine) -> (&'a MachineSummary, &'a MissingUpdate) {
        let summary = &self.snapshot.overview().machines[row.machine];
        let place = summary.place_of(self.kb).expect("Safe: the index names machines that miss the update");
        (summary, &summary.machine.missing_updates()[place])
    }

    /// The verdicts about `rows`, in their order.
    pub(super) fn verdicts(&self, rows: &[MissingMachine]) -> Vec<UpdateVerdict> {
        let Snapshot { fleets, policies, exceptions, facts, at, .. } = self.snapshot;
        let overview = self.snapshot.overview();
        let policies = if policies.is_empty() { slice::from_ref(&*NO_DEADLINE) } else { &**policies };
        let compiled = CompiledPolicies::new(policies, exceptions, *at);
        let mut tenants: Vec<_> = fleets.iter().map(|_| None).collect();
        let verdict = |row: &MissingMachine| {
            let (summary, missing) = self.update(row);
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
    pub(super) fn single_deadline(&mut self) -> Option<Date> {
        let compared = self.sorted(0..COMPARED).to_vec();
        let verdicts = self.verdicts(&compared);
        let mut days = verdicts.iter().map(|verdict| verdict.deadline.map(day_of));
        let day = days.next()??;
        days.all(|other| other == Some(day)).then_some(day)
    }
}

impl MissingMachine {
    fn of(entry: &MissingEntry, name_rank: u32, sort: Option<&'static str>) -> Self {
        let oldest = entry.oldest_first_seen;
        let (is_later, since) = match sort {
            Some("name") => (false, 0),
            Some("oldest") => (false, oldest),
            _ => (entry.state != UpdateState::Overdue, oldest),
        };
        Self { is_later, since, name_rank, machine: entry.machine }
    }
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

//! The machines that miss an update and match the query.

use std::cmp::Reverse;
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

/// The machines that miss an update and match the query, in its order.
pub(super) struct MissingMachines<'a> {
    snapshot: &'a Snapshot,
    policy: usize,
    pub(super) rows: Vec<MissingMachine>,
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
        let mut missing = Self { snapshot, policy: query.policy, rows: rows(snapshot, query, kb) };
        match query.policy_state {
            None => {}
            Some(PolicyState::Overdue) => missing.rows.retain(|row| row.is_overdue),
            Some(state) => missing.retain(state),
        }
        let oldest = |row: &MissingMachine| row.of(overview).1.oldest_first_seen();
        let rank = |row: &MissingMachine| overview.machines[row.machine].name_rank;
        match query.sort {
            Some("name") => missing.rows.sort_by_cached_key(rank),
            Some("oldest") => missing.rows.sort_by_cached_key(|row| (oldest(row), rank(row))),
            _ => missing.rows.sort_by_cached_key(|row| (Reverse(row.is_overdue), oldest(row), rank(row))),
        }
        missing
    }

    /// Keeps the machines on which the update has the state that stands for `state`.
    fn retain(&mut self, state: PolicyState) {
        let wanted = match state {
            PolicyState::Overdue => UpdateState::Overdue,
            PolicyState::Accepted => UpdateState::Accepted,
            PolicyState::Due => UpdateState::Due,
            PolicyState::Compliant => UpdateState::Unlimited,
            PolicyState::Unknown => UpdateState::Unknown,
            PolicyState::Unsupported => return self.rows.clear(),
        };
        let verdicts = self.verdicts(&self.rows);
        let mut verdicts = verdicts.iter();
        self.rows.retain(|_| verdicts.next().is_some_and(|verdict| verdict.state == wanted));
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

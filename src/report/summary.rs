//! Counts over the machines of a report.

use crate::fleet::MissingUpdate;
use crate::fleet::policy::{PolicyState, PolicyStates, UpdateState, UpdateVerdict};

/// The counts of a report by tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportSummary {
    /// One for each tenant, in the order of rows.
    pub tenants: Vec<TenantCounts>,
}

/// The machines and missing updates of a tenant under the policy of a report, whatever states its rows are limited to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantCounts {
    /// The name of the tenant.
    pub tenant: String,
    /// The machines by state.
    pub machines: PolicyStates,
    updates: [u64; UpdateState::ALL.len()],
    /// The assessed machines that miss nothing and are not past end of servicing.
    pub missing_nothing: u64,
    /// The machines past end of servicing, without unsupported and inactive ones.
    pub servicing_ended: u64,
}

impl ReportSummary {
    /// The sums over all tenants.
    #[must_use]
    pub fn total(&self) -> TenantCounts {
        let mut total = TenantCounts::default();
        for counts in &self.tenants {
            total.machines.add_all(&counts.machines);
            total.updates.iter_mut().zip(counts.updates).for_each(|(sum, count)| *sum += count);
            total.missing_nothing += counts.missing_nothing;
            total.servicing_ended += counts.servicing_ended;
        }
        total
    }
}

impl TenantCounts {
    pub(super) fn new(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..Self::default() }
    }

    pub(super) fn add(
        &mut self,
        state: PolicyState,
        missing_updates: Option<&[MissingUpdate]>,
        verdicts: &[UpdateVerdict],
        is_ended: bool,
    ) {
        self.machines.add(state);
        let misses_nothing = missing_updates.is_some_and(<[_]>::is_empty);
        self.missing_nothing += u64::from(misses_nothing && !is_ended);
        self.servicing_ended += u64::from(is_ended);
        for verdict in verdicts {
            self.updates[verdict.state as usize] += 1;
        }
    }

    /// The number of missing updates in `state`.
    #[must_use]
    pub fn updates(&self, state: UpdateState) -> u64 {
        self.updates[state as usize]
    }
}

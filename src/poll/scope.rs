//! The scope of a tenant: resolves the selectors through the machine list and applies the result.
//!
//! A machine list that shrinks under unchanged selectors passes the shrink guard first. A failed list
//! leaves the scope as it is.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::context::PollContext;
use super::discover::{Scope, discover, scope_without_list};
use super::shrink_guard::{ShrinkGuard, Verdict};
use crate::config::Selectors;
use crate::defender::ApiError;
use crate::error::Chain;
use crate::fleet::{MachineFacts, TenantFleet};
use crate::model::{MachineId, SnapshotRejectReason};

/// Decides when to fetch the machine list, and whether to accept it.
#[derive(Debug)]
pub(super) struct ScopeTracker {
    selectors: Selectors,
    /// See [`Selectors::digest`].
    digest: Arc<str>,
    guard: ShrinkGuard,
    /// The selectors without a match that were logged last.
    logged_unmatched: Vec<String>,
    /// True if the newest attempt found the machine list to be forbidden.
    is_forbidden: bool,
}

impl ScopeTracker {
    /// A tracker for the scope of `fleet`. Selectors that `fleet` stores in the form of an earlier release
    /// are replaced by their digest.
    pub(super) fn new(selectors: Selectors, fleet: &mut TenantFleet) -> Self {
        let digest: Arc<str> = selectors.digest().into();
        if selectors.is_stored_as(&fleet.selectors) {
            fleet.selectors = Arc::clone(&digest);
        }
        let guard = ShrinkGuard::default();
        Self { selectors, digest, guard, logged_unmatched: Vec::new(), is_forbidden: false }
    }

    /// Returns whether the machine list is due at `now`.
    pub(super) fn is_due(&self, fleet: &TenantFleet, now: Timestamp, interval: Duration) -> bool {
        self.next_due(fleet, interval).is_none_or(|at| at <= now)
    }

    /// The time at which the machine list, or the recheck of a held one, is due; none while the scope is not
    /// the one of the current selectors, because it is due at once then.
    pub(super) fn next_due(&self, fleet: &TenantFleet, interval: Duration) -> Option<Timestamp> {
        let listed_at = fleet.listed_at.filter(|_| self.is_current(fleet))?;
        Some(self.guard.recheck_at().unwrap_or(listed_at + interval))
    }

    /// Sets times in the future back to `now`.
    pub(super) fn set_back_times(&mut self, now: Timestamp) {
        self.guard.set_back_times(now);
    }

    /// Returns whether the newest attempt found that the application lacks the role for the list, and did
    /// without it.
    pub(super) fn is_forbidden(&self) -> bool {
        self.is_forbidden
    }

    /// Returns whether the scope of `fleet` was resolved with the current selectors.
    fn is_current(&self, fleet: &TenantFleet) -> bool {
        fleet.selectors == self.digest
    }

    /// Fetches the machine list and resolves the selectors. Where the list is forbidden, the configured ids
    /// are the scope if there are no other selectors.
    ///
    /// # Errors
    /// If the list cannot be fetched and the selectors need it. The scope stays as it is then.
    pub(super) async fn fetch(&mut self, context: &PollContext) -> Result<Scope, ApiError> {
        let error = match discover(&context.client, &self.selectors).await {
            Ok(scope) => {
                self.is_forbidden = false;
                return Ok(scope);
            }
            Err(error @ ApiError::Forbidden { .. }) => error,
            Err(error) => return Err(error),
        };
        let Some(mut scope) = scope_without_list(&self.selectors) else {
            return Err(error);
        };
        // The facts of an earlier list are kept: old names are better than none.
        for facts in &mut scope.machines {
            if let Some(machine) = context.fleet.machines.get(&facts.id) {
                *facts = machine.facts.clone();
            }
        }
        if !self.is_forbidden {
            tracing::warn!(tenant = &*context.fleet.tenant, error = %Chain(&error),
                "continuing without the machine list: machines have no name and no platform");
        }
        self.is_forbidden = true;
        Ok(scope)
    }

    /// Returns whether changed selectors bring machines into `scope` that are not in the scope of `fleet`.
    pub(super) fn selectors_add_machines(&self, scope: &Scope, fleet: &TenantFleet) -> bool {
        let is_new = |facts: &MachineFacts| !fleet.machines.contains_key(&facts.id);
        !self.is_current(fleet) && scope.machines.iter().any(is_new)
    }

    /// Makes `scope`, as listed at `now`, the scope of the fleet unless the shrink guard holds it.
    pub(super) fn apply(&mut self, scope: Scope, now: Timestamp, context: &mut PollContext) {
        context.metrics.unmatched_selectors(scope.unmatched.len());
        self.log_unmatched(&context.fleet.tenant, scope.unmatched);
        if self.is_current(&context.fleet) && self.is_held(&scope.machines, now, context) {
            return;
        }
        context.fleet.selectors = Arc::clone(&self.digest);
        context.fleet.apply_list(scope.machines, now, &context.freshness);
        context.fleet_changed();
    }

    fn log_unmatched(&mut self, tenant: &str, unmatched: Vec<String>) {
        if unmatched == self.logged_unmatched {
            return;
        }
        for selector in &unmatched {
            tracing::warn!(tenant, selector, "selector matches no machine");
        }
        self.logged_unmatched = unmatched;
    }

    /// Returns whether the shrink guard holds back the machine list `listed`.
    fn is_held(&mut self, listed: &[MachineFacts], now: Timestamp, context: &PollContext) -> bool {
        let known = context.fleet.machines.len();
        let lost = count_missing(&context.fleet, listed);
        let Verdict::Hold { is_first } = self.guard.check(lost, known, now) else {
            return false;
        };
        context.metrics.list_rejected(SnapshotRejectReason::Shrunk);
        if is_first {
            tracing::warn!(
                tenant = &*context.fleet.tenant,
                lost,
                known,
                "machine list shrank by more than half; keeping the previous list until a second fetch confirms \
                 it (in 5 minutes or more)"
            );
        }
        true
    }
}

/// The number of machines in the scope of `fleet` that `listed` lacks.
fn count_missing(fleet: &TenantFleet, listed: &[MachineFacts]) -> usize {
    let listed: HashSet<&MachineId> = listed.iter().map(|facts| &facts.id).collect();
    fleet.machines.keys().filter(|id| !listed.contains(id)).count()
}

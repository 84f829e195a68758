//! The burn-downs of the published tenants. The publication is their only writer.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::fleet::summary::Summary;
use crate::fleet::{BurnDown, TenantFleet};
use crate::store::SharedStore;

/// The burn-down of each published tenant, and the store that keeps them.
#[derive(Debug, Default)]
pub(super) struct BurnDowns {
    store: Option<SharedStore>,
    by_tenant: BTreeMap<Arc<str>, Arc<BurnDown>>,
}

impl BurnDowns {
    /// No burn-down yet. Without a `store` each tenant begins without counts.
    pub(super) fn new(store: Option<SharedStore>) -> Self {
        Self { store, by_tenant: BTreeMap::new() }
    }

    /// Adds the stored burn-downs of tenants that were not published before, and drops those of tenants that are not
    /// published any more. The store keeps all of them.
    pub(super) fn load(&mut self, fleets: &[Arc<TenantFleet>]) {
        let mut previous = std::mem::take(&mut self.by_tenant);
        for fleet in fleets {
            let stored = || self.store.as_ref()?.burn_down(&fleet.tenant);
            let burn_down = || previous.remove(&fleet.tenant).or_else(stored).unwrap_or_default();
            self.by_tenant.entry(Arc::clone(&fleet.tenant)).or_insert_with(burn_down);
        }
    }

    /// Records the counts of a tenant for the day of `now`.
    pub(super) fn record(&mut self, tenant: &Arc<str>, summary: &Summary, now: Timestamp) {
        if let Some(burn_down) = self.by_tenant.get_mut(tenant) {
            BurnDown::record(burn_down, summary, now);
        }
    }

    /// Saves what has changed; blocks. A failure is counted and logged by the store; the next save carries the changes.
    pub(super) fn save(&self) {
        if let Some(store) = &self.store {
            store.save_burn_downs(&self.by_tenant);
        }
    }

    /// The burn-downs of `fleets`, in their order.
    pub(super) fn of(&self, fleets: &[Arc<TenantFleet>]) -> Vec<Arc<BurnDown>> {
        fleets.iter().map(|fleet| self.by_tenant.get(&fleet.tenant).cloned().unwrap_or_default()).collect()
    }
}

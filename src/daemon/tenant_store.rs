//! The stored state of tenants: from an earlier run, or from before a reload removed them.

#[cfg(feature = "demo")]
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::defender::{CallRecorder, QuotaHistory};
use crate::error::AppError;
#[cfg(feature = "demo")]
use crate::fleet::BurnDown;
use crate::fleet::TenantFleet;
use crate::poll;
use crate::self_metrics::SelfMetrics;
use crate::store::{SharedStore, Store};

/// The state file, with the operations that starting a tenant needs. Cheap to clone. Calls block.
#[derive(Clone, Debug)]
pub(crate) struct TenantStore {
    pub(super) store: SharedStore,
    /// The folder of the state file.
    pub(super) folder: Arc<Path>,
    clock: Clock,
    self_metrics: Arc<SelfMetrics>,
}

impl TenantStore {
    /// Opens the state file in `folder`. A file that cannot be used is logged and set aside.
    ///
    /// # Errors
    /// Fails if another process uses the same folder.
    pub(crate) fn open(
        folder: &Path,
        clock: &Clock,
        self_metrics: &Arc<SelfMetrics>,
    ) -> Result<Self, AppError> {
        let opened = Store::open(folder, clock.clone());
        let (store, restored) = opened.map_err(|error| AppError::Storage(error.to_string()))?;
        let path = Arc::from(folder);
        let folder = folder.display();
        for event in &restored.events {
            tracing::warn!(%folder, "{event}");
        }
        if restored.restored {
            self_metrics.state_restored();
            let machines: usize = restored.fleets.iter().map(|fleet| fleet.machines.len()).sum();
            tracing::info!(%folder, machines, "state restored");
        }
        let store = SharedStore::new(store, Arc::clone(self_metrics));
        Ok(Self { store, folder: path, clock: clock.clone(), self_metrics: Arc::clone(self_metrics) })
    }

    /// Records that data of tenants is restored from an earlier run, of this exporter or of another one.
    pub(super) fn record_restored(&self) {
        self.self_metrics.state_restored();
    }

    /// Saves fleets.
    pub(crate) fn save(&self, fleets: &[Arc<TenantFleet>]) {
        self.store.save(fleets);
    }

    /// Saves the burn-downs of tenants.
    #[cfg(feature = "demo")]
    pub(crate) fn save_burn_downs(&self, burn_downs: &BTreeMap<Arc<str>, Arc<BurnDown>>) {
        self.store.save_burn_downs(burn_downs);
    }

    /// The stored data of a tenant without times in the future, or an empty fleet.
    pub(crate) fn fleet(&self, tenant: &Arc<str>) -> TenantFleet {
        let Some(fleet) = self.store.fleet(tenant) else {
            return TenantFleet::new(Arc::clone(tenant));
        };
        let mut fleet = TenantFleet::clone(&fleet);
        if let Some(lead) = fleet.set_back_times(self.clock.now()) {
            poll::log_times_set_back(tenant, lead);
        }
        fleet
    }

    /// The recent calls for a tenant, and the recorder of further ones.
    pub(super) fn quota_history(&self, tenant: &Arc<str>) -> QuotaHistory {
        let store = self.store.clone();
        let name = Arc::clone(tenant);
        let recorder: CallRecorder = Arc::new(move |at, endpoint| {
            let store = store.clone();
            let name = Arc::clone(&name);
            Box::pin(async move {
                let recorded =
                    tokio::task::spawn_blocking(move || store.record_call(&name, at, endpoint)).await;
                recorded.expect("Safe: recording a call does not panic and is never aborted");
            })
        });
        QuotaHistory { made: self.store.calls(tenant), recorder: Some(recorder) }
    }
}

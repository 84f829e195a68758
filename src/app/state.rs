//! What is remembered of tenants: by an earlier run, or from before a reload took them away.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::defender::{CallRecorder, QuotaHistory};
use crate::error::AppError;
use crate::fleet::TenantFleet;
use crate::self_metrics::SelfMetrics;
use crate::store::{SharedStore, Store};

/// The store, in the words of those who start tenants. Cheap to clone. Calls block.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) store: SharedStore,
}

impl State {
    /// Opens the state in `folder`. Whatever is wrong with it is logged, set aside, and no reason to
    /// stop.
    ///
    /// # Errors
    /// When another process works on the same folder.
    pub(super) fn open(
        folder: &Path,
        clock: &Clock,
        self_metrics: &Arc<SelfMetrics>,
    ) -> Result<Self, AppError> {
        let opened = Store::open(folder, clock.clone());
        let (store, restored) = opened.map_err(|error| AppError::Storage(error.to_string()))?;
        for notice in &restored.notices {
            tracing::warn!(folder = %folder.display(), problem = %notice, "the state on disk is not as it should be");
        }
        if restored.restored {
            self_metrics.state_restored();
            let machines: usize = restored.fleets.iter().map(|fleet| fleet.machines.len()).sum();
            tracing::info!(folder = %folder.display(), machines, "the state of an earlier run is restored");
        }
        Ok(Self { store: SharedStore::new(store, Arc::clone(self_metrics)) })
    }

    /// What is known of a tenant, if only its name.
    pub(super) fn fleet(&self, tenant: &Arc<str>) -> TenantFleet {
        let Some(fleet) = self.store.fleet(tenant) else {
            return TenantFleet::new(Arc::clone(tenant));
        };
        let mut fleet = TenantFleet::clone(&fleet);
        // The newest attempt may be the newest for hours to come: nothing fresh is asked again.
        let status = &mut fleet.status;
        status.up = status.last_success.is_some() && status.last_success == status.last_poll;
        fleet
    }

    /// The calls that were made for a tenant, and where to note more.
    pub(super) fn history(&self, tenant: &Arc<str>) -> QuotaHistory {
        let (store, name) = (self.store.clone(), Arc::clone(tenant));
        let recorder: CallRecorder = Arc::new(move |at, endpoint| {
            let (store, name) = (store.clone(), Arc::clone(&name));
            Box::pin(async move {
                let noted = tokio::task::spawn_blocking(move || store.record_call(&name, at, endpoint)).await;
                noted.expect("Safe: noting a call does not panic and is never aborted");
            })
        });
        QuotaHistory { made: self.store.calls(tenant), recorder: Some(recorder) }
    }
}

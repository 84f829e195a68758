//! The store as the parts of the exporter share it: one writer at a time, failures counted, and
//! logged when they begin and when they end.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{SaveError, Store};
use crate::error::Chain;
use crate::fleet::TenantFleet;
use crate::model::ApiOperation;
use crate::self_metrics::SelfMetrics;

/// Cheap to clone; clones share the store. Calls block: off the async threads with them.
#[derive(Clone)]
pub struct SharedStore(Arc<Shared>);

struct Shared {
    store: Mutex<Store>,
    failing: AtomicBool,
    self_metrics: Arc<SelfMetrics>,
}

impl SharedStore {
    /// Shares `store`; `self_metrics` counts its writes.
    #[must_use]
    pub fn new(store: Store, self_metrics: Arc<SelfMetrics>) -> Self {
        Self(Arc::new(Shared { store: Mutex::new(store), failing: AtomicBool::new(false), self_metrics }))
    }

    /// Writes what changed. A failure costs nothing but the memory of it: the next write carries
    /// everything that this one did not.
    pub fn save(&self, fleets: &[Arc<TenantFleet>]) {
        let saved = self.store().save(fleets);
        match saved {
            Ok(saved) => {
                for notice in &saved.notices {
                    tracing::warn!(problem = %notice, "the state on disk changed its condition");
                }
                if saved.changed {
                    self.succeeded();
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// What is remembered of a tenant, polled now or not; of a poll of an earlier run only the times.
    #[must_use]
    pub fn fleet(&self, tenant: &str) -> Option<Arc<TenantFleet>> {
        self.store().fleets.get(tenant).cloned()
    }

    /// The calls to the API of a tenant in the last hour, oldest first.
    #[must_use]
    pub fn calls(&self, tenant: &str) -> Vec<(Timestamp, ApiOperation)> {
        self.store().calls.0.get(tenant).cloned().unwrap_or_default()
    }

    /// Notes a call to the API of `tenant`, which counts against the quota of a later run too.
    pub fn record_call(&self, tenant: &str, at: Timestamp, endpoint: ApiOperation) {
        let recorded = self.store().record_calls(tenant, &[(at, endpoint)]);
        if let Err(error) = recorded {
            self.failed(&error);
        }
    }

    fn succeeded(&self) {
        self.0.self_metrics.state_written(true);
        if self.0.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the state can be written again");
        }
    }

    fn failed(&self, error: &SaveError) {
        self.0.self_metrics.state_written(false);
        if !self.0.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(error = %Chain(error),
                "the state cannot be written; going on from memory, a restart now would forget");
        }
    }

    /// The store keeps itself whole by transactions, whatever panicked meanwhile.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

//! Shares the store between threads: one writer at a time. Failures are counted, and logged when they begin
//! and end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{ImportedTenant, ReadError, SaveError, Saved, Store};
use crate::error::Chain;
use crate::fleet::{BurnDown, TenantFleet};
use crate::model::ApiOperation;
use crate::self_metrics::SelfMetrics;

/// A [`Store`] for several threads. Cheap to clone; clones share the store. Calls block, so they must not run
/// on the async threads.
#[derive(Clone)]
pub struct SharedStore(Arc<SharedInner>);

struct SharedInner {
    store: Mutex<Store>,
    failing: AtomicBool,
    self_metrics: Arc<SelfMetrics>,
}

impl SharedStore {
    /// Wraps `store`; `self_metrics` counts its saves.
    #[must_use]
    pub fn new(store: Store, self_metrics: Arc<SelfMetrics>) -> Self {
        Self(Arc::new(SharedInner {
            store: Mutex::new(store),
            failing: AtomicBool::new(false),
            self_metrics,
        }))
    }

    /// Takes the tenants of `tenants` of which the state has no data from the state files of other exporters, and saves
    /// them.
    ///
    /// # Errors
    /// If a tenant lacks data and a file cannot be read, see [`ReadError`]. Nothing is taken then.
    pub fn import(&self, tenants: &[Arc<str>], files: &[PathBuf]) -> Result<Vec<ImportedTenant>, ReadError> {
        let imported = self.store().import(tenants, files)?;
        if !imported.is_empty() {
            self.save(&[]);
        }
        Ok(imported)
    }

    /// True if the state has data of a tenant, configured or not.
    #[must_use]
    pub fn has_tenants(&self) -> bool {
        !self.store().fleets.is_empty()
    }

    /// Saves the changes of `fleets`. After a failure, the next save writes everything that this one did not.
    pub fn save(&self, fleets: &[Arc<TenantFleet>]) {
        let saved = self.store().save(fleets);
        self.report(saved);
    }

    /// Saves the burn-downs of tenants that have changed. After a failure, the next save writes everything that this one
    /// did not.
    pub fn save_burn_downs(&self, burn_downs: &BTreeMap<Arc<str>, Arc<BurnDown>>) {
        let saved = self.store().save_burn_downs(burn_downs);
        self.report(saved);
    }

    fn report(&self, saved: Result<Saved, SaveError>) {
        match saved {
            Ok(saved) => {
                for event in &saved.events {
                    tracing::warn!("{event}");
                }
                if saved.changed {
                    self.succeeded();
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// The stored data of a tenant, configured or not. Of the poll status of an earlier run only `up` and the times are stored.
    #[must_use]
    pub fn fleet(&self, tenant: &str) -> Option<Arc<TenantFleet>> {
        self.store().fleets.get(tenant).cloned()
    }

    /// The stored daily counts of a tenant, configured or not.
    #[must_use]
    pub fn burn_down(&self, tenant: &str) -> Option<Arc<BurnDown>> {
        self.store().burn_down(tenant).cloned()
    }

    /// The API calls of a tenant in the last hour, oldest first.
    #[must_use]
    pub fn calls(&self, tenant: &str) -> Vec<(Timestamp, ApiOperation)> {
        self.store().calls.0.get(tenant).cloned().unwrap_or_default()
    }

    /// Records a call to the API of `tenant`, so that it counts against the quota after a restart.
    pub fn record_call(&self, tenant: &str, at: Timestamp, operation: ApiOperation) {
        let recorded = self.store().record_calls(tenant, &[(at, operation)]);
        if let Err(error) = recorded {
            self.failed(&error);
        }
    }

    fn succeeded(&self) {
        self.0.self_metrics.state_written(true);
        if self.0.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("state is saved to disk again");
        }
    }

    fn failed(&self, error: &SaveError) {
        self.0.self_metrics.state_written(false);
        if !self.0.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(error = %Chain(error),
                "state cannot be saved; a restart would lose the changes since the last save");
        }
    }

    /// Ignores poisoning: transactions keep the store consistent after a panic.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").finish_non_exhaustive()
    }
}

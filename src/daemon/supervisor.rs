//! The supervisor: runs one poller task per tenant and applies reload plans.
//!
//! A reload leaves the task of an unchanged tenant alone. Of a changed tenant it stops the poller, and a new
//! one continues with its data. The quota outlives both, because the API counts calls per application,
//! whatever the tenant is called in the configuration: a tenant that is renamed, or removed and added again,
//! starts with the calls that were already made for its application.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::reload_plan::{CaDigests, ReloadPlan, TenantChange, TenantName, ignored_updates};
use super::tenant::{PreparedTransport, TenantFactory, TenantHandle, apply_quotas};
use super::watchdog::Watchdog;
use crate::config::{self, Config, Tenant};
use crate::defender::QuotaHistory;
use crate::error::AppError;
use crate::fleet::TenantFleet;
use crate::metrics::RenderOptions;
use crate::poll::{Poller, STALL_TIMEOUT};

/// The connections of the tenants that a reload connects.
pub(super) type Transports = BTreeMap<TenantName, PreparedTransport>;

/// The running pollers.
#[derive(Debug)]
pub(super) struct Supervisor {
    factory: TenantFactory,
    watchdog: Watchdog,
    running: BTreeMap<TenantName, TenantHandle>,
    /// Tenants that are no longer polled but whose calls still count against a quota, the latest last.
    retired: Vec<TenantHandle>,
    pollers: JoinSet<TenantFleet>,
}

/// A tenant whose poller is ready to start.
struct StartingTenant {
    handle: TenantHandle,
    poller: Poller,
    fleet: TenantFleet,
}

/// The data and the recent calls of a tenant, as the state file holds them.
type StoredTenant = (TenantFleet, QuotaHistory);

impl Supervisor {
    /// A supervisor without tenants.
    pub(super) fn new(factory: TenantFactory, watchdog: Watchdog) -> Self {
        Self { factory, watchdog, running: BTreeMap::new(), retired: Vec::new(), pollers: JoinSet::new() }
    }

    /// Makes every poller whose API has failed try it at once.
    pub(super) fn wake(&self) {
        self.running.values().for_each(|handle| handle.wake.notify_one());
    }

    /// Starts the poller of a tenant.
    pub(super) fn start(&mut self, mut handle: TenantHandle, poller: Poller) {
        handle.wake = poller.wake_signal();
        let name = Arc::clone(handle.name());
        let watchdog = self.watchdog.clone();
        let progress = poller.progress();
        let task = format!("poller of {name}");
        // Boxed, because the state of a poller is large.
        let polling = Box::pin(poller.run(handle.stop.clone()));
        self.pollers.spawn(async move { watchdog.watch(task, STALL_TIMEOUT, progress, polling).await });
        self.running.insert(name, handle);
    }

    /// Waits for a poller that ends without a request to stop.
    pub(super) async fn unexpected_exit(&mut self) -> AppError {
        match self.pollers.join_next().await {
            Some(result) => early_exit(&result),
            // A shard may have no tenant.
            None => std::future::pending().await,
        }
    }

    /// Stops every poller and waits until all have ended.
    pub(super) async fn stop(&mut self) {
        self.running.values().for_each(|handle| handle.stop.cancel());
        while self.pollers.join_next().await.is_some() {}
    }

    /// Makes the next call of every tenant take a new token.
    pub(super) fn renew_tokens(&self) {
        self.running.values().for_each(|handle| handle.client.renew_token());
    }

    /// The digest of each CA file when it was last read.
    pub(super) fn ca_digests(&self) -> CaDigests {
        self.running.iter().map(|(name, handle)| (Arc::clone(name), handle.ca_digest)).collect()
    }

    /// The tenants that are no longer polled but whose calls still count against a quota.
    pub(super) fn retired_tenants(&self) -> Vec<Tenant> {
        self.retired.iter().map(|handle| handle.tenant.clone()).collect()
    }

    /// Applies a plan. When this returns, readers see the tenants of `config` and no others. `transports` holds
    /// the connections of every tenant that needs new ones.
    ///
    /// # Errors
    /// Fails if a task has ended unexpectedly; the daemon cannot continue then.
    pub(super) async fn apply(
        &mut self,
        plan: &ReloadPlan,
        mut transports: Transports,
        config: &Config,
        options: RenderOptions,
    ) -> Result<(), AppError> {
        let mut stopped = self.stop_changed(plan).await?;
        let mut stored = self.save_and_load(plan, &stopped).await;
        let mut starting: BTreeMap<TenantName, StartingTenant> = BTreeMap::new();
        for (tenant, change) in plan.tenants_of(config).filter(|(_, change)| change.needs_poller()) {
            let name = &tenant.name;
            let (fleet, history) =
                stored.remove(name).expect("Safe: the state of each new poller was loaded");
            let mut fleet = stopped.remove(name).unwrap_or(fleet);
            fleet.ignore(&ignored_updates(config));
            let handle = self.handle(tenant, change, transports.remove(name), history, &starting);
            let poller = self.factory.poller(&handle, fleet.clone(), config);
            starting.insert(Arc::clone(name), StartingTenant { handle, poller, fleet });
        }
        let running = self.running.values().chain(starting.values().map(|starting| &starting.handle));
        apply_quotas(running);
        self.publish(config, &starting, options).await?;
        for name in plan.names_with(|change| *change == TenantChange::Remove) {
            self.factory.self_metrics.forget_tenant(name);
        }
        for StartingTenant { handle, poller, .. } in starting.into_values() {
            self.start(handle, poller);
        }
        self.retired.retain(|handle| handle.client.has_quota_state());
        Ok(())
    }

    /// Stops the pollers of all tenants that the plan does not keep, and retires their handles. Returns their
    /// data.
    async fn stop_changed(
        &mut self,
        plan: &ReloadPlan,
    ) -> Result<BTreeMap<TenantName, TenantFleet>, AppError> {
        let stopping: Vec<_> =
            self.running.extract_if(.., |name, _| !plan.keeps(name)).map(|(_, handle)| handle).collect();
        for handle in &stopping {
            handle.stop.cancel();
        }
        let mut stopped = BTreeMap::new();
        while stopped.len() < stopping.len() {
            match self.pollers.join_next().await {
                Some(Ok(fleet)) if stopping.iter().any(|handle| *handle.name() == fleet.tenant) => {
                    stopped.insert(Arc::clone(&fleet.tenant), fleet);
                }
                Some(result) => return Err(early_exit(&result)),
                None => return Err(AppError::TaskExited { task: POLLER }),
            }
        }
        self.retired.extend(stopping);
        Ok(stopped)
    }

    /// Saves the data of removed tenants, then loads the state of every tenant that gets a poller.
    async fn save_and_load(
        &self,
        plan: &ReloadPlan,
        stopped: &BTreeMap<TenantName, TenantFleet>,
    ) -> BTreeMap<TenantName, StoredTenant> {
        let removed = plan.names_with(|change| *change == TenantChange::Remove);
        let removed: Vec<_> = removed.filter_map(|name| stopped.get(name).cloned().map(Arc::new)).collect();
        let starting: Vec<_> = plan.names_with(TenantChange::needs_poller).cloned().collect();
        let is_new =
            |change: &TenantChange| matches!(change, TenantChange::Add | TenantChange::Rename { .. });
        let added: Vec<_> = plan.names_with(is_new).cloned().collect();
        let store = self.factory.store.clone();
        let loading = tokio::task::spawn_blocking(move || {
            store.save(&removed);
            store.warn_of_new_tenants(added);
            let load = |name| {
                let stored = (store.fleet(&name), store.quota_history(&name));
                (name, stored)
            };
            starting.into_iter().map(load).collect()
        });
        loading.await.expect("Safe: the store does not panic and the task is never aborted")
    }

    /// The handle for a new poller: the former client if the connections stay, a new one otherwise.
    fn handle(
        &mut self,
        tenant: &Tenant,
        change: &TenantChange,
        transport: Option<PreparedTransport>,
        history: QuotaHistory,
        starting: &BTreeMap<TenantName, StartingTenant>,
    ) -> TenantHandle {
        let predecessor = match change {
            TenantChange::Rename { from } => self.take_retired(from, tenant),
            _ => self.take_retired(&tenant.name, tenant),
        };
        if let TenantChange::Restart = change {
            let former = predecessor.expect("Safe: the handle was retired when its poller was stopped");
            return former.with_settings(tenant);
        }
        let transport = transport.expect("Safe: the reload prepared the connections that the plan needs");
        let others = self.running.values().chain(starting.values().map(|starting| &starting.handle));
        let mut others = others.chain(&self.retired);
        let other = others.find(|other| config::shares_quota(&other.tenant, tenant));
        self.factory.handle(tenant, transport, history, predecessor.as_ref(), other)
    }

    /// Takes the latest retired tenant called `name` that used the application of `tenant`.
    fn take_retired(&mut self, name: &TenantName, tenant: &Tenant) -> Option<TenantHandle> {
        let index = self.retired.iter().rposition(|handle| {
            handle.name() == name && config::is_same_app_registration(&handle.tenant, tenant)
        })?;
        Some(self.retired.remove(index))
    }

    /// Replaces the published tenants and waits until readers see the new ones.
    async fn publish(
        &self,
        config: &Config,
        starting: &BTreeMap<TenantName, StartingTenant>,
        options: RenderOptions,
    ) -> Result<(), AppError> {
        let fleet = |name: &TenantName| starting.get(name).map(|tenant| tenant.fleet.clone());
        let published =
            config.tenants.iter().map(|tenant| (Arc::clone(&tenant.name), fleet(&tenant.name))).collect();
        let served = self.factory.sender.reconfigure(published, options);
        served.await.map_err(|_| AppError::TaskExited { task: "publication" })
    }
}

const POLLER: &str = "poller";

fn early_exit(result: &Result<TenantFleet, JoinError>) -> AppError {
    AppError::TaskExited { task: if result.is_ok() { POLLER } else { "poller (panicked)" } }
}

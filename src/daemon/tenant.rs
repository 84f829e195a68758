//! A polled tenant: its connections, its client and its poller.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::reload_plan::{TenantName, ignored_updates};
use super::tenant_store::TenantStore;
use crate::clock::Clock;
use crate::config::{self, Config, Tenant};
use crate::defender::{Client, HttpClients, QuotaHistory, RetryPolicy};
use crate::facts::FactsReader;
use crate::file_watch::{self, ContentDigest};
use crate::fleet::TenantFleet;
use crate::http::{HttpError, ProxyMode};
use crate::poll::Poller;
use crate::publish::FleetSender;
use crate::self_metrics::SelfMetrics;

/// The connections to a tenant, set up but not yet used.
#[derive(Debug)]
pub(super) struct PreparedTransport {
    http_clients: HttpClients,
    ca_digest: ContentDigest,
}

impl PreparedTransport {
    /// Reads the CA file of the tenant and sets up its connections. Blocks.
    ///
    /// # Errors
    /// Fails if the connection settings cannot be used.
    pub(super) fn new(tenant: &Tenant, proxy_mode: ProxyMode) -> Result<Self, HttpError> {
        // The digest is taken first, so that a change during the setup is noticed by the next reload.
        let ca_digest = ca_digest(tenant);
        Ok(Self { http_clients: HttpClients::prepare(tenant, proxy_mode)?, ca_digest })
    }
}

/// The digest of the tenant's CA file, if it has one that can be read. Blocks.
pub(super) fn ca_digest(tenant: &Tenant) -> ContentDigest {
    tenant.http.ca_file.as_deref().and_then(file_watch::content)
}

/// The client of a tenant, and the switch that stops its poller.
#[derive(Debug)]
pub(super) struct TenantHandle {
    pub(super) tenant: Tenant,
    /// The digest of the CA file when the client was made.
    pub(super) ca_digest: ContentDigest,
    pub(super) client: Arc<Client>,
    pub(super) stop: CancellationToken,
    /// Makes the running poller try a failed API at once.
    pub(super) wake: Arc<Notify>,
}

impl TenantHandle {
    /// The name of the tenant.
    pub(super) fn name(&self) -> &TenantName {
        &self.tenant.name
    }

    /// Keeps the client, and with it connections, token and quota, for new settings of the same tenant.
    pub(super) fn with_settings(self, tenant: &Tenant) -> Self {
        Self { tenant: tenant.clone(), stop: CancellationToken::new(), ..self }
    }
}

/// Applies the smallest quota of the tenants that use the same application to each of them.
pub(super) fn apply_quotas<'a>(handles: impl Iterator<Item = &'a TenantHandle>) {
    let handles: Vec<_> = handles.collect();
    for handle in &handles {
        let tenants = handles.iter().map(|other| &other.tenant);
        let sharing: Vec<_> = tenants.filter(|other| config::shares_quota(other, &handle.tenant)).collect();
        handle.client.set_quota(&sharing);
    }
}

/// Makes the clients and pollers of tenants.
#[derive(Debug)]
pub(super) struct TenantFactory {
    pub(super) store: TenantStore,
    pub(super) sender: FleetSender,
    pub(super) self_metrics: Arc<SelfMetrics>,
    pub(super) clock: Clock,
    pub(super) facts: FactsReader,
}

impl TenantFactory {
    /// Makes the client of a tenant. It continues the quota of `predecessor`, which called the API for the
    /// same application, or shares the one of `other`, which still does.
    pub(super) fn handle(
        &self,
        tenant: &Tenant,
        transport: PreparedTransport,
        history: QuotaHistory,
        predecessor: Option<&TenantHandle>,
        other: Option<&TenantHandle>,
    ) -> TenantHandle {
        let PreparedTransport { http_clients, ca_digest } = transport;
        let metrics = self.self_metrics.tenant(&tenant.name);
        let random = fastrand::Rng::new();
        let retry = RetryPolicy::default();
        let mut client =
            Client::over(http_clients, tenant, retry, random, history, self.clock.clone(), metrics);
        if let Some(predecessor) = predecessor {
            client = client.inherit_quota(&predecessor.client, tenant);
        } else if let Some(other) = other {
            client = client.share_quota(&other.client);
        }
        TenantHandle {
            tenant: tenant.clone(),
            ca_digest,
            client: Arc::new(client),
            stop: CancellationToken::new(),
            wake: Arc::default(),
        }
    }

    /// Makes the poller of a tenant, which starts with the data in `fleet`.
    pub(super) fn poller(&self, handle: &TenantHandle, fleet: TenantFleet, config: &Config) -> Poller {
        let tenant = &handle.tenant;
        let poller = Poller::new(
            tenant,
            config.poll,
            Arc::clone(&handle.client),
            fleet,
            self.sender.clone(),
            self.self_metrics.tenant(&tenant.name),
            self.clock.clone(),
        );
        poller.ignoring(Arc::new(ignored_updates(config))).knowing(self.facts.clone())
    }
}

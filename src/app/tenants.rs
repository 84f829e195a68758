//! The tenants that are polled: what polls each, and who comes and goes with a reload.
//!
//! One task per tenant. A reload leaves the task of a tenant alone for which nothing changed. Of
//! another it stops the poller, and a new one goes on from what the old one knew; it also goes on with
//! the quota, which the API keeps for the application and not for a name of ours: a tenant that is
//! renamed or comes back has made the calls that it made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::state::State;
use super::watchdog::Watchdog;
use crate::clock::Clock;
use crate::config::{self, Config, Tenant};
use crate::defender::{Client, HttpClients, HttpError, ProxyMode, QuotaHistory, RetryPolicy};
use crate::error::AppError;
use crate::file_watch::{self, ContentDigest};
use crate::fleet::{KbId, TenantFleet};
use crate::poll::{Poller, STALL_TIMEOUT};
use crate::publish::FleetSender;
use crate::self_metrics::SelfMetrics;

/// Makes what polls a tenant.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) route: ProxyMode,
    pub(super) state: State,
    pub(super) publisher: FleetSender,
    pub(super) self_metrics: Arc<SelfMetrics>,
    pub(super) clock: Clock,
    pub(super) watchdog: Watchdog,
}

/// A tenant as it is polled.
#[derive(Debug)]
pub(super) struct Polled {
    tenant: Tenant,
    /// What its `ca_file` held when the client was made.
    ca: ContentDigest,
    client: Arc<Client>,
    stop: CancellationToken,
}

/// The way to a tenant, made ready.
#[derive(Debug)]
pub(super) struct Way {
    connections: HttpClients,
    ca: ContentDigest,
}

impl Way {
    /// Blocks: reads the `ca_file`.
    ///
    /// # Errors
    /// When the connection settings cannot be used.
    pub(super) fn to(tenant: &Tenant, route: ProxyMode) -> Result<Self, HttpError> {
        // First, so that a file that changes meanwhile counts as changed later.
        let ca = ca(tenant);
        Ok(Self { connections: HttpClients::prepare(tenant, route)?, ca })
    }
}

/// What the `ca_file` of a tenant holds now. Blocks.
pub(super) fn ca(tenant: &Tenant) -> ContentDigest {
    tenant.http.ca_file.as_deref().and_then(file_watch::content)
}

impl Workshop {
    /// A tenant that is new, or reached in a new way. `older` asked for the same application before.
    pub(super) fn tenant(
        &self,
        tenant: &Tenant,
        way: Way,
        history: QuotaHistory,
        older: Option<Polled>,
    ) -> Polled {
        let (retry, random, clock) = (RetryPolicy::default(), fastrand::Rng::new(), self.clock.clone());
        let (Way { connections, ca }, metrics) = (way, self.self_metrics.tenant(&tenant.name));
        let mut client = Client::over(connections, tenant, retry, random, history, clock, metrics);
        if let Some(older) = older {
            client = client.inherit_quota(&older.client, tenant);
        }
        Polled { tenant: tenant.clone(), ca, client: Arc::new(client), stop: CancellationToken::new() }
    }

    /// What polls a tenant, from what is known in `fleet`.
    pub(super) fn poller(&self, of: &Polled, fleet: TenantFleet, config: &Config) -> Poller {
        let (tenant, client) = (&of.tenant, Arc::clone(&of.client));
        let (publisher, metrics) = (self.publisher.clone(), self.self_metrics.tenant(&tenant.name));
        let poller = Poller::new(tenant, config.poll, client, fleet, publisher, metrics, self.clock.clone());
        poller.ignoring(Arc::new(ignored(config)))
    }
}

/// The KBs that are not looked at.
pub(super) fn ignored(config: &Config) -> BTreeSet<KbId> {
    config.metrics.ignore_kbs.iter().filter_map(|kb| KbId::new(*kb)).collect()
}

/// The running pollers.
#[derive(Debug)]
pub(super) struct Tenants {
    workshop: Workshop,
    running: BTreeMap<Arc<str>, Polled>,
    /// Tenants that are polled no more, whose calls still count.
    former: Vec<Polled>,
    pollers: JoinSet<TenantFleet>,
}

impl Tenants {
    /// None yet.
    pub(super) fn new(workshop: Workshop) -> Self {
        Self { workshop, running: BTreeMap::new(), former: Vec::new(), pollers: JoinSet::new() }
    }

    /// Polls a tenant from now on.
    pub(super) fn start(&mut self, tenant: Polled, poller: Poller) {
        let (watchdog, name) = (self.workshop.watchdog.clone(), Arc::clone(&tenant.tenant.name));
        let (part, progress) = (format!("the poller of {name}"), poller.progress());
        let polling = poller.run(tenant.stop.clone());
        self.pollers.spawn(async move { watchdog.over(part, STALL_TIMEOUT, progress, polling).await });
        self.running.insert(name, tenant);
    }

    /// Waits for a poller that ends though nobody asked it to.
    pub(super) async fn ended(&mut self) -> AppError {
        match self.pollers.join_next().await {
            Some(ended) => early_end(&ended),
            // There is a tenant always.
            None => std::future::pending().await,
        }
    }

    /// Stops every poller and waits for it.
    pub(super) async fn stop(&mut self) {
        self.running.values().for_each(|polled| polled.stop.cancel());
        while self.pollers.join_next().await.is_some() {}
    }

    /// What each `ca_file` held when it was last used.
    pub(super) fn cas(&self) -> BTreeMap<Arc<str>, ContentDigest> {
        self.running.iter().map(|(name, polled)| (Arc::clone(name), polled.ca)).collect()
    }

    /// Polls what `new` says instead of what `old` said. `ways` are those to the tenants that are new or
    /// reached otherwise. When it is done, readers see the tenants of `new`, and those alone.
    ///
    /// # Errors
    /// When a part ended early: nothing can be relied on any more.
    pub(super) async fn change(
        &mut self,
        old: &Config,
        new: &Config,
        mut ways: BTreeMap<Arc<str>, Way>,
    ) -> Result<(), AppError> {
        let all_change = old.poll != new.poll || ignored(old) != ignored(new);
        let stays = |tenant: &&Tenant| {
            let polled = self.running.get(&tenant.name);
            !all_change
                && !ways.contains_key(&tenant.name)
                && polled.is_some_and(|polled| polled.tenant == **tenant)
        };
        let staying: BTreeSet<_> =
            new.tenants.iter().filter(stays).map(|tenant| Arc::clone(&tenant.name)).collect();
        let mut fleets = self.stop_all_but(&staying).await?;
        self.former
            .extend(self.running.extract_if(.., |name, _| !staying.contains(name)).map(|(_, polled)| polled));

        let names: BTreeSet<_> = new.tenants.iter().map(|tenant| Arc::clone(&tenant.name)).collect();
        let gone: Vec<_> = fleets.extract_if(.., |name, _| !names.contains(name)).collect();
        let coming = names.iter().filter(|name| !staying.contains(*name)).cloned().collect();
        let mut remembered = self.remember(&gone, coming).await;

        let ignored = ignored(new);
        let (mut published, mut starting) = (Vec::new(), Vec::new());
        for tenant in &new.tenants {
            let name = Arc::clone(&tenant.name);
            let Some((stored, history)) = remembered.remove(&name) else {
                published.push((name, None));
                continue;
            };
            let mut fleet = fleets.remove(&name).unwrap_or(stored);
            fleet.forget_updates(&ignored);
            let made = self.polled(tenant, ways.remove(&name), history, &names);
            starting.push((self.workshop.poller(&made, fleet.clone(), new), made));
            published.push((name, Some(fleet)));
        }
        let served = self.workshop.publisher.reconfigure(published, super::exporter::options(new));
        served.await.map_err(|_| AppError::EndedEarly { part: "the publication" })?;
        for (name, _) in &gone {
            self.workshop.self_metrics.forget_tenant(name);
        }
        for (poller, tenant) in starting {
            self.start(tenant, poller);
        }
        self.former.retain(|polled| polled.client.has_quota_state());
        Ok(())
    }

    /// Stops the pollers of all but these; what each knew last.
    async fn stop_all_but(
        &mut self,
        staying: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, TenantFleet>, AppError> {
        let leaving: Vec<_> = self.running.iter().filter(|(name, _)| !staying.contains(*name)).collect();
        for (_, polled) in &leaving {
            polled.stop.cancel();
        }
        let mut fleets = BTreeMap::new();
        while fleets.len() < leaving.len() {
            match self.pollers.join_next().await {
                Some(Ok(fleet)) if leaving.iter().any(|(name, _)| **name == fleet.tenant) => {
                    fleets.insert(Arc::clone(&fleet.tenant), fleet);
                }
                Some(ended) => return Err(early_end(&ended)),
                None => return Err(AppError::EndedEarly { part: POLLER }),
            }
        }
        Ok(fleets)
    }

    /// Keeps what is known of tenants that go, and looks up what is remembered of those that come.
    async fn remember(
        &self,
        gone: &[(Arc<str>, TenantFleet)],
        coming: Vec<Arc<str>>,
    ) -> BTreeMap<Arc<str>, (TenantFleet, QuotaHistory)> {
        let gone: Vec<_> = gone.iter().map(|(_, fleet)| Arc::new(fleet.clone())).collect();
        let state = self.workshop.state.clone();
        let looked_up = tokio::task::spawn_blocking(move || {
            state.store.save(&gone);
            let of_each = |name| {
                let remembered = (state.fleet(&name), state.history(&name));
                (name, remembered)
            };
            coming.into_iter().map(of_each).collect()
        });
        looked_up.await.expect("Safe: the store does not panic and the task is never aborted")
    }

    /// A tenant that is to be polled: with the client that it had, unless there is a new way to it, and
    /// with the quota of whoever asked for its application before. `names` are all tenants to come.
    fn polled(
        &mut self,
        tenant: &Tenant,
        way: Option<Way>,
        history: QuotaHistory,
        names: &BTreeSet<Arc<str>>,
    ) -> Polled {
        // The newest of its name is the one that was stopped just now.
        let had = |known: &Polled| known.tenant.name == tenant.name;
        let Some(way) = way else {
            let known = self.former.iter().rposition(had).expect("Safe: who has no client has a way");
            let known = self.former.remove(known);
            known.client.set_quota(tenant);
            return Polled { tenant: tenant.clone(), stop: CancellationToken::new(), ..known };
        };
        let is_same = |known: &Polled| config::is_same_app_registration(&known.tenant, tenant);
        let renamed = |known: &Polled| !names.contains(&known.tenant.name) && is_same(known);
        let former = || self.former.iter();
        let older = former().rposition(|known| had(known) && is_same(known));
        let older = older.or_else(|| former().rposition(renamed));
        let older = older.map(|index| self.former.remove(index));
        self.workshop.tenant(tenant, way, history, older)
    }
}

const POLLER: &str = "a poller";

fn early_end(ended: &Result<TenantFleet, JoinError>) -> AppError {
    AppError::EndedEarly { part: if ended.is_ok() { POLLER } else { "a poller that panicked" } }
}

//! The daemon: one poller per tenant, the publication, the web server and the reload, started and stopped in
//! order.
//!
//! [`Daemon::build`] creates every part from the configuration, without a request and without a port.
//! [`Daemon::serve`] runs them until a signal. The [`supervisor`] owns the pollers, [`reload`] changes the
//! configuration, and the [`watchdog`] reports to [`systemd`] as long as every task makes progress.

mod active_config;
mod credentials;
mod listener;
mod missing_kbs;
mod new_tenants;
mod reload;
mod reload_plan;
mod shared_scope;
mod signals;
mod supervisor;
mod systemd;
mod tenant;
mod tenant_store;
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::Flags;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::{AppError, Chain};
use crate::facts::{self, FactsControl, FactsSettings, FactsUpdater, MissingKbs};
use crate::http::ProxyMode;
use crate::metrics::{RenderOptions, Renderer};
use crate::poll::Poller;
use crate::publish::{Snapshot, SnapshotReader, SnapshotTask, publication};
use crate::self_metrics::SelfMetrics;
use crate::web::{self, LinkBase, ReloadRequest, ScrapeLimiter, WebConfigWatcher, WebSecurity, WebState};
pub(crate) use active_config::{ActiveConfig, log_warnings, warn_of_empty_shard};
use credentials::CredentialFiles;
pub(crate) use listener::{Listener, Sockets};
use missing_kbs::{follow_snapshots, missing_kbs};
use reload::Reloader;
pub(crate) use reload_plan::ignored_updates;
use shared_scope::SharedScopeLog;
pub(crate) use signals::Signals;
use supervisor::Supervisor;
use tenant::{PreparedTransport, TenantFactory, TenantHandle, apply_quotas};
pub(crate) use tenant_store::TenantStore;
use watchdog::Watchdog;

/// Time for open requests to finish when the daemon stops.
const REQUEST_GRACE: Duration = Duration::from_secs(5);

/// Time for the pollers to stop. They stop at once, unless one waits for a file system that does not respond.
const POLLER_GRACE: Duration = Duration::from_secs(1);

/// A publication that takes longer has stalled. The limit allows for a slow disk, and for the pause after a
/// publication, which is nine times as long as the publication itself.
const PUBLICATION_STALL_TIMEOUT: Duration = Duration::from_mins(30);

/// Every part, built but not started.
#[derive(Debug)]
pub(crate) struct Daemon {
    active: ActiveConfig,
    credentials: CredentialFiles,
    proxy_mode: ProxyMode,
    factory: TenantFactory,
    tenants: Vec<(TenantHandle, Poller)>,
    options: RenderOptions,
    publication: SnapshotTask,
    reader: SnapshotReader,
    facts: FactsStage,
}

/// The parts of the facts stage.
#[derive(Debug)]
struct FactsStage {
    updater: FactsUpdater,
    control: FactsControl,
    missing: watch::Sender<Arc<MissingKbs>>,
}

impl Daemon {
    /// Builds every part from a configuration. Sends no request and opens no port.
    ///
    /// # Errors
    /// Fails if the connection settings of a tenant cannot be used.
    pub(crate) fn build(
        active: ActiveConfig,
        proxy_mode: ProxyMode,
        store: TenantStore,
        self_metrics: Arc<SelfMetrics>,
        clock: Clock,
    ) -> Result<Self, AppError> {
        let config = &active.config;
        let options = RenderOptions::from(config);
        let ignored = ignored_updates(config);
        let mut fleets: Vec<_> = config.tenants.iter().map(|tenant| store.fleet(&tenant.name)).collect();
        for fleet in &mut fleets {
            fleet.ignore(&ignored);
        }
        let settings = facts_settings(config, &store, proxy_mode);
        let shared: Vec<_> = fleets.iter().cloned().map(Arc::new).collect();
        let missing = watch::Sender::new(Arc::new(missing_kbs(&shared)));
        let (updater, control, facts) =
            facts::facts(settings, missing.subscribe(), clock.clone(), Arc::clone(&self_metrics));
        let (sender, publication, reader) = publication(
            fleets.clone(),
            options.clone(),
            clock.clone(),
            Arc::clone(&self_metrics),
            Some(store.store.clone()),
            facts.clone(),
        );
        let factory = TenantFactory { store, sender, self_metrics, clock, facts };
        let mut tenants: Vec<(TenantHandle, Poller)> = Vec::new();
        for (tenant, fleet) in config.tenants.iter().zip(fleets) {
            let transport = PreparedTransport::new(tenant, proxy_mode).map_err(|error| {
                AppError::Configuration(format!("tenant `{}`: {}", tenant.name, Chain(&error)))
            })?;
            let history = factory.store.quota_history(&tenant.name);
            let mut others = tenants.iter().map(|(handle, _)| handle);
            let other = others.find(|other| config::shares_quota(&other.tenant, tenant));
            let handle = factory.handle(tenant, transport, history, None, other);
            let poller = factory.poller(&handle, fleet, config);
            tenants.push((handle, poller));
        }
        apply_quotas(tenants.iter().map(|(handle, _)| handle));
        let credentials = CredentialFiles::of(config, Arc::clone(&factory.self_metrics));
        let facts = FactsStage { updater, control, missing };
        Ok(Self { active, credentials, proxy_mode, factory, tenants, options, publication, reader, facts })
    }

    /// Polls every tenant once, saves the data and renders it.
    pub(crate) async fn poll_once(self) -> Snapshot {
        let Self { active, factory, tenants, options, .. } = self;
        let TenantFactory { store, self_metrics, clock, facts, .. } = factory;
        let mut polls = JoinSet::new();
        for (index, (_, mut poller)) in tenants.into_iter().enumerate() {
            polls.spawn(async move {
                poller.poll_all().await;
                (index, Arc::new(poller.fleet().clone()))
            });
        }
        let mut polled = polls.join_all().await;
        polled.sort_by_key(|(index, _)| *index);
        let fleets: Vec<_> = polled.into_iter().map(|(_, fleet)| fleet).collect();
        let saving = fleets.clone();
        let saved = tokio::task::spawn_blocking(move || store.save(&saving)).await;
        saved.expect("Safe: saving does not panic and is never aborted");
        let facts = facts.borrow().clone();
        if active.config.facts.is_some() {
            self_metrics.facts_unknown(facts::without_facts(&missing_kbs(&fleets), &facts));
        }
        let started = Instant::now();
        let snapshot = Snapshot::render(&mut Renderer::default(), 1, fleets, clock.now(), &options, facts);
        snapshot.record(&self_metrics, started.elapsed());
        snapshot
    }

    /// Listens on `sockets` and serves until a signal.
    ///
    /// # Errors
    /// Fails if a socket cannot be listened on, or a task ends unexpectedly.
    pub(crate) async fn serve(
        self,
        sockets: Sockets,
        web_config: Option<WebConfigWatcher>,
        flags: &Flags,
        signals: Signals,
    ) -> Result<(), AppError> {
        let listeners = sockets.listen().await?;
        self.serve_on(listeners, web_config, flags, signals).await
    }

    /// Serves on `listeners` until a signal.
    ///
    /// # Errors
    /// Fails if a task ends unexpectedly.
    pub(crate) async fn serve_on(
        self,
        listeners: Vec<Listener>,
        web_config: Option<WebConfigWatcher>,
        flags: &Flags,
        signals: Signals,
    ) -> Result<(), AppError> {
        let Signals { stop: mut stop_signals, reload: reload_signal } = signals;
        let shared_scope = SharedScopeLog::new(self.reader.clone(), &self.active.config);
        // One request waits in the channel; further clients wait to send theirs.
        let (request_tx, requests) = mpsc::channel(1);
        let web = self.web_state(web_config.as_ref(), flags, request_tx);
        let stop = CancellationToken::new();
        let watchdog = Watchdog::new(systemd::watchdog_limit());
        let mut tasks = Tasks { running: JoinSet::new(), stop: stop.clone() };
        tasks.start_notifications(&watchdog, &self.reader);
        tasks.start_web_server(web, listeners);
        let FactsStage { updater, control, missing } = self.facts;
        tasks.spawn("facts updater", updater.run(stop.clone()));
        tasks.spawn("watch of missing updates", follow_snapshots(self.reader.clone(), missing, stop.clone()));
        tasks.start_publication(self.publication, &watchdog, self.reader);
        if let Some(watcher) = web_config {
            tasks.spawn("web configuration watcher", watcher.run(stop.clone()));
        }
        let mut reloader = Reloader {
            credentials: self.credentials,
            shared_scope,
            active: self.active,
            proxy_mode: self.proxy_mode,
            self_metrics: Arc::clone(&self.factory.self_metrics),
            clock: self.factory.clock.clone(),
            store: self.factory.store.clone(),
            facts: control,
            supervisor: Supervisor::new(self.factory, watchdog),
            signal: reload_signal,
            requests,
        };
        for (handle, poller) in self.tenants {
            reloader.supervisor.start(handle, poller);
        }
        systemd::ready();
        let failure = tokio::select! {
            signal = stop_signals.wait() => {
                tracing::info!(signal, "stopping");
                None
            }
            Some(result) = tasks.running.join_next() => Some(early_exit(&result)),
            error = reloader.run() => Some(error),
        };
        systemd::stopping();
        // The pollers stop before the publication, which then saves their last data.
        if tokio::time::timeout(POLLER_GRACE, reloader.supervisor.stop()).await.is_err() {
            tracing::warn!("a poller did not stop in time; abandoning it");
        }
        tasks.stop().await;
        tracing::info!("stopped");
        failure.map_or(Ok(()), Err)
    }

    fn web_state(
        &self,
        web_config: Option<&WebConfigWatcher>,
        flags: &Flags,
        reload: mpsc::Sender<ReloadRequest>,
    ) -> WebState {
        WebState {
            published: self.reader.clone(),
            self_metrics: Arc::clone(&self.factory.self_metrics),
            telemetry_path: flags.telemetry_path.clone(),
            links: LinkBase::new(flags.external_url.as_ref()),
            scrape_slots: ScrapeLimiter::new(flags.max_requests),
            version: env!("CARGO_PKG_VERSION"),
            clock: self.factory.clock.clone(),
            access: web_config.map_or_else(WebSecurity::open, WebConfigWatcher::reader),
            reload: flags.enable_lifecycle.then_some(reload),
        }
    }
}

/// The settings of the facts stage; none while facts are off.
fn facts_settings(config: &Config, store: &TenantStore, proxy_mode: ProxyMode) -> Option<FactsSettings> {
    config.facts.as_ref().map(|facts| FactsSettings::new(facts, &store.folder, proxy_mode))
}

/// The tasks beside the pollers. Each returns its name when it ends.
struct Tasks {
    running: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            task.await;
            name
        });
    }

    fn start_notifications(&mut self, watchdog: &Watchdog, reader: &SnapshotReader) {
        let notifications = systemd::run(watchdog.clone(), reader.clone(), self.stop.clone());
        self.spawn("systemd notifier", notifications);
    }

    fn start_web_server(&mut self, state: WebState, listeners: Vec<Listener>) {
        let path = state.telemetry_path.clone();
        let security = state.access.clone();
        let tls = security.borrow().has_tls();
        let server = web::Server::new(web::router(state), security, web::Limits::default());
        for listener in listeners {
            tracing::info!(address = %listener.address(), path, tls, "serving metrics");
            let server = server.clone();
            let stop = self.stop.clone();
            self.spawn("web server", async move {
                match listener {
                    Listener::Tcp(listener) => server.serve(listener, stop).await,
                    Listener::Unix(listener) => server.serve(listener, stop).await,
                }
            });
        }
    }

    fn start_publication(&mut self, publication: SnapshotTask, watchdog: &Watchdog, reader: SnapshotReader) {
        const NAME: &str = "publication";
        let watchdog = watchdog.clone();
        let publishing = publication.run(self.stop.clone());
        self.spawn(NAME, async move {
            let progress = move || reader.borrow().generation;
            watchdog.watch(NAME.to_owned(), PUBLICATION_STALL_TIMEOUT, progress, publishing).await;
        });
    }

    /// Stops every task; open requests get [`REQUEST_GRACE`] to finish.
    async fn stop(&mut self) {
        self.stop.cancel();
        let drain = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(REQUEST_GRACE, drain).await.is_err() {
            let grace = humantime::format_duration(REQUEST_GRACE);
            tracing::warn!(%grace, "open requests did not finish in time; closing their connections");
        }
    }
}

fn early_exit(result: &Result<&'static str, JoinError>) -> AppError {
    AppError::TaskExited { task: result.as_ref().map_or("task (panicked)", |name| name) }
}

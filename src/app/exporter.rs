//! The exporter as a whole: one poller per tenant, the publication, the web server, the reload.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listen::{Listener, Sockets};
use super::reload::{InForce, Reloader};
use super::signals::Signals;
use super::state::State;
use super::tenants::{Polled, Way, Workshop};
use super::watchdog::Watchdog;
use super::{service, tenants};
use crate::cli::Flags;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::defender::ProxyMode;
use crate::error::{AppError, Chain};
use crate::fleet::{DeadlineStart, Policy};
use crate::metrics::{DetailLevel, RenderOptions};
use crate::poll::{self, Poller};
use crate::publish::{SnapshotReader, SnapshotTask, publication};
use crate::self_metrics::SelfMetrics;
use crate::web::{self, ScrapeLimiter, WebConfigWatcher, WebSecurity, WebState};

/// Time for replies under way when the exporter stops.
const GRACE: Duration = Duration::from_secs(5);

/// Pollers stop at once, but for one that waits for a file system that does not answer.
const POLLERS_GRACE: Duration = Duration::from_secs(1);

/// A publication that takes longer hangs. A disk may be slow, and after it comes a rest of nine times as
/// long.
const LONGEST_PUBLICATION: Duration = Duration::from_mins(30);

/// Every part, built and not yet started.
#[derive(Debug)]
pub(super) struct Exporter {
    in_force: InForce,
    pub(super) workshop: Workshop,
    pub(super) tenants: Vec<(Polled, Poller)>,
    pub(super) options: RenderOptions,
    publication: SnapshotTask,
    reader: SnapshotReader,
}

impl Exporter {
    /// Builds every part from a configuration; asks nothing and opens no port.
    ///
    /// # Errors
    /// When the connection settings of a tenant cannot be used.
    pub(super) fn build(
        in_force: InForce,
        route: ProxyMode,
        state: State,
        self_metrics: Arc<SelfMetrics>,
        clock: Clock,
    ) -> Result<Self, AppError> {
        let (config, options) = (&in_force.config, options(&in_force.config));
        let ignored = tenants::ignored(config);
        let mut fleets: Vec<_> = config.tenants.iter().map(|tenant| state.fleet(&tenant.name)).collect();
        for fleet in &mut fleets {
            fleet.forget_updates(&ignored);
        }
        let (publisher, publication, reader) = publication(
            fleets.clone(),
            options.clone(),
            clock.clone(),
            Arc::clone(&self_metrics),
            Some(state.store.clone()),
        );
        let watchdog = Watchdog::new(service::watchdog_limit());
        let workshop = Workshop { route, state, publisher, self_metrics, clock, watchdog };
        let mut tenants = Vec::new();
        for (tenant, fleet) in config.tenants.iter().zip(fleets) {
            let way = Way::to(tenant, route).map_err(|error| {
                AppError::Configuration(format!("tenant `{}`: {}", tenant.name, Chain(&error)))
            })?;
            let made = workshop.tenant(tenant, way, workshop.state.history(&tenant.name), None);
            let poller = workshop.poller(&made, fleet, config);
            tenants.push((made, poller));
        }
        Ok(Self { in_force, workshop, tenants, options, publication, reader })
    }

    /// Listens on `sockets` and serves until a signal.
    ///
    /// # Errors
    /// When one of them cannot be listened on, or a part ends early.
    pub(super) async fn serve(
        self,
        sockets: Sockets,
        access: Option<WebConfigWatcher>,
        flags: &Flags,
        signals: Signals,
    ) -> Result<(), AppError> {
        let listeners = sockets.listen().await?;
        self.serve_on(listeners, access, flags, signals).await
    }

    /// Serves on `listeners` until a signal.
    ///
    /// # Errors
    /// When a part ends early.
    pub(super) async fn serve_on(
        self,
        listeners: Vec<Listener>,
        access: Option<WebConfigWatcher>,
        flags: &Flags,
        signals: Signals,
    ) -> Result<(), AppError> {
        let Signals { stop: mut signals, reload } = signals;
        // One waits to be begun, the others wait for their turn.
        let (ask, requests) = mpsc::channel(1);
        let web = WebState {
            published: self.reader,
            self_metrics: Arc::clone(&self.workshop.self_metrics),
            telemetry_path: flags.telemetry_path.clone(),
            scrape_slots: ScrapeLimiter::new(flags.max_requests),
            version: env!("CARGO_PKG_VERSION"),
            clock: self.workshop.clock.clone(),
            access: access.as_ref().map_or_else(WebSecurity::open, WebConfigWatcher::reader),
            reload: flags.enable_lifecycle.then_some(ask),
        };
        let stop = CancellationToken::new();
        let watchdog = self.workshop.watchdog.clone();
        let mut parts = start(web, listeners, self.publication, &watchdog, &stop);
        if let Some(file) = access {
            let following = file.run(stop.clone());
            parts.spawn(async move {
                following.await;
                "the watch of the web configuration"
            });
        }
        let mut reloader = Reloader::new(self.in_force, self.workshop, reload, requests);
        for (tenant, poller) in self.tenants {
            reloader.tenants.start(tenant, poller);
        }
        service::ready();
        let failed = tokio::select! {
            signal = signals.wait() => {
                tracing::info!(signal, "stopping");
                None
            }
            Some(ended) = parts.join_next() => Some(early_end(ended)),
            error = reloader.run() => Some(error),
        };
        service::stopping();
        // First, so that the publication keeps what they knew last.
        if tokio::time::timeout(POLLERS_GRACE, reloader.tenants.stop()).await.is_err() {
            tracing::warn!("a poller hangs and is left behind");
        }
        stop.cancel();
        let drained = tokio::time::timeout(GRACE, async { while parts.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(grace = %humantime::format_duration(GRACE), "replies under way are cut off");
        }
        tracing::info!("stopped");
        failed.map_or(Ok(()), Err)
    }
}

/// Starts the web server and the publication.
fn start(
    web: WebState,
    listeners: Vec<Listener>,
    publication: SnapshotTask,
    watchdog: &Watchdog,
    stop: &CancellationToken,
) -> JoinSet<&'static str> {
    let mut parts = JoinSet::new();
    let telling = service::run(watchdog.clone(), web.published.clone(), stop.clone());
    parts.spawn(async move {
        telling.await;
        "what tells the service manager"
    });
    let (watchdog, reader) = (watchdog.clone(), web.published.clone());
    let progress = move || reader.borrow().generation;
    let (path, access) = (web.telemetry_path.clone(), web.access.clone());
    let tls = access.borrow().has_tls();
    let server = web::Server::new(web::router(web), access, web::Limits::default());
    for listener in listeners {
        let address = listener.address();
        tracing::info!(%address, path, tls, "serving metrics");
        let (server, stop) = (server.clone(), stop.clone());
        parts.spawn(async move {
            match listener {
                Listener::Tcp(listener) => server.serve(listener, stop).await,
                Listener::Unix(listener) => server.serve(listener, stop).await,
            }
            "the web server"
        });
    }
    let publication = publication.run(stop.clone());
    parts.spawn(async move {
        let part = "the publication";
        watchdog.over(part.to_owned(), LONGEST_PUBLICATION, progress, publication).await;
        part
    });
    parts
}

pub(super) fn options(config: &Config) -> RenderOptions {
    RenderOptions {
        freshness: poll::freshness(&config.poll),
        policies: config.policies.iter().map(policy).collect(),
        detail: match config.metrics.detail {
            config::Detail::Fleet => DetailLevel::Fleet,
            config::Detail::Machine => DetailLevel::Machine,
            // The limit holds for a level set by hand too.
            config::Detail::Update | config::Detail::Auto => DetailLevel::Update,
        },
        series_limit: config.metrics.series_limit,
    }
}

fn policy(policy: &config::Policy) -> Policy {
    Policy {
        name: Arc::clone(&policy.name),
        deadline: policy.deadline,
        from: match policy.from {
            config::DeadlineStart::FirstSeen => DeadlineStart::FirstSeen,
            config::DeadlineStart::Released => DeadlineStart::Released,
        },
    }
}

fn early_end(ended: Result<&'static str, tokio::task::JoinError>) -> AppError {
    AppError::EndedEarly { part: ended.unwrap_or("a part that panicked") }
}

//! The exporter as a whole: one poller per tenant, the publication, the web server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listen::{Listener, Sockets};
use super::signals::Stop;
use super::state::State;
use crate::cli::Flags;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::defender::{Client, RetryPolicy, Route};
use crate::error::{AppError, Chain};
use crate::fleet::{DeadlineStart, KbId, Policy};
use crate::metrics::{Exposure, Level};
use crate::poll::{self, Poller};
use crate::publish::{Publication, Reader, publication};
use crate::selfmon::SelfMetrics;
use crate::store::SharedStore;
use crate::web::{self, Access, AccessFile, ScrapeSlots, WebState};

/// Time for replies under way when the exporter stops.
const GRACE: Duration = Duration::from_secs(5);

/// Every part, built and not yet started.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) pollers: Vec<Poller>,
    publication: Publication,
    reader: Reader,
    pub(super) exposure: Exposure,
    pub(super) store: SharedStore,
    pub(super) selfmon: Arc<SelfMetrics>,
    pub(super) clock: Clock,
}

impl Exporter {
    /// Builds every part from a configuration; asks nothing and opens no port.
    ///
    /// # Errors
    /// When the connection settings of a tenant cannot be used.
    pub(super) fn build(
        config: &Config,
        route: Route,
        mut state: State,
        selfmon: Arc<SelfMetrics>,
        clock: Clock,
    ) -> Result<Self, AppError> {
        let exposure = exposure(config);
        let ignored: BTreeSet<_> = config.metrics.ignore_kbs.iter().filter_map(|kb| KbId::new(*kb)).collect();
        let ignored = Arc::new(ignored);
        let mut fleets: Vec<_> = config.tenants.iter().map(|tenant| state.take_fleet(&tenant.name)).collect();
        for fleet in &mut fleets {
            fleet.forget_updates(&ignored);
        }
        let (publisher, publication, reader) = publication(
            fleets.clone(),
            exposure.clone(),
            clock.clone(),
            Arc::clone(&selfmon),
            Some(state.store.clone()),
        );
        let mut pollers = Vec::new();
        for (tenant, fleet) in config.tenants.iter().zip(fleets) {
            let metrics = selfmon.tenant(&tenant.name);
            let (retry, random) = (RetryPolicy::default(), fastrand::Rng::new());
            let history = state.take_history(&tenant.name);
            let client = Client::new(tenant, route, retry, random, history, clock.clone(), metrics.clone());
            let client = client.map_err(|error| {
                AppError::Configuration(format!("tenant `{}`: {}", tenant.name, Chain(&error)))
            })?;
            let (publisher, clock) = (publisher.clone(), clock.clone());
            let poller = Poller::new(tenant, config.poll, client, fleet, publisher, metrics, clock);
            pollers.push(poller.ignoring(Arc::clone(&ignored)));
        }
        Ok(Self { pollers, publication, reader, exposure, store: state.store, selfmon, clock })
    }

    /// Listens on `sockets` and serves until a signal.
    ///
    /// # Errors
    /// When one of them cannot be listened on, or a part ends early.
    pub(super) async fn serve(
        self,
        sockets: Sockets,
        access: Option<AccessFile>,
        flags: &Flags,
        signals: Stop,
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
        access: Option<AccessFile>,
        flags: &Flags,
        mut signals: Stop,
    ) -> Result<(), AppError> {
        let stop = CancellationToken::new();
        let mut parts = self.start(listeners, access, flags, &stop);
        let failed = tokio::select! {
            signal = signals.wait() => {
                tracing::info!(signal, "stopping");
                None
            }
            Some(ended) = parts.join_next() => Some(early_end(ended)),
        };
        stop.cancel();
        let drained = tokio::time::timeout(GRACE, async { while parts.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!(grace = %humantime::format_duration(GRACE), "replies under way are cut off");
        }
        tracing::info!("stopped");
        failed.map_or(Ok(()), Err)
    }

    fn start(
        self,
        listeners: Vec<Listener>,
        access_file: Option<AccessFile>,
        flags: &Flags,
        stop: &CancellationToken,
    ) -> JoinSet<&'static str> {
        let mut parts = JoinSet::new();
        let access = access_file.as_ref().map_or_else(Access::open, AccessFile::reader);
        let router = web::router(WebState {
            published: self.reader,
            selfmon: self.selfmon,
            telemetry_path: flags.telemetry_path.clone(),
            scrape_slots: ScrapeSlots::new(flags.max_requests),
            version: env!("CARGO_PKG_VERSION"),
            clock: self.clock,
            access: access.clone(),
        });
        let tls = access.borrow().has_tls();
        let server = web::Server::new(router, access, web::Limits::default());
        for listener in listeners {
            let address = listener.address();
            tracing::info!(%address, path = flags.telemetry_path, tls, "serving metrics");
            let (server, stop) = (server.clone(), stop.clone());
            parts.spawn(async move {
                match listener {
                    Listener::Tcp(listener) => server.serve(listener, stop).await,
                    Listener::Unix(listener) => server.serve(listener, stop).await,
                }
                "the web server"
            });
        }
        if let Some(access_file) = access_file {
            let following = access_file.run(stop.clone());
            parts.spawn(async move {
                following.await;
                "the watch of the web configuration"
            });
        }
        let publication = self.publication.run(stop.clone());
        parts.spawn(async move {
            publication.await;
            "the publication"
        });
        for poller in self.pollers {
            let poller = poller.run(stop.clone());
            parts.spawn(async move {
                poller.await;
                "a poller"
            });
        }
        parts
    }
}

fn exposure(config: &Config) -> Exposure {
    Exposure {
        ages: poll::ages(&config.poll),
        policies: config.policies.iter().map(policy).collect(),
        detail: match config.metrics.detail {
            config::Detail::Fleet => Level::Fleet,
            config::Detail::Machine => Level::Machine,
            // The limit holds for a level set by hand too.
            config::Detail::Update | config::Detail::Auto => Level::Update,
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

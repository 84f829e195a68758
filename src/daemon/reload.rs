//! Reload: replaces the configuration of the running daemon.
//!
//! SIGHUP, `POST /-/reload` and a changed file trigger a reload; triggers are handled one at a time. A reload
//! has two phases. The first does everything that can fail: it reads the files, computes the [`ReloadPlan`] and
//! sets up new connections. The second applies the plan and cannot be refused. A configuration that is rejected
//! in the first phase changes nothing; its problems are logged and returned to the caller.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::active_config::{ActiveConfig, log_warnings, warn_of_empty_shard};
use super::credentials::CredentialFiles;
use super::facts_settings;
use super::reload_plan::{CaDigests, ConfigVersion, ReloadPlan};
use super::shared_scope::SharedScopeLog;
use super::signals::ReloadSignal;
use super::supervisor::{Supervisor, Transports};
use super::systemd;
use super::tenant::{PreparedTransport, ca_digest};
use super::tenant_store::TenantStore;
use crate::clock::Clock;
use crate::config::{self, Config, Problem, Tenant};
use crate::error::{AppError, Chain};
use crate::facts::FactsControl;
use crate::file_watch::FileWatch;
use crate::http::ProxyMode;
use crate::metrics::RenderOptions;
use crate::model::Shard;
use crate::self_metrics::SelfMetrics;
use crate::web::ReloadRequest;

/// Waits for triggers and reloads.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) active: ActiveConfig,
    pub(super) credentials: CredentialFiles,
    pub(super) shared_scope: SharedScopeLog,
    pub(super) proxy_mode: ProxyMode,
    pub(super) supervisor: Supervisor,
    pub(super) signal: ReloadSignal,
    /// Closed when reload by request is disabled.
    pub(super) requests: mpsc::Receiver<ReloadRequest>,
    pub(super) self_metrics: Arc<SelfMetrics>,
    pub(super) clock: Clock,
    pub(super) store: TenantStore,
    pub(super) facts: FactsControl,
}

/// The event that caused a reload.
enum Trigger {
    Signal,
    Request(ReloadRequest),
    File,
}

/// The result of a reload.
enum ReloadOutcome {
    /// The file has the same meaning as before.
    Unchanged,
    /// The new configuration is active.
    Applied {
        /// The key paths of the changed settings.
        changes: Vec<String>,
    },
    /// The new configuration cannot be used; the previous one is still active.
    Rejected {
        /// One line each.
        problems: Vec<String>,
    },
}

impl Reloader {
    /// Reloads on every trigger. Ends when a task ends unexpectedly.
    pub(super) async fn run(&mut self) -> AppError {
        loop {
            let trigger = tokio::select! {
                () = self.signal.wait() => Trigger::Signal,
                Some(request) = self.requests.recv() => Trigger::Request(request),
                () = self.active.watch.changed() => Trigger::File,
                () = self.credentials.changed() => {
                    tracing::info!("credential file changed; trying tenants that failed");
                    self.supervisor.wake();
                    continue;
                }
                () = self.shared_scope.changed() => {
                    self.shared_scope.update();
                    continue;
                }
                error = self.supervisor.unexpected_exit() => return error,
            };
            systemd::reloading();
            let outcome = match self.reload().await {
                Ok(outcome) => outcome,
                Err(error) => return error,
            };
            systemd::ready();
            self.supervisor.wake();
            self.record(&outcome, trigger.name());
            if let Trigger::Request(request) = trigger {
                // A client that has disconnected needs no reply.
                drop(request.send(outcome.into_reply()));
            }
        }
    }

    /// Loads the file and applies what changed.
    ///
    /// # Errors
    /// Fails if a task has ended unexpectedly; the daemon cannot continue then.
    async fn reload(&mut self) -> Result<ReloadOutcome, AppError> {
        let file = self.active.file.clone();
        let (shard, proxy_mode, now) = (self.active.shard, self.proxy_mode, self.clock.now());
        let running = RunningTenants {
            config: self.active.config.clone(),
            ca_digests: self.supervisor.ca_digests(),
            retired: self.supervisor.retired_tenants(),
        };
        let preparing = tokio::task::spawn_blocking(move || {
            // Created before the file is read, so that no change is missed.
            let watch = FileWatch::of([file.clone()]);
            (watch, PreparedReload::load(&file, &running, shard, proxy_mode, now))
        });
        let prepared;
        (self.active.watch, prepared) =
            preparing.await.expect("Safe: the preparation does not panic and is never aborted");
        let PreparedReload { config, warnings, plan, transports } = match prepared {
            Ok(prepared) => prepared,
            Err(problems) => return Ok(ReloadOutcome::Rejected { problems }),
        };
        let (of, self_metrics) = (config.clone(), Arc::clone(&self.self_metrics));
        let reading = tokio::task::spawn_blocking(move || CredentialFiles::of(&of, self_metrics));
        self.credentials = reading.await.expect("Safe: reading does not panic and is never aborted");
        // A role may have been granted, or a secret replaced.
        self.supervisor.renew_tokens();
        // Without a change, rules may be in other lines, which messages name.
        if plan.changes.is_empty() && config == self.active.config {
            return Ok(ReloadOutcome::Unchanged);
        }
        log_warnings(&warnings);
        if !self.active.config.tenants.is_empty() {
            warn_of_empty_shard(&config, self.active.shard);
        }
        self.supervisor.apply(&plan, transports, &config, RenderOptions::from(&config)).await?;
        self.shared_scope.set_tenants(&config);
        let facts = facts_settings(&config, &self.store, proxy_mode).map(Arc::new);
        self.facts.send_if_modified(|current| {
            let is_new = *current != facts;
            *current = facts;
            is_new
        });
        self.active.config = config;
        if plan.changes.is_empty() {
            return Ok(ReloadOutcome::Unchanged);
        }
        Ok(ReloadOutcome::Applied { changes: plan.changes })
    }

    /// Counts and logs an outcome.
    fn record(&self, outcome: &ReloadOutcome, by: &str) {
        let config = self.active.file.display();
        match outcome {
            ReloadOutcome::Unchanged => {
                self.self_metrics.config_loaded(self.clock.now());
                tracing::info!(%config, by, "configuration reloaded; nothing changed");
            }
            ReloadOutcome::Applied { changes } => {
                self.self_metrics.config_loaded(self.clock.now());
                tracing::info!(%config, by, changed = changes.join(","), "configuration reloaded");
            }
            ReloadOutcome::Rejected { problems } => {
                self.self_metrics.config_rejected();
                for problem in problems {
                    tracing::error!(
                        by,
                        problem,
                        "configuration rejected; keeping the previous configuration"
                    );
                }
            }
        }
    }
}

impl Trigger {
    fn name(&self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Request(_) => "POST /-/reload",
            Self::File => "file change",
        }
    }
}

impl ReloadOutcome {
    /// The text for a client: the changes, or the problems.
    fn into_reply(self) -> Result<String, String> {
        match self {
            Self::Unchanged => Ok("nothing changed\n".to_owned()),
            Self::Applied { changes } => Ok(format!("changed: {}\n", changes.join(","))),
            Self::Rejected { problems } => Err(problems.join("\n") + "\n"),
        }
    }
}

/// The tenants before a reload.
struct RunningTenants {
    config: Config,
    ca_digests: CaDigests,
    retired: Vec<Tenant>,
}

/// A new configuration that is ready to be applied.
struct PreparedReload {
    config: Config,
    warnings: Vec<Problem>,
    plan: ReloadPlan,
    transports: Transports,
}

impl PreparedReload {
    /// Loads `file`, plans the change and sets up the connections that the plan needs. Blocks.
    ///
    /// # Errors
    /// The problems of the file, or of the connections, one line each.
    fn load(
        file: &Path,
        running: &RunningTenants,
        shard: Shard,
        proxy_mode: ProxyMode,
        now: Timestamp,
    ) -> Result<Self, Vec<String>> {
        let loaded = config::load(file)
            .map_err(|error| error.problems().iter().map(Problem::to_string).collect::<Vec<_>>())?;
        let warnings = loaded.warnings_at(now);
        let mut config = loaded.config;
        config.keep_shard(shard);
        let digest = |tenant: &Tenant| (Arc::clone(&tenant.name), ca_digest(tenant));
        let ca_digests = config.tenants.iter().map(digest).collect();
        let old = ConfigVersion { config: &running.config, ca_digests: &running.ca_digests };
        let new = ConfigVersion { config: &config, ca_digests: &ca_digests };
        let plan = ReloadPlan::new(old, new, &running.retired);
        let transports = prepare_transports(&plan, &config, proxy_mode)?;
        Ok(Self { config, warnings, plan, transports })
    }
}

/// Sets up the connections that the plan needs. Blocks.
fn prepare_transports(
    plan: &ReloadPlan,
    config: &Config,
    proxy_mode: ProxyMode,
) -> Result<Transports, Vec<String>> {
    let mut transports = Transports::new();
    let mut problems = Vec::new();
    for (tenant, change) in plan.tenants_of(config) {
        if change.needs_transport() {
            match PreparedTransport::new(tenant, proxy_mode) {
                Ok(transport) => drop(transports.insert(Arc::clone(&tenant.name), transport)),
                Err(error) => problems.push(format!("tenant `{}`: {}", tenant.name, Chain(&error))),
            }
        }
    }
    if problems.is_empty() { Ok(transports) } else { Err(problems) }
}

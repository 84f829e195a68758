//! Reload: reads the configuration again and puts it in force, whole or not at all.
//!
//! SIGHUP, `POST /-/reload` and a changed file ask for it, one after the other. Whatever can fail comes
//! first: reading the file, and what is needed to reach tenants in a new way. Then [`Tenants::change`]
//! makes the change. A configuration that cannot be used leaves everything as it is; its problems are
//! logged and answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::tenants::{Tenants, Way, Workshop, ca};
use super::{service, signals};
use crate::clock::Clock;
use crate::config::{self, Config, Problem, uses_same_connection};
use crate::defender::ProxyMode;
use crate::error::{AppError, Chain};
use crate::file_watch::{ContentDigest, FileWatch};
use crate::self_metrics::SelfMetrics;
use crate::web::ReloadRequest;

/// The configuration that is in force, and the file that it comes from.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) config: Config,
    pub(super) file: PathBuf,
    /// Made before the file was read.
    pub(super) watch: FileWatch,
}

/// Waits for what asks for a reload, and does it.
#[derive(Debug)]
pub(super) struct Reloader {
    in_force: InForce,
    route: ProxyMode,
    pub(super) tenants: Tenants,
    signal: signals::Reload,
    requests: mpsc::Receiver<ReloadRequest>,
    self_metrics: Arc<SelfMetrics>,
    clock: Clock,
}

/// What asked for a reload.
enum Trigger {
    Signal,
    Request(ReloadRequest),
    File,
}

/// A configuration that can be put in force.
struct Plan {
    config: Config,
    warnings: Vec<Problem>,
    /// Key paths; none when nothing has to be done.
    changes: Vec<String>,
    /// To tenants that are new or reached otherwise.
    ways: BTreeMap<Arc<str>, Way>,
}

impl Reloader {
    /// Nothing is polled yet. `requests` is closed when nobody may ask.
    pub(super) fn new(
        in_force: InForce,
        workshop: Workshop,
        signal: signals::Reload,
        requests: mpsc::Receiver<ReloadRequest>,
    ) -> Self {
        let (route, self_metrics) = (workshop.route, Arc::clone(&workshop.self_metrics));
        let (clock, tenants) = (workshop.clock.clone(), Tenants::new(workshop));
        Self { in_force, route, tenants, signal, requests, self_metrics, clock }
    }

    /// Reloads whenever that is asked for. Ends when a part ends though nobody asked it to.
    pub(super) async fn run(&mut self) -> AppError {
        loop {
            let trigger = tokio::select! {
                () = self.signal.wait() => Trigger::Signal,
                Some(request) = self.requests.recv() => Trigger::Request(request),
                () = self.in_force.watch.changed() => Trigger::File,
                error = self.tenants.ended() => return error,
            };
            service::reloading();
            let outcome = match self.reload().await {
                Ok(outcome) => outcome,
                Err(error) => return error,
            };
            service::ready();
            let by = match &trigger {
                Trigger::Signal => "SIGHUP",
                Trigger::Request(_) => "POST /-/reload",
                Trigger::File => "a changed file",
            };
            let answer = self.settle(outcome, by);
            if let Trigger::Request(request) = trigger {
                // Whoever does not wait any more need not know.
                drop(request.send(answer));
            }
        }
    }

    /// The key paths that changed, or the problems of the file.
    async fn reload(&mut self) -> Result<Result<Vec<String>, Vec<String>>, AppError> {
        let (file, route) = (self.in_force.file.clone(), self.route);
        let (old, cas) = (self.in_force.config.clone(), self.tenants.cas());
        let reading = tokio::task::spawn_blocking(move || {
            // First, so that nothing is missed that is written meanwhile.
            let watch = FileWatch::of([file.clone()]);
            (watch, Plan::read(&file, &old, &cas, route))
        });
        let plan;
        (self.in_force.watch, plan) =
            reading.await.expect("Safe: reading does not panic and is never aborted");
        let plan = match plan {
            Ok(plan) => plan,
            Err(problems) => return Ok(Err(problems)),
        };
        if !plan.changes.is_empty() {
            for warning in &plan.warnings {
                tracing::warn!(problem = %warning, "the configuration has an unusual value");
            }
            self.tenants.change(&self.in_force.config, &plan.config, plan.ways).await?;
            self.in_force.config = plan.config;
        }
        Ok(Ok(plan.changes))
    }

    /// Counts and logs what came of it; what to answer to whoever asked.
    fn settle(&self, outcome: Result<Vec<String>, Vec<String>>, by: &str) -> Result<String, String> {
        let config = self.in_force.file.display();
        match outcome {
            Ok(keys) => {
                self.self_metrics.config_loaded(self.clock.now());
                if keys.is_empty() {
                    tracing::info!(%config, by, "the configuration was read again: nothing changed");
                    return Ok("nothing changed\n".to_owned());
                }
                let changed = keys.join(",");
                tracing::info!(%config, by, changed, "the configuration was reloaded");
                Ok(format!("changed: {changed}\n"))
            }
            Err(problems) => {
                self.self_metrics.config_rejected();
                for problem in &problems {
                    tracing::error!(
                        by,
                        problem,
                        "the configuration cannot be used, the old one stays in force"
                    );
                }
                Err(problems.join("\n") + "\n")
            }
        }
    }
}

impl Plan {
    /// Blocks: reads `file`, and the CA files that it names. `cas` is what those held when they were last
    /// used, by tenant.
    fn read(
        file: &Path,
        old: &Config,
        cas: &BTreeMap<Arc<str>, ContentDigest>,
        route: ProxyMode,
    ) -> Result<Self, Vec<String>> {
        let loaded = config::load(file);
        let loaded =
            loaded.map_err(|error| error.problems().iter().map(Problem::to_string).collect::<Vec<_>>())?;
        let config::Loaded { config, warnings } = loaded;
        let mut changes = config::changes(old, &config);
        let (mut ways, mut problems) = (BTreeMap::new(), Vec::new());
        let known: BTreeMap<_, _> = old.tenants.iter().map(|tenant| (&tenant.name, tenant)).collect();
        for tenant in &config.tenants {
            let name = &tenant.name;
            if known.get(name).is_some_and(|known| uses_same_connection(known, tenant)) {
                if cas.get(name) == Some(&ca(tenant)) {
                    continue;
                }
                changes.push(format!("the content of tenants[{name}].http.ca_file"));
            }
            match Way::to(tenant, route) {
                Ok(way) => drop(ways.insert(Arc::clone(name), way)),
                Err(error) => problems.push(format!("tenant `{name}`: {}", Chain(&error))),
            }
        }
        if problems.is_empty() { Ok(Self { config, warnings, changes, ways }) } else { Err(problems) }
    }
}

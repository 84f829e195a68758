//! The only place that knows every part: builds them, starts them, changes them by a reload, stops them
//! in order.
//!
//! [`run`] is the one way in. [`exporter`] puts the parts together for the daemon, [`once`] and the
//! [`demo`] alike; a command differs in what it does with them, never in what they are. [`reload`]
//! reads the configuration again while they run, and [`tenants`] has the pollers come and go.

mod check;
mod demo;
mod exporter;
mod hash_password;
mod listen;
mod once;
mod reload;
mod service;
mod signals;
mod state;
mod tenants;
mod watchdog;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Cli, Command, Flags};
use crate::clock::Clock;
use crate::config::{self, LoadError, Problem};
use crate::defender::ProxyMode;
use crate::error::{AppError, Chain};
use crate::file_watch::FileWatch;
use crate::self_metrics::SelfMetrics;
use crate::web::{WebConfigError, WebConfigWatcher};
use exporter::Exporter;
use listen::Sockets;
use reload::InForce;
use signals::Signals;
use state::State;

/// Does what the command line says.
///
/// # Errors
/// See [`AppError`]; its exit code tells a wrong configuration from a failure at run time.
pub fn run(cli: Cli, self_metrics: Arc<SelfMetrics>) -> Result<(), AppError> {
    let clock = Clock::system();
    let flags = cli.flags;
    let sockets = Sockets::of(&flags);
    match cli.command.unwrap_or_default() {
        Command::CheckConfig { file } => {
            check_config(file.as_ref().unwrap_or(&flags.config_file), flags.web_config_file.as_deref())
        }
        Command::Check => block_on(check::check(flags, self_metrics, clock)),
        Command::Once => {
            let (read, _) =
                both(read(&flags.config_file, &self_metrics, &clock), Ok(None::<WebConfigWatcher>))?;
            let in_force = started(&flags.config_file, read);
            let state = State::open(flags.storage_path(), &clock, &self_metrics)?;
            block_on(async {
                once::once(Exporter::build(in_force, ProxyMode::Configured, state, self_metrics, clock)?)
                    .await
            })
        }
        Command::Run => {
            let read = read(&flags.config_file, &self_metrics, &clock);
            let (read, access) = both(read, access_file(&flags, &self_metrics))?;
            let in_force = started(&flags.config_file, read);
            let state = State::open(flags.storage_path(), &clock, &self_metrics)?;
            block_on(async {
                let signals = Signals::catch()?;
                let exporter = Exporter::build(in_force, ProxyMode::Configured, state, self_metrics, clock)?;
                exporter.serve(sockets, access, &flags, signals).await
            })
        }
        Command::Demo(demo) => block_on(demo::demo(demo, flags, sockets, self_metrics, clock)),
        Command::HashPassword => hash_password::hash_password(),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, AppError>>) -> Result<T, AppError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| AppError::System { operation: "start the runtime", source })?;
    let done = runtime.block_on(work);
    // A blocking call that hangs, as a lookup of a name may for half a minute, must not hold the exit.
    runtime.shutdown_background();
    done
}

/// The configuration, and the web configuration where there is a file; neither is put to use.
fn load(
    file: &Path,
    web_file: Option<&Path>,
) -> Result<(config::Loaded, Option<config::web::LoadedWeb>), AppError> {
    let web = web_file.map(|file| config::web::load(file).outcome).transpose();
    both(config::load(file), web.map_err(WebConfigError::from))
}

fn check_config(file: &Path, web_file: Option<&Path>) -> Result<(), AppError> {
    let (loaded, web) = load(file, web_file)?;
    for warning in loaded.warnings.iter().chain(web.iter().flat_map(|web| &web.warnings)) {
        print(&format!("warning: {warning}\n"))?;
    }
    print(&format!("{}: the configuration is good\n", file.display()))?;
    match web_file {
        Some(file) => print(&format!("{}: the web configuration is good\n", file.display())),
        None => Ok(()),
    }
}

fn started(file: &Path, (in_force, warnings): (InForce, Vec<Problem>)) -> InForce {
    for warning in &warnings {
        tracing::warn!(problem = %warning, "the configuration has an unusual value");
    }
    let (version, tenants) = (env!("CARGO_PKG_VERSION"), in_force.config.tenants.len());
    tracing::info!(version, config = %file.display(), tenants, "starting");
    in_force
}

fn read(
    file: &Path,
    self_metrics: &SelfMetrics,
    clock: &Clock,
) -> Result<(InForce, Vec<Problem>), LoadError> {
    let watch = FileWatch::of([file.to_owned()]);
    let config::Loaded { config, warnings } = config::load(file)?;
    self_metrics.config_loaded(clock.now());
    Ok((InForce { config, file: file.to_owned(), watch }, warnings))
}

/// The web configuration that the flags name, if they name one.
fn access_file(
    flags: &Flags,
    self_metrics: &Arc<SelfMetrics>,
) -> Result<Option<WebConfigWatcher>, WebConfigError> {
    let file = flags.web_config_file.as_deref();
    file.map(|file| WebConfigWatcher::open(file, Arc::clone(self_metrics))).transpose()
}

/// What came of the configuration and of the web configuration; else the problems of both, so that both
/// can be mended at once.
fn both<T, W>(
    main: Result<T, LoadError>,
    web: Result<Option<W>, WebConfigError>,
) -> Result<(T, Option<W>), AppError> {
    match (main, web) {
        (Ok(main), Ok(web)) => Ok((main, web)),
        (Ok(_), Err(WebConfigError::File(web))) => Err(unusable(&[], web.problems())),
        (Ok(_), Err(error)) => Err(AppError::Configuration(Chain(&error).to_string())),
        (Err(main), Err(WebConfigError::File(web))) => Err(unusable(main.problems(), web.problems())),
        (Err(main), _) => Err(unusable(main.problems(), &[])),
    }
}

/// Every problem on a line of its own.
fn unusable(main: &[Problem], web: &[Problem]) -> AppError {
    let problems: Vec<_> = main.iter().chain(web).map(Problem::to_string).collect();
    AppError::Configuration(match (&problems[..], main) {
        ([problem], [only]) if only.place().is_none() => {
            format!("{problem}\n[--config.file names another file; `mde_exporter demo` needs none]")
        }
        ([problem], _) => problem.clone(),
        (problems, _) => format!("{} problems in the configuration\n{}", problems.len(), problems.join("\n")),
    })
}

/// Writes to stdout, at once.
fn print(text: &str) -> Result<(), AppError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| AppError::System { operation: "write to standard output", source })
}

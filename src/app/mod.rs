//! The only place that knows every part: builds them, starts them, stops them in order.
//!
//! [`run`] is the one way in. [`exporter`] puts the parts together for the daemon, [`once`] and the
//! [`demo`] alike; a command differs in what it does with them, never in what they are.

mod check;
mod demo;
mod exporter;
mod hash_password;
mod listen;
mod once;
mod signals;
mod state;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Cli, Command};
use crate::clock::Clock;
use crate::config;
use crate::defender::Route;
use crate::error::AppError;
use crate::selfmon::SelfMetrics;
use exporter::Exporter;
use listen::Sockets;
use signals::Stop;
use state::State;

/// Does what the command line says.
///
/// # Errors
/// See [`AppError`]; its exit code tells a wrong configuration from a failure at run time.
pub fn run(cli: Cli, selfmon: Arc<SelfMetrics>) -> Result<(), AppError> {
    let clock = Clock::system();
    let flags = cli.flags;
    let sockets = Sockets::of(&flags);
    match cli.command.unwrap_or_default() {
        Command::CheckConfig { file } => check_config(file.as_ref().unwrap_or(&flags.config_file)),
        Command::Check => block_on(check::check(flags, selfmon, clock)),
        Command::Once => {
            let config = load(&flags.config_file, &selfmon, &clock)?;
            let state = State::open(flags.storage_path(), &clock, &selfmon)?;
            block_on(async {
                once::once(Exporter::build(&config, Route::Configured, state, selfmon, clock)?).await
            })
        }
        Command::Run => {
            let config = load(&flags.config_file, &selfmon, &clock)?;
            let state = State::open(flags.storage_path(), &clock, &selfmon)?;
            block_on(async {
                let signals = Stop::catch()?;
                let exporter = Exporter::build(&config, Route::Configured, state, selfmon, clock)?;
                exporter.serve(sockets, &flags, signals).await
            })
        }
        Command::Demo(demo) => block_on(demo::demo(demo, flags, sockets, selfmon, clock)),
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

fn check_config(file: &Path) -> Result<(), AppError> {
    let loaded = config::load(file).map_err(|error| unusable(&error))?;
    for warning in &loaded.warnings {
        print(&format!("warning: {warning}\n"))?;
    }
    print(&format!("{}: the configuration is good\n", file.display()))
}

fn load(file: &Path, selfmon: &SelfMetrics, clock: &Clock) -> Result<config::Config, AppError> {
    let loaded = read(file, selfmon, clock)?;
    for warning in &loaded.warnings {
        tracing::warn!(problem = %warning, "the configuration has an unusual value");
    }
    let (version, tenants) = (env!("CARGO_PKG_VERSION"), loaded.config.tenants.len());
    tracing::info!(version, config = %file.display(), tenants, "starting");
    Ok(loaded.config)
}

fn read(file: &Path, selfmon: &SelfMetrics, clock: &Clock) -> Result<config::Loaded, AppError> {
    let loaded = config::load(file).map_err(|error| unusable(&error))?;
    selfmon.config_loaded(clock.now());
    Ok(loaded)
}

/// Every problem on a line of its own.
fn unusable(error: &config::LoadError) -> AppError {
    AppError::Configuration(match error.problems() {
        [problem] if problem.place().is_none() => {
            format!("{problem}\n[--config.file names another file; `mde_exporter demo` needs none]")
        }
        [problem] => problem.to_string(),
        problems => format!("{} problems in the configuration\n{error}", problems.len()),
    })
}

/// Writes to stdout, at once.
fn print(text: &str) -> Result<(), AppError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| AppError::System { operation: "write to standard output", source })
}

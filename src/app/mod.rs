//! The commands of the program, one file each.
//!
//! [`run()`] dispatches; [`load`] reads the configuration files and [`output`] prints. The commands that poll
//! use the parts of [`daemon`](crate::daemon), which knows nothing of commands.

mod check;
mod check_config;
#[cfg(feature = "demo")]
mod demo;
mod facts_update;
mod hash_password;
mod load;
mod once;
mod output;
mod progress;
mod report;
mod run;
mod runtime;

use std::sync::Arc;

use crate::cli::{Cli, Command, FactsCommand};
use crate::clock::Clock;
use crate::error::AppError;
use crate::self_metrics::SelfMetrics;

/// Runs the command of the command line.
///
/// # Errors
/// See [`AppError`]; its exit code distinguishes a wrong configuration from a failure at run time.
pub fn run(cli: Cli, self_metrics: Arc<SelfMetrics>) -> Result<(), AppError> {
    let Cli { command, flags } = cli;
    let clock = Clock::system();
    match command.unwrap_or_default() {
        Command::Run => run::run(&flags, self_metrics, clock),
        Command::Once => once::once(&flags, &self_metrics, clock),
        Command::Report(report) => report::report(&report, &flags, &clock),
        Command::Check => check::check(flags, self_metrics, clock),
        Command::Facts(FactsCommand::Update(update)) => facts_update::facts_update(&update, &flags, &clock),
        Command::CheckConfig { file, expand } => {
            check_config::check_config(file.as_deref(), expand, &flags, &clock)
        }
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo::demo(demo, &flags, self_metrics, clock),
        Command::HashPassword => hash_password::hash_password(),
    }
}

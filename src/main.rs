//! The entry point: command line, logging, [`app::run`], exit code.

use std::process::ExitCode;
use std::sync::Arc;

use mde_exporter::cli::Cli;
use mde_exporter::error::Chain;
use mde_exporter::self_metrics::SelfMetrics;
use mde_exporter::{app, logging};

/// The allocator of the C library keeps memory in one pool per thread. The pools grow for hours while calls and
/// publications move between threads; see "Memory" in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code `EX_USAGE` of BSD's sysexits.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::parse_arguments() {
        Ok(cli) => cli,
        Err(message) => {
            // clap reports help and version as errors too; those go to stdout and succeed.
            let code = if message.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            return message.print().map_or(ExitCode::FAILURE, |()| code);
        }
    };
    let self_metrics = Arc::new(SelfMetrics::new(env!("CARGO_PKG_VERSION")));
    let (lines, dropped) = (Arc::clone(&self_metrics), Arc::clone(&self_metrics));
    let log = logging::init(
        cli.flags.log_level,
        cli.flags.log_format,
        move |level| lines.log_message(level),
        move |count| dropped.log_messages_dropped(count),
    );
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: {}", Chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let code = match app::run(cli, self_metrics) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.print(&format!("error: {}", Chain(&error)));
            error.exit_code()
        }
    };
    log.drain();
    code
}

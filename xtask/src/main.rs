//! Build tasks of the project, run as `cargo xtask COMMAND`.
//!
//! - [`dashboards`] generates the Grafana dashboards and their `ConfigMap`s.
//! - [`docs`] generates the page on metrics.
//! - [`rules`] generates the Prometheus rules as Kubernetes resources.
//! - [`history`] writes the metrics of a simulated past.
//! - [`package`] writes the manual page and the shell completions.
//! - [`servicing`] renews the built-in table of the ends of servicing.
//! - [`simulate`] serves a simulated API.
//!
//! Generated files are committed. A test below fails if one of them is out of date.

mod dashboards;
mod docs;
mod generated;
mod history;
mod package;
mod rules;
mod servicing;
mod simulate;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use generated::GeneratedFile;
use history::Past;
use jiff::civil::Date;
use mde_exporter::model::DetailLevel;
use mde_simulator::Patching;

/// Build tasks of the exporter.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Generate the Grafana dashboards and the Kubernetes resources in dashboards/.
    Dashboards {
        /// Compare the committed files with the generated ones; write nothing.
        #[arg(long)]
        check: bool,
    },
    /// Generate the page docs/metrics.md.
    Docs {
        /// Compare the committed files with the generated ones; write nothing.
        #[arg(long)]
        check: bool,
    },
    /// Write the metrics of a simulated past to standard output.
    ///
    /// The format is OpenMetrics with timestamps, as `promtool tsdb create-blocks-from openmetrics` reads it.
    /// The metrics come from the real client, poller and renderer, which poll two simulated tenants every six
    /// hours until now.
    History {
        /// Number of days.
        #[arg(default_value_t = 100)]
        days: u32,
        /// Patch nearly all machines within two weeks of each release, instead of at the pace of their groups.
        #[arg(long)]
        ordinary: bool,
        /// The day on which patching stops.
        #[arg(long, value_name = "DAY")]
        stop_on: Option<u32>,
        /// Write only the fleet level.
        #[arg(long)]
        fleet: bool,
    },
    /// Write the manual page and the completions of bash, zsh and fish.
    Package {
        /// Folder to write to; created if missing. The Debian package takes them from
        /// target/release/package.
        folder: PathBuf,
    },
    /// Renew the built-in table of the ends of servicing.
    Servicing {
        /// Folder with windows.json and windows-server.json of <https://endoflife.date/api/v1/products>.
        folder: PathBuf,
        /// The day on which they were downloaded, such as 2026-08-22.
        taken: Date,
    },
    /// Serve a simulated Defender API with the documented quotas until the process is killed.
    ///
    /// The configuration `mde_exporter.yml` exists once the API can be polled.
    Simulate {
        /// Folder for a configuration of the exporter and its files; created if missing.
        folder: PathBuf,
        /// Number of machines.
        #[arg(long, default_value_t = 200)]
        machines: usize,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), Box<dyn Error>> {
    match task {
        Task::Dashboards { check } => Ok(generated::run(&dashboard_files()?, check)?),
        Task::Docs { check } => Ok(generated::run(&docs::files(), check)?),
        Task::History { days, ordinary, stop_on, fleet } => {
            let patching = if ordinary { Patching::Ordinary } else { Patching::ByGroup };
            let detail = if fleet { DetailLevel::Fleet } else { DetailLevel::Update };
            history::write(Past { days, patching, stop_on, detail }, std::io::stdout().lock())
        }
        Task::Package { folder } => Ok(package::write(&folder)?),
        Task::Servicing { folder, taken } => Ok(generated::run(&[servicing::file(&folder, taken)?], false)?),
        Task::Simulate { folder, machines } => simulate::serve(&folder, machines),
    }
}

/// The generated files in `dashboards/`.
///
/// # Errors
/// When a rule file cannot be read.
fn dashboard_files() -> io::Result<Vec<GeneratedFile>> {
    Ok(dashboards::files().into_iter().chain(rules::files()?).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_documentation_is_up_to_date() {
        for file in docs::files() {
            assert!(file.is_current(), "{} is out of date: run `cargo xtask docs`", file.path);
        }
    }

    #[test]
    fn committed_dashboards_and_rules_are_up_to_date() {
        for file in dashboard_files().unwrap() {
            assert!(file.is_current(), "{} is out of date: run `cargo xtask dashboards`", file.path);
        }
    }
}

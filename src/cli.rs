//! The command line: flags and commands, without logic.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use url::Url;

use crate::logging::LogFormat;
#[cfg(feature = "demo")]
use crate::model::Source;
use crate::model::{LogLevel, Months, ReportFormat, ReportState, Shard};

/// Prometheus exporter for missing security updates (KBs) reported by Microsoft Defender for Endpoint
#[derive(Clone, Debug, Parser)]
#[command(name = "mde_exporter", version)]
pub struct Cli {
    /// The command; default: run
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of several commands
    #[command(flatten)]
    pub flags: Flags,
}

impl Cli {
    /// The definition of the command line. Every command accepts every flag of [`Flags`], but its help shows only those
    /// that it uses.
    #[must_use]
    pub fn definition() -> clap::Command {
        let definition = Self::command();
        let flags: Vec<_> = definition.get_arguments().filter(|flag| flag.is_global_set()).cloned().collect();
        let names: Vec<_> =
            definition.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        names.iter().fold(definition, |definition, name| {
            let is_hidden = |flag: &&clap::Arg| flag.get_long().is_some_and(|flag| !uses(name, flag));
            // A flag that the command defines itself is not copied from the definition above it.
            let hidden = flags.iter().filter(is_hidden).map(|flag| flag.clone().hide(true));
            definition.mut_subcommand(name, |command| command.args(hidden))
        })
    }

    /// Parses the arguments of the process.
    ///
    /// # Errors
    /// The message to print: about wrong arguments, or the help or version that was asked for.
    pub fn parse_arguments() -> Result<Self, clap::Error> {
        let mut definition = Self::definition();
        let parsed = |matches: ArgMatches| Self::from_arg_matches(&matches);
        let outcome = definition.try_get_matches_from_mut(std::env::args_os()).and_then(parsed);
        outcome.map_err(|error| error.format(&mut definition))
    }
}

/// Returns whether a command uses a flag of [`Flags`].
fn uses(command: &str, flag: &str) -> bool {
    match flag {
        "config.file" => !matches!(command, "demo" | "hash-password"),
        "storage.path" => !matches!(command, "hash-password"),
        "storage.import" => matches!(command, "run" | "once"),
        "shard" => matches!(command, "run" | "check" | "once" | "report"),
        "web.config.file" => matches!(command, "run" | "demo" | "check" | "check-config"),
        _ if flag.starts_with("web.") => matches!(command, "run" | "demo"),
        _ => true,
    }
}

/// A command.
#[derive(Clone, Debug, Default, Subcommand)]
pub enum Command {
    /// Poll the configured tenants and serve their metrics (the default)
    #[default]
    Run,
    /// Check a configuration file offline and print every problem
    CheckConfig {
        /// The file; default: the file of --config.file
        file: Option<PathBuf>,
        /// Also print the presets of the file as rules, in the format of the file
        #[arg(long)]
        expand: bool,
    },
    /// Try everything that the configuration needs online and print results with advice
    Check,
    /// Poll every tenant once, print the metrics to stdout and exit
    Once,
    /// Write a report for auditors from the state on disk: a row for each missing update
    Report(ReportFlags),
    /// Make or update the facts file
    #[command(subcommand)]
    Facts(FactsCommand),
    /// Start a simulated Defender API and an exporter that polls it; needs no tenant and no file
    #[cfg(feature = "demo")]
    Demo(DemoFlags),
    /// Read a password from stdin and print its bcrypt hash for the web configuration file
    HashPassword,
}

/// A command about the facts file.
#[derive(Clone, Debug, Subcommand)]
pub enum FactsCommand {
    /// Make or update the facts file; uses the section facts of the file of --config.file only if that flag is given
    Update(FactsUpdateFlags),
}

/// Flags of `facts update`.
#[derive(Args, Clone, Debug)]
pub struct FactsUpdateFlags {
    /// Read files that were downloaded before from this folder, and send no request
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Months of release documents, or all [default: facts.months, or 24; all files with --from]
    #[arg(long, value_name = "N", value_parser = months)]
    pub months: Option<Months>,
    /// The facts file; its data is kept where there is no newer one [default: facts.file, or facts.json.gz in --storage.path]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Flags of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportFlags {
    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "csv", value_enum)]
    pub format: ReportFormat,
    /// Policy of the report [default: the first policy of the configuration]
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Tenant of the report; can be repeated [default: every tenant of the configuration]
    #[arg(long = "tenant", value_name = "NAME")]
    pub tenants: Vec<String>,
    /// State of the rows; can be repeated [default: every state]
    #[arg(long = "state", value_name = "STATE", value_enum)]
    pub states: Vec<ReportState>,
    /// File of the report, which is replaced when the report is complete; csv has its metadata in a second file beside
    /// it, FILE-metadata.json [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Flags of several commands.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The configuration file.
    #[arg(
        help = "The configuration file [default: mde_exporter.yml]",
        long = "config.file",
        value_name = "FILE",
        global = true
    )]
    pub config_file: Option<PathBuf>,
    /// Folder of the state file, created if missing; a temporary folder for the demo [default: data]
    #[arg(long = "storage.path", value_name = "FOLDER", global = true)]
    pub storage_path: Option<PathBuf>,
    /// Addresses to listen on.
    #[arg(help = "Address to listen on, as host:port, [v6]:port or :port; can be repeated", long = "web.listen-address", value_name = "ADDRESS", default_value = ":10633", value_parser = address, global = true)]
    pub listen_addresses: Vec<String>,
    /// Listen on the sockets passed by systemd instead of an address
    #[arg(long = "web.systemd-socket", global = true)]
    pub systemd_socket: bool,
    /// Largest number of concurrent scrapes; others are answered with 503; 0 is no limit
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40, global = true)]
    pub max_requests: usize,
    /// Path under which the metrics are served
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = path, global = true)]
    pub telemetry_path: String,
    /// URL under which users reach the exporter, for links behind a reverse proxy; links are relative without it
    #[arg(long = "web.external-url", value_name = "URL", value_parser = external_url, global = true)]
    pub external_url: Option<Url>,
    /// File with TLS, passwords and limits of the web server, in the format of the Prometheus exporter toolkit
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    pub web_config_file: Option<PathBuf>,
    /// Enable POST /-/reload, which reloads the configuration file
    #[arg(long = "web.enable-lifecycle", global = true)]
    pub enable_lifecycle: bool,
    /// The share of the tenants that this exporter polls.
    #[arg(
        help = "Poll only the tenants of shard N of M; each of M exporters with the same configuration has another N",
        long = "shard",
        value_name = "N/M",
        default_value_t,
        global = true
    )]
    pub shard: Shard,
    /// State files from which tenants are imported.
    #[arg(
        help = "State file of another exporter, from which the tenants are imported that the own state lacks; can be repeated",
        long = "storage.import",
        value_name = "FILE",
        global = true
    )]
    pub imports: Vec<PathBuf>,
    /// Lowest severity of the log lines to write
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info", value_enum, global = true)]
    pub log_level: LogLevel,
    /// Format of log lines
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt", value_enum, global = true)]
    pub log_format: LogFormat,
}

impl Flags {
    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> &Path {
        self.config_file.as_deref().unwrap_or(Path::new("mde_exporter.yml"))
    }

    /// The folder of the state file.
    #[must_use]
    pub fn storage_path(&self) -> &Path {
        self.storage_path.as_deref().unwrap_or(Path::new("data"))
    }
}

/// Flags of the demo.
#[cfg(feature = "demo")]
#[derive(Args, Clone, Copy, Debug)]
pub struct DemoFlags {
    /// Machines of the simulated fleet, at most 100000
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = machines)]
    pub machines: usize,
    /// Source of the data
    #[arg(long, value_name = "SOURCE", default_value = "machines", value_enum)]
    pub source: Source,
}

fn months(text: &str) -> Result<Months, &'static str> {
    if text == "all" {
        return Ok(Months::All);
    }
    text.parse().map(Months::Last).map_err(|_| "the value must be a whole number from 1, or all")
}

#[cfg(feature = "demo")]
fn machines(text: &str) -> Result<usize, &'static str> {
    let machines = text.parse().ok().filter(|machines| (1..=100_000).contains(machines));
    machines.ok_or("the value must be a whole number from 1 to 100000")
}

fn path(text: &str) -> Result<String, &'static str> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("the path must start with `/`") }
}

fn external_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "the value must be a URL, such as https://proxy.example/mde/")?;
    if !matches!(url.scheme(), "http" | "https") {
        Err("the URL must start with http:// or https://")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("the URL must not contain a user or password")
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("the URL must not contain a query or fragment")
    } else {
        Ok(url)
    }
}

/// Checks only the form of an address.
fn address(text: &str) -> Result<String, &'static str> {
    match text.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("the address must end in `:` and a port from 0 to 65535"),
    }
}

//! The command line. No logic.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::logging::{LogFormat, LogLevel};

/// Prometheus exporter for the missing security updates (KBs) that Microsoft Defender for Endpoint knows of
#[derive(Clone, Debug, Parser)]
#[command(name = "mde_exporter", version)]
pub struct Cli {
    /// What to do; without a command: run
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags that several commands share
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Clone, Debug, Default, Subcommand)]
pub enum Command {
    /// Poll the configured tenants and serve their metrics (the default)
    #[default]
    Run,
    /// Check a configuration file, offline, and print every problem in it
    CheckConfig {
        /// The file; default: that of --config.file
        file: Option<PathBuf>,
    },
    /// Try everything that the configuration needs, online, and print what works and what to do
    Check,
    /// Poll everything once, print the metrics on stdout and exit
    Once,
    /// Start a simulated Defender API and the exporter polling it; needs no tenant and no file
    #[cfg(feature = "demo")]
    Demo(DemoFlags),
    /// Read a password from stdin and print its bcrypt hash for the web configuration file
    HashPassword,
}

/// Flags that several commands share.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The configuration file
    #[arg(long = "config.file", value_name = "FILE", default_value = "mde_exporter.yml", global = true)]
    pub config_file: PathBuf,
    /// Folder for the state, created when missing; a throw-away folder for the demo [default: data]
    #[arg(long = "storage.path", value_name = "FOLDER", global = true)]
    pub storage_path: Option<PathBuf>,
    /// Addresses to listen on.
    #[arg(help = "Address to listen on, as host:port, [v6]:port or :port; may be given several times", long = "web.listen-address", value_name = "ADDRESS", default_value = ":10633", value_parser = address, global = true)]
    pub listen_addresses: Vec<String>,
    /// Listen on the sockets that systemd passed instead of at an address
    #[arg(long = "web.systemd-socket", global = true)]
    pub systemd_socket: bool,
    /// Scrapes served at once; one more is answered with 503; 0 is no limit
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40, global = true)]
    pub max_requests: usize,
    /// Path under which the metrics are served
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = path, global = true)]
    pub telemetry_path: String,
    /// File with TLS, passwords and limits of the web server, in the format of Prometheus' own exporters
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    pub web_config_file: Option<PathBuf>,
    /// Allow POST /-/reload, which reads the configuration file again
    #[arg(long = "web.enable-lifecycle", global = true)]
    pub enable_lifecycle: bool,
    /// Least severe log lines to write
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info", value_enum, global = true)]
    pub log_level: LogLevel,
    /// Format of log lines
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt", value_enum, global = true)]
    pub log_format: LogFormat,
}

impl Flags {
    /// The folder for the state.
    #[must_use]
    pub fn storage_path(&self) -> &Path {
        self.storage_path.as_deref().unwrap_or(Path::new("data"))
    }
}

/// Flags of the demo.
#[cfg(feature = "demo")]
#[derive(Args, Clone, Copy, Debug)]
pub struct DemoFlags {
    /// Machines of the simulated fleet
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub machines: usize,
    /// Where the exporter takes the data from
    #[arg(long, value_name = "SOURCE", default_value = "machines", value_enum)]
    pub source: DemoSource,
}

/// `source` of the demo's tenant.
#[cfg(feature = "demo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoSource {
    /// One call per machine
    Machines,
    /// The bulk export of vulnerabilities
    Export,
}

fn path(text: &str) -> Result<String, &'static str> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("a path starts with `/`") }
}

/// Only the form: whether it can be listened on shows when it is tried.
fn address(text: &str) -> Result<String, &'static str> {
    match text.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("an address ends in `:` and a port from 0 to 65535"),
    }
}

//! The web configuration file: TLS, passwords, headers and a rate limit for our own web server.
//!
//! The format is the one that Prometheus' own exporters share
//! (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>), so that an
//! operator can hand every exporter the same file. Its keys and their meaning are kept; what cannot be
//! honoured is a problem here, where the toolkit would be silent or answer 500 later:
//!
//! - TLS 1.0 and 1.1, and the ciphers and curves that rustls does not have;
//! - a `tls_server_config` that asks for something but names no certificate (the toolkit serves plain
//!   HTTP);
//! - client certificates to be verified without an authority (the toolkit takes the system's, and with
//!   them a certificate from any public authority);
//! - a rate limit that lets nothing through.
//!
//! Unlike the main file this one is read with the files that it names, so that a certificate, key or
//! authority that cannot be used is a problem with a line too. The key and the hashes are held, and
//! left out of `Debug`.

mod http;
mod pem;
mod rate_limit;
mod tls;
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use axum::http::HeaderMap;

use super::load::{read, root};
use super::problem::{LoadError, Problem, ProblemCollector};
use super::section::ValueReader;
pub use rate_limit::RateLimit;
pub use tls::{ClientAuth, Tls};

/// What the file says. The default is that of an empty file, and of none.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// None serves plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is offered to clients that come with TLS. Default: true.
    pub http2: bool,
    /// Set on every response.
    pub headers: HeaderMap,
    /// Who may use the web server, by name. Nobody means everybody: no password is asked for.
    pub users: BTreeMap<String, PasswordHash>,
    /// None sets no limit.
    pub rate_limit: Option<RateLimit>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { tls: None, http2: true, headers: HeaderMap::new(), users: BTreeMap::new(), rate_limit: None }
    }
}

/// A bcrypt hash in its usual form of 60 characters. Does not show in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Any text as a hash.
    #[cfg(test)]
    pub(crate) fn fake(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The hash, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A file that can be used.
#[derive(Clone, Debug)]
pub struct LoadedWeb {
    /// What it says.
    pub config: WebConfig,
    /// What an operator should look at, in the order of lines.
    pub warnings: Vec<Problem>,
}

/// What came of reading the file.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What it says; else every problem of it and of the files that it names.
    pub outcome: Result<LoadedWeb, LoadError>,
    /// The file and those that it names, whether they could be read or not: a change of any of them
    /// can change the outcome.
    pub files: Vec<PathBuf>,
}

/// Reads the web configuration in `file` and the files that it names. Relative paths in it are
/// relative to its folder.
#[must_use]
pub fn load(file: &Path) -> Reading {
    let report = ProblemCollector::new(file);
    let mut files = vec![file.to_path_buf()];
    let config = read(file, &report).and_then(|bytes| config(file, &bytes, &report, &mut files));
    let outcome = report.conclude(config).map(|(config, warnings)| LoadedWeb { config, warnings });
    Reading { outcome, files }
}

const ROOT_ALLOWED: &str =
    "a mapping with tls_server_config, http_server_config, basic_auth_users, rate_limit is allowed";

fn config(
    file: &Path,
    bytes: &[u8],
    report: &ProblemCollector,
    files: &mut Vec<PathBuf>,
) -> Option<WebConfig> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let root = root(bytes, report)?;
    let section = ValueReader::root(&root, ROOT_ALLOWED, report).section()?;
    let mapping = "a mapping is allowed";
    let tls =
        section.optional_or("tls_server_config", mapping, None, |field| tls::read(field, folder, files));
    let http = section.optional_or("http_server_config", mapping, (true, HeaderMap::new()), http::read);
    let users = section.optional_or(
        "basic_auth_users",
        "a mapping of user names to bcrypt hashes is allowed",
        BTreeMap::new(),
        users::read,
    );
    let rate_limit = section.optional_or("rate_limit", mapping, None, rate_limit::read);
    section.finish();
    let (http2, headers) = http?;
    Some(WebConfig { tls: tls?, http2, headers, users: users?, rate_limit: rate_limit? })
}

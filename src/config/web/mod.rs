//! The web configuration file: TLS, passwords, headers and a rate limit for the exporter's web server.
//!
//! The format is that of the Prometheus exporter toolkit
//! (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>), so an operator
//! can use one file for every exporter. Keys and their meaning are the same. A setting that is not
//! supported is a problem here, where the toolkit would ignore it or answer 500 later:
//!
//! - TLS 1.0 and 1.1, and the ciphers and curves that rustls does not support;
//! - a `tls_server_config` with settings but without a certificate (the toolkit serves plain HTTP);
//! - verification of client certificates without an authority (the toolkit uses the authorities of the
//!   system, and so accepts a certificate from any public authority);
//! - a rate limit that allows no request.
//!
//! Unlike the main file, this file is read together with the files that it names, so an invalid
//! certificate, key or authority is a problem with a line too. The configuration contains the private key
//! and the hashes; both are left out of `Debug`.

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
use super::reader::ValueReader;
pub use rate_limit::RateLimit;
pub use tls::{ClientAuth, Tls};

/// The web configuration. The default applies to an empty file and without a file.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// TLS settings; none for plain HTTP.
    pub tls: Option<Tls>,
    /// True if HTTP/2 is offered to TLS clients. Default: true.
    pub http2: bool,
    /// Headers of every response.
    pub headers: HeaderMap,
    /// Password hashes by user name. Without users, no password is required.
    pub users: BTreeMap<String, PasswordHash>,
    /// Limit on requests; none for no limit.
    pub rate_limit: Option<RateLimit>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { tls: None, http2: true, headers: HeaderMap::new(), users: BTreeMap::new(), rate_limit: None }
    }
}

/// A bcrypt hash in its usual form of 60 characters. `Debug` does not display it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Makes a hash of any text, unchecked.
    #[cfg(test)]
    pub(crate) fn fake(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The hash as written in the file.
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

/// A valid web configuration file.
#[derive(Clone, Debug)]
pub struct LoadedWebConfig {
    /// The configuration.
    pub config: WebConfig,
    /// Warnings, in the order of lines.
    pub warnings: Vec<Problem>,
}

/// The result of reading the file.
#[derive(Clone, Debug)]
pub struct WebLoad {
    /// The configuration, or every problem of the file and of the files that it names.
    pub outcome: Result<LoadedWebConfig, LoadError>,
    /// The file and the files that it names, readable or not: a change of any of them can change the
    /// outcome.
    pub files: Vec<PathBuf>,
}

/// Reads the web configuration in `file` and the files that it names. Relative paths in it are
/// relative to its folder.
#[must_use]
pub fn load(file: &Path) -> WebLoad {
    let problems = ProblemCollector::new(file);
    let mut files = vec![file.to_path_buf()];
    let config = read(file, &problems).and_then(|bytes| config(file, &bytes, &problems, &mut files));
    let outcome = problems.conclude(config).map(|(config, warnings)| LoadedWebConfig { config, warnings });
    WebLoad { outcome, files }
}

const ROOT_ALLOWED: &str =
    "a mapping with tls_server_config, http_server_config, basic_auth_users, rate_limit is allowed";

fn config(
    file: &Path,
    bytes: &[u8],
    problems: &ProblemCollector,
    files: &mut Vec<PathBuf>,
) -> Option<WebConfig> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let root = root(bytes, problems)?;
    let section = ValueReader::root(&root, ROOT_ALLOWED, problems).section()?;
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

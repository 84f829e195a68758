//! What the configuration file says, in types that cannot hold a bad value.
//!
//! [`load()`] is the one way in, for start, `check-config` and `once` alike. It reports every problem
//! of the file in one pass, each with its key path, line and column. No secret is ever held here:
//! only where it is to be read when a token is taken. The one value that can carry a secret, the
//! user part of `proxy_url`, is left out of `Debug`.
//!
//! The file is walked by hand instead of being derived from these types: serde ends at the first
//! value that does not fit, and an operator wants to mend all of them at once. `document` gives
//! text its places, `section` asks for keys and reports, `load`, `tenant`, `auth`, `selectors` and
//! `policy` say which keys there are, and `problem` prints. The YAML crate is known to `document` only.
//! [`web`] reads the other file, that of the web server, in the same way.
//! [`changes()`] compares a configuration with the one before, for a reload.

mod auth;
mod changes;
mod cloud;
mod document;
mod load;
mod metrics;
mod policy;
mod problem;
mod section;
mod selectors;
mod tenant;
#[cfg(test)]
mod tests;
pub mod web;

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

pub use changes::{changes, is_same_app_registration, uses_same_connection};
pub use load::{Loaded, load, parse};
pub use problem::{LoadError, Problem, SourceLocation};

/// The whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// At least one; their names differ.
    pub tenants: Vec<Tenant>,
    /// How often machines are asked and how long answers are believed.
    pub poll: Poll,
    /// How much is exposed.
    pub metrics: Metrics,
    /// Patch deadlines; their names differ. None at all means that no deadline is watched. Default:
    /// the default policy alone.
    pub policies: Vec<Policy>,
}

/// One Entra tenant whose machines are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Value of the label `tenant`. Default: the tenant id.
    pub name: Arc<str>,
    /// Directory (tenant) id.
    pub tenant_id: String,
    /// Application (client) id; none for a managed identity.
    pub client_id: Option<String>,
    /// How a token is had.
    pub auth: Auth,
    /// Sets the defaults of the three below, and which hosts may be sent a token.
    pub cloud: Cloud,
    /// Entra host, always https, no path.
    pub authority_url: Url,
    /// API host, no path. https, or http to a loopback address.
    pub api_url: Url,
    /// OAuth scope, ends in `/.default`.
    pub scope: String,
    /// Connection settings, for tokens and API alike.
    pub http: Http,
    /// Where the data about machines comes from.
    pub source: Source,
    /// Which machines are in scope.
    pub machines: Selectors,
    /// The API's limits and our share of them.
    pub quota: Quota,
}

/// How a token is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A client secret, read anew at each token.
    ClientSecret(SecretSource),
    /// Certificate and RSA key in one PEM file, read anew at each token.
    ClientCertificate(PathBuf),
    /// The identity of the Azure host; `client_id` chooses a user-assigned one.
    ManagedIdentity {
        /// Client id of a user-assigned identity.
        client_id: Option<String>,
    },
    /// A federated token from a file that something else keeps fresh (Kubernetes does). Default
    /// file: the one that `AZURE_FEDERATED_TOKEN_FILE` names.
    WorkloadIdentity {
        /// The file with the federated token.
        token_file: Option<PathBuf>,
    },
}

/// Where a client secret is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; white space around its content is dropped.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
}

/// The clouds that Defender for Endpoint runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// The public cloud.
    Commercial,
    /// US Government Community Cloud.
    Gcc,
    /// US GCC High.
    GccHigh,
    /// US Department of Defense.
    Dod,
}

/// Where the data about machines comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// One call per machine (`getmissingkbs`). The default.
    #[default]
    Machines,
    /// The bulk export of vulnerabilities: a few calls for any number of machines.
    Export,
}

/// Connection settings of a tenant.
#[derive(Clone, PartialEq)]
pub struct Http {
    /// Time for one request, from connect to the last byte. Default: 60s, since large replies of
    /// this API have been seen to take more than 15s.
    pub timeout: Duration,
    /// PEM file with certificates trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Proxy for every request, `http` or `https`; else `HTTPS_PROXY` and `NO_PROXY` count. May hold
    /// a user name and password for the proxy, so it must not be logged as it is.
    pub proxy_url: Option<Url>,
}

impl Default for Http {
    fn default() -> Self {
        Self { timeout: Duration::from_mins(1), ca_file: None, proxy_url: None }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = self.proxy_url.as_ref().map(|url| {
            let host = url.host_str().unwrap_or_default();
            let port = url.port_or_known_default().unwrap_or_default();
            format!("{}://{host}:{port}", url.scheme())
        });
        f.debug_struct("Http")
            .field("timeout", &self.timeout)
            .field("ca_file", &self.ca_file)
            .field("proxy_url", &proxy)
            .finish()
    }
}

/// Which machines are in scope: the union of all selectors, less `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Device ids, lower case.
    pub ids: Vec<String>,
    /// DNS names, lower case.
    pub names: Vec<String>,
    /// Device tags, exact.
    pub tags: Vec<String>,
    /// An `OData` `$filter` on the machine list, sent as it is.
    pub filter: Option<String>,
    /// Every machine of the tenant.
    pub all: bool,
    /// Device ids left out, lower case.
    pub exclude_ids: Vec<String>,
    /// DNS names left out, lower case, `*` stands for any text.
    pub exclude_names: Vec<String>,
}

/// The API's limits and our share of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Calls a minute that the API allows. Default: 50, the nearest documented limit.
    pub per_minute: NonZeroU32,
    /// Calls an hour that the API allows. Default: 1500.
    pub per_hour: NonZeroU32,
    /// Our share of both, above 0 and at most 1. Default: 0.8, so that other tools of the tenant
    /// are not starved.
    pub share: f64,
}

impl Default for Quota {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).expect("Safe: the numbers are not zero");
        Self { per_minute: number(50), per_hour: number(1500), share: 0.8 }
    }
}

/// How often machines are asked and how long answers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// How often each machine is asked, from 1s. Default: 6h, the pace at which the source changes.
    pub interval: Duration,
    /// Older data is served and counted as stale. Default: 13h, two intervals and some.
    pub stale_after: Duration,
    /// Older data is no longer served. Default: 48h.
    pub expire_after: Duration,
    /// Machines that Defender has not seen for so long are not judged. Default: 30d, after which
    /// Defender itself drops their findings.
    pub inactive_after: Duration,
}

impl Default for Poll {
    fn default() -> Self {
        Self {
            interval: Duration::from_hours(6),
            stale_after: Duration::from_hours(13),
            expire_after: Duration::from_hours(48),
            inactive_after: Duration::from_hours(30 * 24),
        }
    }
}

/// How much is exposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The deepest level. Default: auto.
    pub detail: Detail,
    /// Series of fleet, machine and update level together; 0 is no limit. Default: 100,000, which a
    /// Prometheus of any size takes.
    pub series_limit: u64,
    /// Numbers of KBs that are not looked at, as of updates that come daily. Default: none.
    pub ignore_kbs: Vec<u32>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { detail: Detail::Auto, series_limit: 100_000, ignore_kbs: Vec::new() }
    }
}

/// The deepest level that is exposed. Each holds those before it, and the series limit holds for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Counts per tenant, platform, device group and update.
    Fleet,
    /// Per machine too.
    Machine,
    /// Per machine and missing update too.
    Update,
    /// The deepest one within the limit.
    Auto,
}

/// A deadline for patches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Value of the label `policy`.
    pub name: Arc<str>,
    /// Time from its start in which an update has to be installed, from 1s to 3650d.
    pub deadline: Duration,
    /// Where that time starts.
    pub from: DeadlineStart,
}

impl Default for Policy {
    /// 14 days, as some regulators ask for, from first seen, which is known of every gap.
    fn default() -> Self {
        Self { name: "14d".into(), deadline: Duration::from_hours(14 * 24), from: DeadlineStart::FirstSeen }
    }
}

/// Where the time of a deadline starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineStart {
    /// When the machine was first seen missing the update. The default.
    FirstSeen,
    /// When the update was released; when it was first seen missing, where that is not known.
    Released,
}

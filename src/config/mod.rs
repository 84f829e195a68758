//! The configuration file, as types that cannot hold an invalid value.
//!
//! [`load()`] is the only entry point; start, reload, `check-config` and `once` use it. It reports every
//! problem of the file in one pass, each with its key path, line and column. The configuration never holds
//! a secret, only the place from which a secret is read when a token is requested. The one value that can
//! carry a secret, the user part of `proxy_url`, is left out of `Debug`.
//!
//! The file is read key by key instead of being deserialized into these types: serde stops at the first
//! invalid value, and an operator wants to fix all of them at once. `document` parses YAML into nodes with
//! locations, `reader` reads keys and reports problems, `load`, `tenant`, `auth`, `selectors`, `http`, `metrics`,
//! `labels`, `facts`, `policy`, `rule`, `condition`, `exception` and `servicing` define the keys, `values` parses single values, and `problem` displays problems. Only
//! `document` uses the YAML crate. [`web`] reads the web configuration file in the same way.
//! [`changes()`] compares two configurations for a reload.

mod auth;
mod changes;
mod cloud;
mod condition;
mod document;
mod exception;
mod expand;
mod facts;
mod http;
mod inputs;
mod labels;
mod load;
mod metrics;
mod policy;
mod problem;
mod reader;
mod rule;
mod selector_digest;
mod selectors;
mod servicing;
mod tenant;
#[cfg(test)]
mod tests;
mod values;
pub mod web;

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::model::{
    DetailLevel, Exception, Freshness, KbId, OwnLabel, Policy, ServicingSettings, Shard, Source,
};

pub use changes::{changes, is_same_app_registration, shares_quota, uses_same_connection};
pub use expand::{exceptions_section, expand};
pub use facts::{FactsConfig, FactsUrls};
pub use load::{LoadedConfig, load, parse};
pub use problem::{LoadError, Problem, SourceLocation};

/// The content of the configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The tenants; the names differ. At least one, unless other shards poll all of them.
    pub tenants: Vec<Tenant>,
    /// Poll interval and freshness.
    pub poll: Poll,
    /// Amount of detail in the exposition.
    pub metrics: Metrics,
    /// Facts about KBs from sources other than Defender. Default: none.
    pub facts: Option<FactsConfig>,
    /// Patch deadlines; the names differ. An empty list turns deadlines off. Default: the default policy.
    pub policies: Vec<Policy>,
    /// Missing updates that users accept, with a reason and an end; the names differ. Default: none.
    pub exceptions: Vec<Exception>,
    /// What Defender does not report about the servicing of machines. Default: nothing.
    pub servicing: ServicingSettings,
}

impl Config {
    /// Removes the tenants that other shards poll. Returns the number of tenants before.
    pub fn keep_shard(&mut self, shard: Shard) -> usize {
        let all = self.tenants.len();
        let other = self.tenants.extract_if(.., |tenant| !shard.contains(&tenant.tenant_id));
        self.servicing.other_tenants.extend(other.map(|tenant| tenant.name));
        all
    }
}

/// An Entra tenant whose machines are polled.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Value of the label `tenant`. Default: the tenant id.
    pub name: Arc<str>,
    /// Directory (tenant) id.
    pub tenant_id: String,
    /// Application (client) id; none for a managed identity.
    pub client_id: Option<String>,
    /// The credential for tokens.
    pub auth: Auth,
    /// The cloud, which sets the defaults of the next three fields and the hosts that may receive a token.
    pub cloud: Cloud,
    /// Entra host, always https, no path.
    pub authority_url: Url,
    /// API host, no path. https, or http to a loopback address.
    pub api_url: Url,
    /// OAuth scope, ends in `/.default`.
    pub scope: String,
    /// Connection settings for token requests and API requests.
    pub http: Http,
    /// The source of the data about machines.
    pub source: Source,
    /// The selectors of the machines in scope.
    pub machines: Selectors,
    /// The API's limits and the exporter's share of them.
    pub quota: Quota,
}

/// The credential with which the exporter requests a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A client secret, read for each token.
    ClientSecret(SecretSource),
    /// A certificate and an RSA key in one PEM file, read for each token.
    ClientCertificate(PathBuf),
    /// The managed identity of the Azure host; `client_id` selects a user-assigned one.
    ManagedIdentity {
        /// Client id of a user-assigned identity.
        client_id: Option<String>,
    },
    /// A federated token from a file that another program renews, as Kubernetes does. Default: the file
    /// named by `AZURE_FEDERATED_TOKEN_FILE`.
    WorkloadIdentity {
        /// The file with the federated token.
        token_file: Option<PathBuf>,
    },
}

impl Auth {
    /// The file whose content an administrator changes to renew the credential.
    #[must_use]
    pub fn renewed_file(&self) -> Option<&Path> {
        match self {
            Self::ClientSecret(SecretSource::File(file)) | Self::ClientCertificate(file) => Some(file),
            Self::ClientSecret(SecretSource::Environment(_))
            | Self::ManagedIdentity { .. }
            | Self::WorkloadIdentity { .. } => None,
        }
    }
}

/// The place from which a client secret is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; white space around its content is removed.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
}

/// A cloud in which Defender for Endpoint runs.
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

/// Connection settings of a tenant or of the sources of facts.
#[derive(Clone, PartialEq)]
pub struct Http {
    /// Time limit of one request, from connect to the last byte. Default: 60s, since large replies of
    /// this API were observed to take more than 15s.
    pub timeout: Duration,
    /// PEM file with authorities trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// Proxy for every request, `http` or `https`. Default: `HTTPS_PROXY` and `NO_PROXY`. May contain a
    /// user name and password for the proxy, so it must not be logged unchanged.
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

/// The machines in scope: the union of all selectors, without `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Device ids, lower case.
    pub ids: Vec<String>,
    /// DNS names, lower case.
    pub names: Vec<String>,
    /// Device tags, compared exactly.
    pub tags: Vec<String>,
    /// An `OData` `$filter` on the machine list, sent unchanged.
    pub filter: Option<String>,
    /// Selects every machine of the tenant.
    pub all: bool,
    /// Excluded device ids, lower case.
    pub exclude_ids: Vec<String>,
    /// Excluded DNS names, lower case; `*` matches any text.
    pub exclude_names: Vec<String>,
}

/// The API's limits and the exporter's share of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Calls per minute that the API allows. Default: 50, the nearest documented limit.
    pub per_minute: NonZeroU32,
    /// Calls per hour that the API allows. Default: 1500.
    pub per_hour: NonZeroU32,
    /// The exporter's share of both, above 0 and at most 1. Default: 0.8, which leaves calls to other
    /// tools of the tenant.
    pub share: f64,
}

impl Default for Quota {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).expect("Safe: the numbers are not zero");
        Self { per_minute: number(50), per_hour: number(1500), share: 0.8 }
    }
}

/// Poll interval and freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Time between two polls of a machine, from 1s. Default: 6h, the rate at which the source changes.
    pub interval: Duration,
    /// The ages at which data changes its meaning.
    pub freshness: Freshness,
}

impl Default for Poll {
    fn default() -> Self {
        Self { interval: Duration::from_hours(6), freshness: Freshness::default() }
    }
}

/// Amount of detail in the exposition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The deepest level that is exposed, as far as the series limit allows. Default: update, for which
    /// the configuration also accepts `auto`.
    pub detail: DetailLevel,
    /// Limit on the series of all levels together; 0 is no limit. Default: 100,000, which a Prometheus
    /// server of any size can store.
    pub series_limit: u64,
    /// Ignored KBs, for example of definition updates that are released daily. Default: none.
    pub ignore_kbs: Vec<KbId>,
    /// Update ids that are no KBs and are ignored, in any case. Default: none, because an id may stand for a KB.
    pub ignore_ids: Vec<String>,
    /// Labels of machines from their tags, at most 3; the names differ. Default: none.
    pub labels: Vec<OwnLabel>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            detail: DetailLevel::Update,
            series_limit: 100_000,
            ignore_kbs: Vec::new(),
            ignore_ids: Vec::new(),
            labels: Vec::new(),
        }
    }
}

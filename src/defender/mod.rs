//! Client of the Microsoft Defender for Endpoint API.
//!
//! The client has three operations: [`Client::machines`], [`Client::missing_kbs`] and [`Client::export`].
//! A call passes through these modules in order: [`limit`] waits for the quota ([`window`]), [`token`]
//! provides a token, [`request`] sends the call and retries it ([`retry`]), [`page`] reads the
//! pages ([`next_link`]), and [`decode`] decodes the records. [`export`] reads the files of the bulk export. Every reply is bounded in
//! size, pages and time, and every failure is an [`ApiError`] with a closed kind.
//!
//! The token is sent to the configured host and, if that host belongs to Microsoft, to the hosts of the same
//! cloud; never to any other host. Export files are fetched without a token.

mod aadsts;
mod answer;
mod certificate;
mod claims;
mod clock_skew;
mod connection;
mod decode;
mod entra;
mod error;
mod export;
mod export_file_error;
mod json;
mod json_repair;
mod limit;
mod managed_identity;
mod next_link;
mod page;
mod pause;
mod quota_history;
mod request;
mod retry;
pub mod token;
mod token_error;
mod token_reply;
mod token_transport;
mod window;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;

pub use certificate::CertificateValidity;
pub use claims::{TokenClaims, TokenFacts};
pub use connection::{ConnectionError, HostConnection, HostPurpose};
pub use decode::ListedMachine;
pub use error::{ApiError, ErrorDetail, role};
pub use export::{Export, ExportOutcome, ListedExport};
pub use export_file_error::ExportFileError;

pub use pause::RequestedPause;
pub use quota_history::{CallRecorder, QuotaHistory};
pub use retry::RetryPolicy;
pub use token::TokenError;

use crate::clock::Clock;
use crate::config::Tenant;
use crate::fleet::MachineAnswer;
use crate::http::{self, HttpError, ProxyMode};
use crate::model::{ApiOperation, MachineId};
use crate::self_metrics::TenantMetrics;
use answer::SharedValues;
use decode::KbRecord;
use limit::Limiter;
use page::{ListLimits, RecordKind};
use token::TokenSource;

/// The part of the machine list to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListQuery<'a> {
    /// Every machine.
    All,
    /// Machines that match an `OData` filter, which is sent unchanged.
    Filter(&'a str),
    /// Machines that have exactly this tag.
    Tag(&'a str),
}

/// Client of one tenant's API.
pub struct Client {
    http: reqwest::Client,
    /// Client for export files: no token, no limit on the total time.
    downloads: reqwest::Client,
    /// The longest time that a download may make no progress: `http.timeout`.
    stall: Duration,
    tokens: TokenSource,
    limiter: Limiter,
    api_url: Url,
    trusted_suffixes: &'static [&'static str],
    retry: RetryPolicy,
    random: Mutex<fastrand::Rng>,
    clock: Clock,
    metrics: TenantMetrics,
    shared: Mutex<SharedValues>,
}

impl Client {
    /// Creates a client for `tenant` without sending a request. With [`ProxyMode::Direct`] no request uses a
    /// proxy.
    ///
    /// # Errors
    /// Returns an error if the connection settings are not usable, for example an unreadable `ca_file`.
    pub fn new(
        tenant: &Tenant,
        route: ProxyMode,
        retry: RetryPolicy,
        random: fastrand::Rng,
        history: QuotaHistory,
        clock: Clock,
        metrics: TenantMetrics,
    ) -> Result<Self, HttpError> {
        let connections = HttpClients::prepare(tenant, route)?;
        Ok(Self::over(connections, tenant, retry, random, history, clock, metrics))
    }

    /// Creates a client like [`new`](Self::new) with HTTP clients that were prepared for `tenant`.
    #[must_use]
    pub fn over(
        connections: HttpClients,
        tenant: &Tenant,
        retry: RetryPolicy,
        random: fastrand::Rng,
        history: QuotaHistory,
        clock: Clock,
        metrics: TenantMetrics,
    ) -> Self {
        let HttpClients { api, downloads, tokens } = connections;
        Self {
            http: api,
            downloads,
            stall: tenant.http.timeout,
            tokens: TokenSource::new(tenant, tokens, clock.clone(), metrics.clone()),
            limiter: Limiter::new(tenant, history, clock.clone(), metrics.clone()),
            api_url: tenant.api_url.clone(),
            trusted_suffixes: tenant.cloud.trusted_suffixes(),
            retry,
            random: Mutex::new(random),
            clock,
            metrics,
            shared: Mutex::default(),
        }
    }

    /// Returns the client with the quota state of `older`, a client of the same application and API. The
    /// calls, pauses and reductions of `older` continue to apply. Do not use the two clients concurrently.
    #[must_use]
    pub fn inherit_quota(mut self, older: &Self, tenant: &Tenant) -> Self {
        self.limiter.inherit(&older.limiter, tenant);
        self.tokens.inherit_pause(&older.tokens);
        self
    }

    /// Returns the client with one quota for it and for `other`, a client of the same application under another
    /// name. The calls of both count.
    #[must_use]
    pub fn share_quota(mut self, other: &Self) -> Self {
        self.limiter.join(&other.limiter);
        self.tokens.inherit_pause(&other.tokens);
        self
    }

    /// Applies the smallest quota of `tenants` from now on.
    pub fn set_quota(&self, tenants: &[&Tenant]) {
        self.limiter.set_quota(tenants);
    }

    /// The time that the quota needs for `calls` more calls.
    #[must_use]
    pub fn time_for(&self, calls: usize) -> Duration {
        self.limiter.time_for(calls as u64)
    }

    /// Returns whether earlier calls still affect the next one: a pause that the API requested has not
    /// ended, or a call was made in the last hour.
    #[must_use]
    pub fn has_quota_state(&self) -> bool {
        self.limiter.has_quota_state() || self.tokens.requested_pause().is_some()
    }

    /// The pause that the `Retry-After` of a reply requested, of the API or of the token endpoint, if it has
    /// not ended. Nothing is sent to that host until it ends.
    #[must_use]
    pub fn requested_pause(&self) -> Option<RequestedPause> {
        let (api, tokens) = (self.limiter.requested_pause(), self.tokens.requested_pause());
        api.into_iter().chain(tokens).reduce(RequestedPause::joined)
    }

    /// Fetches the machines that `query` selects, each once. Merged and excluded machines are marked, not
    /// dropped. The API answers 404 if there are none
    /// (<https://learn.microsoft.com/defender-endpoint/api/get-machines>).
    ///
    /// # Errors
    /// Any [`ApiError`] except `NotFound`. A partial list is never returned.
    pub async fn machines(&self, query: ListQuery<'_>) -> Result<Vec<ListedMachine>, ApiError> {
        let (endpoint, path, pairs) = match query {
            ListQuery::All => (ApiOperation::Machines, "/api/machines", vec![]),
            ListQuery::Filter(filter) => (ApiOperation::Machines, "/api/machines", vec![("$filter", filter)]),
            ListQuery::Tag(tag) => (
                ApiOperation::FindByTag,
                "/api/machines/findbytag",
                vec![("tag", tag), ("useStartsWithFilter", "false")],
            ),
        };
        let machines = RecordKind {
            decode: decode::machine,
            id: |machine: &ListedMachine| digest(machine.facts.id.as_str()),
        };
        match self.pages(endpoint, self.url(path, &pairs), ListLimits::LIST, machines).await {
            Ok(listed) => Ok(self.each_once(listed)),
            Err(ApiError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Fetches the KBs that are missing on a machine, each once, and the ids that are no KBs.
    ///
    /// # Errors
    /// Any [`ApiError`]. `NotFound` can be transient: the same call has been observed to succeed on the
    /// second or third attempt (<https://github.com/MicrosoftDocs/microsoft-365-docs/issues/13047>).
    pub async fn missing_kbs(&self, id: &MachineId) -> Result<MachineAnswer, ApiError> {
        let url = self.url(&format!("/api/machines/{id}/getmissingkbs"), &[]);
        let kbs = RecordKind { decode: decode::missing_kb, id: |record: &KbRecord| digest(record.key()) };
        let records = self.pages(ApiOperation::MissingKbs, url, ListLimits::MISSING_KBS, kbs).await?;
        self.machine_answer(records)
    }

    /// Takes a token as calls do and returns its expiry and claims.
    ///
    /// # Errors
    /// Returns an error if no token is available.
    pub async fn token_facts(&self) -> Result<TokenFacts, TokenError> {
        Ok(self.tokens.token().await?.facts())
    }

    /// The time within which the client certificate in the PEM file at `path` is valid. Blocks.
    ///
    /// # Errors
    /// Returns an error if the file does not hold a certificate and its key.
    pub fn certificate_validity(path: &Path) -> Result<CertificateValidity, token::SecretError> {
        certificate::validity(path)
    }

    /// Makes the next call take a new token.
    pub fn renew_token(&self) {
        self.tokens.renew();
    }

    /// The difference between the clock of Entra or the API, by its newest reply, and the local clock, with a
    /// precision of about one second. Positive if the remote clock is ahead. `None` before the first reply
    /// with a `Date` header.
    #[must_use]
    pub fn clock_skew(&self) -> Option<SignedDuration> {
        self.tokens.clock_skew().remote_ahead()
    }

    /// The shortest interval in which the configured quota allows `calls` repeatedly.
    #[must_use]
    pub fn sustainable_interval(&self, calls: u64) -> Duration {
        self.limiter.sustainable_interval(calls)
    }

    /// The number of calls that the configured quota allows per hour.
    #[must_use]
    pub fn hourly_allowance(&self) -> usize {
        self.limiter.configured()[1]
    }

    /// The number of calls to the API so far, including retries.
    #[must_use]
    pub fn calls_made(&self) -> u64 {
        self.limiter.calls_made()
    }

    fn url(&self, path: &str, pairs: &[(&str, &str)]) -> Url {
        let mut url = self.api_url.clone();
        url.set_path(path);
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
            // `+` means a space in HTML forms only; a literal plus is already encoded as %2B.
            let query = url.query().unwrap_or_default().replace('+', "%20");
            url.set_query(Some(&query));
        }
        url
    }

    /// Removes duplicates of a machine and keeps the record with the latest `lastSeen`.
    fn each_once(&self, mut listed: Vec<ListedMachine>) -> Vec<ListedMachine> {
        let received = listed.len();
        listed.sort_by(|a, b| a.facts.id.cmp(&b.facts.id).then(b.facts.last_seen.cmp(&a.facts.last_seen)));
        listed.dedup_by(|a, b| a.facts.id == b.facts.id);
        self.metrics.duplicates_dropped((received - listed.len()) as u64);
        listed
    }
}

fn digest(id: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// The HTTP clients of a tenant. Their settings are validated; no connection is open yet.
#[derive(Debug)]
pub struct HttpClients {
    api: reqwest::Client,
    downloads: reqwest::Client,
    tokens: reqwest::Client,
}

impl HttpClients {
    /// Reads the `ca_file` and creates the clients. With [`ProxyMode::Direct`] no request uses a proxy.
    ///
    /// # Errors
    /// Returns an error if the connection settings are not usable, for example an unreadable `ca_file`.
    pub fn prepare(tenant: &Tenant, route: ProxyMode) -> Result<Self, HttpError> {
        let token_route = if route == ProxyMode::Direct { route } else { ProxyMode::of_tokens(&tenant.auth) };
        Ok(Self {
            tokens: http::client(&tenant.http, token_route)?,
            api: http::client(&tenant.http, route)?,
            downloads: http::download_client(&tenant.http, route)?,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("api_url", &self.api_url.as_str()).finish_non_exhaustive()
    }
}
/// Feeds `data` to one of the decoders of API replies, selected by the first byte. For the fuzzer.
#[cfg(fuzzing)]
pub fn decode_anything(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    match choice % 4 {
        0 => drop(decode::Page::decode(&mut body.to_vec(), decode::machine)),
        1 => drop(decode::Page::decode(&mut body.to_vec(), decode::missing_kb)),
        2 => drop(ErrorDetail::parse(body)),
        _ => export::read_anything(body, usize::from(*choice)),
    }
}

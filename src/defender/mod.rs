//! Client of the Microsoft Defender for Endpoint API.
//!
//! Three verbs: [`Client::machines`], [`Client::missing_kbs`] and [`Client::export`]. Behind them, in
//! the order that a call passes through: [`limit`] waits for the quota ([`window`]), [`token`] has a token
//! ready, [`request`] makes the call and retries it ([`retry`]), [`page`] follows next links, [`model`]
//! decodes; [`export`] reads the files of the bulk export. Every reply is bounded in size, pages and
//! time; every failure is an [`ApiError`] of a closed kind.
//!
//! The token goes to the configured host and, when that is one of Microsoft's, to the hosts of the
//! same cloud; never anywhere else. Files of the export are fetched without it.

mod aadsts;
mod certificate;
mod claims;
mod clock_skew;
mod entra;
mod error;
mod export;
pub mod http;
mod json;
mod limit;
mod model;
mod page;
mod quota_history;
mod request;
mod retry;
pub mod token;
mod token_error;
mod transport_error;
mod window;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;

pub use claims::{Claims, TokenFacts};
pub use error::{ApiError, Detail, role};
pub use export::{Export, ExportFileError, ExportOutcome, ListedExport};
pub use http::{HttpError, ProxyMode};
pub use model::ListedMachine;
pub use quota_history::{CallRecorder, QuotaHistory};
pub use retry::RetryPolicy;
pub use token::TokenError;
pub use transport_error::TransportError;

use crate::clock::Clock;
use crate::config::Tenant;
use crate::fleet::{MachineId, ReportedUpdate, UpdateFacts};
use crate::self_metrics::{ApiOperation, TenantMetrics};
use limit::Limiter;
use page::Bounds;
use token::TokenSource;

/// Which part of the machine list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListQuery<'a> {
    /// Every machine.
    All,
    /// Those that an `OData` filter chooses; sent as it is.
    Filter(&'a str),
    /// Those that carry a tag, exactly.
    Tag(&'a str),
}

/// The API of one tenant.
pub struct Client {
    http: reqwest::Client,
    /// For files of the export, which get no token and may take long.
    downloads: reqwest::Client,
    /// How long a download may stand still: `http.timeout`.
    stall: Duration,
    tokens: TokenSource,
    limiter: Limiter,
    api_url: Url,
    trusted_suffixes: &'static [&'static str],
    retry: RetryPolicy,
    random: Mutex<fastrand::Rng>,
    clock: Clock,
    metrics: TenantMetrics,
    known_updates: Mutex<HashSet<Arc<UpdateFacts>>>,
}

impl Client {
    /// A client for `tenant`; nothing is asked yet. With [`ProxyMode::Direct`] no request takes a proxy.
    ///
    /// # Errors
    /// When the connection settings cannot be used, as a `ca_file` that cannot be read.
    pub fn new(
        tenant: &Tenant,
        route: ProxyMode,
        retry: RetryPolicy,
        random: fastrand::Rng,
        history: QuotaHistory,
        clock: Clock,
        metrics: TenantMetrics,
    ) -> Result<Self, HttpError> {
        let connections = Connections::prepare(tenant, route)?;
        Ok(Self::over(connections, tenant, retry, random, history, clock, metrics))
    }

    /// As [`new`](Self::new), over connections that were prepared for `tenant`.
    #[must_use]
    pub fn over(
        connections: Connections,
        tenant: &Tenant,
        retry: RetryPolicy,
        random: fastrand::Rng,
        history: QuotaHistory,
        clock: Clock,
        metrics: TenantMetrics,
    ) -> Self {
        let Connections { api, downloads, tokens } = connections;
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
            known_updates: Mutex::default(),
        }
    }

    /// The same client, which goes on with the quota of `older`, a client of the same application at the
    /// same API: its calls count, its pauses and cuts hold. The two are not to be used side by side.
    #[must_use]
    pub fn inherit_quota(mut self, older: &Self, tenant: &Tenant) -> Self {
        self.limiter.continue_with(&older.limiter, tenant);
        self
    }

    /// Keeps to the quota of `tenant` from now on.
    pub fn allow(&self, tenant: &Tenant) {
        self.limiter.allow(tenant);
    }

    /// Whether the API still has something to hold against the next call: it asked for a pause that is
    /// not over, or had a call in the last hour.
    #[must_use]
    pub fn has_quota_state(&self) -> bool {
        self.limiter.has_quota_state()
    }

    /// The machines that `query` chooses, each once. Merged and excluded ones are marked, not
    /// dropped. A 404 is how the API says that there are none
    /// (<https://learn.microsoft.com/defender-endpoint/api/get-machines>).
    ///
    /// # Errors
    /// Any [`ApiError`] but `NotFound`. Part of a list is never returned.
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
        match self.pages(endpoint, self.url(path, &pairs), &Bounds::LIST, model::machine).await {
            Ok(listed) => Ok(self.each_once(listed)),
            Err(ApiError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The KBs that a machine misses, each once.
    ///
    /// # Errors
    /// Any [`ApiError`]. `NotFound` can be transient: the same call has been seen to work on the
    /// second or third try (<https://github.com/MicrosoftDocs/microsoft-365-docs/issues/13047>).
    pub async fn missing_kbs(&self, id: &MachineId) -> Result<Vec<ReportedUpdate>, ApiError> {
        let url = self.url(&format!("/api/machines/{id}/getmissingkbs"), &[]);
        let mut updates =
            self.pages(ApiOperation::MissingKbs, url, &Bounds::MISSING_KBS, model::missing_kb).await?;
        let mut known = self.known_updates.lock().unwrap_or_else(PoisonError::into_inner);
        // Facts that no machine refers to any more; the set stays as small as the answers are alike.
        if known.len() > 10_000 {
            known.retain(|facts| Arc::strong_count(facts) > 1);
        }
        let mut seen = HashSet::new();
        let received = updates.len();
        updates.retain(|update| seen.insert(update.kb));
        self.metrics.duplicates_dropped((received - updates.len()) as u64);
        for update in &mut updates {
            match known.get(&update.facts) {
                Some(facts) => update.facts = Arc::clone(facts),
                None => drop(known.insert(Arc::clone(&update.facts))),
            }
        }
        Ok(updates)
    }

    /// A token as calls send it: until when it is good, and what it says of itself.
    ///
    /// # Errors
    /// When there is none.
    pub async fn token_facts(&self) -> Result<TokenFacts, TokenError> {
        Ok(self.tokens.token().await?.facts())
    }

    /// How far the clocks of Entra and of the API are ahead of ours, by their newest reply and to a second or
    /// so. None when no reply told the time.
    #[must_use]
    pub fn clock_skew(&self) -> Option<SignedDuration> {
        self.tokens.their_clock().ahead()
    }

    /// The shortest interval in which the configured quota allows `calls`, again and again.
    #[must_use]
    pub fn sustainable_interval(&self, calls: u64) -> Duration {
        self.limiter.sustainable_interval(calls)
    }

    /// Calls that the configured quota allows in an hour.
    #[must_use]
    pub fn hourly_allowance(&self) -> usize {
        self.limiter.configured()[1]
    }

    /// Calls to the API so far, retries included.
    #[must_use]
    pub fn calls_made(&self) -> u64 {
        self.limiter.calls_made()
    }

    fn url(&self, path: &str, pairs: &[(&str, &str)]) -> Url {
        let mut url = self.api_url.clone();
        url.set_path(path);
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
            // `+` for a space is a habit of HTML forms; a literal plus is %2B by now.
            let query = url.query().unwrap_or_default().replace('+', "%20");
            url.set_query(Some(&query));
        }
        url
    }

    /// A machine that is listed twice counts once: the record that was seen last stays.
    fn each_once(&self, mut listed: Vec<ListedMachine>) -> Vec<ListedMachine> {
        let received = listed.len();
        listed.sort_by(|a, b| a.facts.id.cmp(&b.facts.id).then(b.facts.last_seen.cmp(&a.facts.last_seen)));
        listed.dedup_by(|a, b| a.facts.id == b.facts.id);
        self.metrics.duplicates_dropped((received - listed.len()) as u64);
        listed
    }
}

/// The connections of a tenant. Nothing is connected yet, but what can be wrong with the settings has
/// shown.
#[derive(Debug)]
pub struct Connections {
    api: reqwest::Client,
    downloads: reqwest::Client,
    tokens: reqwest::Client,
}

impl Connections {
    /// Reads the `ca_file` and makes ready. With [`ProxyMode::Direct`] no request takes a proxy.
    ///
    /// # Errors
    /// When the connection settings cannot be used, as a `ca_file` that cannot be read.
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
/// Gives `data` to everything that decodes what the API sends; the first byte chooses. For the fuzzer.
#[cfg(fuzzing)]
pub fn decode_anything(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    match choice % 4 {
        0 => drop(model::Page::decode(body, model::machine)),
        1 => drop(model::Page::decode(body, model::missing_kb)),
        2 => drop(Detail::parse(body)),
        _ => export::read_anything(body, usize::from(*choice)),
    }
}

//! The access token of a tenant: requested when needed, cached until shortly before it expires.
//!
//! Guarantees of [`TokenSource`]: callers that need a token at the same time cause one request and share its
//! failure. A token that the API rejected is not returned again, and causes one request only, regardless of
//! the number of callers that it was rejected for. Secret, certificate and federated token are read again for
//! each request. Nothing is sent within a pause that the endpoint requested. The source does not retry and
//! never prints its secrets.
//!
//! A token keeps the roles of the time at which it was issued. One that lacks a required role is replaced, at
//! most once a minute, so that a role that is granted takes effect. It stays in use until its successor
//! arrives, as does a token that is about to expire while the endpoint has a problem.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::Secret;
use jiff::Timestamp;
use tokio::time::Instant;

use super::claims::{TokenClaims, TokenFacts};
use super::clock_skew::ClockSkew;
use super::entra::Grant;
use super::pause::{HostPause, RequestedPause};
use super::retry::{PATIENCE, whole_seconds};
pub use super::token_error::{SecretError, TokenError, TokenRefusal};
use super::token_transport::TokenTransport;
use crate::clock::Clock;
use crate::config::Tenant;
use crate::self_metrics::TenantMetrics;

/// The time before its expiry at which a token is renewed, but not before four fifths of its lifetime.
const MARGIN: Duration = Duration::from_mins(5);

/// The longest accepted lifetime. Entra issues tokens for up to 28 hours
/// (<https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes>).
const MAX_LIFETIME: Duration = Duration::from_hours(48);

/// The shortest time between two requests for a token while an earlier one is still valid: a minute, less the
/// tolerance of a caller that tries once a minute.
const RENEWAL: Duration = Duration::from_secs(55);

/// An access token for the API. Cheap to clone.
#[derive(Clone)]
pub struct Token(Arc<CachedToken>);

struct CachedToken {
    secret: Secret,
    expires: Timestamp,
    renew_at: Timestamp,
    /// None if they are unreadable.
    claims: Option<TokenClaims>,
}

/// The newest token.
#[derive(Debug, Default)]
struct TokenCache {
    token: Option<Token>,
    /// A new token is wanted although this one is valid.
    is_doubted: bool,
    /// The time of the last request that counts for [`RENEWAL`].
    requested: Option<Instant>,
    /// The last request failed.
    has_failed: bool,
}

impl TokenCache {
    fn usable(&self, now: Timestamp) -> Option<Token> {
        let recent = self.requested.is_some_and(|at| at.elapsed() < RENEWAL);
        let usable = |token: &&Token| {
            let fresh = now < token.0.renew_at && (!self.is_doubted || recent);
            fresh || self.has_failed && recent && now < token.0.expires
        };
        self.token.as_ref().filter(usable).cloned()
    }
}

impl Token {
    fn new(secret: Secret, now: Timestamp, life: Duration) -> Self {
        let life = life.min(MAX_LIFETIME);
        let margin = MARGIN.min(life / 5);
        let claims = TokenClaims::of(secret.secret());
        Self(Arc::new(CachedToken { secret, expires: now + life, renew_at: now + life - margin, claims }))
    }

    /// The value of the `Authorization` header after `Bearer`.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.secret.secret()
    }

    /// The time at which the token expires.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }

    /// Expiry and claims of the token.
    pub(super) fn facts(&self) -> TokenFacts {
        TokenFacts { expires: self.expires(), claims: self.0.claims.clone() }
    }

    /// Returns whether the claims are readable and lack `role`.
    fn lacks(&self, role: &str) -> bool {
        self.0.claims.as_ref().is_some_and(|claims| !claims.has(role))
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(<secret>, expires {})", self.0.expires)
    }
}

/// The source of the tokens of one tenant.
pub struct TokenSource {
    grant: Grant,
    client: reqwest::Client,
    clock: Clock,
    clock_skew: ClockSkew,
    metrics: TenantMetrics,
    pause: HostPause,
    cached: Mutex<TokenCache>,
    /// The error of the last failed request. Locked by the caller that requests a token.
    last_failure: tokio::sync::Mutex<Option<TokenError>>,
    /// The number of finished requests.
    requests: AtomicU64,
}

impl TokenSource {
    /// Creates a source without sending a request. `client` must be created with [`ProxyMode::of_tokens`].
    ///
    /// [`ProxyMode::of_tokens`]: crate::http::ProxyMode::of_tokens
    #[must_use]
    pub fn new(tenant: &Tenant, client: reqwest::Client, clock: Clock, metrics: TenantMetrics) -> Self {
        Self {
            grant: Grant::of(tenant),
            client,
            clock_skew: ClockSkew::new(clock.clone()),
            clock,
            metrics,
            pause: HostPause::default(),
            cached: Mutex::default(),
            last_failure: tokio::sync::Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// Returns a token that is valid for some minutes, cached or new.
    ///
    /// # Errors
    ///
    /// Returns a [`TokenError`] if a new token is needed and cannot be obtained. Waits at most the tenant's
    /// `http.timeout` for the request, as long for a request that is already in flight, and up to two minutes
    /// for a pause that the endpoint requested.
    pub async fn token(&self) -> Result<Token, TokenError> {
        let requests = self.requests.load(Ordering::SeqCst);
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        let mut failure = self.last_failure.lock().await;
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        if requests != self.requests.load(Ordering::SeqCst)
            && let Some(error) = &*failure
        {
            return Err(error.clone());
        }
        let result = self.refresh().await;
        self.requests.fetch_add(1, Ordering::SeqCst);
        match result {
            Ok(token) => {
                self.metrics.token_refreshed(token.expires());
                *failure = None;
                *self.cached() = TokenCache {
                    token: Some(token.clone()),
                    requested: Some(Instant::now()),
                    ..TokenCache::default()
                };
                Ok(token)
            }
            Err(error) => {
                self.metrics.token_refresh_failed();
                *failure = Some(error.clone());
                let mut cache = self.cached();
                cache.requested = Some(Instant::now());
                cache.has_failed = error.is_transient() || matches!(error, TokenError::Paused { .. });
                // The earlier token serves while the endpoint has a problem.
                cache.usable(self.clock.now()).ok_or(error)
            }
        }
    }

    /// Returns a token as [`token`](Self::token) does, and a new one if the cached one lacks `role`.
    pub(super) async fn token_with(&self, role: &str) -> Result<Token, TokenError> {
        {
            let mut cache = self.cached();
            cache.is_doubted |= cache.token.as_ref().is_some_and(|token| token.lacks(role));
        }
        self.token().await
    }

    /// Requests a successor of `token` after the API missed a role in it.
    pub(super) fn doubt(&self, token: &Token) {
        let mut cache = self.cached();
        cache.is_doubted |= cache.token.as_ref().is_some_and(|cached| cached.is(token));
    }

    /// Makes the next caller request a new token.
    pub(super) fn renew(&self) {
        let mut cache = self.cached();
        cache.is_doubted = true;
        cache.requested = None;
    }

    /// The pause that the endpoint requested, if it has not ended.
    pub(super) fn requested_pause(&self) -> Option<RequestedPause> {
        self.pause.running()
    }

    /// Continues the pause of `older` if it has the same endpoint.
    pub(super) fn inherit_pause(&mut self, older: &Self) {
        if self.grant.has_endpoint_of(&older.grant) {
            self.pause = older.pause.clone();
        }
    }

    /// Drops `token` after the API rejected it. A newer token stays.
    pub fn reject(&self, token: &Token) {
        self.cached().token.take_if(|cached| cached.is(token));
    }

    /// The client of token requests.
    pub(super) fn http_client(&self) -> &reqwest::Client {
        &self.client
    }

    /// The clock difference by the replies of Entra and the API.
    pub(super) fn clock_skew(&self) -> &ClockSkew {
        &self.clock_skew
    }

    async fn refresh(&self) -> Result<Token, TokenError> {
        while let Some(pause) = self.pause.running() {
            let remaining = pause.until.saturating_duration_since(Instant::now());
            if remaining > PATIENCE {
                let endpoint = Arc::clone(self.grant.endpoint());
                return Err(TokenError::Paused { endpoint, wait: whole_seconds(remaining) });
            }
            tokio::time::sleep_until(pause.until).await;
        }
        let (clock, skew) = (self.clock.clone(), self.clock_skew.clone());
        let transport =
            TokenTransport::new(self.metrics.name(), self.client.clone(), clock, skew, self.pause.clone());
        let issued = self.grant.request_token(transport, self.clock.now()).await?;
        Ok(Token::new(issued.secret, self.clock.now(), issued.life))
    }

    fn usable(&self) -> Option<Token> {
        self.cached().usable(self.clock.now())
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, TokenCache> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("cached", &self.cached()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(life: Duration) -> Token {
        Token::new(Secret::new("hunter2"), Timestamp::UNIX_EPOCH, life)
    }

    #[test]
    fn token_is_renewed_before_it_expires() {
        let renew_at = |life| token(life).0.renew_at.as_second();
        assert_eq!(renew_at(Duration::from_hours(1)), 3300);
        assert_eq!(renew_at(Duration::from_secs(100)), 80);
    }

    #[test]
    fn lifetime_is_capped() {
        assert_eq!(token(Duration::MAX).expires().as_second(), 48 * 3600);
    }

    #[test]
    fn token_never_prints_its_secret() {
        let text = format!("{:?}", token(Duration::from_mins(1)));
        assert!(!text.contains("hunter2") && text.contains("<secret>"), "{text}");
    }
}

//! The access token of a tenant: requested when needed, cached until shortly before it expires.
//!
//! Guarantees of [`TokenSource`]: callers that need a token at the same time cause one request and share its
//! failure. A token that the API rejected is not returned again, and causes one request only, regardless of
//! the number of callers that it was rejected for. Secret, certificate and federated token are read again for
//! each request. The source does not retry and never prints its secrets.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::Secret;
use azure_core::time::OffsetDateTime;
use jiff::Timestamp;

use super::claims::{TokenClaims, TokenFacts};
use super::clock_skew::ClockSkew;
use super::entra::Grant;
pub use super::token_error::{SecretError, TokenError, TokenRefusal};
use crate::clock::Clock;
use crate::config::Tenant;
use crate::self_metrics::TenantMetrics;

/// The time before its expiry at which a token is renewed, but not before four fifths of its lifetime.
const MARGIN: Duration = Duration::from_mins(5);

/// The longest accepted lifetime. Entra issues tokens for up to 28 hours
/// (<https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes>).
const MAX_LIFETIME: Duration = Duration::from_hours(48);

/// An access token for the API. Cheap to clone.
#[derive(Clone)]
pub struct Token(Arc<CachedToken>);

struct CachedToken {
    secret: Secret,
    expires: Timestamp,
    renew_at: Timestamp,
}

impl Token {
    fn new(secret: Secret, now: Timestamp, life: Duration) -> Self {
        let life = life.min(MAX_LIFETIME);
        let margin = MARGIN.min(life / 5);
        Self(Arc::new(CachedToken { secret, expires: now + life, renew_at: now + life - margin }))
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
        TokenFacts { expires: self.expires(), claims: TokenClaims::of(self.expose()) }
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
    cached: Mutex<Option<Token>>,
    /// The error of the last failed request. Locked by the caller that requests a token.
    last_failure: tokio::sync::Mutex<Option<TokenError>>,
    /// The number of finished requests.
    requests: AtomicU64,
}

impl TokenSource {
    /// Creates a source without sending a request. `client` must be created with [`ProxyMode::of_tokens`].
    ///
    /// [`ProxyMode::of_tokens`]: super::http::ProxyMode::of_tokens
    #[must_use]
    pub fn new(tenant: &Tenant, client: reqwest::Client, clock: Clock, metrics: TenantMetrics) -> Self {
        Self {
            grant: Grant::of(tenant),
            client,
            clock_skew: ClockSkew::new(clock.clone()),
            clock,
            metrics,
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
    /// `http.timeout` for the request, and as long for a request that is already in flight.
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
        match &result {
            Ok(token) => {
                self.metrics.token_refreshed(token.expires());
                *self.cached() = Some(token.clone());
                *failure = None;
            }
            Err(error) => {
                self.metrics.token_refresh_failed();
                *failure = Some(error.clone());
            }
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// Drops `token` after the API rejected it. A newer token stays.
    pub fn reject(&self, token: &Token) {
        self.cached().take_if(|cached| cached.is(token));
    }

    /// The clock difference by the replies of Entra and the API.
    pub(super) fn clock_skew(&self) -> &ClockSkew {
        &self.clock_skew
    }

    async fn refresh(&self) -> Result<Token, TokenError> {
        let issued = self.grant.request_token(&self.client, self.clock.now(), &self.clock_skew).await?;
        // The library computes the expiry with the system clock; the injected clock may differ.
        let life = Duration::try_from(issued.expires_on - OffsetDateTime::now_utc()).unwrap_or_default();
        if life.is_zero() {
            return Err(self.grant.bad_reply(200, "its token has expired; check the clock of this machine"));
        }
        Ok(Token::new(issued.token, self.clock.now(), life))
    }

    fn usable(&self) -> Option<Token> {
        self.cached().as_ref().filter(|token| self.clock.now() < token.0.renew_at).cloned()
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
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

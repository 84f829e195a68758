//! The access token of a tenant: taken when needed, kept until shortly before it ends.
//!
//! A [`TokenSource`] promises: callers that need a token at the same time cause one request, and share
//! its failure too; a token that the API rejected is not given out again, yet causes one request only,
//! however many callers it was rejected for; secret, certificate and federated token are read anew at
//! each request. It does not retry, and never prints what it holds.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::Secret;
use azure_core::time::OffsetDateTime;
use jiff::Timestamp;

use super::claims::{Claims, TokenFacts};
use super::clock_skew::ClockSkew;
use super::entra::Grant;
pub use super::token_error::{Refusal, SecretError, TokenError};
use crate::clock::Clock;
use crate::config::Tenant;
use crate::self_metrics::TenantMetrics;

/// A token is renewed so long before its end, or after four fifths of its life if that is later.
const MARGIN: Duration = Duration::from_mins(5);

/// Longer lives are not believed. Entra gives up to 28 hours
/// (<https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes>).
const LONGEST_LIFE: Duration = Duration::from_hours(48);

/// An access token for the API. Cheap to clone.
#[derive(Clone)]
pub struct Token(Arc<Held>);

struct Held {
    secret: Secret,
    expires: Timestamp,
    renew_at: Timestamp,
}

impl Token {
    fn new(secret: Secret, now: Timestamp, life: Duration) -> Self {
        let life = life.min(LONGEST_LIFE);
        let margin = MARGIN.min(life / 5);
        Self(Arc::new(Held { secret, expires: now + life, renew_at: now + life - margin }))
    }

    /// The value of the `Authorization` header after `Bearer`.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.secret.secret()
    }

    /// When the API stops to take it.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }

    /// What it is good for.
    pub(super) fn facts(&self) -> TokenFacts {
        TokenFacts { expires: self.expires(), claims: Claims::of(self.expose()) }
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

/// Where the tokens of one tenant come from.
pub struct TokenSource {
    grant: Grant,
    client: reqwest::Client,
    clock: Clock,
    their_clock: ClockSkew,
    metrics: TenantMetrics,
    kept: Mutex<Option<Token>>,
    /// Held by the caller who asks for a token; the error of the last request that failed.
    asking: tokio::sync::Mutex<Option<TokenError>>,
    /// Requests that came to an end.
    asked: AtomicU64,
}

impl TokenSource {
    /// A source that has not asked yet. `client` is made for [`ProxyMode::of_tokens`].
    ///
    /// [`ProxyMode::of_tokens`]: super::http::ProxyMode::of_tokens
    #[must_use]
    pub fn new(tenant: &Tenant, client: reqwest::Client, clock: Clock, metrics: TenantMetrics) -> Self {
        Self {
            grant: Grant::of(tenant),
            client,
            their_clock: ClockSkew::new(clock.clone()),
            clock,
            metrics,
            kept: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// A token that is good for some minutes, kept or new.
    ///
    /// # Errors
    ///
    /// When a new one is needed and cannot be had, see [`TokenError`]. Waits no longer than the
    /// tenant's `http.timeout` for the request, and for the one already under way before it.
    pub async fn token(&self) -> Result<Token, TokenError> {
        let asked = self.asked.load(Ordering::SeqCst);
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        let mut failure = self.asking.lock().await;
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        if asked != self.asked.load(Ordering::SeqCst)
            && let Some(error) = &*failure
        {
            return Err(error.clone());
        }
        let result = self.ask().await;
        match &result {
            Ok(token) => {
                self.metrics.token_refreshed(token.expires());
                *self.kept() = Some(token.clone());
                *failure = None;
            }
            Err(error) => {
                self.metrics.token_refresh_failed();
                *failure = Some(error.clone());
            }
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// Says that the API did not take `token`. It is not given out again; a newer one stays.
    pub fn reject(&self, token: &Token) {
        self.kept().take_if(|kept| kept.is(token));
    }

    /// What replies say of the time, those of the API too.
    pub(super) fn their_clock(&self) -> &ClockSkew {
        &self.their_clock
    }

    async fn ask(&self) -> Result<Token, TokenError> {
        let answer = self.grant.ask(&self.client, self.clock.now(), &self.their_clock).await?;
        // The library reckons the end by the system's clock; ours may be another.
        let life = Duration::try_from(answer.expires_on - OffsetDateTime::now_utc()).unwrap_or_default();
        if life.is_zero() {
            return Err(self
                .grant
                .bad_reply(200, "its token has run out; is the clock of this machine right?"));
        }
        Ok(Token::new(answer.token, self.clock.now(), life))
    }

    fn usable(&self) -> Option<Token> {
        self.kept().as_ref().filter(|token| self.clock.now() < token.0.renew_at).cloned()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("kept", &self.kept()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(life: Duration) -> Token {
        Token::new(Secret::new("hunter2"), Timestamp::UNIX_EPOCH, life)
    }

    #[test]
    fn token_is_renewed_five_minutes_early_or_at_four_fifths_of_a_short_life() {
        let renew_at = |life| token(life).0.renew_at.as_second();
        assert_eq!(renew_at(Duration::from_hours(1)), 3300);
        assert_eq!(renew_at(Duration::from_secs(100)), 80);
    }

    #[test]
    fn absurd_life_is_not_believed() {
        assert_eq!(token(Duration::MAX).expires().as_second(), 48 * 3600);
    }

    #[test]
    fn token_never_prints_its_secret() {
        let text = format!("{:?}", token(Duration::from_mins(1)));
        assert!(!text.contains("hunter2") && text.contains("<secret>"), "{text}");
    }
}

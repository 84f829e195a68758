//! One GET of the API: quota, token, call, bounded body, retries.

use std::sync::PoisonError;
use std::time::Duration;

use reqwest::{Response, StatusCode, Url};
use tokio::time::Instant;

use super::limit::{Permit, QuotaPaused};
use super::retry::{retry_after, throttle_default};
use super::token::Token;
use super::transport_error::TransportError;
use super::{ApiError, Client, Detail};
use crate::self_metrics::ApiOperation;

/// A longer pause than this is not waited for within a poll: the poll ends and says so.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// How much of an error reply is read, for its message.
const ERROR_BYTES: usize = 64 << 10;

/// Why one attempt brought nothing.
enum Failure {
    /// 401 with this token.
    Unauthorized(Token, ApiError),
    /// 429; the pause is in force already.
    Throttled(ApiError),
    /// May work next time.
    Transient(ApiError),
    /// Will not work next time.
    Lasting(ApiError),
}

impl Client {
    /// The body behind `url`, at most `limit_bytes` of it.
    pub(super) async fn get(
        &self,
        endpoint: ApiOperation,
        url: &Url,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, ApiError> {
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            let (error, wait) = match self.attempt(endpoint, url, limit_bytes).await {
                Ok(body) => return Ok(body),
                Err(Failure::Lasting(error)) => return Err(error),
                // One new token, whatever the number of attempts; then it is not the token.
                Err(Failure::Unauthorized(_, error)) if renewed => return Err(error),
                Err(Failure::Unauthorized(token, _)) => {
                    renewed = true;
                    self.tokens.reject(&token);
                    self.metrics.request_retried();
                    continue;
                }
                // The limiter holds the next attempt back for as long as the API asked.
                Err(Failure::Throttled(error)) => (error, self.retry.wait(attempt, 0.0)),
                Err(Failure::Transient(error)) => (error, self.retry.wait(attempt, self.random())),
            };
            let Some(wait) = wait else { return Err(error) };
            tracing::debug!(tenant = self.metrics.name(), %endpoint, attempt, wait_ms = wait.as_millis(), reason = error.kind(), "asking again");
            self.metrics.request_retried();
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        endpoint: ApiOperation,
        url: &Url,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, Failure> {
        // A token first: it does not count against the quota, and its trouble should not either.
        self.token().await?;
        let paused = |paused: QuotaPaused| {
            let (wait, detail) = (whole_seconds(paused.remaining), Detail::default());
            Failure::Lasting(ApiError::Throttled { endpoint, wait, detail })
        };
        let room = self.limiter.room(endpoint, PATIENCE).await.map_err(paused)?;
        // And again: the wait may have been longer than the life of a token.
        let token = self.token().await?;
        let permit = room.take().await.map_err(paused)?;
        let started = Instant::now();
        let request = self.http.get(url.clone()).bearer_auth(token.expose());
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                self.metrics.request_finished(endpoint, None, started.elapsed());
                let error = broken(endpoint, error);
                let lasting = error.is_lasting();
                return Err(if lasting { Failure::Lasting(error) } else { Failure::Transient(error) });
            }
        };
        self.tokens.their_clock().read(response.headers());
        let status = response.status();
        let limit = if status.is_success() { limit_bytes } else { ERROR_BYTES };
        let body = read(&mut response, limit).await;
        self.metrics.request_finished(endpoint, Some(status.as_u16()), started.elapsed());
        if status.is_success() {
            return match body {
                Ok(Some(body)) => Ok(body),
                Ok(None) => Err(Failure::Lasting(ApiError::TooLarge { endpoint, limit_bytes })),
                Err(error) => Err(Failure::Transient(broken(endpoint, error))),
            };
        }
        let detail = Detail::parse(&body.ok().flatten().unwrap_or_default());
        Err(self.refused(endpoint, status, &response, detail, token, &permit))
    }

    async fn token(&self) -> Result<Token, Failure> {
        self.tokens.token().await.map_err(|error| {
            let kind = if error.is_transient() { Failure::Transient } else { Failure::Lasting };
            kind(error.into())
        })
    }

    /// What a reply other than a success means.
    fn refused(
        &self,
        endpoint: ApiOperation,
        status: StatusCode,
        response: &Response,
        detail: Detail,
        token: Token,
        permit: &Permit,
    ) -> Failure {
        match status {
            StatusCode::UNAUTHORIZED => {
                Failure::Unauthorized(token, ApiError::Unauthorized { endpoint, detail })
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let hint = retry_after(response.headers(), self.clock.now());
                let wait = hint.unwrap_or_else(|| throttle_default(&detail.message));
                permit.throttled(wait, &detail.message);
                self.metrics.throttled();
                let error = ApiError::Throttled { endpoint, wait: whole_seconds(wait), detail };
                if wait > PATIENCE { Failure::Lasting(error) } else { Failure::Throttled(error) }
            }
            StatusCode::FORBIDDEN => Failure::Lasting(ApiError::Forbidden { endpoint, detail }),
            StatusCode::NOT_FOUND => Failure::Lasting(ApiError::NotFound { endpoint, detail }),
            StatusCode::BAD_REQUEST => Failure::Lasting(ApiError::BadRequest { endpoint, detail }),
            _ if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                Failure::Transient(ApiError::Server { endpoint, status, detail })
            }
            _ => Failure::Lasting(ApiError::UnexpectedStatus { endpoint, status, detail }),
        }
    }

    pub(super) fn random(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

/// The body, or none when it is larger than `limit`. Never holds more than `limit` and one chunk.
async fn read(response: &mut Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// A call without a whole reply.
pub(super) fn broken(endpoint: ApiOperation, error: reqwest::Error) -> ApiError {
    if error.is_timeout() {
        ApiError::Timeout { endpoint }
    } else {
        ApiError::Network { endpoint, source: TransportError::of(error) }
    }
}

/// Rounded up, for messages.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

//! One GET request to the API: quota, token, call, bounded body and retries.

use std::sync::PoisonError;
use std::time::Duration;

use reqwest::{Response, StatusCode, Url};
use tokio::time::Instant;

use super::limit::{Permit, QuotaPaused};
use super::retry::{PATIENCE, retry_after, throttle_default, whole_seconds};
use super::token::Token;
use super::{ApiError, Client, ErrorDetail, role};
use crate::http::TransportError;
use crate::model::ApiOperation;

/// The number of bytes of an error reply that are read for its message.
const ERROR_BYTES: usize = 64 << 10;

/// The failure of one attempt, classified by what to do next.
enum AttemptError {
    /// The API answered 401 to this token.
    Unauthorized(Token, ApiError),
    /// The API answered 429; the limiter is paused already.
    Throttled(ApiError),
    /// The next attempt may succeed.
    Transient(ApiError),
    /// The next attempt would fail too.
    Lasting(ApiError),
}

impl Client {
    /// Fetches the body at `url`, which may have at most `limit_bytes`.
    pub(super) async fn get(
        &self,
        endpoint: ApiOperation,
        url: &Url,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, ApiError> {
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            let (error, wait) =
                match self.attempt(endpoint, url, limit_bytes, attempt + u32::from(renewed)).await {
                    Ok(body) => return Ok(body),
                    Err(AttemptError::Lasting(error)) => return Err(error),
                    // A second 401 with a new token means that the token is not the cause.
                    Err(AttemptError::Unauthorized(_, error)) if renewed => return Err(error),
                    Err(AttemptError::Unauthorized(token, _)) => {
                        renewed = true;
                        self.tokens.reject(&token);
                        self.metrics.request_retried();
                        continue;
                    }
                    // The limiter delays the next attempt for as long as the API requested.
                    Err(AttemptError::Throttled(error)) => (error, self.retry.wait(attempt, 0.0)),
                    Err(AttemptError::Transient(error)) => (error, self.retry.wait(attempt, self.random())),
                };
            let Some(wait) = wait else { return Err(error) };
            tracing::debug!(tenant = self.metrics.name(), %endpoint, attempt, wait_ms = wait.as_millis(), reason = error.kind(), "retrying the request");
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
        attempt: u32,
    ) -> Result<Vec<u8>, AttemptError> {
        // The token comes first: token requests do not count against the quota, and neither should their
        // failures.
        self.token(endpoint).await?;
        let paused = |paused: QuotaPaused| {
            let (wait, detail) = (whole_seconds(paused.remaining), ErrorDetail::default());
            AttemptError::Lasting(ApiError::Throttled { endpoint, wait, detail })
        };
        let reservation = self.limiter.reserve(endpoint, PATIENCE).await.map_err(paused)?;
        // The wait may have been longer than the lifetime of the first token.
        let token = self.token(endpoint).await?;
        let permit = reservation.take().await.map_err(paused)?;
        let started = Instant::now();
        let request = self.http.get(url.clone()).bearer_auth(token.expose());
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                self.request_ended(endpoint, url, attempt, None, started.elapsed());
                let error = transport_failure(endpoint, error);
                let lasting = error.is_lasting();
                return Err(if lasting {
                    AttemptError::Lasting(error)
                } else {
                    AttemptError::Transient(error)
                });
            }
        };
        self.tokens.clock_skew().read(response.headers());
        let status = response.status();
        let hint = retry_after(response.headers(), self.clock.now()).filter(|_| !status.is_success());
        // Before the body arrives, so that no other call is granted meanwhile.
        if let Some(wait) = hint {
            permit.retry_after(wait);
        }
        let limit = if status.is_success() { limit_bytes } else { ERROR_BYTES };
        let body = read(&mut response, limit).await;
        self.request_ended(endpoint, url, attempt, Some(status), started.elapsed());
        if status.is_success() {
            return match body {
                Ok(Some(body)) => Ok(body),
                Ok(None) => Err(AttemptError::Lasting(ApiError::TooLarge { endpoint, limit_bytes })),
                Err(error) => Err(AttemptError::Transient(transport_failure(endpoint, error))),
            };
        }
        let detail = ErrorDetail::parse(&body.ok().flatten().unwrap_or_default());
        Err(self.classify(endpoint, status, hint, detail, token, &permit))
    }

    /// Counts a request and logs it without its query, which can contain names of machines and tags.
    fn request_ended(
        &self,
        endpoint: ApiOperation,
        url: &Url,
        attempt: u32,
        status: Option<StatusCode>,
        took: Duration,
    ) {
        let status = status.map(|status| status.as_u16());
        self.metrics.request_finished(endpoint, status, took);
        let duration_ms = took.as_millis();
        tracing::debug!(tenant = self.metrics.name(), %endpoint, path = url.path(), attempt, status, duration_ms, "request ended");
    }

    async fn token(&self, endpoint: ApiOperation) -> Result<Token, AttemptError> {
        self.tokens.token_with(role(endpoint)).await.map_err(|error| {
            let kind = if error.is_transient() { AttemptError::Transient } else { AttemptError::Lasting };
            kind(error.into())
        })
    }

    /// Classifies a reply other than a success. `hint` is its `Retry-After`.
    fn classify(
        &self,
        endpoint: ApiOperation,
        status: StatusCode,
        hint: Option<Duration>,
        detail: ErrorDetail,
        token: Token,
        permit: &Permit,
    ) -> AttemptError {
        match status {
            StatusCode::UNAUTHORIZED => {
                AttemptError::Unauthorized(token, ApiError::Unauthorized { endpoint, detail })
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = hint.unwrap_or_else(|| throttle_default(&detail.message));
                permit.throttled(wait, &detail.message);
                self.metrics.throttled();
                let error = ApiError::Throttled { endpoint, wait: whole_seconds(wait), detail };
                if wait > PATIENCE { AttemptError::Lasting(error) } else { AttemptError::Throttled(error) }
            }
            StatusCode::FORBIDDEN => {
                if detail.names_roles() {
                    self.tokens.doubt(&token);
                }
                AttemptError::Lasting(ApiError::Forbidden { endpoint, detail })
            }
            StatusCode::NOT_FOUND => AttemptError::Lasting(ApiError::NotFound { endpoint, detail }),
            StatusCode::BAD_REQUEST => AttemptError::Lasting(ApiError::BadRequest { endpoint, detail }),
            _ if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                let error = ApiError::Server { endpoint, status, detail };
                match hint {
                    Some(wait) if wait > PATIENCE => AttemptError::Lasting(error),
                    // The limiter delays the next attempt.
                    _ => AttemptError::Transient(error),
                }
            }
            _ => AttemptError::Lasting(ApiError::UnexpectedStatus { endpoint, status, detail }),
        }
    }

    pub(super) fn random(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

/// Reads the body; `None` if it is larger than `limit`. Never holds more than `limit` bytes and one chunk.
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

/// The error of a call without a complete reply.
pub(super) fn transport_failure(endpoint: ApiOperation, error: reqwest::Error) -> ApiError {
    if error.is_timeout() {
        ApiError::Timeout { endpoint }
    } else {
        ApiError::Network { endpoint, source: TransportError::of(error) }
    }
}

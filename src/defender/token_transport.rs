//! The requests for tokens: sent with the tenant's HTTP client, within limits.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::clock_skew::ClockSkew;
use super::pause::HostPause;
use super::retry::retry_after;
use super::token_reply::IssuedToken;
use crate::clock::Clock;
use crate::http::TransportError;

/// The longest reply that is read. A token has a few kilobytes.
const LONGEST_REPLY_BYTES: usize = 256 * 1024;

/// Sends requests for one token and keeps the outcome of the last one.
pub(super) struct TokenTransport {
    /// Name of the tenant for the log.
    tenant: String,
    client: reqwest::Client,
    clock: Clock,
    clock_skew: ClockSkew,
    pause: HostPause,
    attempts: AtomicU32,
    last: Mutex<Option<TokenReply>>,
}

/// The outcome of a token request.
#[derive(Clone)]
pub(super) enum TokenReply {
    /// No complete reply in time.
    TimedOut,
    /// No complete reply because of a transport error.
    Failed(TransportError),
    /// A reply above the size limit.
    TooLong { status: u16 },
    /// A reply with a status outside of 200 to 299.
    Refused { status: u16, body: Vec<u8> },
    /// A reply with a status of 200 to 299 and no token.
    Empty { status: u16 },
    /// A reply with a token.
    Issued(IssuedToken),
}

/// A complete reply.
pub(super) struct RawTokenReply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

/// There is no complete reply, or nothing was sent; the transport keeps the reason.
pub(super) struct NoTokenReply;

impl TokenTransport {
    pub(super) fn new(
        tenant: &str,
        client: reqwest::Client,
        clock: Clock,
        clock_skew: ClockSkew,
        pause: HostPause,
    ) -> Self {
        let (tenant, attempts) = (tenant.to_owned(), AtomicU32::new(0));
        Self { tenant, client, clock, clock_skew, pause, attempts, last: Mutex::default() }
    }

    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub(super) fn last(&self) -> Option<TokenReply> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request, except within a pause that an earlier reply requested.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<RawTokenReply, NoTokenReply> {
        if self.pause.running().is_some() {
            return Err(NoTokenReply);
        }
        let (client, request) = request.build_split();
        let request = request.map_err(|error| self.failed(error))?;
        let (started, url) = (Instant::now(), request.url().clone());
        let reply = self.receive(client.execute(request)).await;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let status = reply.as_ref().ok().map(|reply| reply.status);
        let duration_ms = started.elapsed().as_millis();
        tracing::debug!(
            tenant = self.tenant,
            endpoint = "token",
            host = url.host_str(),
            path = url.path(),
            attempt,
            status,
            duration_ms,
            "request ended"
        );
        reply
    }

    async fn receive(
        &self,
        sent: impl Future<Output = reqwest::Result<reqwest::Response>>,
    ) -> Result<RawTokenReply, NoTokenReply> {
        let mut reply = sent.await.map_err(|error| self.failed(error))?;
        self.clock_skew.read(reply.headers());
        let status = reply.status().as_u16();
        let now = self.clock.now();
        if !reply.status().is_success()
            && let Some(wait) = retry_after(reply.headers(), now)
        {
            self.pause.start(wait);
        }
        let headers = reply.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = reply.chunk().await.map_err(|error| self.failed(error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_REPLY_BYTES {
                self.ended(TokenReply::TooLong { status });
                return Err(NoTokenReply);
            }
        }
        let remote_now = now + self.clock_skew.remote_ahead().unwrap_or_default();
        self.ended(match (status, IssuedToken::parse(&body, remote_now)) {
            (200..=299, Some(token)) => TokenReply::Issued(token),
            (200..=299, None) => TokenReply::Empty { status },
            _ => TokenReply::Refused { status, body: body.clone() },
        });
        Ok(RawTokenReply { status, headers, body })
    }

    fn ended(&self, outcome: TokenReply) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn failed(&self, error: reqwest::Error) -> NoTokenReply {
        self.ended(if error.is_timeout() {
            TokenReply::TimedOut
        } else {
            TokenReply::Failed(TransportError::of(error))
        });
        NoTokenReply
    }
}

impl fmt::Debug for TokenTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenTransport")
    }
}

#[async_trait::async_trait]
impl HttpClient for TokenTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|error| azure_core::Error::new(ErrorKind::DataConversion, error))?;
        let mut builder = self.client.request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        if let Body::Bytes(body) = request.body() {
            builder = builder.body(body.clone());
        }
        let no_reply = |NoTokenReply| azure_core::Error::with_message(ErrorKind::Io, "the request failed");
        let reply = self.send(builder).await.map_err(no_reply)?;
        let mut headers = Headers::new();
        for (name, value) in &reply.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(AsyncRawResponse::from_bytes(reply.status.into(), headers, reply.body))
    }
}

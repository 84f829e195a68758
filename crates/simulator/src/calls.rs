//! The log of calls, for assertions.
//!
//! Counters cover the whole run; of the calls themselves the newest are kept, so that a demo can run for
//! weeks.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::Endpoint;

/// Calls and token requests kept.
const KEPT: usize = 20_000;

/// One request to the API or to the authority, as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which of the endpoints it was.
    pub endpoint: Endpoint,
    /// Path and query, not decoded.
    pub path_and_query: String,
    /// The machine that the path names.
    pub machine_id: Option<String>,
    /// The `Authorization` header, as it came.
    pub authorization: Option<Arc<str>>,
    /// When it arrived, on tokio's clock.
    pub at: Instant,
    /// The status of the answer; none while it is being served, or when there was none.
    pub status: Option<u16>,
}

/// One request for a token, with its fields decoded.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The path; for Entra it begins with the tenant.
    pub path: String,
    /// Form fields (Entra) or query parameters (managed identity), in order.
    pub fields: Vec<(String, String)>,
    /// When it arrived, on tokio's clock.
    pub at: Instant,
}

impl TokenRequest {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The tenant in the path of an Entra token URL.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.path.strip_suffix("/oauth2/v2.0/token")?.strip_prefix('/')
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    requests: u64,
    in_flight: u64,
    peak: u64,
}

/// What has been asked so far.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: VecDeque<Call>,
    dropped: u64,
    tokens: VecDeque<TokenRequest>,
    counts: [Count; Endpoint::COUNT],
}

impl CallLog {
    /// Notes a call; the number is for [`end`](Self::end).
    pub(super) fn begin(&mut self, mut call: Call) -> u64 {
        // One token serves thousands of calls.
        if let Some(last) = self.calls.back()
            && last.authorization == call.authorization
        {
            call.authorization.clone_from(&last.authorization);
        }
        let count = &mut self.counts[call.endpoint as usize];
        count.requests += 1;
        count.in_flight += 1;
        count.peak = count.peak.max(count.in_flight);
        if self.calls.len() == KEPT {
            self.calls.pop_front();
            self.dropped += 1;
        }
        self.calls.push_back(call);
        self.dropped + self.calls.len() as u64 - 1
    }

    pub(super) fn end(&mut self, number: u64, endpoint: Endpoint, status: Option<u16>) {
        self.counts[endpoint as usize].in_flight -= 1;
        let place = number.checked_sub(self.dropped).and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            call.status = status;
        }
    }

    pub(super) fn token(&mut self, request: TokenRequest) {
        if self.tokens.len() == KEPT {
            self.tokens.pop_front();
        }
        self.tokens.push_back(request);
    }

    pub(super) fn requests(&self, endpoint: Endpoint) -> u64 {
        self.counts[endpoint as usize].requests
    }

    pub(super) fn peak(&self, endpoint: Endpoint) -> u64 {
        self.counts[endpoint as usize].peak
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn tokens(&self) -> Vec<TokenRequest> {
        self.tokens.iter().cloned().collect()
    }
}

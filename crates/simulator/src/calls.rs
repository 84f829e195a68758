//! The log of calls, for assertions.
//!
//! Counters cover the whole run. Of the calls themselves only the newest are kept. A demo keeps none: their
//! many small strings would lie between the buffers of later calls, and the allocator could not return the
//! memory of those.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::Endpoint;

/// A request to the API or the authority, as received.
#[derive(Debug, Clone)]
pub struct Call {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Path and query, not decoded.
    pub path_and_query: String,
    /// The id of the machine in the path.
    pub machine_id: Option<String>,
    /// The `Authorization` header, as received.
    pub authorization: Option<Arc<str>>,
    /// True if the client accepts a body that is compressed with gzip.
    pub accepts_gzip: bool,
    /// The time of arrival, on tokio's clock.
    pub at: Instant,
    /// The status of the answer. None while the call is in progress, or if it ended without an answer.
    pub status: Option<u16>,
}

/// A request for a token, with its fields decoded.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The path. For Entra it begins with the tenant.
    pub path: String,
    /// Form fields (Entra) or query parameters (managed identity), in order.
    pub fields: Vec<(String, String)>,
    /// The time of arrival, on tokio's clock.
    pub at: Instant,
}

impl TokenRequest {
    /// The value of a field, if present.
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
struct CallCount {
    requests: u64,
    in_flight: u64,
    peak: u64,
}

/// The calls so far.
#[derive(Debug)]
pub(super) struct CallLog {
    /// Maximum number of calls, and of token requests, that are kept.
    capacity: usize,
    calls: VecDeque<Call>,
    dropped: u64,
    tokens: VecDeque<TokenRequest>,
    counts: [CallCount; Endpoint::COUNT],
}

impl CallLog {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            calls: VecDeque::new(),
            dropped: 0,
            tokens: VecDeque::new(),
            counts: [CallCount::default(); Endpoint::COUNT],
        }
    }

    /// Logs a call and returns its number for [`end`](Self::end).
    pub(super) fn begin(&mut self, mut call: Call) -> u64 {
        // One token serves thousands of calls: they share one string.
        if let Some(last) = self.calls.back()
            && last.authorization == call.authorization
        {
            call.authorization.clone_from(&last.authorization);
        }
        let count = &mut self.counts[call.endpoint as usize];
        count.requests += 1;
        count.in_flight += 1;
        count.peak = count.peak.max(count.in_flight);
        let number = self.dropped + self.calls.len() as u64;
        self.calls.push_back(call);
        if self.calls.len() > self.capacity {
            self.calls.pop_front();
            self.dropped += 1;
        }
        number
    }

    pub(super) fn end(&mut self, number: u64, endpoint: Endpoint, status: Option<u16>) {
        self.counts[endpoint as usize].in_flight -= 1;
        let place = number.checked_sub(self.dropped).and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            call.status = status;
        }
    }

    pub(super) fn token(&mut self, request: TokenRequest) {
        self.tokens.push_back(request);
        if self.tokens.len() > self.capacity {
            self.tokens.pop_front();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str) -> Call {
        Call {
            endpoint: Endpoint::Machines,
            path_and_query: path.to_owned(),
            machine_id: None,
            authorization: None,
            accepts_gzip: false,
            at: Instant::now(),
            status: None,
        }
    }

    #[test]
    fn only_the_newest_calls_are_kept_and_all_are_counted() {
        for (capacity, kept) in [(0, vec![]), (2, vec![("/2", Some(202)), ("/3", None)])] {
            let mut log = CallLog::new(capacity);
            let numbers: Vec<_> = ["/1", "/2", "/3"].map(|path| log.begin(call(path))).into();
            log.end(numbers[1], Endpoint::Machines, Some(202));
            let calls = log.calls();
            let seen: Vec<_> = calls.iter().map(|call| (call.path_and_query.as_str(), call.status)).collect();
            assert_eq!(seen, kept);
            assert_eq!((log.requests(Endpoint::Machines), log.peak(Endpoint::Machines)), (3, 3));
        }
    }
}

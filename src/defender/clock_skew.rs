//! The difference between the local clock and the clocks of Entra and the API.
//!
//! Every reply has a `Date` header (RFC 9110, section 6.6.1). With a wrong local clock, assertions are
//! refused, certificates are not valid, and first-seen times are wrong.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap};

use super::retry::http_date;
use crate::clock::Clock;

/// The newest clock difference. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(super) struct ClockSkew {
    local: Clock,
    remote_ahead: Arc<Mutex<Option<SignedDuration>>>,
}

impl ClockSkew {
    pub(super) fn new(local: Clock) -> Self {
        Self { local, remote_ahead: Arc::default() }
    }

    /// Reads the `Date` of a reply that has just arrived. A reply without one changes nothing.
    pub(super) fn read(&self, headers: &HeaderMap) {
        if let Some(remote) = date(headers) {
            *self.remote_ahead.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(remote.duration_since(self.local.now()));
        }
    }

    /// The time by which the remote clock is ahead, by the newest reply. The precision is one second, as in
    /// the header.
    pub(super) fn remote_ahead(&self) -> Option<SignedDuration> {
        *self.remote_ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote_ahead_after(date: &str) -> Option<SignedDuration> {
        let clock = ClockSkew::new(Clock::new(|| "2026-03-10T17:00:00Z".parse().unwrap()));
        clock.read(&HeaderMap::from_iter([(DATE, date.parse().unwrap())]));
        clock.remote_ahead()
    }

    #[test]
    fn skew_is_read_from_the_date_header() {
        assert_eq!(remote_ahead_after("Tue, 10 Mar 2026 17:12:00 GMT"), Some(SignedDuration::from_mins(12)));
        assert_eq!(remote_ahead_after("Tue, 10 Mar 2026 16:59:00 GMT"), Some(SignedDuration::from_mins(-1)));
        assert_eq!(remote_ahead_after("soon"), None);
    }
}

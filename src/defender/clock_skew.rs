//! How far the clock of this machine is from those of the hosts that answer.
//!
//! Every reply says when it was made (RFC 9110, section 6.6.1). With a wrong clock here, assertions
//! are refused, certificates are not valid, and first seen times are wrong.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap};

use crate::clock::Clock;

/// What replies say of the time. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(super) struct ClockSkew {
    ours: Clock,
    ahead: Arc<Mutex<Option<SignedDuration>>>,
}

impl ClockSkew {
    pub(super) fn new(ours: Clock) -> Self {
        Self { ours, ahead: Arc::default() }
    }

    /// Reads the time of a reply that has just come. One without a time changes nothing.
    pub(super) fn read(&self, headers: &HeaderMap) {
        if let Some(theirs) = date(headers) {
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(theirs.duration_since(self.ours.now()));
        }
    }

    /// How far their clock is ahead of ours, by the newest reply; to a second or so, since that is how
    /// exactly replies tell it.
    pub(super) fn ahead(&self) -> Option<SignedDuration> {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(headers.get(DATE)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead_after(date: &str) -> Option<SignedDuration> {
        let clock = ClockSkew::new(Clock::new(|| "2026-03-10T17:00:00Z".parse().unwrap()));
        clock.read(&HeaderMap::from_iter([(DATE, date.parse().unwrap())]));
        clock.ahead()
    }

    #[test]
    fn replies_tell_how_far_their_clock_is_ahead() {
        assert_eq!(ahead_after("Tue, 10 Mar 2026 17:12:00 GMT"), Some(SignedDuration::from_mins(12)));
        assert_eq!(ahead_after("Tue, 10 Mar 2026 16:59:00 GMT"), Some(SignedDuration::from_mins(-1)));
        assert_eq!(ahead_after("soon"), None);
    }
}

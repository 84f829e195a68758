//! Notices a wall clock that is wrong.
//!
//! A clock that was ahead leaves times in the future, with which nothing would be due until they have passed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A smaller step back is a normal correction of the clock and is not logged.
const LOGGED_STEP: SignedDuration = SignedDuration::from_mins(1);

/// The difference from the clock of the API that is still accepted.
const ACCEPTED_SKEW: Duration = Duration::from_mins(5);

/// See the module documentation.
#[derive(Debug)]
pub(super) struct ClockWatch {
    /// The latest time that was seen since the last step back.
    latest: Timestamp,
    /// True if a difference from the clock of the API was logged.
    is_skewed: bool,
}

impl ClockWatch {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { latest: now, is_skewed: false }
    }

    /// Returns whether the clock was set back since the last call.
    pub(super) fn was_set_back(&mut self, now: Timestamp) -> bool {
        let was_set_back = now < self.latest;
        self.latest = now;
        was_set_back
    }

    /// Warns when the clock of the API, which is ahead by `remote_ahead`, begins to differ from the local one.
    pub(super) fn compare(&mut self, tenant: &str, remote_ahead: Option<SignedDuration>) {
        let Some(remote_ahead) = remote_ahead else { return };
        let is_skewed = remote_ahead.unsigned_abs() > ACCEPTED_SKEW;
        if is_skewed && !self.is_skewed {
            let local = if remote_ahead.is_positive() { "behind" } else { "ahead" };
            let by = humantime::format_duration(Duration::from_secs(remote_ahead.unsigned_abs().as_secs()));
            tracing::warn!(tenant, %by, "clock of this machine is {local} of the API's clock; first-seen times are \
                 wrong by as much: correct the clock");
        }
        self.is_skewed = is_skewed;
    }
}

/// Logs that times of `tenant`, the latest of which was ahead by `lead`, were set back.
pub(crate) fn log_times_set_back(tenant: &str, lead: SignedDuration) {
    if lead >= LOGGED_STEP {
        let ahead = humantime::format_duration(Duration::from_secs(lead.unsigned_abs().as_secs()));
        tracing::warn!(tenant, %ahead, "times in the future, from a clock that was ahead; setting them back to now");
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn each_step_back_is_noticed_once() {
        let start = Timestamp::UNIX_EPOCH;
        let mut watch = ClockWatch::new(start);
        let steps = [1.hours(), 9.hours(), 2.hours(), 3.hours(), 0.hours()];
        let noticed = steps.map(|after| watch.was_set_back(start + after));
        assert_eq!(noticed, [false, false, true, false, true]);
    }
}

//! The results of the calls for a tenant.

use std::time::Duration;

use jiff::Timestamp;

/// The results of the calls for a tenant, and the work that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollStatus {
    /// True if the API is usable, by the outcome of the newest calls; false before the first answer.
    pub up: bool,
    /// The time at which the newest call was answered or failed.
    pub last_poll: Option<Timestamp>,
    /// The time of the newest good answer.
    pub last_success: Option<Timestamp>,
    /// The time at which the next call is due; in the past while machines wait for the quota.
    pub next_poll: Option<Timestamp>,
    /// The failure of the newest poll as text for an operator; none after a successful poll.
    pub last_error: Option<String>,
    /// The number of machines that wait to be read.
    pub waiting: usize,
    /// The time that the quota needs for the machines that wait; none without any.
    pub time_left: Option<Duration>,
}

//! The options of a simulator.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The source of the simulator's timestamps.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The degree to which the fleet and the replies contain the oddities of real ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Realism {
    /// Small doses of every oddity that was seen in real replies.
    Realistic,
    /// Every record is plain and complete, for tests that count.
    Plain,
}

/// The pace at which the machines of the fleet are patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patching {
    /// Each device group has a pace; some groups need longer than a deadline of two weeks.
    ByGroup,
    /// Nearly all machines are patched within two weeks of a release, a few later and a few never.
    Ordinary,
}

/// The options of a simulator.
#[derive(Clone)]
pub struct Options {
    /// Machines in scope. A realistic fleet also contains a few unusable records.
    pub machines: usize,
    /// The seed of the fleet; the same seed gives the same fleet.
    pub seed: u64,
    /// The source of timestamps, such as last seen and the expiry of tokens.
    pub now: Now,
    /// The first day of the simulated calendar.
    pub start: Date,
    /// Real time that a simulated day takes. If none, the day changes only through
    /// [`Control::skip_days`](crate::Control::skip_days).
    pub day_length: Option<Duration>,
    /// The degree to which the fleet and the replies contain the oddities of real ones.
    pub realism: Realism,
    /// The pace at which the machines are patched.
    pub patching: Patching,
    /// The number of updates that every ordinary machine misses, newest first. If none, it follows from how
    /// fast each machine is patched. For measurements.
    pub missing_per_machine: Option<usize>,
    /// Calls per minute, or none for no limit. Counted separately for getmissingkbs and for the machine
    /// calls.
    pub quota_per_minute: Option<u32>,
    /// Calls per hour, or none for no limit. Counted in the same way.
    pub quota_per_hour: Option<u32>,
    /// Calls of the export's list per minute. Without [`quota_per_minute`](Self::quota_per_minute) the export
    /// has no quota either.
    pub export_quota_per_minute: u32,
    /// Calls of the export's list per hour, under the same condition.
    pub export_quota_per_hour: u32,
    /// Maximum age of an export version. After it, the list shows a new version.
    pub export_every: Duration,
    /// The number of files in an export version, at least one. A realistic version also has an empty file.
    pub export_files: usize,
    /// Maximum number of CVEs per update in the export, at least one. A real update fixes about a hundred:
    /// the simulated export has the shape of a real one and not its size.
    pub rows_per_update: usize,
    /// Maximum number of machines per page.
    pub page_size: usize,
    /// The granted application roles.
    pub roles: Vec<String>,
    /// The lifetime of a token.
    pub token_lifetime: Duration,
    /// The number of calls, and of token requests, that are kept for assertions. Counters cover all calls.
    pub logged_calls: usize,
    /// The listen address; port 0 takes a free port.
    pub listen: SocketAddr,
}

impl Options {
    /// 200 machines with realistic oddities on a fixed day, and the documented quotas, page size and token
    /// lifetime.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let start = TimeZone::UTC.to_datetime(now()).date();
        Self {
            machines: 200,
            seed: 1,
            now: Arc::new(now),
            start,
            day_length: None,
            realism: Realism::Realistic,
            patching: Patching::ByGroup,
            missing_per_machine: None,
            quota_per_minute: Some(50),
            quota_per_hour: Some(1_500),
            export_quota_per_minute: 5,
            export_quota_per_hour: 20,
            export_every: Duration::from_hours(6),
            export_files: 3,
            rows_per_update: 3,
            page_size: 10_000,
            roles: ["Machine.Read.All", "Software.Read.All", "Vulnerability.Read.All"]
                .map(str::to_owned)
                .into(),
            token_lifetime: Duration::from_secs(3_599),
            logged_calls: 20_000,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("machines", &self.machines)
            .field("seed", &self.seed)
            .field("start", &self.start)
            .field("day_length", &self.day_length)
            .finish_non_exhaustive()
    }
}

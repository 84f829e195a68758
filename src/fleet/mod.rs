//! What is known of the machines, in our words.
//!
//! Pure: no clock, no network, no disk. [`state`] applies machine lists and answers to a
//! [`TenantFleet`]; [`summary`] counts over it, [`policy`] judges it by patch deadlines, and [`overview`]
//! puts its machines in an order for people. API words stay in `defender`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Key of a machine: Defender's device id, lower case. 40 hex characters in practice; any 1 to 128
/// ASCII letters, digits, `-` and `_` are taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(Arc<str>);

impl MachineId {
    /// The id that `text` spells, without regard to case and outer white space.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So that a map can be asked with the text of an id, in lower case.
impl Borrow<str> for MachineId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Number of a KB article; prints as digits only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KbId(u32);

impl KbId {
    /// The KB that `text` names: up to nine digits, an optional `KB` in front in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = match text.get(..2) {
            Some(prefix) if prefix.eq_ignore_ascii_case("kb") => &text[2..],
            _ => text,
        };
        let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| digits.parse().ok().map(Self)).flatten()
    }

    /// The KB with this number; none above nine digits.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number < 1_000_000_000).then_some(Self(number))
    }

    /// The number, below 1,000,000,000.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for KbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What the machine list says of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFacts {
    /// The key.
    pub id: MachineId,
    /// DNS name as Defender spells it; empty when unknown.
    pub name: String,
    /// `osPlatform`, as `Windows11`; empty when unknown.
    pub os_platform: String,
    /// The API's `version`, as `22H2`; empty when unknown.
    pub os_version: String,
    /// Name of the device group; empty when there is none.
    pub device_group: String,
    /// Defender's last full report of the machine, when known.
    pub last_seen: Option<Timestamp>,
    /// Whether Defender has its sensor on the machine, so that it would tell what is missing.
    pub onboarded: bool,
}

impl MachineFacts {
    /// A machine of which only the id is known.
    #[must_use]
    pub fn unlisted(id: MachineId) -> Self {
        Self {
            id,
            name: String::new(),
            os_platform: String::new(),
            os_version: String::new(),
            device_group: String::new(),
            last_seen: None,
            onboarded: false,
        }
    }
}

/// What an update is, shared by all machines that report it alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpdateFacts {
    /// The monthly batch, as `March 2020 Security Updates`; empty when unknown.
    pub title: String,
    /// Product names, sorted, no duplicate.
    pub products: Vec<String>,
}

/// How bad the worst vulnerability is that an update fixes; Defender's words
/// (<https://learn.microsoft.com/defender-endpoint/api/vulnerability>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// `Low`
    Low,
    /// `Medium`
    Medium,
    /// `High`
    High,
    /// `Critical`
    Critical,
}

impl Severity {
    /// Every severity, the worst first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Medium, Self::Low];

    /// Value of the label `severity`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }

    /// The severity that `text` names, without regard to case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(text))
    }
}

/// Where the data about machines comes from. The two differ in what they list, so what one no longer
/// lists after the other did is not fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// One call per machine (`getmissingkbs`).
    #[default]
    Machines,
    /// The bulk export of vulnerabilities.
    Export,
}

/// One pair of machine and missing update, as a source reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedUpdate {
    /// The missing KB.
    pub kb: KbId,
    /// What it is.
    pub facts: Arc<UpdateFacts>,
    /// `cveAddressed`, when reported.
    pub cves: Option<u32>,
    /// `machineMissedOn`, when reported.
    pub reported_machines: Option<u32>,
    /// The worst severity among its vulnerabilities, when reported.
    pub severity: Option<Severity>,
}

/// A reported update, with the source's own memory of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is reported.
    pub update: ReportedUpdate,
    /// Since when the source knows that the machine misses it, when it tells.
    pub first_seen: Option<Timestamp>,
}

/// One open gap: a machine misses an update since `first_seen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingUpdate {
    /// What the newest answer says of it.
    pub update: ReportedUpdate,
    /// When the gap was first seen; does not move while the gap is open.
    pub first_seen: Timestamp,
}

pub mod overview;
pub mod policy;
pub mod release;
pub mod state;
pub mod summary;

pub use overview::Overview;
pub use policy::{DeadlineStart, Policy};
pub use state::{
    Assessment, Attempt, ExportVersion, Freshness, Machine, MachineState, OutOfScope, PollStatus,
    ResolutionHistogram, TenantFleet, Totals,
};

//! What is known of the machines, in our words.
//!
//! Pure: no clock, no network, no disk. [`state`] applies machine lists and answers to a
//! [`TenantFleet`]; [`summary`] counts over it, [`policy`] judges it by patch deadlines, and [`overview`]
//! puts its machines in an order for people. API words stay in `defender`.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{KbId, MachineId, Severity};

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
pub use state::{
    Assessment, Attempt, ExportVersion, Machine, MachineState, OutOfScope, PollStatus, ResolutionHistogram,
    TenantFleet, Totals,
};

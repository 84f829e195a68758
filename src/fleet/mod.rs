//! The machines of a tenant and their missing updates.
//!
//! Pure: no clock, no network, no disk. [`state`] applies machine lists and replies to a [`TenantFleet`],
//! [`summary`] counts over it, [`burn_down`] keeps counts by day, [`policy`] compares it with patch deadlines, and
//! [`overview`] sorts its machines for the status page. The terms of the API stay in `defender`.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{CvssScore, FixedBuild, IgnoredUpdates, KbId, MachineId, Severity};

/// The facts about a machine from the machine list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFacts {
    /// The machine id.
    pub id: MachineId,
    /// The DNS name in the spelling of Defender; empty when unknown.
    pub name: String,
    /// `osPlatform`, such as `Windows11`; empty when unknown.
    pub os_platform: String,
    /// `version` in the API, such as `22H2`; empty when unknown.
    pub os_version: String,
    /// The name of the device group; empty when there is none.
    pub device_group: String,
    /// The time of the last full report of the machine to Defender, when known.
    pub last_seen: Option<Timestamp>,
    /// The onboarding status.
    pub onboarding: Onboarding,
    /// The tags, sorted; none if no machine list has shown them.
    pub tags: Option<Arc<[String]>>,
    /// `osBuild`, such as 26100; none if unknown.
    pub os_build: Option<u32>,
}

/// The onboarding status of a machine: whether it reports missing updates to Defender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Onboarding {
    /// The sensor of Defender is on the machine.
    Onboarded,
    /// The machine list shows another status, such as `CanBeOnboarded`.
    NotOnboarded,
    /// No machine list has shown a status. Such a machine is asked, but its absence from an export proves
    /// nothing.
    #[default]
    Unreported,
}

impl MachineFacts {
    /// The facts of a machine of which only the id is known.
    #[must_use]
    pub fn unlisted(id: MachineId) -> Self {
        Self {
            id,
            name: String::new(),
            os_platform: String::new(),
            os_version: String::new(),
            device_group: String::new(),
            last_seen: None,
            onboarding: Onboarding::Unreported,
            tags: None,
            os_build: None,
        }
    }

    /// Returns whether the machine has this tag, in any case; none if no machine list has shown its tags.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> Option<bool> {
        let lower = tag.to_lowercase();
        self.tags.as_ref().map(|tags| tags.iter().any(|tag| tag.to_lowercase() == lower))
    }

    /// Returns whether Defender can list missing updates of the machine: it runs Windows and is onboarded, or
    /// the machine list does not say otherwise.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        let is_windows =
            self.os_platform.as_bytes().get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"windows"));
        (self.os_platform.is_empty() || is_windows) && self.onboarding != Onboarding::NotOnboarded
    }
}

/// The facts about an update, shared by all machines that report the same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpdateFacts {
    /// The monthly batch, such as `March 2020 Security Updates`; empty when unknown.
    pub title: String,
    /// The product names, sorted, without duplicates.
    pub products: Vec<String>,
}

/// An update that a source reports as missing on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedUpdate {
    /// The missing KB.
    pub kb: KbId,
    /// The facts about the update.
    pub facts: Arc<UpdateFacts>,
    /// `cveAddressed`, when reported.
    pub cves: Option<u32>,
    /// `machineMissedOn`, when reported.
    pub reported_machines: Option<u32>,
    /// The worst severity among its vulnerabilities, when reported.
    pub severity: Option<Severity>,
    /// The highest CVSS base score among its vulnerabilities, when reported.
    pub cvss: Option<CvssScore>,
}

/// A reported update, with the time at which the source itself first saw it missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatedUpdate {
    /// The reported update.
    pub update: ReportedUpdate,
    /// The first-seen time of the source, when reported.
    pub first_seen: Option<Timestamp>,
}

/// The part of an answer of a source that concerns one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineAnswer {
    /// The missing updates.
    pub updates: Vec<DatedUpdate>,
    /// The ids that are no KBs, without those that the configuration ignores.
    pub unreadable: Vec<Arc<str>>,
    /// The build of Windows on the machine, when reported.
    pub build: Option<FixedBuild>,
}

impl MachineAnswer {
    /// Removes the KBs and ids that the configuration ignores.
    pub fn ignore(&mut self, ignored: &IgnoredUpdates) {
        self.updates.retain(|dated| !ignored.kbs.contains(&dated.update.kb));
        self.unreadable.retain(|id| !ignored.contains_id(id));
    }
}

impl From<Vec<ReportedUpdate>> for MachineAnswer {
    fn from(updates: Vec<ReportedUpdate>) -> Self {
        let undated = |update| DatedUpdate { update, first_seen: None };
        Self { updates: updates.into_iter().map(undated).collect(), ..Self::default() }
    }
}

/// An update that is missing on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingUpdate {
    /// The update, as last reported.
    pub update: ReportedUpdate,
    /// The time at which it was first seen missing. It never moves while the update stays missing.
    pub first_seen: Timestamp,
    /// The updates that it superseded on the machine. Rare.
    pub chain: Option<Box<Chain>>,
}

impl MissingUpdate {
    /// The first-seen time of the oldest update that it stands for: its own or that of a link.
    #[must_use]
    pub fn oldest_first_seen(&self) -> Timestamp {
        let links = self.links().iter().map(|link| link.first_seen);
        links.fold(self.first_seen, Timestamp::min)
    }

    /// The updates that it superseded on the machine, sorted by KB.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        self.chain.as_ref().map_or(&[], |chain| &chain.links)
    }
}

pub mod burn_down;
mod chain;
mod effective_facts;
mod future;
mod machine;
pub mod overview;
mod owners;
pub mod policy;
mod poll_status;
pub mod release;
mod rules;
pub mod servicing;
pub mod state;
pub mod summary;
mod supersedence;
mod totals;
pub mod unreadable;

pub use burn_down::BurnDown;
pub use chain::{Chain, Link};
pub use effective_facts::EffectiveFacts;
pub use machine::{Assessment, Attempt, Machine, MachineState};
pub use overview::Overview;
pub use owners::{Owner, Owners};
pub use poll_status::PollStatus;
pub use state::{ExportVersion, OutOfScope, TenantFleet};
pub use totals::{ResolutionHistogram, Totals};

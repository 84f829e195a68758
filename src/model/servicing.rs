//! Words and settings of the servicing of Windows versions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::Condition;
use super::labels::words;

words! {
    /// The servicing of the Windows version of a machine.
    pub enum ServicingState {
        /// No end that can apply to it has passed.
        InService = "in_service",
        /// Ended for some of the editions that it may have; or ended, and nothing says whether it has Extended
        /// Security Updates.
        Uncertain = "uncertain",
        /// Ended for all of these editions, without Extended Security Updates.
        Ended = "ended",
        /// The build is not in the servicing table, or is not known.
        Unknown = "unknown",
    }
}

words! {
    /// The part of the fleet to which an end of servicing applies: an edition, a server, or machines with Extended
    /// Security Updates.
    pub enum ServicingEdition {
        /// Home, Pro and their relatives.
        Pro = "pro",
        /// Enterprise, Education and their relatives.
        Enterprise = "enterprise",
        /// Enterprise LTSC.
        Ltsc = "ltsc",
        /// `IoT` Enterprise LTSC.
        IotLtsc = "iot_ltsc",
        /// Windows Server, whatever its edition.
        Server = "server",
        /// Machines with Extended Security Updates.
        Extended = "extended",
    }
}

impl ServicingEdition {
    /// The editions of Windows clients, which Defender does not report.
    pub const CLIENTS: [Self; 4] = [Self::Pro, Self::Enterprise, Self::Ltsc, Self::IotLtsc];
}

/// The settings about servicing: what Defender does not report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicingSettings {
    /// The editions of machines, each one of [`ServicingEdition::CLIENTS`]. The first rule that selects a machine
    /// applies to it.
    pub editions: Vec<ServicingRule<ServicingEdition>>,
    /// True for machines that have Extended Security Updates, false for machines that have none. The first rule that
    /// selects a machine applies to it.
    pub extended: Vec<ServicingRule<bool>>,
    /// The names of the tenants that other shards poll.
    pub other_tenants: BTreeSet<Arc<str>>,
}

impl ServicingSettings {
    /// Returns whether a rule can select machines of tenants that other shards poll. Such a rule may do what it says
    /// there.
    #[must_use]
    pub fn reaches_other_tenants<T>(&self, rule: &ServicingRule<T>) -> bool {
        if rule.tenants.is_empty() {
            !self.other_tenants.is_empty()
        } else {
            rule.tenants.iter().any(|tenant| self.other_tenants.contains(tenant))
        }
    }
}

/// A rule that gives a value to the machines that it selects.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicingRule<T> {
    /// The value.
    pub value: T,
    /// The names of the tenants that it is limited to; empty for all.
    pub tenants: Vec<Arc<str>>,
    /// The conditions on the machine, all of which have to hold; empty for every machine. None depends on an update.
    pub conditions: Vec<Condition>,
    /// The place in the file for messages, such as `servicing.editions[0] (line 12)`.
    pub place: Arc<str>,
}

impl<T> ServicingRule<T> {
    /// Returns whether it selects machines of this tenant.
    #[must_use]
    pub fn names_tenant(&self, tenant: &str) -> bool {
        self.tenants.is_empty() || self.tenants.iter().any(|name| **name == *tenant)
    }
}

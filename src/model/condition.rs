//! Conditions on a missing update and its machine.

use super::{CvssScore, FactsSource, KbId, MachineId, Severity, Source, TextPattern, VendorSeverity};

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// A condition on the update.
    Update(UpdateCondition),
    /// A condition on the machine.
    Machine(MachineCondition),
}

/// A condition on a missing update. The values of a list are alternatives.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateCondition {
    /// True: Microsoft reports exploitation, or the KEV catalogue lists a CVE of the update. False: neither.
    Exploited(bool),
    /// True: the KEV catalogue lists a CVE of the update. False: it lists none.
    KnownExploited(bool),
    /// Microsoft's own rating is one of these.
    VendorSeverity(Vec<VendorSeverity>),
    /// The rating by CVSS is one of these.
    Severity(Vec<Severity>),
    /// The CVSS score is this one or higher. The lowest score that exists stands for any score.
    CvssAtLeast(CvssScore),
    /// The EPSS probability is this one or higher, from 0 to 1.
    EpssAtLeast(f64),
    /// A product of the update matches one of these.
    Products(Vec<TextPattern>),
    /// The update is one of these. Exceptions alone have it.
    Kbs(Vec<KbId>),
}

/// A condition on a machine. The values of a list are alternatives.
#[derive(Clone, Debug, PartialEq)]
pub enum MachineCondition {
    /// The platform matches one of these.
    Platforms(Vec<TextPattern>),
    /// The device group matches one of these.
    DeviceGroups(Vec<TextPattern>),
    /// The DNS name matches one of these.
    Names(Vec<TextPattern>),
    /// The machine has one of these tags. A `*` in one stands for itself.
    Tags(Vec<TextPattern>),
    /// The machine is one of these. Exceptions alone have it.
    Ids(Vec<MachineId>),
}

impl Condition {
    /// The sources of facts without which the condition cannot be decided in a tenant with this source.
    #[must_use]
    pub fn needed_facts(&self, source: Source) -> &'static [FactsSource] {
        match self {
            Self::Update(condition) => condition.needed_facts(source),
            Self::Machine(_) => &[],
        }
    }

    /// The key of the configuration.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Update(condition) => condition.key(),
            Self::Machine(condition) => condition.key(),
        }
    }
}

impl From<UpdateCondition> for Condition {
    fn from(condition: UpdateCondition) -> Self {
        Self::Update(condition)
    }
}

impl From<MachineCondition> for Condition {
    fn from(condition: MachineCondition) -> Self {
        Self::Machine(condition)
    }
}

impl UpdateCondition {
    fn needed_facts(&self, source: Source) -> &'static [FactsSource] {
        match (self, source) {
            (Self::Exploited(_), _) => &[FactsSource::Msrc, FactsSource::Kev],
            (Self::KnownExploited(_), _) => &[FactsSource::Kev],
            (Self::EpssAtLeast(_), _) => &[FactsSource::Epss],
            (Self::VendorSeverity(_), _) | (Self::Severity(_) | Self::CvssAtLeast(_), Source::Machines) => {
                &[FactsSource::Msrc]
            }
            // The export has values of its own, and products always come from Defender.
            (Self::Severity(_) | Self::CvssAtLeast(_), Source::Export)
            | (Self::Products(_) | Self::Kbs(_), _) => &[],
        }
    }

    fn key(&self) -> &'static str {
        match self {
            Self::Exploited(_) => "exploited",
            Self::KnownExploited(_) => "known_exploited",
            Self::VendorSeverity(_) => "vendor_severity",
            Self::Severity(_) => "severity",
            Self::CvssAtLeast(_) => "cvss_at_least",
            Self::EpssAtLeast(_) => "epss_at_least",
            Self::Products(_) => "products",
            Self::Kbs(_) => "kbs",
        }
    }
}

impl MachineCondition {
    fn key(&self) -> &'static str {
        match self {
            Self::Platforms(_) => "platforms",
            Self::DeviceGroups(_) => "device_groups",
            Self::Names(_) => "names",
            Self::Tags(_) => "tags",
            Self::Ids(_) => "ids",
        }
    }
}

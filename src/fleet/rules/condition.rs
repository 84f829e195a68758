//! The outcome of single conditions.

use jiff::Timestamp;

use super::truth::Truth;
use crate::fleet::MachineFacts;
use crate::model::{
    CvssScore, KbId, MachineCondition, Severity, TextPattern, UpdateCondition, VendorSeverity,
};

/// What conditions depend on in a missing update: the worst facts of the update and of those that it stands for.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct UpdateTraits {
    /// The KB itself, without those that it stands for.
    pub(in crate::fleet) kb: KbId,
    pub(in crate::fleet) exploited: Option<bool>,
    pub(in crate::fleet) is_listed: Option<bool>,
    /// The earliest day of a listing in the catalogue of known exploited vulnerabilities.
    pub(in crate::fleet) listed_since: Option<Timestamp>,
    /// The earliest due date in that catalogue.
    pub(in crate::fleet) due: Option<Timestamp>,
    pub(in crate::fleet) vendor_severity: Option<VendorSeverity>,
    pub(in crate::fleet) severity: Option<Severity>,
    pub(in crate::fleet) cvss: Option<CvssScore>,
    pub(in crate::fleet) epss: Option<f64>,
    /// In lower case.
    pub(in crate::fleet) products: Vec<String>,
}

impl UpdateTraits {
    pub(super) fn judge(&self, condition: &UpdateCondition) -> Truth {
        match condition {
            UpdateCondition::Exploited(wanted) => Truth::of(self.exploited, |exploited| exploited == *wanted),
            UpdateCondition::KnownExploited(wanted) => Truth::of(self.is_listed, |listed| listed == *wanted),
            UpdateCondition::VendorSeverity(wanted) => {
                Truth::of(self.vendor_severity, |severity| wanted.contains(&severity))
            }
            UpdateCondition::Severity(wanted) => {
                Truth::of(self.severity, |severity| wanted.contains(&severity))
            }
            UpdateCondition::CvssAtLeast(least) => Truth::of(self.cvss, |score| score >= *least),
            UpdateCondition::EpssAtLeast(least) => Truth::of(self.epss, |probability| probability >= *least),
            UpdateCondition::Products(patterns) => {
                let products = (!self.products.is_empty()).then_some(&self.products);
                Truth::of(products, |products| products.iter().any(|product| matches_any(patterns, product)))
            }
            UpdateCondition::Kbs(wanted) => Truth::known(wanted.contains(&self.kb)),
        }
    }
}

/// A property of machines that conditions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MachineProperty {
    Platform,
    DeviceGroup,
    Name,
    Tags,
    Id,
}

impl MachineProperty {
    pub(super) const ALL: [Self; 5] = [Self::Platform, Self::DeviceGroup, Self::Name, Self::Tags, Self::Id];

    /// The property that a condition depends on.
    pub(super) fn of(condition: &MachineCondition) -> Self {
        match condition {
            MachineCondition::Platforms(_) => Self::Platform,
            MachineCondition::DeviceGroups(_) => Self::DeviceGroup,
            MachineCondition::Names(_) => Self::Name,
            MachineCondition::Tags(_) => Self::Tags,
            MachineCondition::Ids(_) => Self::Id,
        }
    }

    /// The texts of the property in lower case; none if they are not known. Every machine has a name and a platform,
    /// but it need not have a device group or a tag.
    pub(super) fn texts(self, facts: &MachineFacts) -> Option<Vec<String>> {
        let known = |text: &str| (!text.is_empty()).then(|| vec![text.to_lowercase()]);
        match self {
            Self::Platform => known(&facts.os_platform),
            Self::DeviceGroup => Some(known(&facts.device_group).unwrap_or_default()),
            Self::Name => known(&facts.name),
            Self::Tags => facts.tags.as_ref().map(|tags| tags.iter().map(|tag| tag.to_lowercase()).collect()),
            Self::Id => Some(vec![facts.id.as_str().to_owned()]),
        }
    }
}

/// Returns the outcome of a condition on a machine, given the texts of its property. Ids must be sorted.
pub(super) fn judge_machine(condition: &MachineCondition, texts: Option<&[String]>) -> Truth {
    Truth::of(texts, |texts| match condition {
        MachineCondition::Platforms(patterns)
        | MachineCondition::DeviceGroups(patterns)
        | MachineCondition::Names(patterns) => texts.iter().any(|text| matches_any(patterns, text)),
        MachineCondition::Tags(wanted) => {
            texts.iter().any(|tag| wanted.iter().any(|wanted| wanted.is_lower(tag)))
        }
        MachineCondition::Ids(sorted) => {
            texts.iter().any(|text| sorted.binary_search_by(|id| id.as_str().cmp(text)).is_ok())
        }
    })
}

fn matches_any(patterns: &[TextPattern], lower: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches_lower(lower))
}

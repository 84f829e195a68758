//! The outcome of single conditions.

use jiff::Timestamp;

use super::truth::Truth;
use crate::fleet::MachineFacts;
use crate::model::{CvssScore, MachineCondition, Severity, TextPattern, UpdateCondition, VendorSeverity};

/// What conditions depend on in a missing update: the worst facts of the update and of those that it stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct UpdateTraits {
    pub(super) exploited: Option<bool>,
    pub(super) is_listed: Option<bool>,
    /// The earliest day of a listing in the catalogue of known exploited vulnerabilities.
    pub(super) listed_since: Option<Timestamp>,
    /// The earliest due date in that catalogue.
    pub(super) due: Option<Timestamp>,
    pub(super) vendor_severity: Option<VendorSeverity>,
    pub(super) severity: Option<Severity>,
    pub(super) cvss: Option<CvssScore>,
    pub(super) epss: Option<f64>,
    /// In lower case.
    pub(super) products: Vec<String>,
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
        }
    }
}

/// What conditions depend on in a machine, in lower case.
#[derive(Clone, Debug)]
pub(super) struct MachineTraits {
    platform: String,
    device_group: String,
    name: String,
    tags: Option<Vec<String>>,
}

impl MachineTraits {
    pub(super) fn of(facts: &MachineFacts) -> Self {
        Self {
            platform: facts.os_platform.to_lowercase(),
            device_group: facts.device_group.to_lowercase(),
            name: facts.name.to_lowercase(),
            tags: facts.tags.as_ref().map(|tags| tags.iter().map(|tag| tag.to_lowercase()).collect()),
        }
    }

    /// Returns the outcome of `condition`. A text that Defender does not give is unknown, except for the device
    /// group, which a machine need not have.
    pub(super) fn judge(&self, condition: &MachineCondition) -> Truth {
        let text = |patterns: &[TextPattern], text: &str| {
            Truth::of((!text.is_empty()).then_some(text), |text| matches_any(patterns, text))
        };
        match condition {
            MachineCondition::Platforms(patterns) => text(patterns, &self.platform),
            MachineCondition::DeviceGroups(patterns) => {
                Truth::known(!self.device_group.is_empty() && matches_any(patterns, &self.device_group))
            }
            MachineCondition::Names(patterns) => text(patterns, &self.name),
            MachineCondition::Tags(wanted) => Truth::of(self.tags.as_ref(), |tags| {
                tags.iter().any(|tag| wanted.iter().any(|wanted| wanted.is_lower(tag)))
            }),
        }
    }
}

fn matches_any(patterns: &[TextPattern], lower: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches_lower(lower))
}

//! The value that readers see.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::views::Views;
use crate::facts::Facts;
use crate::fleet::overview::OverviewTerms;
use crate::fleet::servicing::ServicingRuleWarning;
use crate::fleet::{BurnDown, Overview, TenantFleet};
use crate::metrics::Body;
use crate::model::{Exception, Freshness, OwnLabel, Policy, ServicingSettings};
use crate::self_metrics::TenantStatus;

/// Everything that the web server serves, at one time. Immutable.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of the snapshot; 0 is the first one, which is rendered at start.
    pub generation: u64,
    /// Time of rendering, which decides states and policies.
    pub at: Timestamp,
    /// All tenants, in the order of the configuration.
    pub fleets: Vec<Arc<TenantFleet>>,
    /// The daily counts of the machines that miss each update, in the order of `fleets`.
    pub burn_downs: Vec<Arc<BurnDown>>,
    /// Quota, poll interval and token of each tenant at the time of rendering, in the order of `fleets`;
    /// empty before the first publication.
    pub statuses: Vec<TenantStatus>,
    /// Freshness limits used for rendering.
    pub freshness: Freshness,
    /// Policies used for rendering.
    pub policies: Arc<[Policy]>,
    /// Exceptions used for rendering.
    pub exceptions: Arc<[Exception]>,
    /// Settings about servicing used for rendering.
    pub servicing: Arc<ServicingSettings>,
    /// The rules about servicing that do not do what they say.
    pub servicing_warnings: Vec<ServicingRuleWarning>,
    /// Own labels used for rendering.
    pub labels: Arc<[OwnLabel]>,
    /// Facts used for rendering.
    pub facts: Arc<Facts>,
    /// The exposition of the fleets.
    pub body: Body,
    /// Computed for the first reader who needs it, or before the swap while pages are viewed.
    pub(super) overview: OnceLock<Overview>,
    /// Shared with the snapshots before and after it.
    pub(super) views: Arc<Views>,
}

impl Snapshot {
    /// States of tenants and machines for a reader, computed with the same rules as the exposition. The first call takes
    /// a good part of a second for a large fleet; concurrent calls wait for it. As long as readers ask for it, each
    /// snapshot has it from the beginning.
    pub fn overview(&self) -> &Overview {
        self.views.note();
        self.prepare_overview()
    }

    /// Computes the overview without a reader.
    pub(super) fn prepare_overview(&self) -> &Overview {
        self.overview.get_or_init(|| {
            let terms = OverviewTerms {
                now: self.at,
                freshness: &self.freshness,
                policies: &self.policies,
                exceptions: &self.exceptions,
                servicing: &self.servicing,
                labels: &self.labels,
                facts: &self.facts,
            };
            Overview::of(&self.fleets, terms)
        })
    }
}

//! Second step: a [`Snapshot`] is made from the fleets, and the counts of the day are recorded.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

use super::Snapshot;
use super::burn_downs::BurnDowns;
use super::views::Views;
use crate::facts::Facts;
use crate::fleet::TenantFleet;
use crate::fleet::servicing::{CompiledServicing, ServicingRuleUses, ServicingRuleWarning};
use crate::metrics::{RenderOptions, Renderer, SeriesBudget};
use crate::model::{ContentEncoding, DetailLevel, ExpositionFormat, ServicingSettings};
use crate::self_metrics::{ExpositionSize, LevelSeries, RenderStats, SelfMetrics, TenantStatus};

impl Snapshot {
    /// Renders `fleets` as of `at`; blocks for a good part of a second for a large fleet. The burn-downs begin at `at`.
    pub fn render(
        renderer: &mut Renderer,
        generation: u64,
        fleets: Vec<Arc<TenantFleet>>,
        at: Timestamp,
        options: &RenderOptions,
        facts: Arc<Facts>,
    ) -> Self {
        Self::render_recording(renderer, generation, fleets, at, options, facts, &mut BurnDowns::new(None))
    }

    /// Renders like [`render`](Self::render), and records the counts in `burn_downs`.
    pub(super) fn render_recording(
        renderer: &mut Renderer,
        generation: u64,
        fleets: Vec<Arc<TenantFleet>>,
        at: Timestamp,
        options: &RenderOptions,
        facts: Arc<Facts>,
        burn_downs: &mut BurnDowns,
    ) -> Self {
        burn_downs.load(&fleets);
        let body = renderer.render_observed(&fleets, at, options, &facts, |tenant, summary| {
            burn_downs.record(tenant, summary, at);
        });
        let servicing_warnings = servicing_warnings(&fleets, at, &options.servicing, &facts);
        Self {
            generation,
            at,
            burn_downs: burn_downs.of(&fleets),
            fleets,
            statuses: Vec::new(),
            freshness: options.freshness,
            policies: Arc::clone(&options.policies),
            exceptions: Arc::clone(&options.exceptions),
            servicing: Arc::clone(&options.servicing),
            servicing_warnings,
            labels: Arc::clone(&options.labels),
            facts,
            body,
            overview: OnceLock::new(),
            views: Arc::default(),
        }
    }

    /// The same snapshot with the status of each tenant, in the order of the fleets.
    #[must_use]
    pub fn with_statuses(self, statuses: Vec<TenantStatus>) -> Self {
        Self { statuses, ..self }
    }

    /// The same snapshot, whose readers are noted in `views`.
    pub(super) fn with_views(self, views: Arc<Views>) -> Self {
        Self { views, ..self }
    }

    /// Reports the sizes of the exposition and the duration of the rendering to the self metrics.
    pub fn record(&self, self_metrics: &SelfMetrics, took: Duration) {
        let SeriesBudget { limit, deepest, series, suppressed, .. } = *self.body.budget();
        let levels = DetailLevel::ALL.map(|level| LevelSeries {
            level,
            served: series[level as usize],
            suppressed: suppressed[level as usize],
        });
        let sizes = ExpositionFormat::ALL.into_iter().flat_map(|format| {
            ContentEncoding::ALL.map(|encoding| {
                let bytes = self.body.length(format, encoding);
                ExpositionSize { format, encoding, bytes }
            })
        });
        let sizes = sizes.collect();
        self_metrics.rendered(&RenderStats { series_limit: limit, deepest, levels, sizes, took });
    }
}

/// The warnings about rules that do not do what they say.
fn servicing_warnings(
    fleets: &[Arc<TenantFleet>],
    at: Timestamp,
    settings: &ServicingSettings,
    facts: &Facts,
) -> Vec<ServicingRuleWarning> {
    if *settings == ServicingSettings::default() {
        return Vec::new();
    }
    let compiled = CompiledServicing::new(settings, facts.servicing(), at);
    let mut uses = ServicingRuleUses::new(&compiled);
    for fleet in fleets {
        let machines = fleet.machines.values().map(|machine| &machine.facts);
        uses.add_tenant(&fleet.tenant, fleet.listed_at.is_some(), machines);
    }
    uses.warnings()
}

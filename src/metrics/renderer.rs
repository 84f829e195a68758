//! Renders one exposition after another.
//!
//! The families of the fleet level are counts over everything, so they are written again each time, but
//! unchanged text is not compressed again. The samples of machines are kept in [`blocks`]. The levels are
//! chosen by counting, before any of their samples is written, so a level that is not served costs
//! neither time nor memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::RenderOptions;
use super::blocks::{self, Blocks, MACHINE_TABLES, MACHINES_PER_BLOCK, RenderInput};
use super::body::Body;
use super::chunk::{Chunk, ChunkEncoder, ChunkSequence};
use super::families::{FLEET, Family, FleetSamples, FleetScope};
use super::limit::{self, SeriesBudget};
use crate::facts::Facts;
use crate::fleet::TenantFleet;
use crate::fleet::policy::{CompiledPolicies, PolicyCounts};
use crate::fleet::servicing::CompiledServicing;
use crate::fleet::summary::Summary;
use crate::model::{DetailLevel, ExpositionFormat, OwnLabel};

/// Renders expositions and keeps the parts of the last one.
///
/// The result never depends on the kept parts; they only save time.
#[derive(Debug)]
pub struct Renderer {
    encoder: ChunkEncoder,
    /// Families of the fleet level, by format.
    fleet: [Vec<Chunk>; ExpositionFormat::ALL.len()],
    /// `HELP` and `TYPE` of the families of [`MACHINE_TABLES`].
    headers: [Vec<Chunk>; 2],
    blocks: BTreeMap<Arc<str>, Blocks>,
    /// The own labels in `blocks`.
    labels: Arc<[OwnLabel]>,
    machines_per_block: u32,
}

impl Default for Renderer {
    fn default() -> Self {
        let mut encoder = ChunkEncoder::default();
        let headers = MACHINE_TABLES.map(|table| {
            let headers = table.iter().map(|family| family.descriptor.header(ExpositionFormat::Text));
            headers.map(|header| encoder.chunk(&header, None)).collect()
        });
        let machines_per_block = MACHINES_PER_BLOCK;
        let (fleet, blocks, labels) = Default::default();
        Self { encoder, fleet, headers, blocks, labels, machines_per_block }
    }
}

impl Renderer {
    /// Renders `fleets`, given in any order, as of `now`. Of two fleets of one tenant the first one counts.
    pub fn render(
        &mut self,
        fleets: &[Arc<TenantFleet>],
        now: Timestamp,
        options: &RenderOptions,
        facts: &Facts,
    ) -> Body {
        self.render_observed(fleets, now, options, facts, |_, _| {})
    }

    /// The same, and calls `observe` with the name and the complete counts of each tenant, before the series limit
    /// reduces them.
    pub fn render_observed(
        &mut self,
        fleets: &[Arc<TenantFleet>],
        now: Timestamp,
        options: &RenderOptions,
        facts: &Facts,
        mut observe: impl FnMut(&Arc<str>, &Summary),
    ) -> Body {
        let mut fleets: Vec<&TenantFleet> = fleets.iter().map(Arc::as_ref).collect();
        fleets.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        fleets.dedup_by(|later, earlier| later.tenant == earlier.tenant);
        let rules = (
            CompiledPolicies::new(&options.policies, &options.exceptions, now),
            CompiledServicing::new(&options.servicing, facts.servicing(), now),
        );
        let mut scopes: Vec<_> = fleets.iter().map(|fleet| scope(fleet, options, &rules, facts)).collect();
        Summary::share_ends(scopes.iter_mut().map(|scope| &mut scope.summary));
        for scope in &scopes {
            observe(&scope.fleet.tenant, &scope.summary);
        }
        let deeper = self.update_blocks(&scopes, now, options);
        let limit = options.series_limit;
        let mut families = write_fleet(&scopes);
        let wanted = series(&families);
        if !limit::is_within(wanted, limit) {
            families = write_within(&mut scopes, limit);
        }
        let budget = SeriesBudget::choose(limit, options.detail, (wanted, series(&families)), deeper);
        Body { fleet: self.fleet_level(&families), deeper: self.deeper_levels(budget.deepest), budget }
    }

    /// Partitions the machines of each tenant and returns the number of series of the machine and update
    /// levels.
    fn update_blocks(
        &mut self,
        scopes: &[FleetScope<'_>],
        now: Timestamp,
        options: &RenderOptions,
    ) -> [u64; 2] {
        let mut previous = std::mem::take(&mut self.blocks);
        if self.labels != options.labels {
            previous.clear();
            self.labels = Arc::clone(&options.labels);
        }
        for scope in scopes {
            let tenant = &scope.fleet.tenant;
            let counts = scope.policies.overdue_updates.iter().zip(&scope.policies.exploited_updates);
            let machines = scope.fleet.machines.values().zip(counts);
            let machines = machines.filter(|(machine, _)| machine.facts.is_supported()).map(
                |(machine, (overdue, exploited))| {
                    let missing_updates = machine.assessed_updates(now, &options.freshness);
                    RenderInput {
                        machine: Arc::clone(machine),
                        is_assessed: missing_updates.is_some(),
                        overdue: *overdue,
                        exploited: missing_updates.and_then(|_| scope.facts.known_count(*exploited)),
                    }
                },
            );
            let kept = previous.remove(tenant).unwrap_or_default();
            let blocks = blocks::partition(kept, machines, self.machines_per_block);
            self.blocks.insert(Arc::clone(tenant), blocks);
        }
        let mut deeper = [0; 2];
        for block in self.blocks.values().flat_map(BTreeMap::values) {
            deeper.iter_mut().zip(block.series()).for_each(|(sum, series)| *sum += series);
        }
        deeper
    }

    fn fleet_level(&mut self, families: &[FleetFamily]) -> [ChunkSequence; ExpositionFormat::ALL.len()] {
        let previous = std::mem::take(&mut self.fleet);
        for (index, family) in families.iter().enumerate() {
            let mut chunk = |text, format| self.encoder.chunk(text, previous[format as usize].get(index));
            let text = chunk(&family.text, ExpositionFormat::Text);
            let different =
                family.openmetrics.as_ref().map(|text| chunk(text, ExpositionFormat::OpenMetrics));
            let openmetrics = different.unwrap_or_else(|| text.clone());
            self.fleet[ExpositionFormat::OpenMetrics as usize].push(openmetrics);
            self.fleet[ExpositionFormat::Text as usize].push(text);
        }
        self.fleet.each_ref().map(|chunks| chunks.iter().collect())
    }

    fn deeper_levels(&mut self, deepest: DetailLevel) -> [ChunkSequence; 2] {
        let mut text = Vec::new();
        for (tenant, blocks) in &mut self.blocks {
            for block in blocks.values_mut() {
                block.render((tenant, &self.labels), deepest, &mut self.encoder, &mut text);
            }
        }
        let (headers, blocks) = (&self.headers, &self.blocks);
        [0, 1].map(|level| {
            let families = headers[level].iter().enumerate().flat_map(|(family, header)| {
                let all = blocks.values().flat_map(BTreeMap::values);
                let mut samples = all.filter_map(move |block| block.samples(level, family)).peekable();
                // A family without samples is left out.
                let header = samples.peek().map(|_| header);
                header.into_iter().chain(samples)
            });
            families.collect()
        })
    }
}

/// A rendered family of the fleet level.
struct FleetFamily {
    text: Vec<u8>,
    /// Present if it differs from `text`.
    openmetrics: Option<Vec<u8>>,
    series: u64,
}

fn series(families: &[FleetFamily]) -> u64 {
    families.iter().map(|family| family.series).sum()
}

fn write_fleet(scopes: &[FleetScope<'_>]) -> Vec<FleetFamily> {
    let write_family = |family: &Family<FleetSamples>| {
        let write = |format| {
            family.descriptor.family(format, |writer| {
                for scope in scopes {
                    (family.write)(scope, writer);
                }
            })
        };
        let (text, series) = write(ExpositionFormat::Text);
        let is_independent = family.descriptor.is_format_independent();
        let openmetrics = (!is_independent).then(|| write(ExpositionFormat::OpenMetrics).0);
        FleetFamily { text, openmetrics, series }
    };
    FLEET.iter().map(write_family).collect()
}

/// Writes the families of scopes that do not fit into the limit, reduced as far as necessary: owners, groups and
/// updates, families.
fn write_within(scopes: &mut [FleetScope<'_>], limit: u64) -> Vec<FleetFamily> {
    scopes.iter_mut().for_each(FleetScope::fold_owners);
    let mut families = write_fleet(scopes);
    if !limit::is_within(series(&families), limit) {
        limit::fit_to_limit(scopes, series(&families), limit);
        families = write_fleet(scopes);
    }
    while !limit::is_within(series(&families), limit) {
        families.pop();
    }
    families
}

fn scope<'a>(
    fleet: &'a TenantFleet,
    options: &'a RenderOptions,
    (policies, servicing): &(CompiledPolicies<'a>, CompiledServicing<'_>),
    facts: &'a Facts,
) -> FleetScope<'a> {
    let freshness = &options.freshness;
    let summary = Summary::by_owner(fleet, servicing, &options.labels, freshness, facts);
    let policies = PolicyCounts::of(policies, fleet, &summary, facts, freshness);
    FleetScope::new(fleet, summary, policies, facts, (&options.labels, &options.exceptions))
}

#[cfg(test)]
mod tests;

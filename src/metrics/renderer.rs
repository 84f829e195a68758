//! Renders one exposition after the other.
//!
//! The families of the fleet level are counts over everything, so they are written anew each time,
//! but what comes out the same is not compressed again. FamilyWriter of machines are kept by [`blocks`]. Which
//! levels are served is decided by numbers before any of their rows is written, so a level that is not
//! served costs neither time nor memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::RenderOptions;
use super::blocks::{self, Blocks, MACHINE_TABLES, MACHINES_PER_BLOCK, RenderInput};
use super::body::Body;
use super::chunk::{Chunk, ChunkEncoder, ChunkSequence};
use super::families::{FLEET, Family, FleetRows, FleetScope};
use super::limit::{self, SeriesBudget};
use crate::fleet::policy::{self, PolicySummary};
use crate::fleet::summary::Summary;
use crate::fleet::{Machine, TenantFleet};
use crate::model::{DetailLevel, ExpositionFormat};

/// Renders, and remembers what it rendered last.
///
/// The result never depends on what is remembered: it only costs less.
#[derive(Debug)]
pub struct Renderer {
    press: ChunkEncoder,
    /// Families of the fleet level, by format.
    fleet: [Vec<Chunk>; ExpositionFormat::ALL.len()],
    /// `HELP` and `TYPE` of the families of [`MACHINE_TABLES`].
    headers: [Vec<Chunk>; 2],
    blocks: BTreeMap<Arc<str>, Blocks>,
    machines_per_block: u32,
}

impl Default for Renderer {
    fn default() -> Self {
        let mut press = ChunkEncoder::default();
        let headers = MACHINE_TABLES.map(|table| {
            table
                .iter()
                .map(|family| press.chunk(&family.header.lines(ExpositionFormat::Text), None))
                .collect()
        });
        let machines_per_block = MACHINES_PER_BLOCK;
        Self { press, fleet: Default::default(), headers, blocks: BTreeMap::new(), machines_per_block }
    }
}

impl Renderer {
    /// Renders `fleets`, in any order, as they stand at `now`. Of two fleets of one tenant the first
    /// counts.
    pub fn render(&mut self, fleets: &[Arc<TenantFleet>], now: Timestamp, options: &RenderOptions) -> Body {
        let mut fleets: Vec<&TenantFleet> = fleets.iter().map(Arc::as_ref).collect();
        fleets.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        fleets.dedup_by(|later, earlier| later.tenant == earlier.tenant);
        let mut scopes: Vec<_> = fleets.iter().map(|fleet| scope(fleet, now, options)).collect();
        let mut known = std::mem::take(&mut self.blocks);
        for scope in &scopes {
            let tenant = &scope.fleet.tenant;
            let machines = scope.fleet.machines.values().map(|machine| assess(machine, scope, now, options));
            let cut =
                blocks::cut(known.remove(tenant).unwrap_or_default(), machines, self.machines_per_block);
            self.blocks.insert(Arc::clone(tenant), cut);
        }
        drop(known);
        let mut deeper = [0; 2];
        for block in self.blocks.values().flat_map(BTreeMap::values) {
            deeper.iter_mut().zip(block.series()).for_each(|(sum, series)| *sum += series);
        }

        let limit = options.series_limit;
        let mut families = write_fleet(&scopes);
        let asked = families.iter().map(|family| family.series).sum();
        if !limit::is_within(asked, limit) {
            limit::fit_to_limit(&mut scopes, asked, limit);
            families = write_fleet(&scopes);
            while !limit::is_within(families.iter().map(|family| family.series).sum(), limit) {
                families.pop();
            }
        }
        let given = families.iter().map(|family| family.series).sum();
        let served = SeriesBudget::choose(limit, options.detail, (asked, given), deeper);
        Body { fleet: self.fleet_level(&families), deeper: self.deeper_levels(served.deepest), served }
    }

    fn fleet_level(&mut self, families: &[FleetFamily]) -> [ChunkSequence; ExpositionFormat::ALL.len()] {
        let known = std::mem::take(&mut self.fleet);
        for (index, family) in families.iter().enumerate() {
            let mut chunk = |text, format| self.press.chunk(text, known[format as usize].get(index));
            let text = chunk(&family.text, ExpositionFormat::Text);
            let differing =
                family.openmetrics.as_ref().map(|text| chunk(text, ExpositionFormat::OpenMetrics));
            self.fleet[ExpositionFormat::OpenMetrics as usize]
                .push(differing.unwrap_or_else(|| text.clone()));
            self.fleet[ExpositionFormat::Text as usize].push(text);
        }
        self.fleet.each_ref().map(|chunks| chunks.iter().collect())
    }

    fn deeper_levels(&mut self, deepest: DetailLevel) -> [ChunkSequence; 2] {
        let mut text = Vec::new();
        for (tenant, blocks) in &mut self.blocks {
            for block in blocks.values_mut() {
                block.render(tenant, deepest, &mut self.press, &mut text);
            }
        }
        let (headers, blocks) = (&self.headers, &self.blocks);
        [0, 1].map(|level| {
            let families = headers[level].iter().enumerate().flat_map(|(family, header)| {
                let all = blocks.values().flat_map(BTreeMap::values);
                let mut rows = all.filter_map(move |block| block.rows(level, family)).peekable();
                // A family without rows is left out.
                let header = rows.peek().map(|_| header);
                header.into_iter().chain(rows)
            });
            families.collect()
        })
    }
}

/// A family of the fleet level, rendered.
struct FleetFamily {
    text: Vec<u8>,
    /// Where it is not the same as `text`.
    openmetrics: Option<Vec<u8>>,
    series: u64,
}

fn write_fleet(scopes: &[FleetScope<'_>]) -> Vec<FleetFamily> {
    let write = |family: &Family<FleetRows>| {
        let write = |format| {
            family.header.family(format, |rows| scopes.iter().for_each(|scope| (family.rows)(scope, rows)))
        };
        let (text, series) = write(ExpositionFormat::Text);
        let openmetrics = (!family.header.is_alike()).then(|| write(ExpositionFormat::OpenMetrics).0);
        FleetFamily { text, openmetrics, series }
    };
    FLEET.iter().map(write).collect()
}

fn scope<'a>(fleet: &'a TenantFleet, now: Timestamp, options: &'a RenderOptions) -> FleetScope<'a> {
    let RenderOptions { freshness, policies, .. } = options;
    let summary = Summary::of(fleet, now, freshness);
    let policies = PolicySummary::of_each(policies, fleet, &summary.updates, now, freshness);
    FleetScope { fleet, summary, policies }
}

fn assess(
    machine: &Arc<Machine>,
    scope: &FleetScope<'_>,
    now: Timestamp,
    options: &RenderOptions,
) -> RenderInput {
    let missing_updates = machine.assessed_updates(now, &options.freshness);
    let strictest = policy::strictest(&options.policies);
    let overdue = strictest.zip(missing_updates).map(|(policy, missing_updates)| {
        policy::count_overdue(policy, missing_updates, &scope.summary.updates, now)
    });
    RenderInput { machine: Arc::clone(machine), is_assessed: missing_updates.is_some(), overdue }
}

#[cfg(test)]
mod tests;

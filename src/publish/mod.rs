//! Publication: from the fleets of the pollers to the one [`Snapshot`] that readers see.
//!
//! Pollers submit fleets to a [`FleetSender`]. A [`SnapshotTask`] takes the newest fleets of all tenants
//! through three steps, one file each:
//!
//! 1. `persist` saves them to the state file, so that a restart serves what was served before it;
//! 2. `render` makes the snapshot: fleets, exposition, status of the tenants, and the counts of the day, which are saved;
//! 3. `swap` replaces the snapshot that readers see.
//!
//! Readers never wait and never see half a change, because everything is in one value. Fleets that are
//! submitted in quick succession are published together. Freshness changes without an event (fresh
//! becomes stale), so the task also publishes after [`task::LONGEST_WAIT`] without a submission; parts of
//! the exposition that did not change are not rendered again.
//!
//! A reload changes tenants and options in one step, see [`FleetSender::reconfigure`].

mod burn_downs;
mod persist;
mod policy_log;
mod render;
mod sender;
mod servicing_log;
mod snapshot;
mod suppressed;
mod swap;
mod task;
#[cfg(test)]
mod tests;
mod views;

use std::sync::Arc;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::facts::FactsReader;
use crate::fleet::TenantFleet;
use crate::metrics::{RenderOptions, Renderer};
use crate::self_metrics::SelfMetrics;
use crate::store::SharedStore;
use burn_downs::BurnDowns;
use policy_log::PolicyLog;
use servicing_log::ServicingLog;
use suppressed::SuppressedLog;

pub use sender::FleetSender;
pub use snapshot::Snapshot;
pub use swap::SnapshotReader;
pub use task::SnapshotTask;

/// Creates the parts of the publication. The first snapshot is rendered from `fleets`, which hold at least
/// the name of each tenant. Without a `store` nothing outlives the process. New `facts` are published like new
/// fleets.
#[must_use]
pub fn publication(
    fleets: Vec<TenantFleet>,
    options: RenderOptions,
    clock: Clock,
    self_metrics: Arc<SelfMetrics>,
    store: Option<SharedStore>,
    facts: FactsReader,
) -> (FleetSender, SnapshotTask, SnapshotReader) {
    let fleets: Vec<_> = fleets.into_iter().map(Arc::new).collect();
    let started = Instant::now();
    let mut renderer = Renderer::default();
    let mut burn_downs = BurnDowns::new(store.clone());
    let (now, facts_in_use) = (clock.now(), facts.borrow().clone());
    let first = Snapshot::render_recording(
        &mut renderer,
        0,
        fleets.clone(),
        now,
        &options,
        facts_in_use,
        &mut burn_downs,
    );
    first.record(&self_metrics, started.elapsed());
    let mut suppressed = SuppressedLog::default();
    suppressed.update(first.body.budget());
    let views = Arc::clone(&first.views);
    let (writer, reader) = swap::channel(first);
    let sender = FleetSender::new(fleets, options);
    let task = SnapshotTask {
        sender: sender.clone(),
        writer,
        renderer,
        burn_downs,
        views,
        suppressed,
        policy_log: PolicyLog::default(),
        servicing_log: ServicingLog::default(),
        clock,
        self_metrics,
        store,
        facts,
    };
    (sender, task, reader)
}

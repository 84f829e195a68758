//! The task that takes the newest fleets through the three steps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::burn_downs::BurnDowns;
use super::persist::persist;
use super::policy_log::PolicyLog;
use super::sender::{FleetSender, PendingState};
use super::servicing_log::ServicingLog;
use super::snapshot::Snapshot;
use super::suppressed::SuppressedLog;
use super::swap::SnapshotWriter;
use super::views::Views;
use crate::clock::Clock;
use crate::facts::FactsReader;
use crate::metrics::Renderer;
use crate::self_metrics::SelfMetrics;
use crate::store::SharedStore;

/// The longest time between two publications, because states change with time.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// A publication is followed by this many times its duration of rest, so that a large fleet that changes
/// all the time uses a tenth of one core.
const REST_PER_PUBLICATION: u32 = 9;

/// Publishes what is submitted to the [`FleetSender`].
#[derive(Debug)]
pub struct SnapshotTask {
    pub(super) sender: FleetSender,
    pub(super) writer: SnapshotWriter,
    pub(super) renderer: Renderer,
    pub(super) burn_downs: BurnDowns,
    pub(super) views: Arc<Views>,
    pub(super) suppressed: SuppressedLog,
    pub(super) policy_log: PolicyLog,
    pub(super) servicing_log: ServicingLog,
    pub(super) clock: Clock,
    pub(super) self_metrics: Arc<SelfMetrics>,
    pub(super) store: Option<SharedStore>,
    pub(super) facts: FactsReader,
}

impl SnapshotTask {
    /// Publishes until `stop`, and once more then: what was submitted last is persisted too.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            if stop.run_until_cancelled(self.changed()).await.is_none() {
                break;
            }
            let took = self.publish().await;
            let rest = self.sender.rest(took * REST_PER_PUBLICATION);
            if stop.run_until_cancelled(rest).await.is_none() {
                break;
            }
        }
        self.publish().await;
    }

    /// Waits for a submission or for new facts, at most for [`LONGEST_WAIT`].
    async fn changed(&mut self) {
        tokio::select! {
            () = self.sender.changed(LONGEST_WAIT) => {}
            Ok(()) = self.facts.changed() => {}
        }
    }

    /// Persists, renders and swaps; returns the duration.
    pub(super) async fn publish(&mut self) -> Duration {
        let started = Instant::now();
        let PendingState { fleets, options, waiting } = self.sender.take();
        let now = self.clock.now();
        let generation = self.writer.generation() + 1;
        let statuses = fleets.iter().map(|fleet| self.self_metrics.tenant_status(&fleet.tenant)).collect();
        let store = self.store.clone();
        let facts = self.facts.borrow_and_update().clone();
        let (mut renderer, mut burn_downs) =
            (std::mem::take(&mut self.renderer), std::mem::take(&mut self.burn_downs));
        let (views, are_recent) = (Arc::clone(&self.views), self.views.are_recent());
        // Not on the threads that serve: all of it blocks.
        let work = tokio::task::spawn_blocking(move || {
            persist(store.as_ref(), &fleets);
            let snapshot = Snapshot::render_recording(
                &mut renderer,
                generation,
                fleets,
                now,
                &options,
                facts,
                &mut burn_downs,
            );
            burn_downs.save();
            let snapshot = snapshot.with_statuses(statuses).with_views(views);
            if are_recent {
                // The readers of pages would wait for it.
                snapshot.prepare_overview();
            }
            (snapshot, renderer, burn_downs)
        });
        let snapshot;
        (snapshot, self.renderer, self.burn_downs) =
            work.await.expect("Safe: rendering does not panic and is never aborted");
        let took = started.elapsed();
        snapshot.record(&self.self_metrics, took);
        self.suppressed.update(snapshot.body.budget());
        self.policy_log.update(&snapshot);
        self.servicing_log.update(&snapshot);
        let previous = self.writer.swap(snapshot);
        for published_tx in waiting {
            // The caller may have stopped waiting.
            published_tx.send(()).unwrap_or_default();
        }
        // Freeing a large snapshot takes time too.
        let dropping = tokio::task::spawn_blocking(move || drop(previous));
        dropping.await.expect("Safe: dropping does not panic and is never aborted");
        took
    }
}

//! The KBs that all fleets miss, for the facts stage.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::facts::MissingKbs;
use crate::fleet::TenantFleet;
use crate::publish::SnapshotReader;

/// Collects the missing KBs of `fleets`, with their titles.
pub(super) fn missing_kbs(fleets: &[Arc<TenantFleet>]) -> MissingKbs {
    let mut missing = MissingKbs::new();
    let mut seen = HashSet::new();
    let machines = fleets.iter().flat_map(|fleet| fleet.supported_machines());
    let updates = machines
        .filter_map(|machine| machine.assessment.as_ref())
        .flat_map(|data| data.missing_updates.iter());
    for update in updates.map(|missing| &missing.update) {
        // Machines share the facts about an update, so most are seen before.
        if seen.insert((update.kb, Arc::as_ptr(&update.facts))) {
            missing.entry(update.kb).or_default().insert(update.facts.title.as_str().into());
        }
    }
    missing
}

/// Publishes the missing KBs of each snapshot if they differ from those before, until `stop`.
pub(super) async fn follow_snapshots(
    mut snapshots: SnapshotReader,
    missing: watch::Sender<Arc<MissingKbs>>,
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(snapshots.changed()).await {
        let snapshot = snapshots.borrow_and_update().clone();
        // A large fleet takes some milliseconds.
        let collecting = tokio::task::spawn_blocking(move || missing_kbs(&snapshot.fleets));
        let collected = collecting.await.expect("Safe: collecting does not panic and is never aborted");
        missing.send_if_modified(|current| {
            let is_new = **current != collected;
            if is_new {
                *current = Arc::new(collected);
            }
            is_new
        });
    }
    // The updater waits for changes of a sender that is alive.
    stop.cancelled().await;
}

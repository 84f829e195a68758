//! `once`: one poll of every tenant, the exposition on stdout.
//!
//! Made for cron and for `node_exporter`'s textfile collector, which has `process_*` families of its
//! own: they are left out here.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::exporter::Exporter;
use crate::error::AppError;
use crate::metrics::Renderer;
use crate::publish::Snapshot;

/// Polls and prints.
///
/// # Errors
/// When a tenant could not be polled. What is known of it and of the others is printed all the same.
pub(super) async fn once(exporter: Exporter) -> Result<(), AppError> {
    let mut polls = JoinSet::new();
    let Exporter { tenants, workshop, options, .. } = exporter;
    for (index, (_, mut poller)) in tenants.into_iter().enumerate() {
        polls.spawn(async move {
            poller.poll_all().await;
            (index, Arc::new(poller.fleet().clone()))
        });
    }
    let mut polled = polls.join_all().await;
    polled.sort_by_key(|(index, _)| *index);
    let fleets: Vec<_> = polled.into_iter().map(|(_, fleet)| fleet).collect();
    let store = workshop.state.store;
    let remembered = fleets.clone();
    let saved = tokio::task::spawn_blocking(move || store.save(&remembered)).await;
    saved.expect("Safe: saving does not panic and is never aborted");
    let failed: Vec<_> = fleets.iter().filter(|fleet| !fleet.status.up).map(|fleet| &*fleet.tenant).collect();
    let failed = failed.join(", ");

    let now = workshop.clock.now();
    let started = Instant::now();
    let published = Snapshot::render(&mut Renderer::default(), 1, fleets, now, &options);
    published.count(&workshop.self_metrics, started.elapsed());
    let text = published.body.plain(&workshop.self_metrics.encode_own());
    super::print(&String::from_utf8_lossy(&text))?;
    if failed.is_empty() { Ok(()) } else { Err(AppError::PollFailed(failed)) }
}

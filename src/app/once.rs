//! `once`: polls every tenant once and prints the exposition on stdout.
//!
//! The command is meant for cron and the textfile collector of `node_exporter`. That exporter has its own
//! `process_*` families, so they are left out here.

use std::sync::Arc;

use super::load::load_for_polling;
use super::output::print;
use super::runtime::block_on;
use crate::cli::Flags;
use crate::clock::Clock;
use crate::daemon::{Daemon, TenantStore};
use crate::error::AppError;
use crate::http::ProxyMode;
use crate::self_metrics::SelfMetrics;

/// Polls and prints.
///
/// # Errors
/// Fails if a tenant could not be polled. Its previous data and the data of the others are printed anyway.
pub(super) fn once(flags: &Flags, self_metrics: &Arc<SelfMetrics>, clock: Clock) -> Result<(), AppError> {
    let config = load_for_polling(flags.config_file(), flags.shard, self_metrics, &clock)?;
    config.log_start(flags.config_file(), flags.shard);
    let store = TenantStore::open(flags.storage_path(), &clock, self_metrics)?;
    store.take_over(&config.active.config, flags)?;
    block_on(async {
        let metrics = Arc::clone(self_metrics);
        let daemon = Daemon::build(config.active, ProxyMode::Configured, store, metrics, clock)?;
        let snapshot = daemon.poll_once().await;
        let exposition = snapshot.body.plain(&self_metrics.encode_own());
        print(&String::from_utf8_lossy(&exposition))?;
        let failed = snapshot.fleets.iter().filter(|fleet| !fleet.status.up);
        let failed: Vec<_> = failed.map(|fleet| &*fleet.tenant).collect();
        if failed.is_empty() { Ok(()) } else { Err(AppError::PollFailed(failed.join(", "))) }
    })
}

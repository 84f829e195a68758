//! `run`: polls the configured tenants and serves their metrics until a signal.

use std::sync::Arc;

use super::load::load_for_serving;
use super::runtime::block_on;
use crate::cli::Flags;
use crate::clock::Clock;
use crate::daemon::{Daemon, Signals, Sockets, TenantStore};
use crate::error::AppError;
use crate::http::ProxyMode;
use crate::self_metrics::SelfMetrics;

/// Runs the daemon.
///
/// # Errors
/// Fails if the configuration is invalid, the state folder is in use, a socket cannot be listened on, or a task
/// ends unexpectedly.
pub(super) fn run(flags: &Flags, self_metrics: Arc<SelfMetrics>, clock: Clock) -> Result<(), AppError> {
    let sockets = Sockets::new(flags);
    let config = load_for_serving(flags.config_file(), flags, &self_metrics, &clock)?;
    config.log_start(flags.config_file(), flags.shard);
    let store = TenantStore::open(flags.storage_path(), &clock, &self_metrics)?;
    store.take_over(&config.active.config, flags)?;
    block_on(async {
        let signals = Signals::catch()?;
        let daemon = Daemon::build(config.active, ProxyMode::Configured, store, self_metrics, clock)?;
        daemon.serve(sockets, config.web, flags, signals).await
    })
}

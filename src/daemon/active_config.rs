//! The configuration that the daemon currently runs with.

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::{self, Config, LoadError, Problem};
use crate::file_watch::FileWatch;
use crate::model::Shard;
use crate::self_metrics::SelfMetrics;

/// The current configuration, and the file that it comes from.
#[derive(Debug)]
pub(crate) struct ActiveConfig {
    pub(crate) config: Config,
    pub(super) file: PathBuf,
    pub(super) shard: Shard,
    /// Created before the file was read, so that no change is missed.
    pub(super) watch: FileWatch,
}

impl ActiveConfig {
    /// Loads the configuration file without the tenants that other shards poll. Also returns the warnings about it.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is invalid.
    pub(crate) fn load(
        file: &Path,
        shard: Shard,
        self_metrics: &SelfMetrics,
        clock: &Clock,
    ) -> Result<(Self, Vec<Problem>), LoadError> {
        let watch = FileWatch::of([file.to_owned()]);
        let mut loaded = config::load(file)?;
        let now = clock.now();
        let warnings = loaded.warnings_at(now);
        loaded.config.keep_shard(shard);
        self_metrics.config_loaded(now);
        self_metrics.shard(shard);
        Ok((Self { config: loaded.config, file: file.to_owned(), shard, watch }, warnings))
    }
}

/// Warns that no tenant of a configuration that is about to be used is in the shard, if it is so.
pub(crate) fn warn_of_empty_shard(config: &Config, shard: Shard) {
    if config.tenants.is_empty() {
        tracing::warn!(
            %shard,
            "no tenant of the configuration is in the shard; the exporter polls nothing until a reload adds one"
        );
    }
}

/// Logs the warnings about a configuration that is about to be used.
pub(crate) fn log_warnings(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(problem = %warning, "configuration warning");
    }
}

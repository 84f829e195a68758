//! The configuration that the daemon currently runs with.

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::{self, Config, LoadError, Problem};
use crate::file_watch::FileWatch;
use crate::self_metrics::SelfMetrics;

/// The current configuration, and the file that it comes from.
#[derive(Debug)]
pub(crate) struct ActiveConfig {
    pub(crate) config: Config,
    pub(super) file: PathBuf,
    /// Created before the file was read, so that no change is missed.
    pub(super) watch: FileWatch,
}

impl ActiveConfig {
    /// Loads the configuration file. Also returns the warnings about it.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is invalid.
    pub(crate) fn load(
        file: &Path,
        self_metrics: &SelfMetrics,
        clock: &Clock,
    ) -> Result<(Self, Vec<Problem>), LoadError> {
        let watch = FileWatch::of([file.to_owned()]);
        let loaded = config::load(file)?;
        let now = clock.now();
        let warnings = loaded.warnings_at(now);
        self_metrics.config_loaded(now);
        Ok((Self { config: loaded.config, file: file.to_owned(), watch }, warnings))
    }
}

/// Logs the warnings about a configuration that is about to be used.
pub(crate) fn log_warnings(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!(problem = %warning, "configuration warning");
    }
}

//! The configuration files of a command.

use std::path::Path;
use std::sync::Arc;

use super::output::combine_results;
use crate::cli::Flags;
use crate::clock::Clock;
use crate::config::{self, Problem};
use crate::daemon::{ActiveConfig, log_warnings, warn_of_empty_shard};
use crate::error::AppError;
use crate::model::Shard;
use crate::self_metrics::SelfMetrics;
use crate::web::{WebConfigError, WebConfigWatcher};

/// The configuration of a command that polls.
pub(super) struct RunConfig {
    pub(super) active: ActiveConfig,
    pub(super) warnings: Vec<Problem>,
    /// The web configuration, if the command serves and a file is given.
    pub(super) web: Option<WebConfigWatcher>,
}

/// Validates the configuration and, if a file is given, the web configuration, without using them.
///
/// # Errors
/// The problems of both files.
pub(super) fn validate(
    file: &Path,
    web_file: Option<&Path>,
) -> Result<(config::LoadedConfig, Option<config::web::LoadedWebConfig>), AppError> {
    let web = web_file.map(|file| config::web::load(file).outcome).transpose();
    combine_results(config::load(file), web.map_err(WebConfigError::from))
}

/// Loads the configuration `file` and the web configuration that a serving command uses.
///
/// # Errors
/// The problems of both files.
pub(super) fn load_for_serving(
    file: &Path,
    flags: &Flags,
    self_metrics: &Arc<SelfMetrics>,
    clock: &Clock,
) -> Result<RunConfig, AppError> {
    let main = ActiveConfig::load(file, flags.shard, self_metrics, clock);
    let web_file = flags.web_config_file.as_deref();
    let web = web_file.map(|file| WebConfigWatcher::open(file, Arc::clone(self_metrics))).transpose();
    let ((active, warnings), web) = combine_results(main, web)?;
    Ok(RunConfig { active, warnings, web })
}

/// Loads the configuration `file` alone.
///
/// # Errors
/// The problems of the file.
pub(super) fn load_for_polling(
    file: &Path,
    shard: Shard,
    self_metrics: &SelfMetrics,
    clock: &Clock,
) -> Result<RunConfig, AppError> {
    let main = ActiveConfig::load(file, shard, self_metrics, clock);
    let ((active, warnings), web) = combine_results(main, Ok(None))?;
    Ok(RunConfig { active, warnings, web })
}

impl RunConfig {
    /// Logs the warnings of the configuration `file`, and the start.
    pub(super) fn log_start(&self, file: &Path, shard: Shard) {
        log_warnings(&self.warnings);
        warn_of_empty_shard(&self.active.config, shard);
        let version = env!("CARGO_PKG_VERSION");
        let tenants = self.active.config.tenants.len();
        tracing::info!(version, config = %file.display(), %shard, tenants, "starting");
    }
}

//! `check-config`: validates the configuration files offline.

use std::path::Path;

use super::load::validate;
use super::output::print;
use crate::cli::Flags;
use crate::clock::Clock;
use crate::config::expand;
use crate::error::AppError;

/// Validates `file`, or the configuration file of the flags, and the web configuration file of the flags. With
/// `expands`, also prints the presets of the file as rules; the other lines are comments then, so that the output is
/// a section of a configuration file.
///
/// # Errors
/// The problems of both files.
pub(super) fn check_config(
    file: Option<&Path>,
    expands: bool,
    flags: &Flags,
    clock: &Clock,
) -> Result<(), AppError> {
    let file = file.unwrap_or(flags.config_file());
    let web_file = flags.web_config_file.as_deref();
    let (loaded, web) = validate(file, web_file)?;
    let unreadable = loaded.unreadable_inputs(flags.storage_path());
    let mark = if expands { "# " } else { "" };
    let warnings = loaded.warnings_at(clock.now());
    for warning in warnings.iter().chain(&unreadable).chain(web.iter().flat_map(|web| &web.warnings)) {
        print(&format!("{mark}warning: {warning}\n"))?;
    }
    print(&format!("{mark}{}: the configuration is valid\n", file.display()))?;
    if let Some(file) = web_file {
        print(&format!("{mark}{}: the web configuration is valid\n", file.display()))?;
    }
    if !expands {
        return Ok(());
    }
    let mut presets = loaded.config.policies.iter().filter(|policy| policy.preset.is_some()).peekable();
    match presets.peek() {
        Some(_) => print(&expand(presets)),
        None => print("# no policy of the file has a preset\n"),
    }
}

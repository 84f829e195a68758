//! `check-config`: validates the configuration files offline.

use std::path::Path;

use super::load::validate;
use super::output::print;
use crate::cli::Flags;
use crate::error::AppError;

/// Validates `file`, or the configuration file of the flags, and the web configuration file of the flags.
///
/// # Errors
/// The problems of both files.
pub(super) fn check_config(file: Option<&Path>, flags: &Flags) -> Result<(), AppError> {
    let file = file.unwrap_or(flags.config_file());
    let web_file = flags.web_config_file.as_deref();
    let (loaded, web) = validate(file, web_file)?;
    let unreadable = loaded.unreadable_inputs(flags.storage_path());
    for warning in loaded.warnings.iter().chain(&unreadable).chain(web.iter().flat_map(|web| &web.warnings)) {
        print(&format!("warning: {warning}\n"))?;
    }
    print(&format!("{}: the configuration is valid\n", file.display()))?;
    match web_file {
        Some(file) => print(&format!("{}: the web configuration is valid\n", file.display())),
        None => Ok(()),
    }
}

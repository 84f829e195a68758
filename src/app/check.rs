//! `check`: what a person runs when nothing works, or before anything does.
//!
//! It works beside a running exporter: the state is not opened. The calls that it makes count at the API
//! like all others of the application, and in no book of the exporter's, whose share leaves room for them.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use super::{load, print};
use crate::check::{self, CheckReport, CheckSection, StepOutcome};
use crate::cli::Flags;
use crate::clock::Clock;
use crate::config::web::LoadedWeb;
use crate::config::{self, Problem};
use crate::error::AppError;
use crate::self_metrics::SelfMetrics;

/// Examines the configuration, the storage and every tenant, and prints what comes of it.
///
/// # Errors
/// When the configuration cannot be used, and when a step failed: which, was printed.
pub(super) async fn check(
    flags: Flags,
    self_metrics: Arc<SelfMetrics>,
    clock: Clock,
) -> Result<(), AppError> {
    let (loaded, web) = load(&flags.config_file, flags.web_config_file.as_deref())?;
    let mut report = CheckReport::default();
    let mut show = |section: &CheckSection| {
        report.add(section);
        print(&section.to_string())
    };
    show(&this_machine(&loaded, web.as_ref(), &flags))?;

    let mut examinations = Vec::new();
    for tenant in loaded.config.tenants {
        let metrics = self_metrics.tenant(&tenant.name);
        // Tenants do not wait for each other, and yet appear in their order.
        let mut examination = JoinSet::new();
        let examined = check::examine(tenant, loaded.config.poll, clock.clone(), metrics);
        // What is found is printed; a line of the log would say it again, and out of place.
        examination.spawn(examined.with_subscriber(NoSubscriber::new()));
        examinations.push(examination);
    }
    for examination in examinations {
        examination.join_all().await.iter().try_for_each(&mut show)?;
    }
    print(&report.to_string())?;
    match report.failed() {
        [] => Ok(()),
        failed => Err(AppError::CheckFailed(failed.join(", "))),
    }
}

/// What all tenants share.
fn this_machine(loaded: &config::Loaded, web: Option<&LoadedWeb>, flags: &Flags) -> CheckSection {
    let mut section = CheckSection::new("this machine");
    let mut add = |step, file: &Path, warnings: &[Problem]| {
        for warning in warnings {
            section.add(step, StepOutcome::Warning, &warning.to_string());
        }
        if warnings.is_empty() {
            section.add(step, StepOutcome::Ok, &format!("`{}` is good", file.display()));
        }
    };
    add("configuration", &flags.config_file, &loaded.warnings);
    if let Some((web, file)) = web.zip(flags.web_config_file.as_deref()) {
        add("web configuration", file, &web.warnings);
    }
    let (outcome, text) = check::storage(flags.storage_path());
    section.add("storage", outcome, &text);
    section
}

//! `check`: tests everything that the configuration needs, online.
//!
//! The command can run beside a running exporter, because it does not open the state file. Its calls count
//! against the quota of the application but are not recorded by the running exporter; the share of the quota
//! that the exporter leaves unused covers them.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use super::load::validate;
use super::output::print;
use super::runtime::block_on;
use crate::check::{self, CheckReport, CheckSection, CheckedSettings, StepOutcome};
use crate::cli::Flags;
use crate::clock::Clock;
use crate::config::web::LoadedWebConfig;
use crate::config::{Config, Problem};
use crate::error::AppError;
use crate::facts::FactsSettings;
use crate::http::ProxyMode;
use crate::self_metrics::SelfMetrics;

/// Checks the configuration, the storage and every tenant, and prints the results.
///
/// # Errors
/// Fails if the configuration is invalid or a step failed. The failed steps are printed.
pub(super) fn check(flags: Flags, self_metrics: Arc<SelfMetrics>, clock: Clock) -> Result<(), AppError> {
    block_on(check_all(flags, self_metrics, clock))
}

async fn check_all(flags: Flags, self_metrics: Arc<SelfMetrics>, clock: Clock) -> Result<(), AppError> {
    let (mut loaded, web) = validate(flags.config_file(), flags.web_config_file.as_deref())?;
    let mut report = CheckReport::default();
    let mut show = |section: &CheckSection| {
        report.add(section);
        print(&section.to_string())
    };
    let warnings = loaded.warnings_at(clock.now());
    let all = loaded.config.keep_shard(flags.shard);
    let kept = loaded.config.tenants.len();
    show(&check_this_machine(&warnings, web.as_ref(), (kept, all), &flags))?;

    let mut facts = Arc::default();
    if let Some(config) = &loaded.config.facts {
        let settings = FactsSettings::new(config, flags.storage_path(), ProxyMode::Configured);
        let section;
        (section, facts) = check::facts(settings).await;
        show(&section)?;
    }

    let Config { tenants, poll, policies, servicing, .. } = loaded.config;
    let is_single_tenant = all == 1;
    let settings = Arc::new(CheckedSettings { poll, policies, servicing, facts, is_single_tenant });
    let mut checks = Vec::new();
    for tenant in tenants {
        let metrics = self_metrics.tenant(&tenant.name);
        // Tenants are checked in parallel and printed in the order of the configuration.
        let mut task = JoinSet::new();
        let checking = check::examine(tenant, Arc::clone(&settings), clock.clone(), metrics);
        // The results are printed; log lines would repeat them.
        task.spawn(checking.with_subscriber(NoSubscriber::new()));
        checks.push(task);
    }
    for task in checks {
        task.join_all().await.iter().try_for_each(&mut show)?;
    }
    print(&report.to_string())?;
    match report.failed() {
        [] => Ok(()),
        failed => Err(AppError::CheckFailed(failed.join(", "))),
    }
}

/// Checks the parts that all tenants share. `tenants` are the number of tenants in the shard and of all tenants.
fn check_this_machine(
    warnings: &[Problem],
    web: Option<&LoadedWebConfig>,
    tenants: (usize, usize),
    flags: &Flags,
) -> CheckSection {
    let mut section = CheckSection::new("this machine");
    let mut add = |step, file: &Path, warnings: &[Problem]| {
        for warning in warnings {
            section.add(step, StepOutcome::Warning, &warning.to_string());
        }
        if warnings.is_empty() {
            section.add(step, StepOutcome::Ok, &format!("`{}` is good", file.display()));
        }
    };
    add("configuration", flags.config_file(), warnings);
    if let Some((web, file)) = web.zip(flags.web_config_file.as_deref()) {
        add("web configuration", file, &web.warnings);
    }
    if !flags.shard.is_only() {
        let (kept, all) = tenants;
        let outcome = if kept == 0 { StepOutcome::Warning } else { StepOutcome::Ok };
        let text =
            format!("{kept} of {all} tenants are in shard {}; the others are not checked", flags.shard);
        section.add("shard", outcome, &text);
    }
    let (outcome, text) = check::storage(flags.storage_path());
    section.add("storage", outcome, &text);
    section
}

//! Tenants of which the state has no data: their import from other state files, and the warning about the others.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::reload_plan::TenantName;
use super::tenant_store::TenantStore;
use crate::cli::Flags;
use crate::config::Config;
use crate::error::{AppError, Chain};
use crate::store::ImportedTenant;

/// The number of tenants that a line names.
const SHOWN: usize = 20;

impl TenantStore {
    /// Imports the tenants of `config` that the state lacks from the files of the flags, and reports those that it lacks
    /// afterwards. Blocks.
    ///
    /// # Errors
    /// Fails if the state lacks a tenant and a file cannot be read: the times at which its updates were first seen would
    /// be lost.
    pub(crate) fn take_over(&self, config: &Config, flags: &Flags) -> Result<(), AppError> {
        let was_empty = !self.store.has_tenants();
        let names: Vec<TenantName> = config.tenants.iter().map(|tenant| Arc::clone(&tenant.name)).collect();
        let imported = self.store.import(&names, &flags.imports).map_err(|error| {
            let lacking = shown(&self.lacking(names.clone()));
            AppError::Storage(format!(
                "cannot import the tenants that the state in `{}` lacks ({lacking}): {}; without --storage.import, first \
                 seen begins today for them",
                self.folder.display(),
                Chain(&error)
            ))
        })?;
        if !imported.is_empty() {
            self.record_restored();
        }
        log_imported(&imported);
        let is_first_start = was_empty && flags.shard.is_only() && flags.imports.is_empty();
        if !is_first_start {
            self.warn_of_new_tenants(names);
        } else if !names.is_empty() {
            tracing::info!(folder = %self.folder.display(), "the state is empty; first seen begins today for every tenant");
        }
        Ok(())
    }

    /// Warns of those of `tenants` of which the state has no data. Blocks.
    pub(super) fn warn_of_new_tenants(&self, tenants: Vec<TenantName>) {
        let lacking = self.lacking(tenants);
        if !lacking.is_empty() {
            tracing::warn!(
                tenants = shown(&lacking),
                count = lacking.len(),
                "first seen begins today for tenants that are new to the state; if another exporter polled them before, \
                 its state file has the earlier times: see --storage.import in the documentation about shards"
            );
        }
    }

    fn lacking(&self, mut tenants: Vec<TenantName>) -> Vec<TenantName> {
        tenants.retain(|tenant| self.store.fleet(tenant).is_none());
        tenants
    }
}

/// The first names, and an ellipsis for the others.
fn shown(tenants: &[TenantName]) -> String {
    let names: Vec<_> = tenants.iter().take(SHOWN).map(|tenant| &**tenant).collect();
    names.join(",") + if tenants.len() > SHOWN { ",..." } else { "" }
}

fn log_imported(imported: &[ImportedTenant]) {
    for ImportedTenant { tenant, file, machines, newest, older_files, .. } in imported {
        let newest = newest.map(tracing::field::display);
        let older: Vec<_> = older_files.iter().map(|file| file.display().to_string()).collect();
        let older = (!older.is_empty()).then(|| older.join(","));
        let tenant = &**tenant;
        tracing::info!(tenant, file = %file.display(), machines, newest, older_in = older, "tenant imported");
    }
    let skipped: BTreeSet<(&Path, u64)> =
        imported.iter().map(|imported| (imported.file.as_path(), imported.skipped_rows)).collect();
    for (file, rows) in skipped.into_iter().filter(|(_, rows)| *rows > 0) {
        tracing::warn!(file = %file.display(), rows, "invalid rows of an imported state file were left out");
    }
}

//! Detects credentials that an administrator renewed.
//!
//! Every token request reads its credential again, so a change needs no reload. It is worth an attempt at once
//! for the tenants whose old credential was refused.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::file_watch::FileWatch;

/// Watches the files of the secrets and certificates of all tenants.
#[derive(Debug)]
pub(super) struct CredentialWatch(Option<FileWatch>);

impl CredentialWatch {
    /// Watches the files that `config` names. Blocks, because it reads them.
    pub(super) fn of(config: &Config) -> Self {
        let files = config.tenants.iter().filter_map(|tenant| tenant.auth.renewed_file());
        let files: BTreeSet<_> = files.map(ToOwned::to_owned).collect();
        Self((!files.is_empty()).then(|| FileWatch::of(files)))
    }

    /// Waits until one of the files has changed. May be cancelled.
    pub(super) async fn changed(&mut self) {
        match &mut self.0 {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }
}

//! The files of the client secrets and certificates of all tenants.
//!
//! Every token request reads its credential again, so a renewed file needs no reload. It is worth an attempt at
//! once for the tenants whose old credential was refused. The expiry of each certificate is a metric.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::reload_plan::TenantName;
use crate::config::{Auth, Config};
use crate::defender::Client;
use crate::error::Chain;
use crate::file_watch::FileWatch;
use crate::self_metrics::SelfMetrics;

/// Watches the files, and reports the certificates in them.
#[derive(Debug)]
pub(super) struct CredentialFiles {
    /// None without a file.
    watch: Option<FileWatch>,
    certificates: Vec<(TenantName, PathBuf)>,
    self_metrics: Arc<SelfMetrics>,
}

impl CredentialFiles {
    /// Watches the files that `config` names, and reports the certificates. Blocks.
    pub(super) fn of(config: &Config, self_metrics: Arc<SelfMetrics>) -> Self {
        let files = config.tenants.iter().filter_map(|tenant| tenant.auth.renewed_file());
        let files: BTreeSet<_> = files.map(ToOwned::to_owned).collect();
        // Created before the certificates are read, so that no change is missed.
        let watch = (!files.is_empty()).then(|| FileWatch::of(files));
        let mut certificates = Vec::new();
        for tenant in &config.tenants {
            match &tenant.auth {
                Auth::ClientCertificate(path) => certificates.push((Arc::clone(&tenant.name), path.clone())),
                _ => self_metrics.tenant(&tenant.name).client_certificate(None),
            }
        }
        report(&certificates, &self_metrics);
        Self { watch, certificates, self_metrics }
    }

    /// Waits until a file has changed, and reports the certificates again. May be cancelled while it waits.
    pub(super) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
        let (certificates, self_metrics) = (self.certificates.clone(), Arc::clone(&self.self_metrics));
        let reading = tokio::task::spawn_blocking(move || report(&certificates, &self_metrics));
        reading.await.expect("Safe: reading does not panic and is never aborted");
    }
}

/// Sets the metric of each tenant with a certificate. Blocks.
fn report(certificates: &[(TenantName, PathBuf)], self_metrics: &Arc<SelfMetrics>) {
    for (name, path) in certificates {
        self_metrics.tenant(name).client_certificate(expiry(name, path));
    }
}

/// The time at which the certificate in the file expires; none if it cannot be read.
fn expiry(tenant: &str, path: &Path) -> Option<Timestamp> {
    match Client::certificate_validity(path) {
        Ok(validity) => Some(validity.not_after),
        Err(error) => {
            tracing::warn!(tenant, error = %Chain(&error), "client certificate cannot be used; the next token request will fail");
            None
        }
    }
}

//! The expiry of the client certificates, read at the start and whenever a file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::reload_plan::TenantName;
use crate::config::{Auth, Config};
use crate::defender::Client;
use crate::error::Chain;
use crate::file_watch::FileWatch;
use crate::self_metrics::SelfMetrics;

/// Reports the expiry of the client certificates of all tenants.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    files: Vec<(TenantName, PathBuf)>,
    watch: FileWatch,
    self_metrics: Arc<SelfMetrics>,
}

impl ClientCertificates {
    /// Reads the certificates that `config` names, and watches their files. Blocks.
    pub(super) fn of(config: &Config, self_metrics: Arc<SelfMetrics>) -> Self {
        let mut files = Vec::new();
        for tenant in &config.tenants {
            match &tenant.auth {
                Auth::ClientCertificate(path) => files.push((Arc::clone(&tenant.name), path.clone())),
                _ => self_metrics.tenant(&tenant.name).client_certificate(None),
            }
        }
        // Created before the files are read, so that no change is missed.
        let watch = FileWatch::of(files.iter().map(|(_, path)| path.clone()));
        for (name, path) in &files {
            self_metrics.tenant(name).client_certificate(expiry(name, path));
        }
        Self { files, watch, self_metrics }
    }

    /// Waits until a file has changed, and reports its certificate.
    pub(super) async fn changed(&mut self) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        self.watch.changed().await;
        let files = self.files.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let read = |(name, path): (TenantName, PathBuf)| (expiry(&name, &path), name);
            files.into_iter().map(read).collect::<Vec<_>>()
        });
        let read = reading.await.expect("Safe: reading does not panic and is never aborted");
        for (expires, name) in read {
            self.self_metrics.tenant(&name).client_certificate(expires);
        }
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

//! Reload of the web configuration file.
//!
//! The file is read again when it changes, or when a certificate, key or authority that it names changes. A
//! valid file applies to the next connection and the next request. An invalid file changes nothing and is
//! logged once with its problems. (The exporter-toolkit, which defines the format, would answer every request
//! with 500.)

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::security::{WebSecurity, WebSecurityError, WebSecurityReader};
use crate::config::LoadError;
use crate::config::web::{self, WebLoad};
use crate::file_watch::FileWatch;
use crate::self_metrics::SelfMetrics;

/// Watches the file and owns the current access control.
#[derive(Debug)]
pub struct WebConfigWatcher {
    file: PathBuf,
    watch: FileWatch,
    access: watch::Sender<Arc<WebSecurity>>,
    self_metrics: Arc<SelfMetrics>,
}

/// The reason that a web configuration file is rejected.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    /// The file has problems.
    #[error(transparent)]
    File(#[from] LoadError),
    /// The file is valid, but its settings cannot be applied.
    #[error(transparent)]
    WebSecurity(#[from] WebSecurityError),
}

impl WebConfigWatcher {
    /// Reads `file` and the files that it names, and watches them from now on.
    ///
    /// # Errors
    /// Returns an error if the file is rejected.
    pub fn open(file: &Path, self_metrics: Arc<SelfMetrics>) -> Result<Self, WebConfigError> {
        let (load, watch) = read(file);
        let access = watch::Sender::new(Arc::new(access(load, &self_metrics)?));
        Ok(Self { file: file.to_path_buf(), watch, access, self_metrics })
    }

    /// A receiver of the current access control.
    #[must_use]
    pub fn reader(&self) -> WebSecurityReader {
        self.access.subscribe()
    }

    /// Applies changes of the file until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.watch.changed() => {}
            }
            let file = self.file.clone();
            let read = tokio::task::spawn_blocking(move || read(&file)).await;
            let (load, watch) = read.expect("Safe: load does not panic and is never aborted");
            self.watch = watch;
            self.apply(load);
        }
    }

    fn apply(&self, load: WebLoad) {
        let file = self.file.display();
        match access(load, &self.self_metrics) {
            Ok(access) => {
                self.access.send_replace(Arc::new(access));
                tracing::info!(%file, "web configuration reloaded");
            }
            Err(error) => {
                tracing::error!(%file, %error, "web configuration rejected; keeping the previous one");
            }
        }
    }
}

/// Reads `file` and watches every file that was read, without missing a change in between.
fn read(file: &Path) -> (WebLoad, FileWatch) {
    let mut files = vec![file.to_path_buf()];
    loop {
        let watch = FileWatch::of(files.clone());
        let load = web::load(file);
        if load.files == files {
            return (load, watch);
        }
        files = load.files;
    }
}

/// Builds the access control of a loaded file, logs its warnings and sets the metric of its certificate.
fn access(load: WebLoad, self_metrics: &SelfMetrics) -> Result<WebSecurity, WebConfigError> {
    let loaded = load.outcome?;
    let access = WebSecurity::new(&loaded.config)?;
    for warning in &loaded.warnings {
        tracing::warn!(problem = %warning, "the web configuration has an unusual value");
    }
    self_metrics.web_certificate(loaded.config.tls.map(|tls| tls.expires));
    Ok(access)
}

//! The web configuration file while the exporter runs.
//!
//! It is read anew when it changes, or a certificate, key or authority that it names. A good one is in
//! force for the next connection and the next request. A bad one changes nothing and is logged once,
//! with its problems: the toolkit that the format comes from would answer every request with 500.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::security::{WebSecurity, WebSecurityError, WebSecurityReader};
use crate::config::LoadError;
use crate::config::web::{self, Reading};
use crate::file_watch::FileWatch;
use crate::self_metrics::SelfMetrics;

/// The file, watched, and the access that came of it.
#[derive(Debug)]
pub struct WebConfigWatcher {
    file: PathBuf,
    watch: FileWatch,
    access: watch::Sender<Arc<WebSecurity>>,
    self_metrics: Arc<SelfMetrics>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    /// It has problems.
    #[error(transparent)]
    File(#[from] LoadError),
    /// It is good, and yet nothing can be made of it.
    #[error(transparent)]
    WebSecurity(#[from] WebSecurityError),
}

impl WebConfigWatcher {
    /// Reads `file`, with the files that it names, and watches them from now on.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(file: &Path, self_metrics: Arc<SelfMetrics>) -> Result<Self, WebConfigError> {
        let (reading, watch) = read(file);
        let access = watch::Sender::new(Arc::new(access(reading, &self_metrics)?));
        Ok(Self { file: file.to_path_buf(), watch, access, self_metrics })
    }

    /// The access in force.
    #[must_use]
    pub fn reader(&self) -> WebSecurityReader {
        self.access.subscribe()
    }

    /// Follows the file until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.watch.changed() => {}
            }
            let file = self.file.clone();
            let read = tokio::task::spawn_blocking(move || read(&file)).await;
            let (reading, watch) = read.expect("Safe: reading does not panic and is never aborted");
            self.watch = watch;
            self.apply(reading);
        }
    }

    fn apply(&self, reading: Reading) {
        let file = self.file.display();
        match access(reading, &self.self_metrics) {
            Ok(access) => {
                self.access.send_replace(Arc::new(access));
                tracing::info!(%file, "the web configuration changed and is in force");
            }
            Err(error) => {
                tracing::error!(%file, %error, "the web configuration changed and is not used; the old one stays");
            }
        }
    }
}

/// Reads `file` and watches all that this takes, nothing in between missed.
fn read(file: &Path) -> (Reading, FileWatch) {
    let mut files = vec![file.to_path_buf()];
    loop {
        let watch = FileWatch::of(files.clone());
        let reading = web::load(file);
        if reading.files == files {
            return (reading, watch);
        }
        files = reading.files;
    }
}

/// What a reading stands for. What is told of it, by log and metrics, is true as soon as it is in force.
fn access(reading: Reading, self_metrics: &SelfMetrics) -> Result<WebSecurity, WebConfigError> {
    let loaded = reading.outcome?;
    let access = WebSecurity::new(&loaded.config)?;
    for warning in &loaded.warnings {
        tracing::warn!(problem = %warning, "the web configuration has an unusual value");
    }
    self_metrics.web_certificate(loaded.config.tls.map(|tls| tls.expires));
    Ok(access)
}

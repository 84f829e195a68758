//! The log lines about failures of sources.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::job::Task;
use super::update::UpdateReport;
use crate::error::Chain;
use crate::model::{FactsFailure, FactsSource};

/// Logs a failure when it begins or when its reason changes, and its end. A host that cannot be reached for days causes
/// one line.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    failing: BTreeMap<(FactsSource, Box<str>), FactsFailure>,
    is_unwritable: bool,
}

impl FailureLog {
    /// Logs what is new in `report`.
    pub(super) fn update(&mut self, task: &Task, report: &UpdateReport) {
        if let Task::Sources(sources) = task {
            let still = |(source, part): &(FactsSource, Box<str>)| {
                report.failures.iter().any(|failure| failure.source == *source && failure.part == *part)
            };
            let ended: Vec<_> =
                self.failing.keys().filter(|key| sources.contains(&key.0) && !still(key)).cloned().collect();
            for key in ended {
                self.failing.remove(&key);
                let (source, part) = key;
                let part = (!part.is_empty()).then_some(&*part);
                tracing::info!(%source, part, "facts fetched again");
            }
        }
        for failure in &report.failures {
            let (source, reason) = (failure.source, failure.error.reason());
            let part = (!failure.part.is_empty()).then_some(&*failure.part);
            let error = Chain(&failure.error).to_string();
            if self.failing.insert((source, failure.part.clone()), reason) == Some(reason) {
                tracing::debug!(%source, part, %reason, error, "facts cannot be fetched");
            } else {
                tracing::warn!(%source, part, %reason, error, "facts cannot be fetched; keeping the old data and trying again");
            }
        }
        if report.accepted > 0 {
            tracing::info!(parts = report.accepted, failed = report.failures.len(), "facts updated");
        }
    }

    /// Notes that the file was written.
    pub(super) fn written(&mut self) {
        self.is_unwritable = false;
    }

    /// Logs that the file cannot be written.
    pub(super) fn not_written(&mut self, file: &Path, error: &io::Error) {
        if !self.is_unwritable {
            let file = file.display();
            tracing::warn!(%file, %error, "facts file cannot be written; keeping the facts in memory until the next update");
        }
        self.is_unwritable = true;
    }
}

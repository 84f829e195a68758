//! The settings of the facts stage.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::fetch::Fetcher;
use super::msrc::DocumentId;
use super::{Facts, FactsFile};
use crate::config::FactsConfig;
use crate::http::{HttpError, ProxyMode};
use crate::model::FactsSource;

/// The facts of a file, and the ids of its documents.
#[derive(Clone, Debug, Default)]
pub(super) struct LoadedFacts {
    pub(super) facts: Arc<Facts>,
    pub(super) documents: BTreeSet<DocumentId>,
}

/// The settings of the facts stage while it is on.
#[derive(Clone, Debug, PartialEq)]
pub struct FactsSettings {
    config: FactsConfig,
    file: PathBuf,
    route: ProxyMode,
}

impl FactsSettings {
    /// The settings in `config`. `storage` is the folder of the state file.
    #[must_use]
    pub fn new(config: &FactsConfig, storage: &Path, route: ProxyMode) -> Self {
        Self { config: config.clone(), file: config.file_in(storage), route }
    }

    /// These settings with a time limit of at most `longest` for a request.
    #[must_use]
    pub fn with_timeout_within(mut self, longest: Duration) -> Self {
        self.config.http.timeout = self.config.http.timeout.min(longest);
        self
    }

    /// The section of the configuration.
    #[must_use]
    pub fn config(&self) -> &FactsConfig {
        &self.config
    }

    /// The facts file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Sets up connections to the sources. Blocks, because it may read a CA file.
    ///
    /// # Errors
    /// Fails if the connection settings cannot be used.
    pub fn fetcher(&self) -> Result<Fetcher, HttpError> {
        Fetcher::new(&self.config, self.route)
    }

    /// The sources that are on.
    pub fn sources(&self) -> impl Iterator<Item = FactsSource> + '_ {
        FactsSource::ALL.into_iter().filter(|source| self.config.sources.of(*source).is_some())
    }

    /// The facts in `file`, without the sources that are off.
    #[must_use]
    pub fn facts_in(&self, file: FactsFile) -> Arc<Facts> {
        self.facts(file).facts
    }

    /// The facts in `file`, without the sources that are off: another exporter may use them.
    pub(super) fn facts(&self, mut file: FactsFile) -> LoadedFacts {
        let is_on = |source| self.config.sources.of(source).is_some();
        if !is_on(FactsSource::Msrc) {
            file.documents.clear();
            file.index_fetched_at = None;
        }
        if !is_on(FactsSource::Kev) {
            file.kev = None;
        }
        if !is_on(FactsSource::Epss) {
            file.epss = None;
        }
        if !is_on(FactsSource::Servicing) {
            file.servicing.clear();
        }
        let facts = Arc::new(file.facts());
        LoadedFacts { facts, documents: file.documents.into_keys().collect() }
    }
}

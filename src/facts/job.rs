//! The work of the updater that takes time: fetching, and writing the facts file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::FactsFile;
use super::disk;
use super::error::SourceError;
use super::msrc::{DocumentId, IndexEntry};
use super::settings::{FactsSettings, LoadedFacts};
use super::update::{SourceUpdate, Unwatched, UpdateReport};
use crate::file_watch::{self, ContentDigest};
use crate::http::HttpError;
use crate::model::{FactsSource, Months};

/// The index of release documents.
pub(super) type Index = Arc<Vec<IndexEntry>>;

/// What to fetch.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Whole sources.
    Sources(Vec<FactsSource>),
    /// One release document, for a missing KB without facts.
    Document {
        /// The id, in any case.
        id: DocumentId,
        /// The index, unless it has to be fetched.
        index: Option<Index>,
    },
}

/// The facts file to begin with.
#[derive(Debug)]
pub(super) enum Base {
    /// The file on disk; none if it cannot be used.
    Disk,
    /// A new file, because the one on disk was refused.
    Empty,
    /// A file that could not be written.
    Unsaved(Box<FactsFile>),
}

/// A task and what it needs.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) settings: Arc<FactsSettings>,
    pub(super) base: Base,
    pub(super) now: Timestamp,
}

/// The result of a job.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) task: Task,
    pub(super) report: UpdateReport,
    /// The new facts; none if nothing was accepted.
    pub(super) new: Option<NewFacts>,
}

/// New facts, and what became of the file.
#[derive(Debug)]
pub(super) struct NewFacts {
    pub(super) loaded: LoadedFacts,
    /// The content of the file, or the reason why it could not be written, with what should be in it.
    pub(super) file: Result<ContentDigest, (io::Error, Box<FactsFile>)>,
}

impl Job {
    pub(super) async fn run(self) -> Finished {
        let Self { task, settings, base, now } = self;
        let is_unsaved = matches!(base, Base::Unsaved(_));
        let preparing = Arc::clone(&settings);
        let prepared = blocking(move || (preparing.fetcher(), open(base, preparing.file()))).await;
        let (fetcher, mut file) = prepared;
        let months = Months::Last(settings.config().months);
        let report = match fetcher {
            Ok(fetcher) => fetch(&task, &SourceUpdate { fetcher, months, now }, &mut file).await,
            Err(error) => without_connections(&task, error),
        };
        if report.accepted == 0 && !is_unsaved {
            return Finished { task, report, new: None };
        }
        file.made_at = now;
        let new = blocking(move || {
            let saved = disk::save(settings.file(), &file);
            let unsaved = saved.as_ref().is_err().then(|| file.clone());
            let loaded = settings.facts(*file);
            let file = match (saved, unsaved) {
                (Err(error), Some(file)) => Err((error, file)),
                _ => Ok(file_watch::content(settings.file())),
            };
            NewFacts { loaded, file }
        })
        .await;
        Finished { task, report, new: Some(new) }
    }
}

/// The file to begin with. A file that cannot be used was reported when it was read.
fn open(base: Base, path: &Path) -> Box<FactsFile> {
    match base {
        Base::Disk => Box::new(disk::load(path).unwrap_or_default()),
        Base::Empty => Box::default(),
        Base::Unsaved(file) => file,
    }
}

async fn fetch(task: &Task, update: &SourceUpdate, file: &mut FactsFile) -> UpdateReport {
    match task {
        Task::Sources(sources) => update.run(sources, file, &Unwatched).await,
        Task::Document { id, index } => {
            let mut report = UpdateReport::default();
            let index = match index {
                Some(index) => Ok(Arc::clone(index)),
                None => update.index().await,
            };
            match index {
                Ok(index) => {
                    // The id is requested as the index writes it.
                    if let Some(entry) = index.iter().find(|entry| entry.id == *id) {
                        let outcome = update.document(&entry.id, file).await;
                        report.note(FactsSource::Msrc, id.as_str(), outcome);
                    }
                    report.index = Some(index);
                }
                Err(error) => {
                    report.note(FactsSource::Msrc, "index", Err(error));
                }
            }
            report
        }
    }
}

/// Every source of the task fails with the same error.
fn without_connections(task: &Task, error: HttpError) -> UpdateReport {
    let sources = match task {
        Task::Sources(sources) => &sources[..],
        Task::Document { .. } => &[FactsSource::Msrc],
    };
    let (mut report, error) = (UpdateReport::default(), Arc::new(error));
    for source in sources {
        report.note(*source, "", Err(SourceError::Settings(Arc::clone(&error))));
    }
    report
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.expect("Safe: the work does not panic and is never aborted")
}

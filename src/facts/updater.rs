//! The task that keeps the facts in use up to date.
//!
//! It reads the facts file at the start and when it changes, fetches what is due, and writes the file. Whatever fails
//! leaves the facts in use as they are. Fetching is a job of its own, so a host that does not answer does not delay
//! the reading of a changed file.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::disk::{self, FactsFileError};
use super::documents::WantedDocuments;
use super::failure_log::FailureLog;
use super::job::{Base, Finished, Job, NewFacts, Task};
use super::missing::{MissingKbs, is_shrunken, without_facts};
use super::schedule::Schedule;
use super::settings::{FactsSettings, LoadedFacts};
use super::{Facts, FactsFile, FactsReader};
use crate::clock::Clock;
use crate::error::Chain;
use crate::file_watch::{self, ContentDigest, FileWatch};
use crate::model::{FactsFailure, FactsOrigin, FactsSource};
use crate::self_metrics::{FactsTimes, SelfMetrics};

/// Changes the settings of the facts stage; none turns facts off.
pub type FactsControl = watch::Sender<Option<Arc<FactsSettings>>>;

/// Keeps the facts in use up to date.
#[derive(Debug)]
pub struct FactsUpdater {
    settings: watch::Receiver<Option<Arc<FactsSettings>>>,
    context: Context,
    /// The state at the start.
    first: Option<FileState>,
}

/// What every state of the updater needs.
#[derive(Clone, Debug)]
struct Context {
    facts: watch::Sender<Arc<Facts>>,
    missing: watch::Receiver<Arc<MissingKbs>>,
    clock: Clock,
    self_metrics: Arc<SelfMetrics>,
}

/// The facts file as last read or written.
#[derive(Debug)]
struct FileState {
    watch: FileWatch,
    digest: ContentDigest,
    loaded: LoadedFacts,
    /// True if there is a file that is not the one in use.
    is_refused: bool,
    /// True if the facts in use come from this file.
    is_loaded: bool,
}

/// Reads the facts file, and creates the task that keeps the facts up to date. Blocks while it reads the file, and
/// sends no request.
#[must_use]
pub fn facts(
    settings: Option<FactsSettings>,
    missing: watch::Receiver<Arc<MissingKbs>>,
    clock: Clock,
    self_metrics: Arc<SelfMetrics>,
) -> (FactsUpdater, FactsControl, FactsReader) {
    let settings = settings.map(Arc::new);
    let (facts, reader) = watch::channel(Arc::default());
    let context = Context { facts, missing, clock, self_metrics };
    let first = settings.as_ref().map(|settings| {
        context.self_metrics.facts_on();
        context.open(settings, &LoadedFacts::default())
    });
    if let Some(state) = &first {
        context.publish(&state.loaded.facts);
    }
    let (control, settings) = watch::channel(settings);
    (FactsUpdater { settings, context, first }, control, reader)
}

impl FactsUpdater {
    /// Keeps the facts up to date until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    /// Works with each of the settings until the next ones.
    async fn follow(&mut self) {
        // A copy, because the state at the start is taken out of `self`.
        let mut updates = self.settings.clone();
        loop {
            let current = updates.borrow_and_update().clone();
            let changed = async {
                if updates.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let Some(settings) = current else {
                self.context.turn_off();
                changed.await;
                continue;
            };
            let (first, context) = (self.first.take(), self.context.clone());
            tokio::select! {
                () = changed => {}
                () = keep(context, settings, first) => {}
            }
        }
    }
}

async fn keep(context: Context, settings: Arc<FactsSettings>, first: Option<FileState>) {
    let state = if let Some(state) = first {
        state
    } else {
        context.self_metrics.facts_on();
        let (reader, settings) = (context.clone(), Arc::clone(&settings));
        let in_use = LoadedFacts { facts: context.facts.borrow().clone(), ..LoadedFacts::default() };
        let opened = tokio::task::spawn_blocking(move || reader.open(&settings, &in_use)).await;
        opened.expect("Safe: reading the file does not panic and is never aborted")
    };
    context.publish(&state.loaded.facts);
    Keeper::new(context, settings, state).run().await;
}

impl Context {
    /// Reads the file of new settings. Any good file is accepted; without one, the facts `in_use` stay. Blocks.
    fn open(&self, settings: &FactsSettings, in_use: &LoadedFacts) -> FileState {
        // Created before the file is read, so that no change is missed.
        let watch = FileWatch::of([settings.file().to_owned()]);
        let digest = file_watch::content(settings.file());
        let (loaded, is_refused, is_loaded) = match disk::load(settings.file()) {
            Ok(file) => {
                let loaded = settings.facts(file);
                tracing::info!(file = %settings.file().display(), kbs = loaded.facts.len(), "facts loaded");
                (loaded, false, true)
            }
            Err(FactsFileError::Missing { path }) if settings.config().update.is_some() => {
                tracing::info!(file = %path.display(), "no facts file yet; making it");
                (in_use.clone(), false, false)
            }
            Err(error) => {
                self.refuse_file(error.reason(), &Chain(&error).to_string());
                (in_use.clone(), true, false)
            }
        };
        FileState { watch, digest, loaded, is_refused, is_loaded }
    }

    fn refuse_file(&self, reason: FactsFailure, error: &str) {
        self.self_metrics.facts_failed(FactsOrigin::File, reason);
        tracing::warn!(%reason, error, "facts file cannot be used; keeping the facts in use");
    }

    fn publish(&self, facts: &Arc<Facts>) {
        let times = FactsSource::ALL.into_iter().map(|source| FactsTimes {
            source,
            data_at: facts.data_at(source),
            fetched_at: facts.fetched_at(source),
        });
        self.self_metrics.facts_loaded(facts.len(), times);
        self.self_metrics.facts_unknown(without_facts(&self.missing.borrow(), facts));
        self.facts.send_if_modified(|current| {
            let is_new = !Arc::ptr_eq(current, facts);
            *current = Arc::clone(facts);
            is_new
        });
    }

    fn turn_off(&self) {
        self.self_metrics.facts_off();
        self.facts.send_if_modified(|current| {
            let had_facts = **current != Facts::default();
            *current = Arc::default();
            had_facts
        });
    }
}

/// The updater while its settings stay.
struct Keeper {
    context: Context,
    settings: Arc<FactsSettings>,
    state: FileState,
    schedule: Schedule,
    documents: WantedDocuments,
    /// The running job; at most one.
    job: JoinSet<Finished>,
    /// What could not be written.
    unsaved: Option<Box<FactsFile>>,
    log: FailureLog,
    random: fastrand::Rng,
}

impl Keeper {
    fn new(context: Context, settings: Arc<FactsSettings>, state: FileState) -> Self {
        let now = Instant::now();
        let mut random = fastrand::Rng::new();
        let mut schedule = Schedule::new(settings.config().update.unwrap_or_default());
        if settings.config().update.is_some() {
            let wall = context.clock.now();
            let random = random.f64();
            for source in settings.sources() {
                let fetched_at = state.loaded.facts.fetched_at(source).filter(|_| state.is_loaded);
                schedule.start(source, fetched_at.map(|at| age(at, wall)), now, random);
            }
        }
        Self {
            context,
            settings,
            state,
            schedule,
            documents: WantedDocuments::new(now),
            job: JoinSet::new(),
            unsaved: None,
            log: FailureLog::default(),
            random,
        }
    }

    async fn run(mut self) {
        let mut missing = self.context.missing.clone();
        loop {
            let next = self.start_job();
            tokio::select! {
                () = self.state.watch.changed() => self.file_changed().await,
                Some(finished) = self.job.join_next() => {
                    self.finish(finished.expect("Safe: a job does not panic and is never aborted"));
                }
                Ok(()) = missing.changed() => self.count_unknown(),
                () = wait_until(next) => {}
            }
        }
    }

    /// Starts what is due, unless a job runs. Returns the time at which something is due next.
    fn start_job(&mut self) -> Option<Instant> {
        if !self.job.is_empty() || self.settings.config().update.is_none() {
            return None;
        }
        let now = Instant::now();
        let sources = self.schedule.due(now);
        if !sources.is_empty() {
            self.start(Task::Sources(sources));
            return None;
        }
        let has_documents = self.settings.config().sources.msrc.is_some();
        let wanted = self.documents.wanted(&self.context.missing.borrow(), &self.state.loaded);
        let Some(id) = wanted.filter(|_| has_documents) else { return self.schedule.next() };
        if now < self.documents.next() {
            return self.schedule.next().into_iter().chain([self.documents.next()]).min();
        }
        let index = self.documents.index_with(&id, now);
        self.start(Task::Document { id, index });
        None
    }

    fn start(&mut self, task: Task) {
        let base = match self.unsaved.take() {
            Some(file) => Base::Unsaved(file),
            None if self.state.is_refused => Base::Empty,
            None => Base::Disk,
        };
        let now = self.context.clock.now();
        self.job.spawn(Job { task, settings: Arc::clone(&self.settings), base, now }.run());
    }

    fn finish(&mut self, finished: Finished) {
        let Finished { task, report, new } = finished;
        let now = Instant::now();
        for failure in &report.failures {
            self.context.self_metrics.facts_failed(failure.source.into(), failure.error.reason());
        }
        self.log.update(&task, &report);
        if let Some(index) = &report.index {
            self.documents.indexed(index, now);
        }
        if let Some(new) = new {
            self.accept(new);
        }
        match task {
            Task::Document { id, .. } => self.documents.fetched(id, &report, now),
            Task::Sources(sources) => {
                let random = self.random.f64();
                for source in sources {
                    if report.failed().any(|failed| failed == source) {
                        self.schedule.failed(source, now);
                    } else {
                        self.schedule.succeeded(source, now, random);
                        if source == FactsSource::Msrc {
                            self.documents.forget_asked();
                        }
                    }
                }
            }
        }
    }

    /// Uses facts that a job has fetched.
    fn accept(&mut self, new: NewFacts) {
        let NewFacts { loaded, file } = new;
        match file {
            Ok(digest) => {
                self.state.digest = digest;
                self.state.is_refused = false;
                self.log.written();
            }
            Err((error, file)) => {
                self.context.self_metrics.facts_failed(FactsOrigin::File, FactsFailure::Unwritable);
                self.log.not_written(self.settings.file(), &error);
                self.unsaved = Some(file);
            }
        }
        self.state.loaded = loaded;
        self.context.publish(&self.state.loaded.facts);
    }

    /// Reads the file, which something else has changed, unless the change is the exporter's own.
    async fn file_changed(&mut self) {
        let settings = Arc::clone(&self.settings);
        let known = self.state.digest;
        let reading = tokio::task::spawn_blocking(move || {
            let digest = file_watch::content(settings.file());
            let is_known = digest.is_some() && digest == known;
            (digest, (!is_known).then(|| disk::load(settings.file()).map(|file| settings.facts(file))))
        });
        let (digest, read) = reading.await.expect("Safe: reading does not panic and is never aborted");
        let Some(read) = read else { return };
        self.state.digest = digest;
        let read = match read {
            Ok(loaded) if self.is_shrunken(&loaded) => Err((
                FactsFailure::Shrunk,
                "it lacks more than half of the missing KBs that the facts in use know".to_owned(),
            )),
            Ok(loaded) => Ok(loaded),
            Err(error) => Err((error.reason(), Chain(&error).to_string())),
        };
        self.state.is_refused = read.is_err();
        match read {
            Ok(loaded) => self.use_file(loaded),
            Err((reason, error)) => self.context.refuse_file(reason, &error),
        }
    }

    fn is_shrunken(&self, loaded: &LoadedFacts) -> bool {
        is_shrunken(&self.context.missing.borrow(), &self.state.loaded.facts, &loaded.facts)
    }

    /// Uses a changed file, and postpones the sources that whatever changed it has fetched.
    fn use_file(&mut self, loaded: LoadedFacts) {
        let (now, wall, random) = (Instant::now(), self.context.clock.now(), self.random.f64());
        for source in self.settings.sources() {
            if let Some(at) = loaded.facts.fetched_at(source) {
                self.schedule.postpone(source, age(at, wall), now, random);
            }
        }
        tracing::info!(file = %self.settings.file().display(), kbs = loaded.facts.len(), "facts loaded");
        self.unsaved = None;
        self.state.loaded = loaded;
        self.context.publish(&self.state.loaded.facts);
    }

    fn count_unknown(&self) {
        let unknown = without_facts(&self.context.missing.borrow(), &self.state.loaded.facts);
        self.context.self_metrics.facts_unknown(unknown);
    }
}

async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The age of data at `now`; zero for a time in the future, from a clock that was wrong.
fn age(fetched_at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(fetched_at)).unwrap_or_default()
}

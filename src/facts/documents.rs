//! The release documents that are fetched for missing KBs without facts.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::job::Index;
use super::missing::{MissingKbs, named_months};
use super::msrc::DocumentId;
use super::schedule::pause_after;
use super::settings::LoadedFacts;
use super::update::UpdateReport;

/// At most one document is fetched in this time.
const PACE: Duration = Duration::from_mins(1);

/// An index of this age may lack a document that has appeared since.
const INDEX_EXPIRES_AFTER: Duration = Duration::from_hours(1);

/// Decides which document is fetched next, each one once.
#[derive(Debug)]
pub(super) struct WantedDocuments {
    /// The ids that were asked for.
    asked: BTreeSet<DocumentId>,
    /// The newest index, and the time at which it was fetched.
    index: Option<(Index, Instant)>,
    /// The time from which the next document may be fetched.
    next: Instant,
    failures: u32,
}

impl WantedDocuments {
    pub(super) fn new(now: Instant) -> Self {
        Self { asked: BTreeSet::new(), index: None, next: now, failures: 0 }
    }

    /// The time from which the next document may be fetched.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The id of a document to fetch, if a missing KB without facts names one that was not read.
    pub(super) fn wanted(&self, missing: &MissingKbs, loaded: &LoadedFacts) -> Option<DocumentId> {
        let months = named_months(missing, &loaded.facts);
        let mut ids = months.iter().filter_map(|month| DocumentId::parse(&month.to_string()));
        ids.find(|id| !self.asked.contains(id) && !loaded.documents.contains(id))
    }

    /// The index to find `id` in, unless it has to be fetched.
    pub(super) fn index_with(&self, id: &DocumentId, now: Instant) -> Option<Index> {
        let (index, fetched_at) = self.index.as_ref()?;
        let is_usable = now.duration_since(*fetched_at) < INDEX_EXPIRES_AFTER
            || index.iter().any(|entry| entry.id == *id);
        is_usable.then(|| Index::clone(index))
    }

    /// Notes an index that was fetched. Documents that it lacked may be asked for again.
    pub(super) fn indexed(&mut self, index: &Index, now: Instant) {
        self.index = Some((Index::clone(index), now));
    }

    /// Notes that whole sources were fetched, so that what did not exist before may exist now.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    /// Notes the outcome of a request for `id`. Only a failure of the connection or the host is tried again.
    pub(super) fn fetched(&mut self, id: DocumentId, report: &UpdateReport, now: Instant) {
        if report.failures.iter().any(|failure| failure.error.is_of_host()) {
            self.failures = self.failures.saturating_add(1);
            self.next = now + pause_after(self.failures);
        } else {
            self.asked.insert(id);
            self.failures = 0;
            self.next = now + PACE;
        }
    }
}

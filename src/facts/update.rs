//! One update of a facts file from the sources on the network.
//!
//! Each source is fetched on its own: what fails keeps its old data, and the others continue.

use std::collections::BTreeSet;
use std::io::Read;
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::error::SourceError;
use super::fetch::Fetcher;
use super::msrc::{self, DocumentId, IndexEntry};
use super::servicing::ServicedProduct;
use super::{FactsFile, epss, kev, servicing};
use crate::model::{FactsSource, Months};

/// A document that changed less than this time ago is fetched again: the index states days, not hours.
const RECENT: SignedDuration = SignedDuration::from_hours(3 * 24);

/// The first month of release documents about updates; earlier ones are other release notes.
const FIRST_MONTH: (u16, u8) = (2016, 4);

/// The number of failed connections in a row after which no further document is tried.
const MAX_UNREACHABLE: u32 = 3;

/// The largest number of documents that one update fetches, many times the real number.
const MAX_DOCUMENTS: usize = 1000;

/// The progress of an update, for people who wait.
pub trait UpdateProgress: Send + Sync {
    /// Reports that `done` of `total` requests or files of a source are done.
    fn report(&self, source: FactsSource, done: usize, total: usize);
}

/// Progress that nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl UpdateProgress for Unwatched {
    fn report(&self, _: FactsSource, _: usize, _: usize) {}
}

/// A part of a source that failed.
#[derive(Debug)]
pub struct SourceFailure {
    /// The source.
    pub source: FactsSource,
    /// The part of the source, such as the id of a document.
    pub part: Box<str>,
    /// The reason.
    pub error: SourceError,
}

/// The result of an update.
#[derive(Debug, Default)]
pub struct UpdateReport {
    /// What failed.
    pub failures: Vec<SourceFailure>,
    /// The number of parts that were put into the file: documents, catalogues, products.
    pub accepted: usize,
    /// The index of release documents, if it was fetched.
    pub index: Option<Arc<Vec<IndexEntry>>>,
}

impl UpdateReport {
    /// The sources of which a part failed.
    pub fn failed(&self) -> impl Iterator<Item = FactsSource> {
        let has_failed = |source: &FactsSource| self.failures.iter().any(|failure| failure.source == *source);
        FactsSource::ALL.into_iter().filter(has_failed)
    }

    /// Notes the outcome of a part. Returns whether it was accepted.
    pub(super) fn note(&mut self, source: FactsSource, part: &str, outcome: Result<(), SourceError>) -> bool {
        match outcome {
            Ok(()) => self.accepted += 1,
            Err(error) => {
                self.failures.push(SourceFailure { source, part: part.into(), error });
                return false;
            }
        }
        true
    }
}

/// What to fetch, and where.
#[derive(Clone, Debug)]
pub struct SourceUpdate {
    /// Sends the requests.
    pub fetcher: Fetcher,
    /// The months of release documents.
    pub months: Months,
    /// The time of the update.
    pub now: Timestamp,
}

impl SourceUpdate {
    /// Fetches `sources` and puts their data into `file`. Sources that are off are left out.
    pub async fn run(
        &self,
        sources: &[FactsSource],
        file: &mut FactsFile,
        progress: &dyn UpdateProgress,
    ) -> UpdateReport {
        let mut report = UpdateReport::default();
        for source in FactsSource::ALL {
            // Scores are kept for the CVEs of documents, so new documents need scores too.
            let has_new_documents = source == FactsSource::Epss && report.accepted > 0;
            if (!sources.contains(&source) && !has_new_documents) || !self.fetcher.has(source) {
                continue;
            }
            match source {
                FactsSource::Msrc => self.documents(file, &mut report, progress).await,
                FactsSource::Kev => {
                    let kev = self.fetcher.get(source, &[], |reader| kev::read(reader)).await;
                    report.note(source, "", kev.and_then(|kev| Ok(file.put_kev(kev, self.now)?)));
                }
                FactsSource::Epss => {
                    let cves = file.wanted_cves();
                    let keep = move |cve| cves.contains(&cve);
                    let epss = self.fetcher.get(source, &[], move |reader| epss::read(reader, &keep)).await;
                    report.note(source, "", epss.and_then(|epss| Ok(file.put_epss(epss, self.now)?)));
                }
                FactsSource::Servicing => self.servicing(file, &mut report).await,
            }
            progress.report(source, 1, 1);
        }
        report
    }

    /// Fetches one document by the id in the index.
    ///
    /// # Errors
    /// Fails if it cannot be fetched, or is not accepted.
    pub async fn document(&self, id: &DocumentId, file: &mut FactsFile) -> Result<(), SourceError> {
        let expected = id.clone();
        let parse = move |reader: &mut dyn Read| msrc::read_document(reader, &expected);
        let document = self.fetcher.get(FactsSource::Msrc, &["cvrf", id.as_str()], parse).await?;
        Ok(file.put_document(document, self.now)?)
    }

    /// Fetches the index of release documents.
    ///
    /// # Errors
    /// Fails if it cannot be fetched.
    pub async fn index(&self) -> Result<Arc<Vec<IndexEntry>>, SourceError> {
        let index = self.fetcher.get(FactsSource::Msrc, &["updates"], |reader| msrc::read_index(reader));
        Ok(Arc::new(index.await?))
    }

    async fn documents(
        &self,
        file: &mut FactsFile,
        report: &mut UpdateReport,
        progress: &dyn UpdateProgress,
    ) {
        let index = match self.index().await {
            Ok(index) => index,
            Err(error) => {
                report.note(FactsSource::Msrc, "index", Err(error));
                return;
            }
        };
        let wanted = wanted(&index, file, self.months, self.now);
        let mut unreachable = 0;
        for (done, id) in wanted.iter().enumerate() {
            progress.report(FactsSource::Msrc, done, wanted.len());
            let outcome = self.document(id, file).await;
            unreachable =
                if outcome.as_ref().is_err_and(SourceError::is_of_host) { unreachable + 1 } else { 0 };
            report.note(FactsSource::Msrc, id.as_str(), outcome);
            if unreachable == MAX_UNREACHABLE {
                break;
            }
        }
        if report.failures.is_empty() {
            file.index_fetched_at = Some(self.now);
        }
        report.index = Some(index);
    }

    async fn servicing(&self, file: &mut FactsFile, report: &mut UpdateReport) {
        for product in ServicedProduct::ALL {
            let parse = move |reader: &mut dyn Read| servicing::read(reader, product);
            let fetched = self.fetcher.get(FactsSource::Servicing, &[product.as_str()], parse).await;
            let outcome = fetched.and_then(|servicing| Ok(file.put_servicing(product, servicing, self.now)?));
            report.note(FactsSource::Servicing, product.as_str(), outcome);
        }
    }
}

/// The ids of the documents to fetch: those of `months` and those that the file has, if they are new, or changed
/// since, or recently.
fn wanted(index: &[IndexEntry], file: &FactsFile, months: Months, now: Timestamp) -> Vec<DocumentId> {
    let first = match months {
        Months::All => FIRST_MONTH,
        Months::Last(number) => {
            first_month(|| index.iter().map(|entry| &entry.id), number, now).max(FIRST_MONTH)
        }
    };
    let is_wanted = |entry: &&IndexEntry| {
        let month = entry.id.month().filter(|&month| month >= FIRST_MONTH);
        let stored = file.documents.get(&entry.id).map(|stored| &stored.data);
        let is_in_range = month.is_some_and(|month| month >= first || stored.is_some());
        let is_due = stored.is_none_or(|stored| {
            let changed_at = entry.current;
            changed_at > stored.current || changed_at.is_some_and(|at| now.duration_since(at) < RECENT)
        });
        is_in_range && is_due
    };
    index.iter().filter(is_wanted).map(|entry| entry.id.clone()).take(MAX_DOCUMENTS).collect()
}

/// Removes the documents of earlier months than the newest `number` ones from `file`, except those in `kept`.
pub fn keep_months(file: &mut FactsFile, kept: &BTreeSet<DocumentId>, number: NonZeroU32, now: Timestamp) {
    let first = first_month(|| file.documents.keys(), number, now);
    file.documents.retain(|id, _| kept.contains(id) || id.month().is_some_and(|month| month >= first));
}

/// The first of the `number` months up to the newest one of `ids`. A month far in the future does not count, unless
/// the local clock is wrong.
fn first_month<'a, I: Iterator<Item = &'a DocumentId>>(
    ids: impl Fn() -> I,
    number: NonZeroU32,
    now: Timestamp,
) -> (u16, u8) {
    let months = || ids().filter_map(DocumentId::month).map(months_since_0);
    let today = TimeZone::UTC.to_datetime(now).date();
    let this_month = i64::from(today.year()) * 12 + i64::from(today.month()) - 1;
    let newest = months().filter(|&month| month <= this_month + 1).max().or_else(|| months().max());
    let first = (newest.unwrap_or(this_month) + 1 - i64::from(number.get())).max(0);
    (u16::try_from(first / 12).unwrap_or(u16::MAX), u8::try_from(first % 12 + 1).unwrap_or(12))
}

fn months_since_0((year, month): (u16, u8)) -> i64 {
    i64::from(year) * 12 + i64::from(month) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DocumentId {
        DocumentId::parse(text).unwrap()
    }

    fn first(ids: &[&str], number: u32) -> (u16, u8) {
        let ids: Vec<_> = ids.iter().map(|text| id(text)).collect();
        let now = "2026-06-20T12:00:00Z".parse().unwrap();
        first_month(|| ids.iter(), number.try_into().unwrap(), now)
    }

    #[test]
    fn months_count_back_from_the_newest_one() {
        assert_eq!(first(&["2026-May", "2026-Jun", "2020-Jan"], 1), (2026, 6));
        assert_eq!(first(&["2026-jun"], 6), (2026, 1));
        assert_eq!(first(&["2026-Jun"], 7), (2025, 12));
        assert_eq!(first(&["2026-Jul", "2026-Jun-OOB"], 1), (2026, 7), "the next month may be announced");
        assert_eq!(first(&["2026-Jun", "9999-Dec", "2026-Aug"], 1), (2026, 6), "a month cannot be far ahead");
        assert_eq!(first(&["2030-Jan"], 1), (2030, 1), "unless the local clock is behind");
        assert_eq!(first(&["2026-Jun"], u32::MAX), (0, 1));
        assert_eq!(first(&[], 1), (2026, 6));
    }

    #[test]
    fn documents_begin_in_april_2016() {
        let entry = |text: &str, current: &str| IndexEntry {
            id: id(text),
            title: "".into(),
            initial: None,
            current: Some(current.parse().unwrap()),
        };
        let index = [
            entry("2026-Jun", "2026-06-18T07:00:00Z"),
            entry("2026-May", "2026-05-12T07:00:00Z"),
            entry("2016-Mar", "2026-06-20T07:00:00Z"),
        ];
        let now = "2026-06-20T12:00:00Z".parse().unwrap();
        let ids = |months| {
            let wanted = wanted(&index, &FactsFile::default(), months, now);
            wanted.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(ids(Months::All), ["2026-Jun", "2026-May"]);
        assert_eq!(ids(Months::Last(NonZeroU32::MIN)), ["2026-Jun"]);
    }
}

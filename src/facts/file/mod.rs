//! The facts file: what was read from every source, in parts that are replaced one at a time.
//!
//! `format` is its JSON, and [`docs/facts-file.md`] the documentation of it.
//!
//! [`docs/facts-file.md`]: https://github.com/mde-exporter/mde_exporter/blob/main/docs/facts-file.md

mod format;
mod refusal;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Write};

use jiff::Timestamp;

use super::epss::Epss;
use super::kev::Kev;
use super::msrc::{Document, DocumentId};
use super::servicing::{ServicedProduct, Servicing};
use super::{ParseError, date};
use crate::model::{CveId, FactsSource};
pub use refusal::FactsRefusal;

/// The content of a facts file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FactsFile {
    /// The time at which the file was made.
    pub made_at: Timestamp,
    /// The time of the last successful fetch of the index of release documents.
    pub index_fetched_at: Option<Timestamp>,
    /// The release documents.
    pub documents: BTreeMap<DocumentId, Fetched<Document>>,
    /// The catalogue of known exploited vulnerabilities.
    pub kev: Option<Fetched<Kev>>,
    /// The EPSS scores.
    pub epss: Option<Fetched<Epss>>,
    /// The dates of end of servicing.
    pub servicing: BTreeMap<ServicedProduct, Fetched<Servicing>>,
}

/// Data of a source with the time of the fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<T> {
    /// The time of the fetch.
    pub at: Timestamp,
    /// The data.
    pub data: T,
}

impl FactsFile {
    /// Reads a facts file (JSON, compressed with gzip or not).
    ///
    /// # Errors
    /// Returns an error if `input` is no facts file or one of a later version.
    pub fn read(input: impl Read) -> Result<Self, ParseError> {
        format::read(input)
    }

    /// Writes the facts file.
    ///
    /// # Errors
    /// Returns an error if `output` cannot be written.
    pub fn write(&self, output: impl Write) -> io::Result<()> {
        format::write(self, output)
    }

    /// Takes a release document in place of the earlier one of this id.
    ///
    /// # Errors
    /// Refuses a lower revision, and a document with less than half of the KBs.
    pub fn put_document(&mut self, document: Document, now: Timestamp) -> Result<(), FactsRefusal> {
        if let Some(old) = self.documents.get(&document.id) {
            if document.revision.zip(old.data.revision).is_some_and(|(new, old)| new < old) {
                return Err(FactsRefusal::Older);
            }
            FactsRefusal::unless_half(document.kbs.len(), old.data.kbs.len())?;
        }
        self.documents.insert(document.id.clone(), Fetched { at: now, data: document });
        Ok(())
    }

    /// Takes a catalogue in place of the earlier one.
    ///
    /// # Errors
    /// Refuses a catalogue with less than half of the entries.
    pub fn put_kev(&mut self, kev: Kev, now: Timestamp) -> Result<(), FactsRefusal> {
        if let Some(old) = &self.kev {
            FactsRefusal::unless_half(kev.entries.len(), old.data.entries.len())?;
        }
        self.kev = Some(Fetched { at: now, data: kev });
        Ok(())
    }

    /// Takes scores in place of the earlier ones.
    ///
    /// # Errors
    /// Refuses scores with less than half of the rows.
    pub fn put_epss(&mut self, epss: Epss, now: Timestamp) -> Result<(), FactsRefusal> {
        if let Some(old) = &self.epss {
            FactsRefusal::unless_half(epss.rows, old.data.rows)?;
        }
        self.epss = Some(Fetched { at: now, data: epss });
        Ok(())
    }

    /// Takes the releases of a product in place of the earlier ones.
    ///
    /// # Errors
    /// Refuses a document with less than half of the releases.
    pub fn put_servicing(
        &mut self,
        product: ServicedProduct,
        servicing: Servicing,
        now: Timestamp,
    ) -> Result<(), FactsRefusal> {
        if let Some(old) = self.servicing.get(&product) {
            FactsRefusal::unless_half(servicing.releases.len(), old.data.releases.len())?;
        }
        self.servicing.insert(product, Fetched { at: now, data: servicing });
        Ok(())
    }

    /// The CVEs that the KBs of the release documents fix: those of which EPSS scores are wanted.
    #[must_use]
    pub fn wanted_cves(&self) -> HashSet<CveId> {
        self.documents.values().flat_map(|document| document.data.cves.keys().copied()).collect()
    }

    /// Returns whether there is data of a source.
    #[must_use]
    pub fn has(&self, source: FactsSource) -> bool {
        match source {
            FactsSource::Msrc => !self.documents.is_empty(),
            FactsSource::Kev => self.kev.is_some(),
            FactsSource::Epss => self.epss.is_some(),
            FactsSource::Servicing => !self.servicing.is_empty(),
        }
    }

    /// The time of the data of a source, as the source states it; of several products, of the oldest.
    #[must_use]
    pub fn data_at(&self, source: FactsSource) -> Option<Timestamp> {
        match source {
            FactsSource::Msrc => {
                let times = self.documents.values().map(|document| document.data.current);
                times.max().flatten()
            }
            FactsSource::Kev => self.kev.as_ref()?.data.released,
            FactsSource::Epss => date::start_of(self.epss.as_ref()?.data.score_date?),
            FactsSource::Servicing => {
                self.servicing.values().filter_map(|servicing| servicing.data.modified).min()
            }
        }
    }

    /// The time of the last successful fetch from a source; of several products, of the oldest.
    #[must_use]
    pub fn fetched_at(&self, source: FactsSource) -> Option<Timestamp> {
        match source {
            FactsSource::Msrc => {
                // A document alone, fetched because a missing KB names it, says nothing about the others.
                let documents = || self.documents.values().map(|document| document.at).max();
                self.index_fetched_at.or_else(documents)
            }
            FactsSource::Kev => self.kev.as_ref().map(|kev| kev.at),
            FactsSource::Epss => self.epss.as_ref().map(|epss| epss.at),
            FactsSource::Servicing => self.servicing.values().map(|servicing| servicing.at).min(),
        }
    }
}

#[cfg(test)]
mod tests;

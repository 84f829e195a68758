//! The facts file: what was read from every source, in parts that are replaced one at a time.

mod refusal;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use jiff::Timestamp;

use super::ParseError;
use super::epss::Epss;
use super::kev::Kev;
use super::lookup::Facts;
use super::msrc::{Document, DocumentId};
use super::servicing::{ServicedProduct, Servicing};
use crate::model::CveId;
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
        drop(input);
        Err(ParseError::Shape("is no facts file"))
    }

    /// Writes the facts file.
    ///
    /// # Errors
    /// Returns an error if `output` cannot be written.
    pub fn write(&self, output: impl Write) -> io::Result<()> {
        drop(output);
        Ok(())
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

    /// Returns whether a KB of a release document fixes the CVE, so that its EPSS score is wanted.
    #[must_use]
    pub fn wants(&self, cve: CveId) -> bool {
        self.documents.values().any(|document| document.data.cves.contains_key(&cve))
    }

    /// The facts about every KB. They do not depend on the order in which parts were put.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts::default()
    }
}

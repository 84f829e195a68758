//! The facts about each KB out of every source.
//!
//! A KB is in several release documents if Microsoft adds it to CVEs of earlier months. Its facts are the worst over
//! all of them; `release` finds the document that releases it, and `chain` predecessors that no document names.

mod chain;
mod release;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use self::release::Listing;
use super::file::{FactsFile, Fetched};
use super::kev::Kev;
use super::lookup::{CveFacts, Facts, KbFacts, KnownExploited};
use super::msrc::{Document, DocumentKb, ProductId};
use super::{ServicingTable, date};
use crate::model::{CveId, CvssScore, FactsSource, FixedBuild, KbId, Restart, VendorSeverity, end_of_day};

/// A KB, collected over the documents that list it.
#[derive(Default)]
struct MergedKb {
    /// Sorted and without repetitions after the last document.
    cves: Vec<CveId>,
    is_exploited: bool,
    severity: Option<VendorSeverity>,
    cvss: Option<CvssScore>,
    supersedes: BTreeSet<KbId>,
    builds: BTreeMap<FixedBuild, BTreeSet<ProductId>>,
    restart: Option<Restart>,
    is_hotpatch: bool,
    is_servicing_stack: bool,
    listings: Vec<Listing>,
    released: Option<Timestamp>,
}

impl FactsFile {
    /// The facts about every KB. They do not depend on the order in which parts were put.
    #[must_use]
    pub fn facts(&self) -> Facts {
        merge(self)
    }
}

fn merge(file: &FactsFile) -> Facts {
    let mut kbs: BTreeMap<KbId, MergedKb> = BTreeMap::new();
    let mut exploited = HashSet::new();
    let mut of_cves: BTreeMap<CveId, CveFacts> = BTreeMap::new();
    for Fetched { data: document, .. } in file.documents.values() {
        exploited.extend(document.cves.iter().filter_map(|(cve, facts)| facts.exploited.then_some(*cve)));
        for (cve, of_document) in &document.cves {
            let facts = of_cves.entry(*cve).or_default();
            facts.vendor_severity = facts.vendor_severity.max(of_document.severity);
            facts.cvss = facts.cvss.max(of_document.cvss);
            facts.exploited |= of_document.exploited;
        }
        for (id, kb) in &document.kbs {
            kbs.entry(*id).or_default().add(*id, kb, document);
        }
    }
    for kb in kbs.values_mut() {
        kb.cves.sort_unstable();
        kb.cves.dedup();
    }
    release::date(&mut kbs);
    chain::link(&mut kbs);
    let cves = CveSources { file, exploited };
    for (cve, facts) in &mut of_cves {
        facts.known_exploited = file.kev.as_ref().and_then(|kev| known_exploited(kev, &[*cve]));
        facts.epss = file.epss.as_ref().and_then(|epss| epss.data.scores.get(cve).copied());
    }
    let sources = FactsSource::ALL.into_iter().filter(|source| file.has(*source));
    let facts = Facts::new(sources.clone(), kbs.into_iter().map(|(id, kb)| (id, cves.facts(kb))))
        .with_cves(of_cves)
        .with_servicing(ServicingTable::newest(file));
    sources.fold(facts, |facts, source| facts.dated(source, file.data_at(source), file.fetched_at(source)))
}

impl MergedKb {
    fn add(&mut self, id: KbId, kb: &DocumentKb, document: &Document) {
        self.cves.extend_from_slice(&kb.cves);
        self.is_exploited |= kb.is_exploited;
        self.severity = self.severity.max(kb.severity);
        self.cvss = self.cvss.max(kb.cvss);
        self.supersedes.extend(kb.supersedes.iter().filter(|superseded| **superseded != id));
        for (build, products) in &kb.builds {
            self.builds.entry(*build).or_default().extend(products);
        }
        self.restart = self.restart.max(kb.restart);
        self.is_hotpatch |= kb.is_hotpatch;
        self.is_servicing_stack |= kb.is_servicing_stack;
        self.listings.extend(Listing::new(kb, document));
    }
}

/// What the sources say about CVEs.
struct CveSources<'a> {
    file: &'a FactsFile,
    /// The CVEs of which Microsoft reports exploitation.
    exploited: HashSet<CveId>,
}

impl CveSources<'_> {
    fn facts(&self, kb: MergedKb) -> KbFacts {
        let known_exploited = self.file.kev.as_ref().and_then(|kev| known_exploited(kev, &kb.cves));
        let is_exploited = kb.is_exploited
            || known_exploited.is_some()
            || kb.cves.iter().any(|cve| self.exploited.contains(cve));
        let scores = self.file.epss.as_ref().map(|epss| &epss.data.scores);
        let scores = scores.into_iter().flat_map(|scores| kb.cves.iter().filter_map(|cve| scores.get(cve)));
        KbFacts {
            epss: scores.copied().max_by(f64::total_cmp),
            exploited: (is_exploited || self.file.kev.is_some()).then_some(is_exploited),
            known_exploited,
            vendor_severity: kb.severity,
            cvss: kb.cvss,
            released: kb.released,
            documents: kb.listings.into_iter().map(Listing::document).collect(),
            cves: kb.cves.into(),
            supersedes: kb.supersedes.into_iter().collect(),
            builds: kb.builds.into_keys().collect(),
            is_hotpatch: kb.is_hotpatch,
            restart: kb.restart,
        }
    }
}

/// The entries of the catalogue about some CVEs. An entry without a day of its own counts from the day of the
/// catalogue.
fn known_exploited(kev: &Fetched<Kev>, cves: &[CveId]) -> Option<KnownExploited> {
    let of_catalogue = date::day_of(kev.data.released.unwrap_or(kev.at));
    let entries = || cves.iter().filter_map(|cve| kev.data.entries.get(cve));
    let since = entries().map(|entry| entry.added.and_then(date::start_of).unwrap_or(of_catalogue)).min()?;
    Some(KnownExploited {
        cves: u32::try_from(entries().count()).unwrap_or(u32::MAX),
        since,
        due: entries().filter_map(|entry| entry.due.map(end_of_day)).min(),
        ransomware: entries().any(|entry| entry.ransomware),
    })
}

#[cfg(test)]
mod tests;

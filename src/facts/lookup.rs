//! The facts in use, for lookups by KB.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::ServicingTable;
use crate::model::{CveId, CvssScore, FactsSource, FixedBuild, KbId, MonthlyBatch, Restart, VendorSeverity};

/// The facts about every known KB, empty without a facts file, and the ends of servicing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// True for each source of [`FactsSource::ALL`] of which data was loaded.
    loaded: [bool; FactsSource::ALL.len()],
    data_at: [Option<Timestamp>; FactsSource::ALL.len()],
    fetched_at: [Option<Timestamp>; FactsSource::ALL.len()],
    kbs: HashMap<KbId, KbFacts>,
    cves: HashMap<CveId, CveFacts>,
    servicing: Arc<ServicingTable>,
}

/// The facts about one KB: the worst over the CVEs that it fixes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KbFacts {
    /// The CVEs that it fixes, sorted.
    pub cves: Box<[CveId]>,
    /// Microsoft's own rating; none where Microsoft gives none.
    pub vendor_severity: Option<VendorSeverity>,
    /// The highest CVSS base score.
    pub cvss: Option<CvssScore>,
    /// True if Microsoft reports exploitation of a CVE, or the KEV catalogue lists one. None if neither does and
    /// the KEV catalogue was never loaded.
    pub exploited: Option<bool>,
    /// The entries of the KEV catalogue about its CVEs; none without an entry.
    pub known_exploited: Option<KnownExploited>,
    /// The highest EPSS probability, from 0 to 1.
    pub epss: Option<f64>,
    /// The time of its release, by the document in which it fixes most CVEs.
    pub released: Option<Timestamp>,
    /// The documents that list it, sorted by id, each with the release that follows from it.
    pub documents: Box<[ReleaseDocument]>,
    /// The KBs that it supersedes directly, sorted, without itself.
    pub supersedes: Box<[KbId]>,
    /// The Windows builds that have it, sorted.
    pub builds: Box<[FixedBuild]>,
    /// True if the update needs no restart of Windows (hotpatch).
    pub is_hotpatch: bool,
    /// The demand for a restart of Windows.
    pub restart: Option<Restart>,
}

/// The entries of the KEV catalogue about the CVEs of one KB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownExploited {
    /// The number of listed CVEs, at least 1.
    pub cves: u32,
    /// The earliest day of a listing, 00:00 UTC.
    pub since: Timestamp,
    /// The earliest due date, as the 00:00 UTC after that day.
    pub due: Option<Timestamp>,
    /// True if ransomware campaigns are known to use a listed CVE.
    pub ransomware: bool,
}

/// The facts about one CVE.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CveFacts {
    /// Microsoft's own rating, the worst of all products.
    pub vendor_severity: Option<VendorSeverity>,
    /// The CVSS base score, the highest of all products.
    pub cvss: Option<CvssScore>,
    /// True if Microsoft reports exploitation.
    pub exploited: bool,
    /// The entry of the KEV catalogue.
    pub known_exploited: Option<KnownExploited>,
    /// The EPSS probability, from 0 to 1.
    pub epss: Option<f64>,
}

/// A release document that lists a KB.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseDocument {
    /// The id in lower case, such as `2026-jun`.
    pub id: Box<str>,
    /// The release of the KB if this document is the one that releases it.
    pub released: Timestamp,
}

impl KbFacts {
    /// The number of its CVEs that the KEV catalogue lists.
    #[must_use]
    pub fn known_exploited_cves(&self) -> u32 {
        self.known_exploited.map_or(0, |known| known.cves)
    }
}

impl Facts {
    /// Facts about `kbs` out of the sources `loaded`.
    #[must_use]
    pub fn new(
        loaded: impl IntoIterator<Item = FactsSource>,
        kbs: impl IntoIterator<Item = (KbId, KbFacts)>,
    ) -> Self {
        let mut facts = Self { kbs: kbs.into_iter().collect(), ..Self::default() };
        for source in loaded {
            facts.loaded[source as usize] = true;
        }
        facts
    }

    /// These facts, with the times of the data of a loaded source: `data_at` as the source states it, `fetched_at` of
    /// the last successful fetch.
    #[must_use]
    pub fn dated(
        mut self,
        source: FactsSource,
        data_at: Option<Timestamp>,
        fetched_at: Option<Timestamp>,
    ) -> Self {
        self.data_at[source as usize] = data_at;
        self.fetched_at[source as usize] = fetched_at;
        self
    }

    /// These facts with those about CVEs.
    #[must_use]
    pub fn with_cves(self, cves: impl IntoIterator<Item = (CveId, CveFacts)>) -> Self {
        Self { cves: cves.into_iter().collect(), ..self }
    }

    /// These facts with another servicing table.
    #[must_use]
    pub fn with_servicing(self, servicing: ServicingTable) -> Self {
        Self { servicing: Arc::new(servicing), ..self }
    }

    /// The ends of servicing by Windows build.
    #[must_use]
    pub fn servicing(&self) -> &ServicingTable {
        &self.servicing
    }

    /// The time of the data of `source`, as the source states it.
    #[must_use]
    pub fn data_at(&self, source: FactsSource) -> Option<Timestamp> {
        self.data_at[source as usize]
    }

    /// The time of the last successful fetch from `source`.
    #[must_use]
    pub fn fetched_at(&self, source: FactsSource) -> Option<Timestamp> {
        self.fetched_at[source as usize]
    }

    /// Returns whether data of `source` was ever loaded.
    #[must_use]
    pub fn has(&self, source: FactsSource) -> bool {
        self.loaded[source as usize]
    }

    /// The facts about a KB; none if no document lists it.
    #[must_use]
    pub fn kb(&self, kb: KbId) -> Option<&KbFacts> {
        self.kbs.get(&kb)
    }

    /// The facts about a CVE that a KB fixes; none if no document lists it.
    #[must_use]
    pub fn cve(&self, cve: CveId) -> Option<&CveFacts> {
        self.cves.get(&cve)
    }

    /// The number of missing updates or machines that are known to be concerned by exploitation. None without data of
    /// the documents, and for 0 without the KEV catalogue: nobody knows then that nothing is exploited.
    #[must_use]
    pub fn known_count(&self, exploited: u64) -> Option<u64> {
        let is_known = self.has(FactsSource::Kev) || exploited > 0;
        (self.has(FactsSource::Msrc) && is_known).then_some(exploited)
    }

    /// The number of KBs with facts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kbs.len()
    }

    /// Returns whether there are no facts about any KB.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kbs.is_empty()
    }

    /// The release of a KB: by the document that `title` names, if it lists the KB, else the usual one.
    #[must_use]
    pub fn released(&self, kb: KbId, title: &str) -> Option<Timestamp> {
        let facts = self.kb(kb)?;
        let named = MonthlyBatch::of_title(title).map(|batch| batch.to_string().to_ascii_lowercase());
        let listing = named.and_then(|id| facts.documents.iter().find(|document| *document.id == *id));
        listing.map(|document| document.released).or(facts.released)
    }

    /// Returns whether `newer` takes the place of `older`: a chain of supersedence leads from one to the other.
    /// The chain may pass over KBs that no machine misses. In a cycle, the KB that was released later is the newer
    /// one, of equals the one with the greater number.
    #[must_use]
    pub fn supersedes(&self, newer: KbId, older: KbId) -> bool {
        newer != older
            && self.reaches(newer, older)
            && (!self.reaches(older, newer) || self.is_later(newer, older))
    }

    /// Returns whether `kb` was released after `other`, or at the same time with a greater number.
    fn is_later(&self, kb: KbId, other: KbId) -> bool {
        let released = |kb| self.kb(kb).and_then(|facts| facts.released);
        (released(kb), kb) > (released(other), other)
    }

    /// Of two KBs, the one that takes the place of the other, else the one that was released later.
    #[must_use]
    pub fn newer_of(&self, one: KbId, other: KbId) -> KbId {
        let is_newer =
            self.supersedes(other, one) || (!self.supersedes(one, other) && self.is_later(other, one));
        if is_newer { other } else { one }
    }

    /// The KBs that a chain of supersedence leads to from `kb`, sorted, without itself. In a cycle, some of them are
    /// newer: see [`supersedes`](Self::supersedes).
    #[must_use]
    pub fn older_than(&self, kb: KbId) -> BTreeSet<KbId> {
        let mut seen = BTreeSet::from([kb]);
        let mut open = vec![kb];
        while let Some(kb) = open.pop() {
            let next = self.kb(kb).into_iter().flat_map(|facts| &facts.supersedes);
            open.extend(next.filter(|next| seen.insert(**next)));
        }
        seen.remove(&kb);
        seen
    }

    fn reaches(&self, from: KbId, to: KbId) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(kb) = open.pop() {
            for &next in self.kb(kb).iter().flat_map(|facts| &facts.supersedes) {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kb(number: u32) -> KbId {
        KbId::new(number).unwrap()
    }

    fn chain(links: &[(u32, &[u32])]) -> Facts {
        let facts = |(number, supersedes): &(u32, &[u32])| {
            let supersedes = supersedes.iter().copied().map(kb).collect();
            (kb(*number), KbFacts { supersedes, ..KbFacts::default() })
        };
        Facts::new([FactsSource::Msrc], links.iter().map(facts))
    }

    #[test]
    fn chain_leads_over_kbs_without_facts_of_their_own() {
        let facts = chain(&[(5_000_004, &[5_000_003]), (5_000_003, &[5_000_002, 5_000_001])]);
        assert!(facts.supersedes(kb(5_000_004), kb(5_000_001)));
        assert!(facts.supersedes(kb(5_000_003), kb(5_000_002)));
        assert!(!facts.supersedes(kb(5_000_001), kb(5_000_004)));
        assert!(!facts.supersedes(kb(5_000_004), kb(5_000_004)));
        assert!(!facts.supersedes(kb(5_000_009), kb(5_000_004)));
    }

    #[test]
    fn cycle_has_one_direction() {
        let facts = chain(&[(5_000_001, &[5_000_002]), (5_000_002, &[5_000_001, 5_000_002])]);
        assert!(facts.supersedes(kb(5_000_002), kb(5_000_001)));
        assert!(!facts.supersedes(kb(5_000_001), kb(5_000_002)));
    }
}

//! The release of each KB.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::MergedKb;
use crate::facts::ReleaseDocument;
use crate::facts::msrc::{Document, DocumentKb};
use crate::model::KbId;

/// A KB in one document with a release date.
pub(super) struct Listing {
    id: Box<str>,
    /// The release of the document.
    initial: Timestamp,
    /// The number of CVEs that the KB fixes there.
    cves: usize,
    /// The release of the KB if this document releases it.
    released: Timestamp,
}

impl Listing {
    /// The listing of `kb` in `document`; none if the document has no release date yet.
    pub(super) fn new(kb: &DocumentKb, document: &Document) -> Option<Self> {
        let initial = document.initial?;
        // CVEs that are all later than the document are those of an out-of-band update, which was added to it.
        let published = kb.cves.iter().map(|cve| document.cves.get(cve).and_then(|cve| cve.published));
        let earliest = published.min().flatten().filter(|earliest| *earliest > initial);
        Some(Self {
            id: document.id.lower_case().into(),
            initial,
            cves: kb.cves.len(),
            released: earliest.unwrap_or(initial),
        })
    }

    pub(super) fn document(self) -> ReleaseDocument {
        ReleaseDocument { id: self.id, released: self.released }
    }
}

/// Sets the release of each KB: that of the document in which it fixes most CVEs, of equals the earliest, and never
/// before a KB that it supersedes.
pub(super) fn date(kbs: &mut BTreeMap<KbId, MergedKb>) {
    for cycle in cycles(kbs) {
        // Within a cycle, no KB is the older one.
        for id in &cycle {
            let Some(kb) = kbs.get(id) else { continue };
            let earlier = kb.supersedes.iter().filter(|superseded| !cycle.contains(superseded));
            let bound = earlier.filter_map(|superseded| kbs.get(superseded)?.released).max();
            if let Some(kb) = kbs.get_mut(id) {
                kb.date(bound);
            }
        }
    }
}

impl MergedKb {
    fn date(&mut self, bound: Option<Timestamp>) {
        let releases = self.listings.iter().max_by_key(|listing| {
            let is_possible = Some(listing.released) >= bound;
            (is_possible, listing.cves, Reverse((listing.initial, listing.released, &listing.id)))
        });
        self.released = releases.map(|listing| listing.released).max(bound.filter(|_| releases.is_some()));
        for listing in &mut self.listings {
            listing.released = bound.map_or(listing.released, |bound| bound.max(listing.released));
        }
        self.listings.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

/// The KBs in groups that supersede each other in a cycle, most of them of one KB. A group comes after every group
/// that it supersedes.
fn cycles(kbs: &BTreeMap<KbId, MergedKb>) -> Vec<Vec<KbId>> {
    let mut search = CycleSearch { kbs, numbers: HashMap::new(), open: Vec::new(), cycles: Vec::new() };
    for id in kbs.keys() {
        if !search.numbers.contains_key(id) {
            search.visit(*id);
        }
    }
    search.cycles
}

/// Tarjan's search for strongly connected components, without recursion: a chain can be long.
struct CycleSearch<'a> {
    kbs: &'a BTreeMap<KbId, MergedKb>,
    /// The order of discovery of each KB, and the earliest open KB that it leads to; none when its group is complete.
    numbers: HashMap<KbId, (usize, Option<usize>)>,
    /// The KBs whose group is not complete, in the order of discovery.
    open: Vec<KbId>,
    cycles: Vec<Vec<KbId>>,
}

impl CycleSearch<'_> {
    fn visit(&mut self, start: KbId) {
        let mut path = vec![(start, self.discover(start))];
        while let Some((id, superseded)) = path.last_mut() {
            let id = *id;
            match superseded.pop() {
                Some(next) if self.numbers.contains_key(&next) => {
                    let (number, earliest) = self.numbers[&next];
                    self.lead(id, earliest.map(|_| number));
                }
                Some(next) => {
                    let superseded = self.discover(next);
                    path.push((next, superseded));
                }
                None => {
                    path.pop();
                    let earliest = self.complete(id);
                    if let Some((parent, _)) = path.last() {
                        self.lead(*parent, earliest);
                    }
                }
            }
        }
    }

    /// Numbers a KB, and returns the KBs that it supersedes.
    fn discover(&mut self, id: KbId) -> Vec<KbId> {
        let number = self.numbers.len();
        self.numbers.insert(id, (number, Some(number)));
        self.open.push(id);
        let superseded = self.kbs.get(&id).into_iter().flat_map(|kb| &kb.supersedes);
        superseded.copied().filter(|superseded| self.kbs.contains_key(superseded)).collect()
    }

    /// Records that `id` leads to the open KB with the number `other`.
    fn lead(&mut self, id: KbId, other: Option<usize>) {
        if let (Some((_, Some(earliest))), Some(other)) = (self.numbers.get_mut(&id), other) {
            *earliest = other.min(*earliest);
        }
    }

    /// Completes the group of a KB that leads to no earlier one. Returns the earliest open KB that it leads to.
    fn complete(&mut self, id: KbId) -> Option<usize> {
        let (number, earliest) = self.numbers[&id];
        if earliest != Some(number) {
            return earliest;
        }
        let first = self.open.iter().rposition(|open| *open == id).unwrap_or_default();
        let cycle = self.open.split_off(first);
        for id in &cycle {
            if let Some((_, earliest)) = self.numbers.get_mut(id) {
                *earliest = None;
            }
        }
        self.cycles.push(cycle);
        None
    }
}

//! Supersedence on one machine: an update that disappears because a newer one took its place is not fixed.
//!
//! Microsoft's updates are cumulative, so Defender lists only the newest one of a chain. A machine that never
//! installs anything would look as if it fixed an update every month. The newer update therefore keeps the ones
//! that it superseded on the machine as its links.

use crate::facts::{Facts, FixedBuild};
use crate::model::KbId;

use super::{Chain, Link, MissingUpdate};

/// The updates that appear in one answer about a machine, and what they supersede.
pub(super) struct Appeared<'a> {
    facts: &'a Facts,
    /// The build of the machine at the time of the answer, when the source reports it.
    build: Option<FixedBuild>,
    /// The updates that the answer lists and the one before it did not, each with the links that it gets.
    updates: Vec<(KbId, Vec<Link>)>,
}

impl<'a> Appeared<'a> {
    /// No update yet.
    pub(super) fn new(facts: &'a Facts, build: Option<FixedBuild>) -> Self {
        Self { facts, build, updates: Vec::new() }
    }

    /// Adds an update that appears.
    pub(super) fn add(&mut self, kb: KbId) {
        self.updates.push((kb, Vec::new()));
    }

    /// Makes `gone`, which is absent from the answer, and its links the links of the update that took its place.
    /// Returns false if there is none, or if the machine has reached the build that contains `gone`: it was
    /// installed.
    pub(super) fn take_place_of(&mut self, gone: &MissingUpdate) -> bool {
        let kb = gone.update.kb;
        if self.updates.is_empty() || self.is_installed(kb) {
            return false;
        }
        let Some(successor) = self.successor(kb) else { return false };
        let links = self.updates.iter_mut().find(|(kb, _)| *kb == successor).map(|(_, links)| links);
        let of_gone = gone.links().iter().copied().chain([Link { kb, first_seen: gone.first_seen }]);
        links.expect("Safe: the successor is one of the updates").extend(of_gone);
        true
    }

    /// Makes the links of `gone` the links of the one among them that is listed again, as far as that one supersedes
    /// them. An update that Microsoft withdraws leaves the ones before it as missing as they were.
    pub(super) fn give_back_links_of(&mut self, gone: &MissingUpdate) {
        let links = gone.links();
        if links.len() < 2 || self.updates.is_empty() || self.is_installed(gone.update.kb) {
            return;
        }
        let appeared = self.updates.iter().map(|(kb, _)| *kb);
        let returned: Vec<KbId> = appeared.filter(|kb| links.iter().any(|link| link.kb == *kb)).collect();
        for link in links {
            let newer = returned.iter().copied().filter(|kb| self.facts.supersedes(*kb, link.kb));
            let newest = newer.reduce(|best, other| self.facts.newer_of(best, other));
            let given = self.updates.iter_mut().find(|(kb, _)| Some(*kb) == newest);
            if let Some((_, links)) = given {
                links.push(*link);
            }
        }
    }

    /// The update that takes the place of `kb`: of several, the newest of the chain.
    fn successor(&self, kb: KbId) -> Option<KbId> {
        let successors =
            self.updates.iter().map(|(kb, _)| *kb).filter(|newer| self.facts.supersedes(*newer, kb));
        successors.reduce(|best, other| self.facts.newer_of(best, other))
    }

    /// Returns whether the build of the machine contains `kb`.
    fn is_installed(&self, kb: KbId) -> bool {
        let builds = self.facts.kb(kb).map(|facts| &facts.builds);
        self.build.zip(builds).is_some_and(|(machine, builds)| {
            builds.iter().any(|fixed| fixed.build == machine.build && fixed.revision <= machine.revision)
        })
    }

    /// The links that `kb` gets: those of `before`, which it had already, and the new ones. An update that the
    /// answer lists, by `is_listed`, stands for itself and is no link.
    pub(super) fn chain(
        &mut self,
        kb: KbId,
        before: &[Link],
        is_listed: impl Fn(KbId) -> bool,
    ) -> Option<Box<Chain>> {
        let new = self.updates.iter_mut().find(|(appeared, _)| *appeared == kb);
        let mut links = new.map(|(_, links)| std::mem::take(links)).unwrap_or_default();
        links.extend(before);
        links.retain(|link| link.kb != kb && !is_listed(link.kb));
        Chain::of(links)
    }
}

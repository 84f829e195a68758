//! What missing updates of one KB with the same links have in common, found once.

use super::{TenantPolicies, UpdateProfile};
use crate::fleet::{Link, MissingUpdate};

impl TenantPolicies<'_> {
    /// The index of the profile of a missing update that stands for `links`.
    pub(super) fn profile(&mut self, missing: &MissingUpdate, links: &[Link]) -> usize {
        let packed = packed(missing);
        if links.is_empty() {
            if let Some(&known) = self.plain.get(&packed) {
                return known;
            }
            let added = self.add_profile(missing, links);
            self.plain.insert(packed, added);
            return added;
        }
        self.key.clear();
        self.key.push(packed);
        self.key.extend(links.iter().map(|link| u64::from(link.kb.number())));
        if let Some(&known) = self.chained.get(self.key.as_slice()) {
            return known;
        }
        let added = self.add_profile(missing, links);
        self.chained.insert(self.key.as_slice().into(), added);
        added
    }

    fn add_profile(&mut self, missing: &MissingUpdate, links: &[Link]) -> usize {
        let kb = missing.update.kb;
        let traits = self.lookup.traits(missing, links);
        let links_released = links.iter().map(|link| self.lookup.released(link.kb)).collect();
        self.update_bits.extend(self.compiled.rules.update_bits(&traits));
        self.profiles.push(UpdateProfile {
            exploited: traits.exploited,
            released: self.lookup.released(kb),
            links_released,
            listed_since: traits.listed_since,
            due: traits.due,
        });
        self.profiles.len() - 1
    }
}

/// The KB and what Defender reports about it on the machine, in one number.
pub(super) fn packed(missing: &MissingUpdate) -> u64 {
    let update = &missing.update;
    let severity = update.severity.map_or(0, |severity| severity as u64 + 1);
    let score = update.cvss.map_or(0, |score| u64::from(score.tenths()));
    u64::from(update.kb.number()) << 16 | severity << 8 | score
}

/// A link and the update that stands for it, in one number.
pub(super) fn packed_link(missing: &MissingUpdate, link: &Link) -> u64 {
    u64::from(missing.update.kb.number()) << 32 | u64::from(link.kb.number())
}

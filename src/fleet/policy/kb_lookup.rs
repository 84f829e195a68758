//! What is known of a KB in a tenant.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::facts::Facts;
use crate::fleet::rules::condition::UpdateTraits;
use crate::fleet::summary::UpdateSummary;
use crate::fleet::{EffectiveFacts, Link, MissingUpdate};
use crate::model::{CvssScore, KbId};

/// The updates that machines of a tenant miss, and the facts about KBs.
#[derive(Clone, Copy, Debug)]
pub(super) struct KbLookup<'a> {
    pub(super) updates: &'a BTreeMap<KbId, UpdateSummary>,
    pub(super) facts: &'a Facts,
}

impl KbLookup<'_> {
    /// The traits of a missing update that stands for `links`.
    pub(super) fn traits(self, missing: &MissingUpdate, links: &[Link]) -> UpdateTraits {
        let update = &missing.update;
        let kbs = || [update.kb].into_iter().chain(links.iter().map(|link| link.kb));
        let traits = self.traits_of(update.kb, kbs, &update.facts.products);
        let rating = || update.severity.or(update.cvss.map(CvssScore::severity));
        UpdateTraits {
            severity: traits.severity.or_else(rating),
            cvss: traits.cvss.or(update.cvss),
            ..traits
        }
    }

    /// The traits of a link as if it were missing itself. Updates of one chain are for the same products.
    pub(super) fn traits_of_link(self, missing: &MissingUpdate, link: &Link) -> UpdateTraits {
        let products = self.products(missing.update.kb, &missing.update.facts.products);
        self.traits_of(link.kb, || [link.kb].into_iter(), products)
    }

    /// The traits of `kb` with the worst facts of `kbs`, without what Defender reports on one machine. `products` are
    /// those of an update that no machine misses.
    fn traits_of<I: Iterator<Item = KbId>>(
        self,
        kb: KbId,
        kbs: impl Fn() -> I,
        products: &[String],
    ) -> UpdateTraits {
        let effective = EffectiveFacts::of(self.facts, kbs());
        let is_listed = effective.known_exploited.is_some();
        let is_known = is_listed || kbs().all(|kb| self.facts.kb(kb).is_some());
        UpdateTraits {
            kb,
            exploited: effective.exploited,
            is_listed: is_known.then_some(is_listed),
            listed_since: effective.known_exploited.map(|listing| listing.since),
            due: effective.known_exploited.and_then(|listing| listing.due),
            vendor_severity: effective.vendor_severity,
            severity: effective.cvss.map(CvssScore::severity),
            cvss: effective.cvss,
            epss: effective.epss,
            products: self.products(kb, products).iter().map(|product| product.to_lowercase()).collect(),
        }
    }

    /// The products of a KB over all machines that miss it; `otherwise` if none does.
    fn products<'b>(self, kb: KbId, otherwise: &'b [String]) -> &'b [String]
    where
        Self: 'b,
    {
        self.updates.get(&kb).map_or(otherwise, |update| &update.facts.products)
    }

    /// The release of a KB, which is the same for every machine.
    pub(super) fn released(self, kb: KbId) -> Option<Timestamp> {
        match self.updates.get(&kb) {
            Some(update) => update.released,
            None => self.facts.released(kb, ""),
        }
    }
}

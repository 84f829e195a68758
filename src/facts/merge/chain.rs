//! Predecessors of KBs for which no document names one.

use std::collections::{BTreeMap, BTreeSet};

use super::MergedKb;
use crate::facts::FixedBuild;
use crate::facts::msrc::ProductId;
use crate::model::KbId;

/// The KBs of each build of Windows 10 and later.
type Builds<'a> = BTreeMap<FixedBuild, Vec<(KbId, &'a BTreeSet<ProductId>)>>;

/// Gives predecessors to each KB that names none: for each of its builds the KB with the greatest lower revision that
/// has a product in common and was released earlier. Hotpatches and servicing stack updates are alternatives and
/// preconditions of cumulative updates, not links of their chain.
pub(super) fn link(kbs: &mut BTreeMap<KbId, MergedKb>) {
    let mut builds = Builds::new();
    for (id, kb) in kbs.iter().filter(|(_, kb)| kb.is_cumulative()) {
        for (build, products) in kb.builds.iter().filter(|(build, _)| build.is_cumulative()) {
            builds.entry(*build).or_default().push((*id, products));
        }
    }
    let unnamed = kbs.iter().filter(|(_, kb)| kb.is_cumulative() && kb.supersedes.is_empty());
    let found: Vec<(KbId, BTreeSet<KbId>)> =
        unnamed.map(|(id, kb)| (*id, predecessors(*id, kb, &builds, kbs))).collect();
    for (id, predecessors) in found {
        if let Some(kb) = kbs.get_mut(&id) {
            kb.supersedes = predecessors;
        }
    }
}

impl MergedKb {
    fn is_cumulative(&self) -> bool {
        !self.is_hotpatch && !self.is_servicing_stack
    }
}

fn predecessors(
    id: KbId,
    kb: &MergedKb,
    builds: &Builds<'_>,
    kbs: &BTreeMap<KbId, MergedKb>,
) -> BTreeSet<KbId> {
    let is_earlier = |other: &KbId| kbs.get(other).is_some_and(|other| other.released < kb.released);
    let predecessor = |build: &FixedBuild, products: &BTreeSet<ProductId>| {
        let lower = builds.range(FixedBuild { revision: 0, ..*build }..*build).rev().flat_map(|(_, kbs)| kbs);
        let mut candidates = lower
            .filter(|(other, others)| *other != id && !products.is_disjoint(others) && is_earlier(other));
        candidates.next().map(|(other, _)| *other)
    };
    kb.builds.iter().filter_map(|(build, products)| predecessor(build, products)).collect()
}

//! The updates that the configuration ignores.

use std::collections::BTreeSet;

use super::KbId;

/// The updates that are left out of every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredUpdates {
    /// The KBs of `metrics.ignore_kbs`.
    pub kbs: BTreeSet<KbId>,
    /// The ids of `metrics.ignore_ids`, which are no KBs, in lower case.
    ids: BTreeSet<String>,
}

impl IgnoredUpdates {
    /// Collects KBs and ids. The case of an id and surrounding white space do not matter.
    #[must_use]
    pub fn new<'a>(kbs: impl IntoIterator<Item = KbId>, ids: impl IntoIterator<Item = &'a str>) -> Self {
        Self { kbs: kbs.into_iter().collect(), ids: ids.into_iter().map(folded).collect() }
    }

    /// Returns whether the configuration names `id`, which is no KB.
    #[must_use]
    pub fn contains_id(&self, id: &str) -> bool {
        !self.ids.is_empty() && self.ids.contains(&folded(id))
    }
}

fn folded(id: &str) -> String {
    id.trim().to_lowercase()
}

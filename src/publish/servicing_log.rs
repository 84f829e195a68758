//! The warnings about rules of the section `servicing` that do not do what they say, for the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Snapshot;
use crate::fleet::servicing::ServicingRuleReason;

/// Logs when a rule about servicing does not do what it says. Each reason is logged once as long as nothing changes.
#[derive(Debug, Default)]
pub(super) struct ServicingLog {
    logged: BTreeSet<(Arc<str>, ServicingRuleReason)>,
}

impl ServicingLog {
    /// Compares `snapshot` with what was logged last, and logs what is new.
    pub(super) fn update(&mut self, snapshot: &Snapshot) {
        let key = |place: &Arc<str>, reason| (Arc::clone(place), reason);
        for warning in &snapshot.servicing_warnings {
            if !self.logged.contains(&key(&warning.place, warning.reason)) {
                tracing::warn!(rule = &*warning.place, "rule about servicing {}", warning.text());
            }
        }
        let warnings = snapshot.servicing_warnings.iter();
        self.logged = warnings.map(|warning| key(&warning.place, warning.reason)).collect();
    }
}

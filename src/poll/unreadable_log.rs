//! Logs the update ids that are no KBs, each once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::MachineId;

/// The number of ids that are logged. More of them need another look than at the log.
const MOST_IDS: usize = 100;

/// The longest part of an id that is logged, in characters.
const LONGEST_ID: usize = 100;

/// The update ids that were logged.
#[derive(Debug, Default)]
pub(super) struct UnreadableLog {
    logged: HashSet<Arc<str>>,
}

impl UnreadableLog {
    /// Logs those of `ids`, from an answer about `machine`, that are new.
    pub(super) fn report(&mut self, tenant: &str, machine: &MachineId, ids: &[Arc<str>]) {
        for id in ids {
            if self.logged.len() >= MOST_IDS || !self.logged.insert(Arc::clone(id)) {
                continue;
            }
            let id: String = id.chars().take(LONGEST_ID).collect();
            tracing::warn!(
                tenant,
                %machine,
                id,
                "update id is not a KB; the machine does not count as compliant, and the missing updates that the id may \
                 stand for are kept: add it to metrics.ignore_ids to ignore it"
            );
            if self.logged.len() == MOST_IDS {
                tracing::warn!(
                    tenant,
                    ids = MOST_IDS,
                    "too many update ids are no KBs; no more of them are logged"
                );
            }
        }
    }
}

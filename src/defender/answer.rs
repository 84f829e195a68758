//! Combines the records of `getmissingkbs` into the answer about one machine.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use super::decode::KbRecord;
use super::{ApiError, Client};
use crate::fleet::{MachineAnswer, ReportedUpdate, UpdateFacts};
use crate::model::{ApiOperation, RejectReason};

/// The number of shared values at which those without a user are dropped.
const MOST_SHARED: usize = 10_000;

/// Values that the answers about many machines have in common, each held once.
#[derive(Debug, Default)]
pub(super) struct SharedValues {
    facts: HashSet<Arc<UpdateFacts>>,
    ids: HashSet<Arc<str>>,
}

impl SharedValues {
    /// Drops the values that no machine refers to any more, so that the sets do not grow without bound.
    fn drop_unused(&mut self) {
        if self.facts.len() > MOST_SHARED {
            self.facts.retain(|facts| Arc::strong_count(facts) > 1);
        }
        if self.ids.len() > MOST_SHARED {
            self.ids.retain(|id| Arc::strong_count(id) > 1);
        }
    }

    fn share_facts(&mut self, update: &mut ReportedUpdate) {
        match self.facts.get(&update.facts) {
            Some(facts) => update.facts = Arc::clone(facts),
            None => drop(self.facts.insert(Arc::clone(&update.facts))),
        }
    }

    fn share_id(&mut self, id: String) -> Arc<str> {
        if let Some(id) = self.ids.get(id.as_str()) {
            return Arc::clone(id);
        }
        let id: Arc<str> = id.into();
        self.ids.insert(Arc::clone(&id));
        id
    }
}

impl Client {
    /// Combines `records` and counts those that cannot be read. The KBs are each there once, in the order of
    /// the records.
    ///
    /// # Errors
    /// Returns [`ApiError::Unusable`] if there are records but none has an id.
    pub(super) fn machine_answer(&self, records: Vec<KbRecord>) -> Result<MachineAnswer, ApiError> {
        let received = records.len() as u64;
        let has_ids = records.iter().any(KbRecord::has_id);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.drop_unused();
        let (mut seen, mut repeated, mut without_id) = (HashSet::new(), 0, 0);
        let (mut updates, mut unreadable) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                KbRecord::Update(update) if !seen.insert(update.kb) => repeated += 1,
                KbRecord::Update(mut update) => {
                    shared.share_facts(&mut update);
                    updates.push(update);
                }
                KbRecord::Unreadable { id, reason } => {
                    self.metrics.record_rejected(reason, 1);
                    // Records without an id may stand for different updates, so their number counts.
                    let id = if reason == RejectReason::BadKb {
                        id
                    } else {
                        without_id += 1;
                        format!("{id} {without_id}")
                    };
                    unreadable.push(shared.share_id(id));
                }
            }
        }
        self.metrics.duplicates_dropped(repeated);
        if received > 0 && !has_ids {
            return Err(ApiError::Unusable { endpoint: ApiOperation::MissingKbs, records: received });
        }
        Ok(MachineAnswer { unreadable, ..MachineAnswer::from(updates) })
    }
}

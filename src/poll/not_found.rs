//! The machines that the API did not find, and the further attempts for them.
//!
//! The API often answers the next call, so a 404 counts as a failure of the machine only after several.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::MachineId;

/// The number of further attempts before a 404 counts.
const RETRIES: u32 = 3;

/// The time between two attempts for a machine, unless the interval is short.
const PAUSE: Duration = Duration::from_secs(5);

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct NotFoundRetries {
    /// The number of attempts that a 404 answered, by machine.
    answers: HashMap<MachineId, u32>,
    /// The machines to ask again, by the time for it.
    waiting: BTreeSet<(Instant, MachineId)>,
}

impl NotFoundRetries {
    /// Plans a further attempt after a 404 at `now`. Returns false if there were enough; the machine is
    /// forgotten then.
    pub(super) fn plan(&mut self, id: &MachineId, now: Instant, interval: Duration) -> bool {
        let answers = self.answers.entry(id.clone()).or_default();
        if *answers == RETRIES {
            self.answers.remove(id);
            return false;
        }
        *answers += 1;
        self.waiting.insert((now + PAUSE.min(interval / 100), id.clone()));
        true
    }

    /// Takes a machine whose time has come.
    pub(super) fn take(&mut self, now: Instant) -> Option<MachineId> {
        let (at, _) = self.waiting.first()?;
        if *at > now {
            return None;
        }
        self.waiting.pop_first().map(|(_, id)| id)
    }

    /// Plans the attempt again that could not be made.
    pub(super) fn put_back(&mut self, id: &MachineId, now: Instant) -> bool {
        let is_known = self.answers.contains_key(id);
        if is_known {
            self.waiting.insert((now, id.clone()));
        }
        is_known
    }

    /// Forgets a machine that was answered otherwise.
    pub(super) fn forget(&mut self, id: &MachineId) {
        self.answers.remove(id);
    }

    /// Forgets the machines that `keep` does not select.
    pub(super) fn retain(&mut self, keep: impl Fn(&MachineId) -> bool) {
        self.answers.retain(|id, _| keep(id));
        self.waiting.retain(|(_, id)| keep(id));
    }

    /// Returns whether a further attempt is planned for the machine.
    pub(super) fn contains(&self, id: &MachineId) -> bool {
        self.answers.contains_key(id)
    }

    /// The number of machines that wait for a further attempt.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The time of the next attempt.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourth_404_counts() {
        let (mut retries, mut now) = (NotFoundRetries::default(), Instant::now());
        let id = MachineId::parse("a").unwrap();
        let interval = Duration::from_hours(6);
        for _ in 0..RETRIES {
            assert!(retries.plan(&id, now, interval) && retries.contains(&id));
            assert_eq!((retries.take(now), retries.next()), (None, Some(now + PAUSE)));
            now += PAUSE;
            assert_eq!(retries.take(now), Some(id.clone()));
            assert!(retries.put_back(&id, now));
            assert_eq!((retries.waiting(), retries.take(now)), (1, Some(id.clone())));
        }
        assert!(!retries.plan(&id, now, interval) && !retries.contains(&id));
        assert_eq!(retries.waiting(), 0);
    }
}

//! Submits the fleet to the publication, and limits the share of time that this takes.

use tokio::time::Instant;

use crate::fleet::TenantFleet;
use crate::publish::FleetSender;

/// The pause after a submission, as a multiple of its duration. A submission copies the machine map of the
/// fleet; with this factor it takes at most a fiftieth of the time.
const PAUSE_PER_SUBMISSION: u32 = 49;

/// A [`FleetSender`] with a pause between two submissions.
#[derive(Debug)]
pub(super) struct PacedSender {
    sender: FleetSender,
    /// The earliest time of the next submission of a change.
    ready_at: Instant,
    /// True if the fleet has changed since the last submission.
    has_changes: bool,
}

impl PacedSender {
    pub(super) fn new(sender: FleetSender) -> Self {
        Self { sender, ready_at: Instant::now(), has_changes: false }
    }

    /// Submits the changed `fleet`, or leaves that to a later call if the pause has not elapsed.
    pub(super) fn fleet_changed(&mut self, fleet: &TenantFleet) {
        self.has_changes = true;
        if Instant::now() >= self.ready_at {
            self.submit(fleet);
        }
    }

    /// Submits `fleet` without a pause.
    pub(super) fn submit(&mut self, fleet: &TenantFleet) {
        let started = Instant::now();
        self.sender.submit(fleet);
        self.has_changes = false;
        self.ready_at = Instant::now() + started.elapsed() * PAUSE_PER_SUBMISSION;
    }

    /// Submits `fleet` if it has changed since the last submission.
    pub(super) fn flush(&mut self, fleet: &TenantFleet) {
        if self.has_changes {
            self.submit(fleet);
        }
    }

    /// The time at which a pending change can be submitted; none without such a change.
    pub(super) fn pending_until(&self) -> Option<Instant> {
        self.has_changes.then_some(self.ready_at)
    }
}

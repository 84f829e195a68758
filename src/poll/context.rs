//! The data that the parts of a poller share.

use std::sync::Arc;
use std::time::Duration;

use super::paced_sender::PacedSender;
use super::unreadable_log::UnreadableLog;
use crate::clock::Clock;
use crate::defender::Client;
use crate::facts::FactsReader;
use crate::fleet::TenantFleet;
use crate::model::{Freshness, IgnoredUpdates};
use crate::self_metrics::TenantMetrics;

/// The fleet of one tenant, the client that fetches its data, and the sender that publishes it.
#[derive(Debug)]
pub(super) struct PollContext {
    /// The only copy of the fleet that changes.
    pub(super) fleet: TenantFleet,
    pub(super) client: Arc<Client>,
    /// The time between two reads of a machine.
    pub(super) interval: Duration,
    pub(super) freshness: Freshness,
    /// The updates that are dropped from every reply.
    pub(super) ignored: Arc<IgnoredUpdates>,
    /// The facts about KBs.
    pub(super) facts: FactsReader,
    pub(super) unreadable_log: UnreadableLog,
    pub(super) sender: PacedSender,
    pub(super) metrics: TenantMetrics,
    pub(super) clock: Clock,
}

impl PollContext {
    /// Submits the fleet now, or a little later if it was submitted a moment ago.
    pub(super) fn fleet_changed(&mut self) {
        self.sender.fleet_changed(&self.fleet);
    }
}

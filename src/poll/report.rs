//! What came of one poll.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::defender::ApiError;
use crate::error::Chain;
use crate::fleet::MachineId;

/// Counts and failures of one poll.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// No further machine is asked after this.
    pub(super) until: Option<Instant>,
    /// The poll was given up: what is left would fail alike.
    pub(super) stopped: bool,
    /// Machines in a row without an answer.
    pub(super) in_a_row: u32,
    /// The machine list could not be had, though the API answers.
    list_failed: bool,
    read: u64,
    /// Machines that the API answered about, if only to say that it knows none.
    not_found: u64,
    failed: u64,
    /// By reason: how often, and the first failure in words.
    failures: BTreeMap<&'static str, Failures>,
}

#[derive(Debug)]
struct Failures {
    count: u64,
    /// A machine it happened to; none for the tenant as a whole.
    machine: Option<MachineId>,
    error: String,
}

impl Report {
    /// Whether the poll's time is over.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    pub(super) fn machine_read(&mut self) {
        self.in_a_row = 0;
        self.read += 1;
    }

    /// An export has data of so many machines.
    pub(super) fn machines_read(&mut self, count: u64) {
        self.read += count;
    }

    pub(super) fn machine_failed(&mut self, id: &MachineId, error: &ApiError) {
        if matches!(error, ApiError::NotFound { .. }) {
            self.not_found += 1;
        } else {
            self.in_a_row += 1;
            self.failed += 1;
        }
        tracing::debug!(machine = id.as_str(), error = %Chain(error), "a machine could not be read");
        self.note(Some(id), error);
    }

    /// A failure that concerns the tenant as a whole; `stops` when nothing more should be asked.
    pub(super) fn failed(&mut self, error: &ApiError, stops: bool) {
        self.stopped |= stops;
        self.list_failed |= !stops;
        self.note(None, error);
    }

    fn note(&mut self, machine: Option<&MachineId>, error: &ApiError) {
        let new = || Failures { count: 0, machine: machine.cloned(), error: Chain(error).to_string() };
        self.failures.entry(error.kind()).or_insert_with(new).count += 1;
    }

    /// Whether the tenant's API could be used: not when the poll was given up or the list is
    /// missing, and not when machines were asked and every one failed.
    pub(super) fn is_up(&self) -> bool {
        !self.stopped && !self.list_failed && (self.failed == 0 || self.read + self.not_found > 0)
    }

    /// Whether something was left undone that is worth another try soon.
    pub(super) fn incomplete(&self) -> bool {
        self.stopped || self.list_failed
    }

    /// The reasons of the failures, each once.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &'static str> {
        self.failures.keys().copied()
    }

    /// The failure to show: one of the whole tenant first.
    pub(super) fn last_error(&self) -> Option<String> {
        let shown = self.failures.values().min_by_key(|failures| failures.machine.is_some());
        shown.map(|failures| failures.error.clone())
    }

    /// One line for the poll, and one for each reason of failure.
    pub(super) fn log(&self, tenant: &str, took: Duration, next: Timestamp) {
        for (reason, failures) in &self.failures {
            let (error, count) = (&failures.error, failures.count);
            if let Some(machine) = &failures.machine {
                tracing::warn!(
                    tenant,
                    reason,
                    machines = count,
                    machine = machine.as_str(),
                    error,
                    "machines could not be read; their old data stays"
                );
            } else {
                tracing::warn!(tenant, reason, error, "the poll failed; old data stays");
            }
        }
        let (read, failed) = (self.read, self.failed + self.not_found);
        tracing::info!(tenant, read, failed, duration_ms = took.as_millis(), next_poll = %seconds(next), "poll finished");
    }
}

/// For a log line; fractions of a second say nothing there.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

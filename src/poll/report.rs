//! The result of one poll, and its lines in the log.
//!
//! A poll is the work from the first call until nothing is due any more, and at most one interval. Each one
//! logs one line. A failure also logs a warning when it begins or changes its kind, but not again
//! in every poll of an outage that lasts for a week.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::defender::ApiError;
use crate::error::Chain;
use crate::model::{FailureReason, MachineId};

/// The counts and failures of one poll.
#[derive(Debug, Default)]
pub(super) struct PollReport {
    /// The time of its first call.
    started: Option<Instant>,
    /// True if the machine list or the export was read.
    source_read: bool,
    read: u64,
    /// The number of machines that the API answered with 404.
    not_found: u64,
    failed: u64,
    failures: BTreeMap<FailureReason, FailureGroup>,
    /// The generation time and the number of rows of the export version that was read.
    export: Option<(Timestamp, u64)>,
}

/// The failures that were logged already.
#[derive(Debug, Default)]
pub(super) struct LoggedFailures(BTreeSet<FailureKey>);

/// The identity of a failure. The error text is no part of it: it contains an id or a time that differs in
/// each poll.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FailureKey {
    reason: FailureReason,
    code: Option<String>,
    concerns_machines: bool,
}

/// The failures of one reason.
#[derive(Debug)]
struct FailureGroup {
    count: u64,
    /// The error code of Entra, if Entra refused the token.
    code: Option<String>,
    /// The first machine that failed; none for a failure of the whole tenant.
    machine: Option<MachineId>,
    /// The text of the first failure.
    error: String,
}

impl PollReport {
    /// Records that a call is made.
    pub(super) fn begin(&mut self) {
        self.started.get_or_insert_with(Instant::now);
    }

    /// The time since the first call; none before it.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        self.started.map(|started| started.elapsed())
    }

    pub(super) fn source_read(&mut self) {
        self.source_read = true;
    }

    pub(super) fn machine_read(&mut self) {
        self.read += 1;
    }

    /// Records an export version of `rows` rows with data of `machines` machines.
    pub(super) fn export_read(&mut self, generated_at: Timestamp, rows: u64, machines: u64) {
        self.read += machines;
        self.export = Some((generated_at, rows));
    }

    pub(super) fn machine_failed(&mut self, tenant: &str, id: &MachineId, error: &ApiError) {
        if matches!(error, ApiError::NotFound { .. }) {
            self.not_found += 1;
        } else {
            self.failed += 1;
        }
        tracing::debug!(tenant, machine = id.as_str(), error = %Chain(error), "machine could not be read");
        self.record(Some(id), error);
    }

    /// Records a failure of the list or the export, or one that concerns every call.
    pub(super) fn tenant_failed(&mut self, error: &ApiError) {
        self.record(None, error);
    }

    fn record(&mut self, machine: Option<&MachineId>, error: &ApiError) {
        let new = || FailureGroup {
            count: 0,
            code: error.entra_code().map(str::to_owned),
            machine: machine.cloned(),
            error: Chain(error).to_string(),
        };
        let group = self.failures.entry(error.reason()).or_insert_with(new);
        if machine.is_none() && group.machine.is_some() {
            *group = new();
        }
        group.count += 1;
    }

    /// Returns whether the poll read what it should: the list, and at least one machine if any.
    pub(super) fn is_success(&self) -> bool {
        let is_of_machine = |group: &FailureGroup| group.machine.is_some();
        self.failures.values().all(is_of_machine) && (self.failed == 0 || self.read + self.not_found > 0)
    }

    /// The reasons of the failures, each once.
    pub(super) fn reasons(&self) -> impl Iterator<Item = FailureReason> {
        self.failures.keys().copied()
    }

    /// The failure to show to users: one of the whole tenant rather than one of a machine.
    pub(super) fn last_error(&self) -> Option<String> {
        let first = self.failures.values().min_by_key(|group| group.machine.is_some());
        first.map(|group| group.error.clone())
    }

    /// Logs one line for the poll, and one for each failure that is not in `logged`. A poll that only failed
    /// has no other line.
    pub(super) fn log(&self, tenant: &str, took: Duration, next: Timestamp, logged: &mut LoggedFailures) {
        self.log_failures(tenant, logged);
        if self.read + self.not_found == 0 && !self.failures.is_empty() {
            return;
        }
        let reasons = self.reasons().map(FailureReason::as_str).collect::<Vec<_>>().join(",");
        let (export, rows) = self.export.unzip();
        tracing::info!(
            tenant,
            read = self.read,
            failed = self.failed + self.not_found,
            reasons = (!reasons.is_empty()).then_some(reasons),
            export = export.map(tracing::field::display),
            rows,
            duration_ms = took.as_millis(),
            next_poll = %in_seconds(next),
            "poll finished"
        );
    }

    /// Logs the failures that began, and the end of those that concerned the list or the export.
    fn log_failures(&self, tenant: &str, logged: &mut LoggedFailures) {
        let mut current = LoggedFailures::default();
        for (&reason, group) in &self.failures {
            let key =
                FailureKey { reason, code: group.code.clone(), concerns_machines: group.machine.is_some() };
            if !logged.0.contains(&key) {
                group.warn(tenant, reason);
            }
            current.0.insert(key);
        }
        if self.source_read && !current.concern_tenant() {
            logged.end(tenant);
        } else if !current.concern_tenant() {
            // This poll made no such call, so the failure may continue.
            current.0.extend(std::mem::take(&mut logged.0).into_iter().filter(|key| !key.concerns_machines));
        }
        *logged = current;
    }
}

impl LoggedFailures {
    /// Logs the end of the failures that concern the whole tenant, if there are any.
    pub(super) fn end(&mut self, tenant: &str) {
        if self.concern_tenant() {
            tracing::info!(tenant, "polls succeed again");
            self.0.retain(|key| key.concerns_machines);
        }
    }

    /// Returns whether one of the failures concerns the whole tenant.
    fn concern_tenant(&self) -> bool {
        self.0.iter().any(|key| !key.concerns_machines)
    }
}

impl FailureGroup {
    fn warn(&self, tenant: &str, reason: FailureReason) {
        let reason = reason.as_str();
        let error = &self.error;
        if let Some(machine) = &self.machine {
            tracing::warn!(
                tenant,
                reason,
                machines = self.count,
                machine = machine.as_str(),
                error,
                "machines could not be read; trying them again"
            );
        } else {
            tracing::warn!(tenant, reason, error, "poll failed; trying again");
        }
    }
}

/// Drops the fraction of a second, which is noise in a log line.
fn in_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

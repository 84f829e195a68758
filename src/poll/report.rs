//! What came of one poll, and what of it is worth a line in the log.
//!
//! A poll is one line, whatever came of it. FailureKey is a warning when it begins and when it becomes
//! another one, not in each poll of a week in which nobody mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::defender::ApiError;
use crate::error::Chain;
use crate::model::{FailureReason, MachineId};

/// Counts and failures of one poll.
#[derive(Debug, Default)]
pub(super) struct PollReport {
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
    failures: BTreeMap<FailureReason, Failures>,
    /// When the export was made that was read, and its rows.
    export: Option<(Timestamp, u64)>,
}

/// FailureKey that was said already. It is alike while reason, Entra's code and extent stay: words have an id or
/// a time in them that differs each time.
#[derive(Debug, Default)]
pub(super) struct LoggedFailures(BTreeSet<FailureKey>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FailureKey {
    reason: FailureReason,
    code: Option<String>,
    of_machines: bool,
}

#[derive(Debug)]
struct Failures {
    count: u64,
    /// Entra's, when it is its refusal.
    code: Option<String>,
    /// A machine it happened to; none for the tenant as a whole.
    machine: Option<MachineId>,
    error: String,
}

impl PollReport {
    /// Whether the poll's time is over.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    pub(super) fn machine_read(&mut self) {
        self.in_a_row = 0;
        self.read += 1;
    }

    /// An export of `rows` was read, which has data of so many machines.
    pub(super) fn export_read(&mut self, generated_at: Timestamp, rows: u64, machines: u64) {
        self.read += machines;
        self.export = Some((generated_at, rows));
    }

    pub(super) fn machine_failed(&mut self, tenant: &str, id: &MachineId, error: &ApiError) {
        if matches!(error, ApiError::NotFound { .. }) {
            self.not_found += 1;
        } else {
            self.in_a_row += 1;
            self.failed += 1;
        }
        tracing::debug!(tenant, machine = id.as_str(), error = %Chain(error), "a machine could not be read");
        self.note(Some(id), error);
    }

    /// A failure that concerns the tenant as a whole; `stops` when nothing more should be asked.
    pub(super) fn failed(&mut self, error: &ApiError, stops: bool) {
        self.stopped |= stops;
        self.list_failed |= !stops;
        self.note(None, error);
    }

    fn note(&mut self, machine: Option<&MachineId>, error: &ApiError) {
        let new = || Failures {
            count: 0,
            code: error.entra_code().map(str::to_owned),
            machine: machine.cloned(),
            error: Chain(error).to_string(),
        };
        self.failures.entry(error.reason()).or_insert_with(new).count += 1;
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
    pub(super) fn reasons(&self) -> impl Iterator<Item = FailureReason> {
        self.failures.keys().copied()
    }

    /// The failure to show: one of the whole tenant first.
    pub(super) fn last_error(&self) -> Option<String> {
        let shown = self.failures.values().min_by_key(|failures| failures.machine.is_some());
        shown.map(|failures| failures.error.clone())
    }

    /// One line for the poll, and one for each trouble that was not `said` before.
    pub(super) fn log(&self, tenant: &str, took: Duration, next: Timestamp, said: &mut LoggedFailures) {
        let mut troubles = BTreeSet::new();
        for (reason, failures) in &self.failures {
            let Failures { code, machine, .. } = failures;
            let trouble = FailureKey { reason: *reason, code: code.clone(), of_machines: machine.is_some() };
            if !said.0.contains(&trouble) {
                failures.warn(tenant, *reason);
            }
            troubles.insert(trouble);
        }
        let of_tenant = |troubles: &BTreeSet<FailureKey>| troubles.iter().any(|trouble| !trouble.of_machines);
        if of_tenant(&said.0) && !of_tenant(&troubles) {
            tracing::info!(tenant, "polls work again");
        }
        said.0 = troubles;
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
            next_poll = %seconds(next),
            "poll finished"
        );
    }
}

impl Failures {
    fn warn(&self, tenant: &str, reason: FailureReason) {
        let reason = reason.as_str();
        let (error, machines) = (&self.error, self.count);
        if let Some(machine) = &self.machine {
            let machine = machine.as_str();
            tracing::warn!(
                tenant,
                reason,
                machines,
                machine,
                error,
                "machines could not be read; their old data stays"
            );
        } else {
            tracing::warn!(tenant, reason, error, "the poll failed; old data stays");
        }
    }
}

/// For a log line; fractions of a second say nothing there.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

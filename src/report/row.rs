//! One row of a report, and its columns.

use jiff::Timestamp;

use super::table::Cell;
use crate::fleet::MachineFacts;
use crate::model::{Exception, KbId, OwnLabel, ReportState, Severity, VendorSeverity};

/// The columns before the own labels.
pub const FIRST_COLUMNS: [&str; 6] =
    ["tenant", "machine", "machine_id", "os_platform", "os_version", "device_group"];

/// The columns after the own labels.
pub const LAST_COLUMNS: [&str; 16] = [
    "kb",
    "title",
    "severity",
    "vendor_severity",
    "exploited",
    "released",
    "first_seen",
    "late_since",
    "policy",
    "rule",
    "deadline",
    "state",
    "exception",
    "exception_reason",
    "exception_until",
    "data_read_at",
];

/// The names of all columns with these own labels, in order.
pub fn columns(labels: &[OwnLabel]) -> impl Iterator<Item = &str> {
    let labels = labels.iter().map(|label| &*label.name);
    FIRST_COLUMNS.into_iter().chain(labels).chain(LAST_COLUMNS)
}

/// The values of [`FIRST_COLUMNS`].
#[must_use]
pub fn first_cells<'a>(tenant: &'a str, machine: &'a MachineFacts) -> [&'a str; FIRST_COLUMNS.len()] {
    let MachineFacts { id, name, os_platform, os_version, device_group, .. } = machine;
    [tenant, name, id.as_str(), os_platform, os_version, device_group]
}

/// A missing update of a machine, the end of servicing of a machine, or a machine that misses nothing or cannot be
/// judged.
#[derive(Clone, Copy, Debug)]
pub struct ReportRow<'a> {
    /// The name of the tenant.
    pub tenant: &'a str,
    /// The machine.
    pub machine: &'a MachineFacts,
    /// The values of the own labels, in the order of the configuration.
    pub labels: &'a [&'a str],
    /// The missing update; none in a row of a machine.
    pub update: Option<RowUpdate<'a>>,
    /// The title of a row about the end of servicing; none in other rows.
    pub servicing: Option<&'a str>,
    /// The outcome under the policy; none without policies.
    pub verdict: Option<RowVerdict<'a>>,
    /// The first exception in the file that covers the missing update or the end of servicing.
    pub exception: Option<&'a Exception>,
    /// The time at which the data of the machine was read; none if it was never read.
    pub data_read_at: Option<Timestamp>,
}

/// The missing update of a row.
#[derive(Clone, Copy, Debug)]
pub struct RowUpdate<'a> {
    /// The KB.
    pub kb: KbId,
    /// The title, as in the metrics of the tenant; empty when unknown.
    pub title: &'a str,
    /// The severity by CVSS.
    pub severity: Option<Severity>,
    /// Microsoft's own rating.
    pub vendor_severity: Option<VendorSeverity>,
    /// True if the update, or one that it stands for, fixes an exploited CVE.
    pub exploited: Option<bool>,
    /// The release.
    pub released: Option<Timestamp>,
    /// The time at which the machine was first seen missing it.
    pub first_seen: Timestamp,
}

/// The outcome of a row under the policy of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowVerdict<'a> {
    /// The name of the policy.
    pub policy: &'a str,
    /// The time from which the missing update counts as late, or the end of servicing.
    pub late_since: Option<Timestamp>,
    /// The number of the rule that applies, from 1.
    pub rule: Option<usize>,
    /// The time after which the missing update is overdue, or the end of servicing.
    pub deadline: Option<Timestamp>,
    /// The state.
    pub state: ReportState,
}

impl<'a> ReportRow<'a> {
    /// Calls `take` with the value in each column, in the order of [`columns`].
    ///
    /// # Errors
    /// The first error of `take`.
    pub fn cells<E>(&self, mut take: impl FnMut(Cell<'a>) -> Result<(), E>) -> Result<(), E> {
        for text in first_cells(self.tenant, self.machine).into_iter().chain(self.labels.iter().copied()) {
            take(text.into())?;
        }
        let update = self.update.as_ref();
        let of_update = [
            update.map(|update| Cell::Kb(update.kb)),
            update.map(|update| update.title).or(self.servicing).map(Cell::from),
            update.and_then(|update| update.severity).map(|severity| severity.as_str().into()),
            update.and_then(|update| update.vendor_severity).map(|severity| severity.as_str().into()),
            update.and_then(|update| update.exploited).map(Cell::Boolean),
            update.and_then(|update| update.released).map(Cell::Time),
            update.map(|update| Cell::Time(update.first_seen)),
        ];
        let verdict = self.verdict.as_ref();
        let of_verdict = [
            verdict.and_then(|verdict| verdict.late_since).map(Cell::Time),
            verdict.map(|verdict| verdict.policy.into()),
            verdict.and_then(|verdict| verdict.rule).map(|rule| Cell::Number(rule as u64)),
            verdict.and_then(|verdict| verdict.deadline).map(Cell::Time),
            verdict.map(|verdict| verdict.state.as_str().into()),
        ];
        let of_exception = [
            self.exception.map(|exception| Cell::from(&*exception.name)),
            self.exception.map(|exception| exception.reason.as_str().into()),
            self.exception.map(|exception| Cell::Day(exception.until)),
            self.data_read_at.map(Cell::Time),
        ];
        for cell in of_update.into_iter().chain(of_verdict).chain(of_exception) {
            take(cell.unwrap_or(Cell::Empty))?;
        }
        Ok(())
    }
}

//! The bulk source: one export of the whole tenant instead of one call per machine.
//!
//! An export counts only whole, and only when it is newer than the one in force; what it says is
//! applied in one step. One that lost most machines has to be seen twice, as a machine list has.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Poller;
use super::report::PollReport;
use super::shrink_guard::{ShrinkGuard, Verdict};
use crate::defender::{ApiError, Export, ExportOutcome};
use crate::fleet::{ExportVersion, Machine, TenantFleet};
use crate::model::{SnapshotRejectReason, Source};

/// When exports were looked for.
#[derive(Debug, Default)]
pub(super) struct Import {
    /// When the newest one was had or found to be known; none when it has to be read anew.
    at: Option<Timestamp>,
    plausibility: ShrinkGuard,
}

impl Import {
    /// What an earlier run read is not read again.
    pub(super) fn starting_from(fleet: &TenantFleet) -> Self {
        Self { at: fleet.snapshot.map(|snapshot| snapshot.checked_at), plausibility: ShrinkGuard::default() }
    }

    /// When to look again.
    pub(super) fn next_due(&self, interval: Duration) -> Timestamp {
        let regular = self.at.map_or(Timestamp::MIN, |at| at + interval);
        self.plausibility.recheck_at().map_or(regular, |at| at.min(regular))
    }

    /// Whether to look at `now`; as with machines, a tenth of the interval early.
    fn is_due(&self, now: Timestamp, interval: Duration) -> bool {
        self.at.is_some_and(|at| at > now) || self.next_due(interval) <= now + interval / 10
    }
}

impl Poller {
    /// Looks for a new export when that is due, and takes it.
    pub(super) async fn import(&mut self, interval: Duration, report: &mut PollReport) {
        // No row would be kept.
        let nobody = self.fleet.machines.is_empty();
        if nobody || !self.import.is_due(self.clock.now(), interval) {
            return;
        }
        let scope: HashSet<_> = self.fleet.machines.keys().cloned().collect();
        let in_force = self.import.at.and(self.fleet.snapshot).map(|snapshot| snapshot.generated_at);
        match self.client.export(Arc::new(scope), in_force).await {
            Ok(ExportOutcome::Unchanged) => self.note_check(),
            Ok(ExportOutcome::Older { generated_at }) => {
                self.metrics.list_rejected(SnapshotRejectReason::Older);
                let tenant = &*self.fleet.tenant;
                tracing::warn!(tenant, %generated_at, "the export is older than the one in force, which stays");
                self.note_check();
            }
            Ok(ExportOutcome::New(export)) => self.take_export(export, report).await,
            Err(error) => {
                if let Some(reason) = rejected_as(&error) {
                    self.metrics.list_rejected(reason);
                }
                report.failed(&error, error.stops_the_poll());
            }
        }
    }

    /// The newest export is known already.
    fn note_check(&mut self) {
        let now = self.clock.now();
        self.import.at = Some(now);
        if let Some(snapshot) = &mut self.fleet.snapshot {
            snapshot.checked_at = now;
        }
    }

    async fn take_export(&mut self, mut export: Export, report: &mut PollReport) {
        let now = self.clock.now();
        self.import.at = Some(now);
        let was_there = |machine: &&Arc<Machine>| {
            machine.assessment.as_ref().is_some_and(|assessment| assessment.source == Source::Export)
        };
        let known: Vec<_> = self.fleet.machines.values().filter(was_there).collect();
        let lost = known.iter().filter(|machine| !export.contains(&machine.facts.id)).count();
        let (tenant, known) = (Arc::clone(&self.fleet.tenant), known.len());
        if let Verdict::Hold { first } = self.import.plausibility.judge(lost, known, now) {
            self.metrics.list_rejected(SnapshotRejectReason::Shrunk);
            if first {
                let what = "the export lost more than half of the machines; it has to be seen twice, five minutes apart";
                tracing::warn!(tenant = &*tenant, lost, known, "{what}");
            }
            return;
        }
        let (generated_at, rows) = (export.generated_at(), export.rows());
        let (mut fleet, freshness, ignored) =
            (self.fleet.clone(), self.poll.freshness, Arc::clone(&self.ignored));
        let applied = tokio::task::spawn_blocking(move || {
            let findings_of = |id: &_| {
                let mut findings = export.take(id)?;
                findings.retain(|finding| !ignored.contains(&finding.update.kb));
                Some(findings)
            };
            let known = fleet.apply_snapshot(
                ExportVersion { generated_at, checked_at: now },
                findings_of,
                &freshness,
            );
            (fleet, known)
        });
        let (fleet, known) = applied.await.expect("Safe: applying does not panic and is never aborted");
        self.fleet = fleet;
        self.metrics.source_snapshot(generated_at);
        report.export_read(generated_at, rows, known);
        self.fleet_changed();
    }
}

/// Why an export that was begun is not believed; none when there was none.
fn rejected_as(error: &ApiError) -> Option<SnapshotRejectReason> {
    match error {
        ApiError::Empty => Some(SnapshotRejectReason::Empty),
        ApiError::Incomplete { .. } => Some(SnapshotRejectReason::Incomplete),
        _ => None,
    }
}

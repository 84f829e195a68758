//! The source `export`: one bulk export of the whole tenant instead of one call per machine.
//!
//! An export version is accepted only if it is complete and newer than the current one, and it is applied in
//! one step. A version that lacks more than half of the machines passes the shrink guard first, like a
//! machine list.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::context::PollContext;
use super::report::PollReport;
use super::shrink_guard::{ShrinkGuard, Verdict};
use crate::defender::{ApiError, Export, ExportOutcome};
use crate::fleet::{ExportVersion, Machine, TenantFleet};
use crate::model::{MachineId, SnapshotRejectReason, Source};

/// Decides when to fetch the export, and whether to accept it.
#[derive(Debug, Default)]
pub(super) struct ExportImporter {
    /// The time of the last successful check for a new version; none when the newest version has to be read
    /// whether it is new or not.
    checked_at: Option<Timestamp>,
    guard: ShrinkGuard,
    /// True if a check was requested before its time.
    is_requested: bool,
}

impl ExportImporter {
    /// An importer that does not read the export version of `fleet` again.
    pub(super) fn starting_from(fleet: &TenantFleet) -> Self {
        Self { checked_at: fleet.export_version.map(|version| version.checked_at), ..Self::default() }
    }

    /// Requests a check before its time.
    pub(super) fn make_due(&mut self) {
        self.is_requested = true;
    }

    /// Sets times in the future back to `now`.
    pub(super) fn set_back_times(&mut self, now: Timestamp) {
        self.checked_at = self.checked_at.map(|at| at.min(now));
        self.guard.set_back_times(now);
    }

    /// The time of the next check for a new version, or of the recheck of a held one.
    pub(super) fn next_due(&self, interval: Duration) -> Timestamp {
        let regular = self.checked_at.map_or(Timestamp::MIN, |at| at + interval);
        self.guard.recheck_at().map_or(regular, |at| at.min(regular))
    }

    /// Returns whether a check is due at `now`. Without a supported machine in scope every row would be
    /// dropped.
    pub(super) fn is_due(&self, context: &PollContext, now: Timestamp) -> bool {
        let is_due = self.is_requested || self.next_due(context.interval) <= now;
        is_due && context.fleet.supported_machines().next().is_some()
    }

    /// Checks for a new export version, and applies it.
    ///
    /// # Errors
    /// If the export cannot be read. The data stays as it is then.
    pub(super) async fn poll(
        &mut self,
        context: &mut PollContext,
        report: &mut PollReport,
    ) -> Result<(), ApiError> {
        self.is_requested = false;
        let scope: HashSet<_> =
            context.fleet.supported_machines().map(|machine| machine.facts.id.clone()).collect();
        let current = self.checked_at.and(context.fleet.export_version).map(|version| version.generated_at);
        match context.client.export(Arc::new(scope), current).await {
            Ok(ExportOutcome::Unchanged) => self.mark_checked(context),
            Ok(ExportOutcome::Older { generated_at }) => {
                context.metrics.list_rejected(SnapshotRejectReason::Older);
                let tenant = &*context.fleet.tenant;
                tracing::warn!(tenant, %generated_at, "the export is older than the current version, which is kept");
                self.mark_checked(context);
            }
            Ok(ExportOutcome::New(export)) => self.accept(export, context, report).await,
            Err(error) => {
                if let Some(reason) = reject_reason(&error) {
                    context.metrics.list_rejected(reason);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Records that the current version is the newest one.
    fn mark_checked(&mut self, context: &mut PollContext) {
        let now = context.clock.now();
        self.checked_at = Some(now);
        if let Some(version) = &mut context.fleet.export_version {
            version.checked_at = now;
        }
    }

    /// Applies `export` to the fleet unless the shrink guard holds it.
    async fn accept(&mut self, export: Export, context: &mut PollContext, report: &mut PollReport) {
        let now = context.clock.now();
        self.checked_at = Some(now);
        if self.is_held(&export, now, context) {
            return;
        }
        let previous = context.fleet.export_version;
        let version =
            ExportVersion::new(export.generated_at(), now, export.has_unreadable_lines(), previous.as_ref());
        let rows = export.rows();
        let machines = apply(export, version, context).await;
        context.metrics.source_snapshot(version.generated_at);
        report.export_read(version.generated_at, rows, machines);
        context.fleet_changed();
    }

    /// Returns whether the shrink guard holds back `export`.
    fn is_held(&mut self, export: &Export, now: Timestamp, context: &PollContext) -> bool {
        let was_exported = |machine: &&Arc<Machine>| {
            machine.assessment.as_ref().is_some_and(|assessment| assessment.source == Source::Export)
        };
        let exported = context.fleet.supported_machines().filter(was_exported);
        let known = exported.clone().count();
        let lost = exported.filter(|machine| !export.contains(&machine.facts.id)).count();
        let Verdict::Hold { is_first } = self.guard.check(lost, known, now) else {
            return false;
        };
        context.metrics.list_rejected(SnapshotRejectReason::Shrunk);
        if is_first {
            tracing::warn!(
                tenant = &*context.fleet.tenant,
                lost,
                known,
                "export lacks more than half of the machines; keeping the previous version until a second fetch \
                 confirms it (in 5 minutes or more)"
            );
        }
        true
    }
}

/// Applies `export` to a copy of the fleet, off the async threads, and replaces the fleet by it. Returns the
/// number of machines that have data from it.
async fn apply(mut export: Export, version: ExportVersion, context: &mut PollContext) -> u64 {
    let mut fleet = context.fleet.clone();
    let freshness = context.freshness;
    let ignored = Arc::clone(&context.ignored);
    let facts = Arc::clone(&context.facts.borrow());
    let mut log = std::mem::take(&mut context.unreadable_log);
    let applied = tokio::task::spawn_blocking(move || {
        let tenant = Arc::clone(&fleet.tenant);
        let take_answer = |id: &MachineId| {
            let mut answer = export.take(id)?;
            answer.ignore(&ignored);
            log.report(&tenant, id, &answer.unreadable);
            Some(answer)
        };
        let machines = fleet.apply_export(version, take_answer, &freshness, &facts);
        (fleet, machines, log)
    });
    let (fleet, machines, log) = applied.await.expect("Safe: applying does not panic and is never aborted");
    (context.fleet, context.unreadable_log) = (fleet, log);
    machines
}

/// The reason for which an incomplete export is rejected; none for failures before its first row.
fn reject_reason(error: &ApiError) -> Option<SnapshotRejectReason> {
    match error {
        ApiError::Empty => Some(SnapshotRejectReason::Empty),
        ApiError::Incomplete { .. } => Some(SnapshotRejectReason::Incomplete),
        _ => None,
    }
}

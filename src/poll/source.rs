//! The source of the missing updates: one call per machine, or the export of the whole tenant.

use jiff::Timestamp;

use super::PollMode;
use super::context::PollContext;
use super::fetch::MachineFetcher;
use super::import::ExportImporter;
use super::plan;
use super::report::PollReport;
use crate::fleet::TenantFleet;
use crate::model::Source;

/// The part of a poller that reads the missing updates of the machines in scope.
#[derive(Debug)]
pub(super) enum DataSource {
    Machines(MachineFetcher),
    Export(ExportImporter),
}

impl DataSource {
    /// The source that `fleet` is configured with. An export version that `fleet` holds already is not read
    /// again.
    pub(super) fn new(fleet: &TenantFleet) -> Self {
        match fleet.source {
            Source::Machines => Self::Machines(MachineFetcher::default()),
            Source::Export => Self::Export(ExportImporter::starting_from(fleet)),
        }
    }

    /// Reads the data that is due.
    pub(super) async fn poll(&mut self, context: &mut PollContext, mode: PollMode, report: &mut PollReport) {
        match self {
            Self::Machines(fetcher) => fetcher.poll(context, mode, report).await,
            Self::Export(importer) => importer.poll(context, mode, report).await,
        }
    }

    /// The time at which data comes due; none without a machine that is asked.
    pub(super) fn next_due(&self, context: &PollContext) -> Option<Timestamp> {
        match self {
            Self::Machines(_) => {
                plan::next_due(&context.fleet, context.clock.now(), context.interval, &context.freshness)
            }
            Self::Export(_) if context.fleet.supported_machines().next().is_none() => None,
            Self::Export(importer) => Some(importer.next_due(context.interval)),
        }
    }

    /// Reads the newest export again in the next poll, even if it was read before: rows of machines that
    /// were not in scope then were dropped.
    pub(super) fn forget_export(&mut self) {
        if let Self::Export(importer) = self {
            *importer = ExportImporter::default();
        }
    }

    /// Aborts the calls in flight and waits until they have ended.
    pub(super) async fn shutdown(&mut self) {
        if let Self::Machines(fetcher) = self {
            fetcher.shutdown().await;
        }
    }
}

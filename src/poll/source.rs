//! The source of the missing updates: one call per machine, or the export of the whole tenant.

use jiff::Timestamp;

use super::context::PollContext;
use super::fetch::MachineFetcher;
use super::import::ExportImporter;
use crate::fleet::TenantFleet;
use crate::model::Source;

/// The part of a poller that reads the missing updates of the machines in scope.
#[derive(Debug)]
pub(super) enum DataSource {
    Machines(Box<MachineFetcher>),
    Export(ExportImporter),
}

impl DataSource {
    /// The source that `fleet` is configured with. An export version that `fleet` holds already is not read
    /// again.
    pub(super) fn new(fleet: &TenantFleet) -> Self {
        match fleet.source {
            Source::Machines => Self::Machines(Box::default()),
            Source::Export => Self::Export(ExportImporter::starting_from(fleet)),
        }
    }

    /// Plans the calls again after a change of the scope or of the time.
    pub(super) fn scope_changed(&mut self, context: &PollContext) {
        match self {
            Self::Machines(fetcher) => fetcher.scope_changed(context),
            Self::Export(importer) => importer.set_back_times(context.clock.now()),
        }
    }

    /// Makes all data due.
    pub(super) fn make_all_due(&mut self) {
        match self {
            Self::Machines(fetcher) => fetcher.make_all_due(),
            Self::Export(importer) => importer.make_due(),
        }
    }

    /// The number of machines that wait to be read at `now`.
    pub(super) fn waiting(&mut self, context: &PollContext, now: Timestamp) -> usize {
        match self {
            Self::Machines(fetcher) => {
                fetcher.advance(now);
                fetcher.waiting()
            }
            Self::Export(importer) if importer.is_due(context, now) => {
                context.fleet.supported_machines().count()
            }
            Self::Export(_) => 0,
        }
    }

    /// The number of machines that were never asked; none with an export, which reads all in one step.
    pub(super) fn never_asked(&self) -> usize {
        match self {
            Self::Machines(fetcher) => fetcher.never_asked(),
            Self::Export(_) => 0,
        }
    }

    /// The time at which the next data becomes due; none if there is none that is not due already.
    pub(super) fn next_due(&self, context: &PollContext) -> Option<Timestamp> {
        match self {
            Self::Machines(fetcher) => fetcher.next_due(),
            Self::Export(_) if context.fleet.supported_machines().next().is_none() => None,
            Self::Export(importer) => Some(importer.next_due(context.interval)),
        }
    }

    /// Returns whether no call is in flight.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Machines(fetcher) => fetcher.is_idle(),
            Self::Export(_) => true,
        }
    }

    /// Reads the newest export again, even if it was read before: rows of machines that were not in scope then
    /// were dropped.
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

//! The rows of a report about one machine or one update.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::vec;

use super::machines::sort_like_report;
use super::{DownloadTable, PendingRows};
use crate::fleet::Machine;
use crate::model::{KbId, Policy};
use crate::publish::Snapshot;
use crate::report::{Cell, ReportRow, ReportTerms, TableWriter, TenantRows, columns};
use crate::web::pages::context::PageContext;
use crate::web::pages::machine::selected_kbs;
use crate::web::pages::objects::machines_named;
use crate::web::pages::update::machines_missing;

/// The rows of machines, without those that the selection leaves out.
pub(super) struct PendingReportRows {
    snapshot: Arc<Snapshot>,
    policy: usize,
    /// The machines that are not written yet, each with its rows.
    machines: vec::IntoIter<(usize, SelectedRows)>,
}

/// The rows of one machine.
enum SelectedRows {
    All,
    /// Those of these updates, in this order.
    Updates(Vec<KbId>),
    /// The one of this update.
    Update(KbId),
}

impl PendingReportRows {
    /// The rows of the machines with the id `object`; none if it is unknown. A row without a KB is about the machine,
    /// so that parameters that select updates leave it out.
    pub(super) fn of_machine(context: &PageContext, object: &str) -> Option<Self> {
        let query = &context.query;
        let selects_all = query.policy_state.is_none() && query.exploited.is_none() && query.kb.is_none();
        let mut places = machines_named(context, object);
        sort_like_report(&context.snapshot, &mut places);
        let rows = |place: usize| match query.sort {
            None if selects_all => SelectedRows::All,
            sort => {
                let mut kbs = selected_kbs(context, place);
                if sort.is_none() {
                    kbs.sort_unstable();
                }
                SelectedRows::Updates(kbs)
            }
        };
        let machines: Vec<_> = places.into_iter().map(|place| (place, rows(place))).collect();
        (!machines.is_empty()).then(|| Self::new(context, machines))
    }

    /// The rows of an update, of the machines that a query selects.
    pub(super) fn of_update(context: &PageContext, kb: KbId) -> Self {
        let mut places = machines_missing(context, kb);
        if context.query.sort.is_none() {
            sort_like_report(&context.snapshot, &mut places);
        }
        Self::new(context, places.into_iter().map(|place| (place, SelectedRows::Update(kb))).collect())
    }

    fn new(context: &PageContext, machines: Vec<(usize, SelectedRows)>) -> Self {
        let snapshot = Arc::clone(&context.snapshot);
        Self { policy: context.query.policy, machines: machines.into_iter(), snapshot }
    }
}

impl PendingRows for PendingReportRows {
    fn columns(&self) -> Vec<String> {
        columns(&self.snapshot.labels).map(str::to_owned).collect()
    }

    fn write(&mut self, table: &mut DownloadTable) -> io::Result<bool> {
        let Self { snapshot, policy, machines } = self;
        let Snapshot { fleets, freshness, policies, exceptions, servicing, labels, facts, .. } = &**snapshot;
        let overview = snapshot.overview();
        let policy: Option<&Policy> = policies.get(*policy);
        let terms =
            ReportTerms::new(snapshot.at, *freshness, facts, labels, (policy, &**exceptions, &**servicing));
        let mut of_tenant: BTreeMap<usize, TenantRows<'_>> = BTreeMap::new();
        for (place, selected) in machines {
            let summary = &overview.machines[place];
            let tenant = summary.tenant;
            let rows = of_tenant.entry(tenant).or_insert_with(|| {
                let fleet = &fleets[tenant];
                TenantRows::new(
                    &terms,
                    &fleet.tenant,
                    fleet.source,
                    &overview.tenants[tenant].summary.updates,
                )
            });
            selected.write(rows, &summary.machine, table.writer())?;
            if table.is_full() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl SelectedRows {
    fn write(
        &self,
        rows: &mut TenantRows<'_>,
        machine: &Machine,
        writer: &mut dyn TableWriter,
    ) -> io::Result<()> {
        match self {
            Self::All => rows.of_machine(machine, |row| write_row(row, writer)),
            Self::Update(kb) => rows.of_machine(machine, |row| match row.update {
                Some(update) if update.kb == *kb => write_row(row, writer),
                _ => Ok(()),
            }),
            Self::Updates(kbs) => {
                let mut by_kb: BTreeMap<KbId, Vec<OwnedCell>> = BTreeMap::new();
                rows.of_machine::<io::Error>(machine, |row| {
                    let Some(update) = row.update else { return Ok(()) };
                    let cells = by_kb.entry(update.kb).or_default();
                    row.cells(|cell| {
                        cells.push(OwnedCell::from(cell));
                        Ok(())
                    })
                })?;
                for cells in kbs.iter().filter_map(|kb| by_kb.get(kb)) {
                    cells.iter().try_for_each(|cell| writer.cell(cell.as_cell()))?;
                    writer.end_row()?;
                }
                Ok(())
            }
        }
    }
}

fn write_row(row: &ReportRow<'_>, writer: &mut dyn TableWriter) -> io::Result<()> {
    row.cells(|cell| writer.cell(cell))?;
    writer.end_row()
}

/// A cell that waits for its turn.
enum OwnedCell {
    Text(String),
    Other(Cell<'static>),
}

impl OwnedCell {
    fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Text(text) => Cell::Text(text),
            Self::Other(cell) => *cell,
        }
    }
}

impl From<Cell<'_>> for OwnedCell {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Empty => Self::Other(Cell::Empty),
            Cell::Kb(kb) => Self::Other(Cell::Kb(kb)),
            Cell::Number(number) => Self::Other(Cell::Number(number)),
            Cell::Boolean(value) => Self::Other(Cell::Boolean(value)),
            Cell::Time(time) => Self::Other(Cell::Time(time)),
            Cell::Day(day) => Self::Other(Cell::Day(day)),
        }
    }
}

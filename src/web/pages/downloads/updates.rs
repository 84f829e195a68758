//! One row for each tenant and update.

use std::io;
use std::sync::Arc;
use std::vec;

use super::machines::tenant_ranks;
use super::{DownloadTable, PendingRows};
use crate::fleet::EffectiveFacts;
use crate::publish::Snapshot;
use crate::report::Cell;
use crate::web::pages::context::PageContext;
use crate::web::pages::updates::{ListedUpdate, listed_updates, sort};

const COLUMNS: [&str; 11] = [
    "tenant",
    "kb",
    "title",
    "products",
    "vendor_severity",
    "exploited",
    "released",
    "first_seen",
    "machines",
    "overdue_machines",
    "addressed_cves",
];

/// The updates that a query selects.
pub(super) struct PendingUpdates {
    snapshot: Arc<Snapshot>,
    updates: vec::IntoIter<ListedUpdate>,
}

impl PendingUpdates {
    pub(super) fn new(context: &PageContext) -> Self {
        let snapshot = Arc::clone(&context.snapshot);
        let mut updates = listed_updates(context);
        if context.query.sort.is_some() {
            sort(context, &mut updates);
        } else {
            let tenants = tenant_ranks(&snapshot);
            updates.sort_by_key(|update| (tenants[update.tenant], update.kb));
        }
        Self { snapshot, updates: updates.into_iter() }
    }

    fn cells(&self, update: &ListedUpdate, take: impl FnMut(Cell<'_>) -> io::Result<()>) -> io::Result<()> {
        let ListedUpdate { tenant, kb, machines, overdue, first_seen } = *update;
        let snapshot = &*self.snapshot;
        let summary = &snapshot.overview().tenants[tenant].summary.updates[&kb];
        let facts = EffectiveFacts::of(&snapshot.facts, [kb]);
        let products = summary.facts.products.join(",");
        let cells = [
            Some((&*snapshot.fleets[tenant].tenant).into()),
            Some(Cell::Kb(kb)),
            Some(summary.facts.title.as_str().into()),
            Some(products.as_str().into()),
            facts.vendor_severity.map(|severity| severity.as_str().into()),
            facts.exploited.map(Cell::Boolean),
            summary.released.map(Cell::Time),
            Some(Cell::Time(first_seen)),
            Some(Cell::Number(machines)),
            overdue.map(Cell::Number),
            summary.addressed_cves.map(|cves| Cell::Number(cves.into())),
        ];
        cells.into_iter().map(|cell| cell.unwrap_or(Cell::Empty)).try_for_each(take)
    }
}

impl PendingRows for PendingUpdates {
    fn columns(&self) -> Vec<String> {
        COLUMNS.map(str::to_owned).into()
    }

    fn write(&mut self, table: &mut DownloadTable) -> io::Result<bool> {
        while let Some(update) = self.updates.next() {
            let writer = table.writer();
            self.cells(&update, |cell| writer.cell(cell))?;
            writer.end_row()?;
            if table.is_full() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

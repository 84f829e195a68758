//! One row for each machine.

use std::io;
use std::sync::Arc;
use std::vec;

use super::{DownloadTable, PendingRows};
use crate::fleet::MachineState;
use crate::model::Policy;
use crate::publish::Snapshot;
use crate::report::Cell;
use crate::report::row::{FIRST_COLUMNS, first_cells};
use crate::web::pages::context::PageContext;
use crate::web::pages::machines::sorted;
use crate::web::pages::selection::Selection;

/// The columns after the own labels.
const LAST_COLUMNS: [&str; 10] = [
    "servicing",
    "data_state",
    "missing_updates",
    "exploited_updates",
    "overdue_updates",
    "late_since",
    "policy",
    "state",
    "last_seen",
    "data_read_at",
];

/// The machines that a query selects.
pub(super) struct PendingMachines {
    snapshot: Arc<Snapshot>,
    policy: usize,
    places: vec::IntoIter<usize>,
}

impl PendingMachines {
    pub(super) fn new(context: &PageContext) -> Self {
        let snapshot = Arc::clone(&context.snapshot);
        let mut places = Selection::new(&snapshot, &context.query).machines();
        if context.query.sort.is_some() {
            places = sorted(context, &places);
        } else {
            sort_like_report(&snapshot, &mut places);
        }
        Self { policy: context.query.policy, places: places.into_iter(), snapshot }
    }

    fn cells(&self, place: usize, mut take: impl FnMut(Cell<'_>) -> io::Result<()>) -> io::Result<()> {
        let snapshot = &*self.snapshot;
        let overview = snapshot.overview();
        let summary = &overview.machines[place];
        let judgement = &overview.policies[self.policy].machines[place];
        let machine = &summary.machine;
        let owner = overview.owners[summary.owner as usize].iter().map(|value| &**value);
        for text in
            first_cells(&snapshot.fleets[summary.tenant].tenant, &machine.facts).into_iter().chain(owner)
        {
            take(text.into())?;
        }
        let is_serviced = summary.state != MachineState::Unsupported;
        let missing = summary.missing.as_ref();
        let exploited = missing.and_then(|missing| snapshot.facts.known_count(u64::from(missing.exploited)));
        let policy: Option<&Policy> = snapshot.policies.get(self.policy);
        let under_policy = |cell: Option<Cell<'static>>| policy.and(cell);
        let last = [
            is_serviced.then(|| summary.servicing.state.as_str().into()),
            Some(summary.state.as_str().into()),
            missing.map(|missing| Cell::Number(missing.total as u64)),
            exploited.map(Cell::Number),
            under_policy(judgement.overdue.map(|overdue| Cell::Number(overdue.into()))),
            under_policy(judgement.late_since.map(Cell::Time)),
            policy.map(|policy| (&*policy.name).into()),
            under_policy(Some(judgement.state.as_str().into())),
            machine.facts.last_seen.map(Cell::Time),
            machine.assessment.as_ref().map(|assessment| Cell::Time(assessment.fetched_at)),
        ];
        last.into_iter().try_for_each(|cell| take(cell.unwrap_or(Cell::Empty)))
    }
}

impl PendingRows for PendingMachines {
    fn columns(&self) -> Vec<String> {
        let labels = self.snapshot.labels.iter().map(|label| &*label.name);
        FIRST_COLUMNS.into_iter().chain(labels).chain(LAST_COLUMNS).map(str::to_owned).collect()
    }

    fn write(&mut self, table: &mut DownloadTable) -> io::Result<bool> {
        while let Some(place) = self.places.next() {
            let writer = table.writer();
            self.cells(place, |cell| writer.cell(cell))?;
            writer.end_row()?;
            if table.is_full() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Sorts machines in the order of a report: by tenant, by name in lower case, by id.
pub(super) fn sort_like_report(snapshot: &Snapshot, places: &mut [usize]) {
    let overview = snapshot.overview();
    let tenants = tenant_ranks(snapshot);
    places.sort_unstable_by_key(|&place| {
        let summary = &overview.machines[place];
        (tenants[summary.tenant], summary.name_rank)
    });
}

/// The place of each tenant in the order of names.
pub(super) fn tenant_ranks(snapshot: &Snapshot) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..snapshot.fleets.len()).collect();
    sorted.sort_by_key(|&tenant| &snapshot.fleets[tenant].tenant);
    let mut ranks = vec![0; sorted.len()];
    for (rank, tenant) in sorted.into_iter().enumerate() {
        ranks[tenant] = rank;
    }
    ranks
}

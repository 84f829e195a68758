//! The machines that a path names.

use super::context::PageContext;
use crate::model::MachineId;

/// The places of the machines with the id `object`, one for each selected tenant that has it; empty if none does.
pub(super) fn machines_named(context: &PageContext, object: &str) -> Vec<usize> {
    let Some(id) = MachineId::parse(object) else { return Vec::new() };
    let overview = context.snapshot.overview();
    let is_selected =
        |place: &usize| context.query.tenant.is_none_or(|tenant| overview.machines[*place].tenant == tenant);
    overview.machines_with_id(&id).filter(is_selected).collect()
}

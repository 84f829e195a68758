//! The machine or update that a path names.

use super::context::PageContext;
use crate::model::{KbId, MachineId};

/// The places of the machines with the id `object`, one for each selected tenant that has it; empty if none does.
pub(super) fn machines_named(context: &PageContext, object: &str) -> Vec<usize> {
    let Some(id) = MachineId::parse(object) else { return Vec::new() };
    let overview = context.snapshot.overview();
    let is_selected =
        |place: &usize| context.query.tenant.is_none_or(|tenant| overview.machines[*place].tenant == tenant);
    overview.machines_with_id(&id).filter(is_selected).collect()
}

/// The KB that `object` is, with or without `KB`.
pub(super) fn kb_named(object: &str) -> Option<KbId> {
    // A state file of an earlier release may hold shorter numbers.
    KbId::parse(object).or_else(|| KbId::new(object.parse().ok()?))
}

//! First step: fleets are saved before they are served, so that what a scrape has seen is there again
//! after a crash.

use std::sync::Arc;

use crate::fleet::TenantFleet;
use crate::store::SharedStore;

/// Saves the changes of `fleets`; blocks. A failure is counted and logged by the store and does not stop
/// the publication: the next save carries the changes.
pub(super) fn persist(store: Option<&SharedStore>, fleets: &[Arc<TenantFleet>]) {
    if let Some(store) = store {
        store.save(fleets);
    }
}

//! Logs the machines that are in the scope of two tenant entries of one application.
//!
//! Such entries share one quota, so a machine in both is read twice at its expense.

use std::collections::BTreeMap;

use crate::config::{self, Config, Tenant};
use crate::fleet::TenantFleet;
use crate::publish::{Snapshot, SnapshotReader};

use super::reload_plan::TenantName;

/// Compares the scopes in each published snapshot.
#[derive(Debug)]
pub(super) struct SharedScopeLog {
    reader: SnapshotReader,
    /// The number of common machines that was logged last, by the names of the entries.
    logged: BTreeMap<(TenantName, TenantName), usize>,
}

impl SharedScopeLog {
    pub(super) fn new(reader: SnapshotReader) -> Self {
        Self { reader, logged: BTreeMap::new() }
    }

    /// Waits for the next snapshot. Never returns after the publication has ended. May be cancelled.
    pub(super) async fn changed(&mut self) {
        if self.reader.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Logs the number of common machines of each two entries of one application, if it has changed.
    pub(super) fn update(&mut self, config: &Config) {
        let sharing = sharing(&config.tenants);
        if sharing.is_empty() {
            return self.logged.clear();
        }
        let snapshot = self.reader.borrow_and_update().clone();
        for (one, other) in sharing {
            let Some(machines) = common_machines(&snapshot, &one.name, &other.name) else { continue };
            let key = (TenantName::clone(&one.name), TenantName::clone(&other.name));
            let before = self.logged.insert(key, machines).unwrap_or_default();
            if machines == before {
                continue;
            }
            tracing::warn!(
                tenant = &*one.name,
                other = &*other.name,
                machines,
                "machines are in the scope of two entries that share a quota; they are read twice and count in each"
            );
        }
    }
}

/// Each two entries that use the same application.
fn sharing(tenants: &[Tenant]) -> Vec<(&Tenant, &Tenant)> {
    let each = tenants.iter().enumerate().flat_map(|(index, one)| {
        let later = tenants[index + 1..].iter();
        later.filter(|other| config::shares_quota(one, other)).map(move |other| (one, other))
    });
    each.collect()
}

/// The number of machines in the scope of both tenants; none before both have a machine list.
fn common_machines(snapshot: &Snapshot, one: &str, other: &str) -> Option<usize> {
    let listed = |name: &str| {
        let fleet = snapshot.fleets.iter().find(|fleet| *fleet.tenant == *name)?;
        fleet.listed_at.map(|_| fleet)
    };
    let (one, other): (_, &TenantFleet) = (listed(one)?, listed(other)?);
    Some(one.machines.keys().filter(|id| other.machines.contains_key(*id)).count())
}

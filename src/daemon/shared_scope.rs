//! Logs the machines that are in the scope of two tenant entries of one application.
//!
//! Such entries share one quota, so a machine in both is read twice at its expense.

use std::collections::BTreeMap;

use crate::config::{self, Config};
use crate::fleet::TenantFleet;
use crate::publish::{Snapshot, SnapshotReader};

use super::reload_plan::TenantName;

/// Compares the scopes in each published snapshot.
#[derive(Debug)]
pub(super) struct SharedScopeLog {
    reader: SnapshotReader,
    /// Each two entries that use the same application.
    sharing: Vec<(TenantName, TenantName)>,
    /// The number of common machines that was logged last, by the names of the entries.
    logged: BTreeMap<(TenantName, TenantName), usize>,
}

impl SharedScopeLog {
    pub(super) fn new(reader: SnapshotReader, config: &Config) -> Self {
        Self { reader, sharing: sharing(config), logged: BTreeMap::new() }
    }

    /// Compares the entries of `config` from now on.
    pub(super) fn set_tenants(&mut self, config: &Config) {
        self.sharing = sharing(config);
        self.logged.retain(|entries, _| self.sharing.contains(entries));
    }

    /// Waits for the next snapshot. Never returns without two entries of one application, or after the
    /// publication has ended. May be cancelled.
    pub(super) async fn changed(&mut self) {
        if self.sharing.is_empty() || self.reader.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Logs the number of common machines of each two entries of one application, if it has changed.
    pub(super) fn update(&mut self) {
        let snapshot = self.reader.borrow_and_update().clone();
        for entries in &self.sharing {
            let (one, other) = entries;
            let Some(machines) = common_machines(&snapshot, one, other) else { continue };
            let before = self.logged.insert(entries.clone(), machines).unwrap_or_default();
            if machines == before {
                continue;
            }
            tracing::warn!(
                tenant = &**one,
                other = &**other,
                machines,
                "machines are in the scope of two entries that share a quota; they are read twice and count in each"
            );
        }
    }
}

/// Each two entries that use the same application.
fn sharing(config: &Config) -> Vec<(TenantName, TenantName)> {
    let tenants = &config.tenants;
    let each = tenants.iter().enumerate().flat_map(|(index, one)| {
        let later = tenants[index + 1..].iter().filter(|other| config::shares_quota(one, other));
        later.map(|other| (TenantName::clone(&one.name), TenantName::clone(&other.name)))
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

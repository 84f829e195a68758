//! What is exposed of the fleets, and how it is written.
//!
//! [`families`] is the table of families, [`exposition`] the only writer of samples, [`body`] the
//! ready bytes that are served. Rendering happens once per change of the data, never per scrape, and
//! the same data gives the same bytes.
//!
//! Rules of the names and values, beyond those of Prometheus:
//! - `mde_<noun>[_<unit>][_total|_info|_timestamp_seconds]`; every family here carries `tenant`.
//! - No name segment `kb` (`promtool check metrics` takes it for a unit): families say "update", the
//!   label is `kb`, its value digits only.
//! - A value that is not known has no series; a family without series is left out. No value is ever
//!   NaN, and no sample carries a timestamp: age is a `_timestamp_seconds` of its own.
//! - Times are seconds since the epoch, cut to the millisecond.
//! - Series are a set: a row with the labels of an earlier one of its family is dropped, because a
//!   duplicate makes Prometheus refuse the whole scrape.

pub mod body;
pub mod exposition;
pub mod families;

use std::sync::Arc;

use jiff::Timestamp;

use crate::fleet::policy::{self, PolicySummary};
use crate::fleet::summary::Summary;
use crate::fleet::{Ages, Policy, TenantFleet};

pub use body::{Body, TEXT_CONTENT_TYPE};
use exposition::{Rows, Writer};
use families::{Family, FleetRows, FleetScope, MachineRows, MachineScope};

/// What is rendered: the fleets as they stand at one time.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// One per tenant, in any order.
    pub fleets: &'a [Arc<TenantFleet>],
    /// The time at which the age of data is judged.
    pub now: Timestamp,
    /// When data changes its meaning.
    pub ages: Ages,
    /// The deadlines by which machines are judged.
    pub policies: &'a [Policy],
}

/// The text of all fleet data, by level of detail: fleet, machine, update. No family is in two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposition {
    /// Text 0.0.4 of each level.
    pub parts: [Vec<u8>; 3],
    /// Series of each level.
    pub series: [u64; 3],
}

/// Writes everything that is known of the fleets.
#[must_use]
pub fn render(view: &View<'_>) -> Exposition {
    let mut fleets: Vec<&TenantFleet> = view.fleets.iter().map(Arc::as_ref).collect();
    fleets.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    let scopes: Vec<FleetScope<'_>> = fleets.iter().map(|fleet| fleet_scope(fleet, view)).collect();
    let machines: Vec<MachineScope<'_>> =
        scopes.iter().flat_map(|scope| machine_scopes(scope, view)).collect();
    let per_tenant =
        |push: &FleetRows, rows: &mut Rows<'_>| scopes.iter().for_each(|scope| push(scope, rows));
    let per_machine =
        |push: &MachineRows, rows: &mut Rows<'_>| machines.iter().for_each(|scope| push(scope, rows));
    let levels = [
        level(families::FLEET, per_tenant),
        level(families::MACHINE, per_machine),
        level(families::UPDATE, per_machine),
    ];
    let series = levels.each_ref().map(|(_, series)| *series);
    Exposition { parts: levels.map(|(text, _)| text), series }
}

fn fleet_scope<'a>(fleet: &'a TenantFleet, view: &View<'a>) -> FleetScope<'a> {
    let summary = Summary::of(fleet, view.now, &view.ages);
    let policies = PolicySummary::of_each(view.policies, fleet, &summary.updates, view.now, &view.ages);
    FleetScope { fleet, summary, policies }
}

fn machine_scopes<'a>(scope: &FleetScope<'a>, view: &View<'a>) -> impl Iterator<Item = MachineScope<'a>> {
    let strictest = policy::strictest(view.policies);
    scope.fleet.machines.values().map(move |machine| {
        let gaps = machine.judged_gaps(view.now, &view.ages);
        let overdue = |policy: &Policy| Some(policy.overdue(gaps?, &scope.summary.updates, view.now));
        let overdue = strictest.and_then(overdue);
        MachineScope { tenant: &scope.fleet.tenant, machine, gaps, overdue }
    })
}

/// The text of one level and the number of series in it; `fill` calls a row function for each tenant
/// or machine.
fn level<R>(table: &[Family<R>], fill: impl Fn(&R, &mut Rows<'_>)) -> (Vec<u8>, u64) {
    let mut writer = Writer::default();
    for family in table {
        writer.family(&family.header, |rows| fill(&family.rows, rows));
    }
    writer.finish()
}

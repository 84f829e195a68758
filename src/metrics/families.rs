//! The table of the fleet families: names, help, types, labels, rows. Three levels of detail, each
//! a table of its own, so that a shallower body leaves whole families out.
//!
//! A row function sees one tenant or one machine and pushes its rows; what it does not know it does
//! not push. Families of the fleet level stand in the order of their worth: when the series limit
//! leaves no room for all of them, those at the end of the table go first.

use std::fmt::Display;
use std::time::Duration;

use super::exposition::{FamilyDescriptor, FamilyWriter, Histogram, Kind, LabelPrefix, Value};
use crate::fleet::policy::{PolicyState, PolicySummary};
use crate::fleet::summary::{Summary, UpdateSummary, addressed_cves};
use crate::fleet::{Machine, MachineState, MissingUpdate, ResolutionHistogram, TenantFleet};
use crate::model::Severity;

/// A family and the function that pushes its rows.
#[derive(Debug)]
pub struct Family<R> {
    /// Name, help, type and labels.
    pub header: FamilyDescriptor,
    /// [`FleetRows`] or [`MachineRows`].
    pub rows: R,
}

/// Pushes the rows of one tenant.
pub type FleetRows = fn(&FleetScope<'_>, &mut FamilyWriter<'_>);

/// Pushes the rows of one machine.
pub type MachineRows = fn(&MachineScope<'_>, &mut FamilyWriter<'_>);

/// One tenant, counted.
#[derive(Debug)]
pub struct FleetScope<'a> {
    /// The tenant's fleet.
    pub fleet: &'a TenantFleet,
    /// Counts over it.
    pub summary: Summary,
    /// How its machines stand, a policy each; the same policies for every tenant.
    pub policies: Vec<PolicySummary<'a>>,
}

/// One machine of a tenant.
#[derive(Debug)]
pub struct MachineScope<'a> {
    /// The labels that every machine family starts with; empty where rows are only counted.
    pub labels: LabelPrefix,
    /// The machine.
    pub machine: &'a Machine,
    /// Its open gaps; none when it is not judged.
    pub missing_updates: Option<&'a [MissingUpdate]>,
    /// Those past the shortest deadline; none when it is not judged or there is no policy.
    pub overdue: Option<u64>,
}

/// Names of the labels that every machine family starts with.
const OF_A_MACHINE: [&str; 3] = ["tenant", "machine_id", "machine"];

/// An entry of the table. Every help ends alike, because a reader of one metric should not have to
/// know how the exporter works: the value may be as old as the poll interval.
macro_rules! family {
    ($kind:ident $name:literal, $help:literal, $labels:expr, $rows:expr) => {
        Family {
            header: FamilyDescriptor {
                name: $name,
                help: concat!($help, " Data is cached and polled in the background."),
                kind: Kind::$kind,
                labels: &$labels,
            },
            rows: $rows,
        }
    };
}

/// Fleet level: rows per tenant.
pub const FLEET: &[Family<FleetRows>] = &[
    family!(
        Gauge "mde_up",
        "1 when the tenant's API could be used in the newest attempt, 0 before the first success.",
        ["tenant"],
        |scope, rows| rows.push(&[scope.tenant()], scope.fleet.status.up.into())
    ),
    family!(
        Gauge "mde_assessed_machines",
        "Machines in scope by state: current, stale (old data), inactive (not seen by Defender), unknown.",
        ["tenant", "os_platform", "device_group", "state"],
        |scope, rows| {
            for (key, group) in &scope.summary.groups {
                for state in MachineState::ALL {
                    let labels: [&dyn Display; 4] =
                        [scope.tenant(), &key.os_platform, &key.device_group, &state.as_str()];
                    rows.push(&labels, Value::Count(group.machines(state)));
                }
            }
        }
    ),
    family!(
        Gauge "mde_compliant_machines",
        "Machines, current or stale, that miss no update. Unknown and inactive machines are not counted.",
        ["tenant", "os_platform", "device_group"],
        |scope, rows| {
            for (key, group) in &scope.summary.groups {
                let labels: [&dyn Display; 3] = [scope.tenant(), &key.os_platform, &key.device_group];
                rows.push(&labels, Value::Count(group.compliant));
            }
        }
    ),
    family!(
        Gauge "mde_missing_updates",
        "Pairs of machine and missing update, by severity of the update.",
        ["tenant", "severity"],
        |scope, rows| {
            for severity in Severity::WORST_FIRST.map(Some).into_iter().chain([None]) {
                let word = severity.map_or("unknown", Severity::as_str);
                rows.push(&[scope.tenant(), &word], Value::Count(scope.summary.missing_updates(severity)));
            }
        }
    ),
    family!(
        Gauge "mde_missing_updates_addressed_cves",
        "Sum of the CVEs that the missing updates address; the same CVE can count more than once.",
        ["tenant"],
        |scope, rows| {
            if let Some(cves) = scope.summary.addressed_cves {
                rows.push(&[scope.tenant()], Value::Count(cves));
            }
        }
    ),
    family!(
        Gauge "mde_oldest_missing_update_timestamp_seconds",
        "First seen time of the longest open gap.",
        ["tenant"],
        |scope, rows| {
            if let Some(time) = scope.summary.oldest_first_seen {
                rows.push(&[scope.tenant()], Value::Time(time));
            }
        }
    ),
    family!(
        Gauge "mde_update_info",
        "1 for each update that a machine in scope misses; its title and products are labels.",
        ["tenant", "kb", "title", "products"],
        |scope, rows| {
            for (kb, update) in &scope.summary.updates {
                let products = update.facts.products.join(",");
                rows.push(&[scope.tenant(), kb, &update.facts.title, &products], Value::Count(1));
            }
        }
    ),
    family!(
        Gauge "mde_update_missing_machines",
        "Machines in scope that miss the update, counted by the exporter.",
        ["tenant", "kb"],
        |scope, rows| scope.per_update(rows, |update| Some(Value::Count(update.missing_machines)))
    ),
    family!(
        Gauge "mde_update_reported_missing_machines",
        "Machines that miss the update as the API reports it (machineMissedOn).",
        ["tenant", "kb"],
        |scope, rows| scope.per_update(rows, |update| count(update.reported_machines))
    ),
    family!(
        Gauge "mde_update_addressed_cves",
        "CVEs that the update addresses as the API reports it (cveAddressed).",
        ["tenant", "kb"],
        |scope, rows| scope.per_update(rows, |update| count(update.addressed_cves))
    ),
    family!(
        Gauge "mde_update_first_seen_timestamp_seconds",
        "First time any machine in scope was seen missing the update.",
        ["tenant", "kb"],
        |scope, rows| scope.per_update(rows, |update| Some(Value::Time(update.first_seen)))
    ),
    family!(
        Gauge "mde_update_released_timestamp_seconds",
        "When the update was released, where its title tells the month: the second Tuesday, 17:00 UTC.",
        ["tenant", "kb"],
        |scope, rows| scope.per_update(rows, |update| update.released.map(Value::Time))
    ),
    family!(
        Gauge "mde_policy_machines",
        "Machines in scope by state under the policy: compliant, due, overdue, unknown (inactive too).",
        ["tenant", "policy", "state"],
        |scope, rows| {
            for summary in &scope.policies {
                for state in PolicyState::ALL {
                    let labels: [&dyn Display; 3] = [scope.tenant(), &summary.policy.name, &state.as_str()];
                    rows.push(&labels, Value::Count(summary.machines(state)));
                }
            }
        }
    ),
    // Every tenant pushes the same rows, of which the first ones stay.
    family!(
        Gauge "mde_policy_deadline_seconds",
        "Time in which the policy wants an update installed, from the configuration.",
        ["policy"],
        |scope, rows| {
            for PolicySummary { policy, .. } in &scope.policies {
                rows.push(&[&policy.name], Value::Duration(policy.deadline));
            }
        }
    ),
    family!(
        Counter "mde_missing_updates_detected_total",
        "Pairs of machine and update that became missing, those of a machine's first reading included; \
         survives restarts.",
        ["tenant"],
        |scope, rows| rows.push(&[scope.tenant()], Value::Count(scope.fleet.totals.detected))
    ),
    family!(
        Counter "mde_missing_updates_resolved_total",
        "Pairs of machine and update that were fixed; survives restarts. A machine that leaves the scope, \
         expires or goes inactive fixes nothing.",
        ["tenant"],
        |scope, rows| rows.push(&[scope.tenant()], Value::Count(scope.fleet.totals.resolved))
    ),
    family!(
        Histogram "mde_update_resolution_seconds",
        "Time from first seen to fixed of the pairs of machine and update that were fixed; survives restarts.",
        ["tenant"],
        |scope, rows| rows.push_histogram(&[scope.tenant()], &resolution(&scope.fleet.totals.resolution))
    ),
];

/// Machine level: rows per machine.
pub const MACHINE: &[Family<MachineRows>] = &[
    family!(
        Gauge "mde_machine_info",
        "1 for each machine in scope; what it is are labels.",
        ["tenant", "machine_id", "machine", "os_platform", "os_version", "device_group"],
        |scope, rows| {
            let facts = &scope.machine.facts;
            let others: [&dyn Display; 3] = [&facts.os_platform, &facts.os_version, &facts.device_group];
            rows.push_after(&scope.labels, &others, Value::Count(1));
        }
    ),
    family!(
        Gauge "mde_machine_up",
        "1 when the newest attempt to read the machine succeeded.",
        ["tenant", "machine_id", "machine"],
        |scope, rows| scope.value(rows, scope.machine.attempt.map(|attempt| attempt.succeeded.into()))
    ),
    family!(
        Gauge "mde_machine_missing_updates",
        "Updates that the machine misses; absent when that is unknown or the machine is inactive.",
        ["tenant", "machine_id", "machine"],
        |scope, rows| scope.value(rows, scope.missing_updates.map(|missing_updates| Value::Count(missing_updates.len() as u64)))
    ),
    family!(
        Gauge "mde_machine_missing_updates_addressed_cves",
        "Sum of the CVEs that the machine's missing updates address.",
        ["tenant", "machine_id", "machine"],
        |scope, rows| scope.value(rows, scope.missing_updates.and_then(addressed_cves).map(Value::Count))
    ),
    family!(
        Gauge "mde_machine_overdue_updates",
        "Updates that the machine misses past the shortest policy deadline; absent when that is unknown.",
        ["tenant", "machine_id", "machine"],
        |scope, rows| scope.value(rows, scope.overdue.map(Value::Count))
    ),
    family!(
        Gauge "mde_machine_oldest_missing_update_timestamp_seconds",
        "First seen time of the machine's longest open gap; absent when it has none.",
        ["tenant", "machine_id", "machine"],
        |scope, rows| {
            let first_seen = scope.missing_updates.and_then(|missing_updates| missing_updates.iter().map(|missing| missing.first_seen).min());
            scope.value(rows, first_seen.map(Value::Time));
        }
    ),
    family!(
        Gauge "mde_machine_last_seen_timestamp_seconds",
        "When Defender last had a full report of the machine.",
        ["tenant", "machine_id", "machine"],
        |scope, rows| scope.value(rows, scope.machine.facts.last_seen.map(Value::Time))
    ),
    family!(
        Gauge "mde_machine_last_success_timestamp_seconds",
        "When the machine's data was read.",
        ["tenant", "machine_id", "machine"],
        |scope, rows| {
            let assessment = scope.machine.assessment.as_ref();
            scope.value(rows, assessment.map(|assessment| Value::Time(assessment.fetched_at)));
        }
    ),
];

/// Update level: rows per machine and missing update.
pub const UPDATE: &[Family<MachineRows>] = &[family!(
    Gauge "mde_machine_missing_update_first_seen_timestamp_seconds",
    "Present while the machine misses the update; the value is when that was first seen.",
    ["tenant", "machine_id", "machine", "kb"],
    |scope, rows| {
        for missing in scope.missing_updates.unwrap_or_default() {
            rows.push_after(&scope.labels, &[&missing.update.kb], Value::Time(missing.first_seen));
        }
    }
)];

impl FleetScope<'_> {
    fn tenant(&self) -> &dyn Display {
        &self.fleet.tenant
    }

    /// A row for each update of which `value` is known.
    fn per_update(&self, rows: &mut FamilyWriter<'_>, value: impl Fn(&UpdateSummary) -> Option<Value>) {
        for (kb, update) in &self.summary.updates {
            if let Some(value) = value(update) {
                rows.push(&[self.tenant(), kb], value);
            }
        }
    }
}

/// The labels that the families of a machine start with.
#[must_use]
pub fn labels(tenant: &str, machine: &Machine) -> LabelPrefix {
    LabelPrefix::new(&OF_A_MACHINE, &[tenant, machine.facts.id.as_str(), &machine.facts.name])
}

/// Series that [`FLEET`] has for one update.
#[must_use]
pub fn series_of_update(update: &UpdateSummary) -> u64 {
    let known =
        [update.reported_machines.is_some(), update.addressed_cves.is_some(), update.released.is_some()];
    3 + known.into_iter().map(u64::from).sum::<u64>()
}

/// Series that [`FLEET`] has for one group of machines.
pub const SERIES_OF_GROUP: u64 = MachineState::ALL.len() as u64 + 1;

impl MachineScope<'_> {
    /// The machine's only row, when the value is known.
    fn value(&self, rows: &mut FamilyWriter<'_>, value: Option<Value>) {
        if let Some(value) = value {
            rows.push_after(&self.labels, &[], value);
        }
    }
}

fn count(known: Option<u32>) -> Option<Value> {
    known.map(|count| Value::Count(count.into()))
}

fn resolution(resolution: &ResolutionHistogram) -> Histogram {
    let [slots @ .., beyond] = &resolution.buckets;
    let bound = |days: u32| Duration::from_hours(24 * u64::from(days));
    let bounds = ResolutionHistogram::BOUNDS_DAYS.into_iter().map(bound);
    Histogram {
        buckets: bounds.zip(slots.iter().copied()).collect(),
        beyond: *beyond,
        sum: Duration::from_millis(resolution.sum_millis),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn deeper_levels_are_the_same_in_every_format() {
        for family in MACHINE.iter().chain(UPDATE) {
            assert!(family.header.is_alike(), "{}", family.header.name);
            assert!(family.header.labels.starts_with(&OF_A_MACHINE), "{}", family.header.name);
        }
    }

    fn headers() -> Vec<FamilyDescriptor> {
        let fleet = FLEET.iter().map(|family| family.header);
        let machine = MACHINE.iter().chain(UPDATE).map(|family| family.header);
        fleet.chain(machine).collect()
    }

    #[test]
    fn no_family_is_listed_twice() {
        let names: BTreeSet<&str> = headers().iter().map(|header| header.name).collect();
        assert_eq!(names.len(), headers().len());
    }

    #[test]
    fn names_follow_the_rules() {
        for FamilyDescriptor { name, kind, labels, help } in headers() {
            assert!(name.starts_with("mde_") && !name.starts_with("mde_exporter_"), "{name}");
            assert!(!name.split('_').any(|segment| segment == "kb"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            let of_a_tenant = name != "mde_policy_deadline_seconds";
            assert_eq!(labels[0] == "tenant", of_a_tenant, "{name}");
            assert!(!help.contains(['\\', '\n', '"']), "{name}: its help is not the same in every format");
            assert!(help.contains("polled in the background"), "{name}");
        }
    }
}

//! The table of the fleet metrics: name, help, type, labels and samples of each family. Each detail level
//! has a table, so a shallower exposition leaves whole families out.
//!
//! The function of a family gets one tenant or one machine and writes its samples; it writes nothing for an
//! unknown value. Families of the fleet level are in the order of their value: if the series limit does not
//! allow all of them, those at the end of the table are left out first.

mod facts;

use std::fmt::Display;
use std::time::Duration;

use crate::exposition::{FamilyDescriptor, FamilyWriter, Histogram, LabelPrefix, MetricType, Value};
use crate::facts::Facts;
use crate::fleet::policy::{PolicyCounts, PolicyState};
use crate::fleet::summary::{Summary, UpdateSummary, addressed_cves};
use crate::fleet::{Machine, MachineState, MissingUpdate, ResolutionHistogram, TenantFleet};
use crate::model::{FactsSource, KbId, Severity};

/// A metric family and the function that writes its samples.
#[derive(Debug)]
pub struct Family<W> {
    /// Name, help, type and labels.
    pub descriptor: FamilyDescriptor,
    /// Writes the samples: [`FleetSamples`] or [`MachineSamples`].
    pub write: W,
}

/// Writes the samples of one tenant.
pub type FleetSamples = fn(&FleetScope<'_>, &mut FamilyWriter<'_>);

/// Writes the samples of one machine.
pub type MachineSamples = fn(&MachineScope<'_>, &mut FamilyWriter<'_>);

/// One tenant and counts over its machines.
#[derive(Debug)]
pub struct FleetScope<'a> {
    /// The tenant's fleet.
    pub fleet: &'a TenantFleet,
    /// Counts over its machines.
    pub summary: Summary,
    /// The facts about KBs; the same for every tenant.
    pub facts: &'a Facts,
    /// Its machines by policy; the same policies for every tenant.
    pub policies: PolicyCounts<'a>,
}

/// One machine of a tenant.
#[derive(Debug)]
pub struct MachineScope<'a> {
    /// The labels that every machine family starts with; empty if samples are only counted.
    pub labels: LabelPrefix,
    /// The machine.
    pub machine: &'a Machine,
    /// Its missing updates; none if it is not assessed.
    pub missing_updates: Option<&'a [MissingUpdate]>,
    /// Missing updates that are overdue under at least one policy; none if no policy can judge them.
    pub overdue: Option<u64>,
    /// Missing updates that fix an exploited CVE; none if not known.
    pub exploited: Option<u64>,
}

/// Names of the labels that every machine family starts with.
const OF_A_MACHINE: [&str; 3] = ["tenant", "machine_id", "machine"];

/// An entry of the table. Every help ends with the same sentence, because the reader of one metric has to
/// know that the value may be as old as the poll interval.
macro_rules! family {
    ($kind:ident $name:literal, $help:literal, $labels:expr, $write:expr) => {
        Family {
            descriptor: FamilyDescriptor {
                name: $name,
                help: concat!($help, " Data is cached and polled in the background."),
                metric_type: MetricType::$kind,
                labels: &$labels,
            },
            write: $write,
        }
    };
}

/// Fleet level: samples per tenant.
pub const FLEET: &[Family<FleetSamples>] = &[
    family!(
        Gauge "mde_up",
        "1 when the tenant's API can be used, by the newest calls; 0 before the first good answer.",
        ["tenant"],
        |scope, writer| writer.sample(&[scope.tenant()], scope.fleet.status.up.into())
    ),
    family!(
        Gauge "mde_assessed_machines",
        "Machines in scope by state: fresh, stale (old data), inactive (not seen by Defender), unknown, unsupported \
         (not Windows, or not onboarded).",
        ["tenant", "os_platform", "device_group", "state"],
        |scope, writer| {
            for (key, group) in &scope.summary.groups {
                for state in MachineState::ALL {
                    let labels: [&dyn Display; 4] =
                        [scope.tenant(), &key.os_platform, &key.device_group, &state.as_str()];
                    writer.sample(&labels, Value::Count(group.machines(state)));
                }
            }
        }
    ),
    family!(
        Gauge "mde_compliant_machines",
        "Machines, fresh or stale, that miss no update. Machines in other states are not counted.",
        ["tenant", "os_platform", "device_group"],
        |scope, writer| {
            for (key, group) in &scope.summary.groups {
                let labels: [&dyn Display; 3] = [scope.tenant(), &key.os_platform, &key.device_group];
                writer.sample(&labels, Value::Count(group.compliant));
            }
        }
    ),
    family!(
        Gauge "mde_missing_updates",
        "Pairs of machine and missing update, by severity of the update.",
        ["tenant", "severity"],
        |scope, writer| {
            for severity in Severity::WORST_FIRST.map(Some).into_iter().chain([None]) {
                let word = severity.map_or("unknown", Severity::as_str);
                writer.sample(&[scope.tenant(), &word], Value::Count(scope.summary.missing_updates(severity)));
            }
        }
    ),
    family!(
        Gauge "mde_missing_updates_addressed_cves",
        "Sum of the CVEs that the missing updates address; the same CVE can count more than once.",
        ["tenant"],
        |scope, writer| {
            if let Some(cves) = scope.summary.addressed_cves {
                writer.sample(&[scope.tenant()], Value::Count(cves));
            }
        }
    ),
    family!(
        Gauge "mde_oldest_missing_update_timestamp_seconds",
        "First seen time of the longest open gap; of a superseding update, that of the oldest update that it superseded.",
        ["tenant"],
        |scope, writer| {
            if let Some(time) = scope.summary.oldest_first_seen {
                writer.sample(&[scope.tenant()], Value::Time(time));
            }
        }
    ),
    family!(
        Gauge "mde_update_info",
        "1 for each update that a machine in scope misses; its title and products are labels.",
        ["tenant", "kb", "title", "products"],
        |scope, writer| {
            for (kb, update) in &scope.summary.updates {
                let products = update.facts.products.join(",");
                writer.sample(&[scope.tenant(), kb, &update.facts.title, &products], Value::Count(1));
            }
        }
    ),
    family!(
        Gauge "mde_update_missing_machines",
        "Machines in scope that miss the update, counted by the exporter.",
        ["tenant", "kb"],
        |scope, writer| scope.per_update(writer, |update| Some(Value::Count(update.missing_machines)))
    ),
    family!(
        Gauge "mde_update_reported_missing_machines",
        "Machines that miss the update as the API reports it (machineMissedOn).",
        ["tenant", "kb"],
        |scope, writer| scope.per_update(writer, |update| count(update.reported_machines))
    ),
    family!(
        Gauge "mde_update_addressed_cves",
        "CVEs that the update addresses as the API reports it (cveAddressed).",
        ["tenant", "kb"],
        |scope, writer| scope.per_update(writer, |update| count(update.addressed_cves))
    ),
    family!(
        Gauge "mde_update_first_seen_timestamp_seconds",
        "First time any machine in scope was seen missing the update.",
        ["tenant", "kb"],
        |scope, writer| scope.per_update(writer, |update| Some(Value::Time(update.first_seen)))
    ),
    family!(
        Gauge "mde_update_released_timestamp_seconds",
        "When the update was released, by the facts about it, else by the month in its title: the second Tuesday, \
         17:00 UTC; not later than its first seen time.",
        ["tenant", "kb"],
        |scope, writer| scope.per_update(writer, |update| update.released.map(Value::Time))
    ),
    family!(
        Gauge "mde_missing_exploited_updates",
        "Pairs of machine and missing update that fix an exploited CVE: Microsoft reports exploitation, or CISA's KEV \
         catalogue lists it.",
        ["tenant"],
        facts::MISSING_EXPLOITED
    ),
    family!(
        Gauge "mde_machines_missing_exploited_updates",
        "Machines, fresh or stale, that miss an update which fixes an exploited CVE.",
        ["tenant", "os_platform", "device_group"],
        facts::MACHINES_MISSING_EXPLOITED
    ),
    family!(
        Gauge "mde_missing_updates_vendor_severity",
        "Pairs of machine and missing update, by Microsoft's own rating of the update.",
        ["tenant", "vendor_severity"],
        facts::MISSING_BY_VENDOR_SEVERITY
    ),
    family!(
        Gauge "mde_update_exploited",
        "1 if the missing update fixes an exploited CVE, 0 if it fixes none.",
        ["kb"],
        facts::EXPLOITED
    ),
    family!(
        Gauge "mde_update_known_exploited_cves",
        "CVEs that the missing update fixes and that CISA's KEV catalogue lists.",
        ["kb"],
        facts::KNOWN_EXPLOITED_CVES
    ),
    family!(
        Gauge "mde_update_known_exploited_due_timestamp_seconds",
        "Earliest due date of those CVEs in the KEV catalogue, as the 00:00 UTC after that day.",
        ["kb"],
        facts::KNOWN_EXPLOITED_DUE
    ),
    family!(
        Gauge "mde_update_vendor_severity_info",
        "1 for each missing update that Microsoft rates; its worst rating is a label.",
        ["kb", "vendor_severity"],
        facts::VENDOR_SEVERITY
    ),
    family!(
        Gauge "mde_update_cvss_score",
        "Highest CVSS base score of the CVEs that the missing update fixes.",
        ["kb"],
        facts::CVSS
    ),
    family!(
        Gauge "mde_update_epss_probability",
        "Highest EPSS probability of exploitation of the CVEs that the missing update fixes, 0 to 1.",
        ["kb"],
        facts::EPSS
    ),
    family!(
        Gauge "mde_update_superseded_info",
        "1 for each update whose place a newer missing update takes; that update is the label by.",
        ["tenant", "kb", "by"],
        facts::SUPERSEDED
    ),
    family!(
        Gauge "mde_policy_machines",
        "Machines in scope by state under the policy: compliant, due, overdue, unknown (inactive, or facts are missing, \
         too), unsupported.",
        ["tenant", "policy", "state"],
        |scope, writer| {
            for summary in &scope.policies.summaries {
                for state in PolicyState::ALL {
                    let labels: [&dyn Display; 3] = [scope.tenant(), &summary.policy.name, &state.as_str()];
                    writer.sample(&labels, Value::Count(summary.machines(state)));
                }
            }
        }
    ),
    // Every tenant writes the same samples, of which the first ones stay.
    family!(
        Gauge "mde_policy_deadline_seconds",
        "The shortest fixed deadline among the rules of the policy, from the configuration.",
        ["policy"],
        |scope, writer| {
            for summary in &scope.policies.summaries {
                if let Some(deadline) = summary.policy.shortest_deadline() {
                    writer.sample(&[&summary.policy.name], Value::Duration(deadline));
                }
            }
        }
    ),
    family!(
        Gauge "mde_policy_overdue_exploited_updates",
        "Pairs of machine and missing update that are overdue under the policy and fix an exploited CVE; absent \
         without facts.",
        ["tenant", "policy"],
        |scope, writer| {
            for summary in &scope.policies.summaries {
                if let Some(overdue) = summary.overdue_exploited {
                    writer.sample(&[scope.tenant(), &summary.policy.name], Value::Count(overdue));
                }
            }
        }
    ),
    family!(
        Counter "mde_missing_updates_detected_total",
        "Pairs of machine and update that became missing, those of a machine's first reading included; \
         survives restarts.",
        ["tenant"],
        |scope, writer| writer.sample(&[scope.tenant()], Value::Count(scope.fleet.totals.detected))
    ),
    family!(
        Counter "mde_missing_updates_resolved_total",
        "Pairs of machine and update that were fixed; survives restarts. A machine that leaves the scope, \
         expires, or becomes inactive or unsupported fixes nothing.",
        ["tenant"],
        |scope, writer| writer.sample(&[scope.tenant()], Value::Count(scope.fleet.totals.resolved))
    ),
    family!(
        Counter "mde_missing_updates_superseded_total",
        "Pairs of machine and update that ended because a newer update of the same chain took their place; neither \
         fixed nor dropped; survives restarts.",
        ["tenant"],
        |scope, writer| writer.sample(&[scope.tenant()], Value::Count(scope.fleet.totals.superseded))
    ),
    family!(
        Histogram "mde_update_resolution_seconds",
        "Time from first seen to fixed of the pairs of machine and update that were fixed; survives restarts.",
        ["tenant"],
        |scope, writer| writer.histogram(&[scope.tenant()], &resolution(&scope.fleet.totals.resolution))
    ),
];

/// Machine level: samples per machine.
pub const MACHINE: &[Family<MachineSamples>] = &[
    family!(
        Gauge "mde_machine_info",
        "1 for each machine in scope; what it is are labels.",
        ["tenant", "machine_id", "machine", "os_platform", "os_version", "device_group"],
        |scope, writer| {
            let facts = &scope.machine.facts;
            let others: [&dyn Display; 3] = [&facts.os_platform, &facts.os_version, &facts.device_group];
            writer.sample_with(&scope.labels, &others, Value::Count(1));
        }
    ),
    family!(
        Gauge "mde_machine_up",
        "1 when the newest attempt to read the machine succeeded.",
        ["tenant", "machine_id", "machine"],
        |scope, writer| scope.value(writer, scope.machine.attempt.map(|attempt| attempt.succeeded.into()))
    ),
    family!(
        Gauge "mde_machine_missing_updates",
        "Updates that the machine misses; absent when that is unknown (inactive and unreadable too).",
        ["tenant", "machine_id", "machine"],
        |scope, writer| {
            scope.value(writer, scope.missing_updates.map(|updates| Value::Count(updates.len() as u64)));
        }
    ),
    family!(
        Gauge "mde_machine_missing_updates_addressed_cves",
        "Sum of the CVEs that the machine's missing updates address.",
        ["tenant", "machine_id", "machine"],
        |scope, writer| scope.value(writer, scope.missing_updates.and_then(addressed_cves).map(Value::Count))
    ),
    family!(
        Gauge "mde_machine_missing_exploited_updates",
        "Updates that the machine misses and that fix an exploited CVE; absent when that is unknown.",
        ["tenant", "machine_id", "machine"],
        |scope, writer| scope.value(writer, scope.exploited.map(Value::Count))
    ),
    family!(
        Gauge "mde_machine_overdue_updates",
        "Updates that the machine misses and that are overdue under at least one policy; absent when that is unknown.",
        ["tenant", "machine_id", "machine"],
        |scope, writer| scope.value(writer, scope.overdue.map(Value::Count))
    ),
    family!(
        Gauge "mde_machine_oldest_missing_update_timestamp_seconds",
        "First seen time of the machine's longest open gap, or of an update that it superseded; absent when it has none.",
        ["tenant", "machine_id", "machine"],
        |scope, writer| {
            let updates = scope.missing_updates.unwrap_or_default();
            let first_seen = updates.iter().map(MissingUpdate::oldest_first_seen).min();
            scope.value(writer, first_seen.map(Value::Time));
        }
    ),
    family!(
        Gauge "mde_machine_last_seen_timestamp_seconds",
        "When Defender last had a full report of the machine.",
        ["tenant", "machine_id", "machine"],
        |scope, writer| scope.value(writer, scope.machine.facts.last_seen.map(Value::Time))
    ),
    family!(
        Gauge "mde_machine_last_success_timestamp_seconds",
        "When the machine's data was read.",
        ["tenant", "machine_id", "machine"],
        |scope, writer| {
            let assessment = scope.machine.assessment.as_ref();
            scope.value(writer, assessment.map(|assessment| Value::Time(assessment.fetched_at)));
        }
    ),
];

/// Update level: samples per machine and missing update.
pub const UPDATE: &[Family<MachineSamples>] = &[family!(
    Gauge "mde_machine_missing_update_first_seen_timestamp_seconds",
    "Present while the machine misses the update; the value is when that was first seen.",
    ["tenant", "machine_id", "machine", "kb"],
    |scope, writer| {
        for missing in scope.missing_updates.unwrap_or_default() {
            writer.sample_with(&scope.labels, &[&missing.update.kb], Value::Time(missing.first_seen));
        }
    }
)];

impl FleetScope<'_> {
    fn tenant(&self) -> &dyn Display {
        &self.fleet.tenant
    }

    /// Writes a sample for each update with a known `value`.
    fn per_update(&self, writer: &mut FamilyWriter<'_>, value: impl Fn(&UpdateSummary) -> Option<Value>) {
        for (kb, update) in &self.summary.updates {
            if let Some(value) = value(update) {
                writer.sample(&[self.tenant(), kb], value);
            }
        }
    }
}

/// Returns the labels that the families of a machine start with.
#[must_use]
pub fn labels(tenant: &str, machine: &Machine) -> LabelPrefix {
    LabelPrefix::new(&OF_A_MACHINE, &[tenant, machine.facts.id.as_str(), &machine.facts.name])
}

/// Returns the number of series that [`FLEET`] has for one update of the scope. Series without tenant count for every
/// tenant that writes them.
#[must_use]
pub fn series_of_update(scope: &FleetScope<'_>, kb: KbId, update: &UpdateSummary) -> u64 {
    let known =
        [update.reported_machines.is_some(), update.addressed_cves.is_some(), update.released.is_some()];
    let of_facts =
        scope.facts.kb(kb).map_or(0, |of_kb| facts::series_of(of_kb, scope.facts.has(FactsSource::Kev)));
    3 + known.into_iter().map(u64::from).sum::<u64>() + of_facts
}

/// Returns the highest number of series that [`FLEET`] has for one group of machines.
#[must_use]
pub fn series_of_group(facts: &Facts) -> u64 {
    MachineState::ALL.len() as u64 + 1 + u64::from(facts.has(FactsSource::Msrc))
}

impl MachineScope<'_> {
    /// Writes the only sample of the machine, if the value is known.
    fn value(&self, writer: &mut FamilyWriter<'_>, value: Option<Value>) {
        if let Some(value) = value {
            writer.sample_with(&self.labels, &[], value);
        }
    }
}

fn count(known: Option<u32>) -> Option<Value> {
    known.map(|count| Value::Count(count.into()))
}

fn resolution(resolution: &ResolutionHistogram) -> Histogram {
    let [buckets @ .., beyond] = &resolution.buckets;
    let bound = |days: u32| Duration::from_hours(24 * u64::from(days));
    let bounds = ResolutionHistogram::BOUNDS_DAYS.into_iter().map(bound);
    Histogram {
        buckets: bounds.zip(buckets.iter().copied()).collect(),
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
            assert!(family.descriptor.is_format_independent(), "{}", family.descriptor.name);
            assert!(family.descriptor.labels.starts_with(&OF_A_MACHINE), "{}", family.descriptor.name);
        }
    }

    fn descriptors() -> Vec<FamilyDescriptor> {
        let fleet = FLEET.iter().map(|family| family.descriptor);
        let machine = MACHINE.iter().chain(UPDATE).map(|family| family.descriptor);
        fleet.chain(machine).collect()
    }

    #[test]
    fn no_family_is_listed_twice() {
        let names: BTreeSet<&str> = descriptors().iter().map(|descriptor| descriptor.name).collect();
        assert_eq!(names.len(), descriptors().len());
    }

    #[test]
    fn names_follow_the_rules() {
        for FamilyDescriptor { name, metric_type, labels, help } in descriptors() {
            assert!(name.starts_with("mde_") && !name.starts_with("mde_exporter_"), "{name}");
            assert!(!name.split('_').any(|segment| segment == "kb"), "{name}");
            assert_eq!(name.ends_with("_total"), metric_type == MetricType::Counter, "{name}");
            let is_of_kb = name.starts_with("mde_update_") && labels[0] == "kb";
            let of_a_tenant = name != "mde_policy_deadline_seconds" && !is_of_kb;
            assert_eq!(labels[0] == "tenant", of_a_tenant, "{name}");
            assert!(!help.contains(['\\', '\n', '"']), "{name}: its help is not the same in every format");
            assert!(help.contains("polled in the background"), "{name}");
        }
    }
}

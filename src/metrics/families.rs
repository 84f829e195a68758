//! The table of the fleet metrics: name, help, type, labels and samples of each family. Each detail level
//! has a table, so a shallower exposition leaves whole families out.
//!
//! The function of a family gets one tenant or one machine and writes its samples; it writes nothing for an
//! unknown value. Families of the fleet level are in the order of their value: if the series limit does not
//! allow all of them, those at the end of the table are left out first.

mod facts;

use std::fmt::Display;

use crate::exposition::{FamilyDescriptor, FamilyWriter, Value, WrittenLabels};
use crate::facts::Facts;
use crate::fleet::policy::PolicyCounts;
use crate::fleet::summary::{MachineGroup, Summary, UpdateSummary, VersionSummary};
use crate::fleet::{Machine, MachineState, MissingUpdate, Owner, TenantFleet};
use crate::model::{Exception, FactsSource, KbId, OwnLabel, ServicingState};

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
    /// The exceptions of the configuration; the same for every tenant.
    pub exceptions: &'a [Exception],
    /// The own labels of the configuration; the same for every tenant.
    pub labels: &'a [OwnLabel],
    /// The values of the own labels of each owner in the summary.
    pub own_labels: Vec<WrittenLabels>,
}

/// One machine of a tenant.
#[derive(Debug)]
pub struct MachineScope<'a> {
    /// The labels that every machine family starts with; empty if samples are only counted.
    pub labels: WrittenLabels,
    /// Its own labels with their true values; empty if samples are only counted.
    pub own_labels: WrittenLabels,
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
        family!($kind $name, $help, $labels, false, $write)
    };
    ($kind:ident $name:literal, $help:literal, $labels:expr, own labels, $write:expr) => {
        family!($kind $name, $help, $labels, true, $write)
    };
    ($kind:ident $name:literal, $help:literal, $labels:expr, $has_own_labels:literal, $write:expr) => {
        Family {
            descriptor: FamilyDescriptor {
                name: $name,
                help: concat!($help, " Data is cached and polled in the background."),
                metric_type: MetricType::$kind,
                labels: &$labels,
                has_own_labels: $has_own_labels,
            },
            write: $write,
        }
    };
}

mod fleet;
mod machine;

pub use fleet::FLEET;
pub use machine::{MACHINE, UPDATE};

impl<'a> FleetScope<'a> {
    /// The scope of a tenant. Counts the machines that miss exploited updates into the summary.
    #[must_use]
    pub fn new(
        fleet: &'a TenantFleet,
        mut summary: Summary,
        policies: PolicyCounts<'a>,
        facts: &'a Facts,
        (labels, exceptions): (&'a [OwnLabel], &'a [Exception]),
    ) -> Self {
        summary.count_exploited(&policies.exploited_updates);
        let own_labels = written_owners(labels, summary.owners.list());
        Self { fleet, summary, facts, policies, exceptions, labels, own_labels }
    }

    /// Counts all owners together, under values that say so.
    pub fn fold_owners(&mut self) {
        self.summary.fold_owners();
        self.policies.fold_owners();
        self.own_labels = written_owners(self.labels, self.summary.owners.list());
    }

    fn tenant(&self) -> &dyn Display {
        &self.fleet.tenant
    }

    /// Writes the sample of a group of machines, with the label `state` if there is one.
    fn of_group(
        &self,
        writer: &mut FamilyWriter<'_>,
        key: &MachineGroup,
        state: Option<MachineState>,
        machines: u64,
    ) {
        let mut labels: Vec<&dyn Display> = vec![self.tenant(), &key.os_platform, &key.device_group];
        let state = state.map(MachineState::as_str);
        labels.extend(state.as_ref().map(|word| word as &dyn Display));
        let own_labels = &self.own_labels[key.owner];
        writer.sample_of_owner(&WrittenLabels::default(), &labels, own_labels, Value::Count(machines));
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
pub fn labels(tenant: &str, machine: &Machine) -> WrittenLabels {
    WrittenLabels::new(&OF_A_MACHINE, &[tenant, machine.facts.id.as_str(), &machine.facts.name])
}

/// Returns the own labels of one machine, with their true values.
#[must_use]
pub fn own_labels(labels: &[OwnLabel], machine: &Machine) -> WrittenLabels {
    let tags = machine.facts.tags.as_deref();
    written(labels, labels.iter().map(|label| label.value(tags)))
}

fn written_owners(labels: &[OwnLabel], owners: &[Owner]) -> Vec<WrittenLabels> {
    owners.iter().map(|owner| written(labels, owner.iter().map(|value| &**value))).collect()
}

fn written<'a>(labels: &[OwnLabel], values: impl Iterator<Item = &'a str>) -> WrittenLabels {
    let names: Vec<&str> = labels.iter().map(|label| &*label.name).collect();
    WrittenLabels::new(&names, &values.collect::<Vec<_>>())
}

/// The number of series that [`FLEET`] has for one version of Windows in a tenant.
pub const SERIES_OF_VERSION: u64 = ServicingState::ALL.len() as u64;

/// Returns the number of series without tenant that [`FLEET`] has for one version of Windows, whatever the number of
/// tenants with it.
#[must_use]
pub fn series_of_ends(version: &VersionSummary) -> u64 {
    version.ends.iter().flatten().count() as u64
}

/// Returns the number of series that [`FLEET`] has for one update in a tenant.
#[must_use]
pub fn series_of_update(update: &UpdateSummary) -> u64 {
    let known =
        [update.reported_machines.is_some(), update.addressed_cves.is_some(), update.released.is_some()];
    3 + known.into_iter().map(u64::from).sum::<u64>()
}

/// Returns the number of series without tenant that [`FLEET`] has for one update, whatever the number of tenants that
/// miss it.
#[must_use]
pub fn series_of_kb(facts: &Facts, kb: KbId) -> u64 {
    facts.kb(kb).map_or(0, |of_kb| facts::series_of(of_kb, facts.has(FactsSource::Kev)))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::exposition::MetricType;

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
        for FamilyDescriptor { name, metric_type, labels, help, .. } in descriptors() {
            assert!(name.starts_with("mde_") && !name.starts_with("mde_exporter_"), "{name}");
            assert!(!name.split('_').any(|segment| segment == "kb"), "{name}");
            assert_eq!(name.ends_with("_total"), metric_type == MetricType::Counter, "{name}");
            let is_of_kb = name.starts_with("mde_update_") && labels[0] == "kb";
            let of_the_configuration =
                ["mde_policy_deadline_seconds", "mde_exception_end_timestamp_seconds"].contains(&name);
            let of_windows_versions = name == "mde_servicing_end_timestamp_seconds";
            let of_a_tenant = !of_the_configuration && !of_windows_versions && !is_of_kb;
            assert_eq!(labels[0] == "tenant", of_a_tenant, "{name}");
            assert!(!help.contains(['\\', '\n', '"']), "{name}: its help is not the same in every format");
            assert!(help.contains("polled in the background"), "{name}");
        }
    }
}

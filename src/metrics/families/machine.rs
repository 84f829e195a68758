//! The families of the levels below the fleet level.

use std::fmt::Display;

use super::{Family, MachineSamples};
use crate::exposition::{FamilyDescriptor, MetricType, Value};
use crate::fleet::MissingUpdate;
use crate::fleet::summary::addressed_cves;

/// Machine level: samples per machine.
pub const MACHINE: &[Family<MachineSamples>] = &[
    family!(
        Gauge "mde_machine_info",
        "1 for each machine in scope; what it is are labels.",
        ["tenant", "machine_id", "machine", "os_platform", "os_version", "device_group"],
        own labels,
        |scope, writer| {
            let facts = &scope.machine.facts;
            let others: [&dyn Display; 3] = [&facts.os_platform, &facts.os_version, &facts.device_group];
            writer.sample_of_owner(&scope.labels, &others, &scope.own_labels, Value::Count(1));
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

//! The families of the fleet level.

use std::fmt::Display;
use std::time::Duration;

use super::{Family, FleetSamples, facts};
use crate::exposition::{FamilyDescriptor, Histogram, MetricType, Value, WrittenLabels};
use crate::fleet::policy::PolicyState;
use crate::fleet::{MachineState, ResolutionHistogram};
use crate::model::{ServicingEdition, ServicingState, Severity};

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
        own labels,
        |scope, writer| {
            for (key, group) in &scope.summary.groups {
                for state in MachineState::ALL {
                    scope.of_group(writer, key, Some(state), group.machines(state));
                }
            }
        }
    ),
    family!(
        Gauge "mde_compliant_machines",
        "Machines, fresh or stale, that miss no update and whose Windows version is still serviced. Machines in other \
         states are not counted.",
        ["tenant", "os_platform", "device_group"],
        own labels,
        |scope, writer| {
            for (key, group) in &scope.summary.groups {
                scope.of_group(writer, key, None, group.compliant);
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
        own labels,
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
        "Machines in scope by state under the policy: compliant, due, overdue, accepted (under an exception), unknown \
         (inactive, or facts are missing, too), unsupported.",
        ["tenant", "policy", "state"],
        own labels,
        |scope, writer| {
            for summary in &scope.policies.summaries {
                for (states, own_labels) in summary.by_owner.iter().zip(&scope.own_labels) {
                    for state in PolicyState::ALL {
                        let labels: [&dyn Display; 3] = [scope.tenant(), &summary.policy.name, &state.as_str()];
                        let machines = Value::Count(states.machines(state));
                        writer.sample_of_owner(&WrittenLabels::default(), &labels, own_labels, machines);
                    }
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
        Gauge "mde_servicing_machines",
        "Machines in scope, without unsupported ones, by the servicing of their Windows version: in_service, uncertain \
         (the edition or Extended Security Updates decide), ended, unknown.",
        ["tenant", "os_platform", "os_version", "servicing"],
        |scope, writer| {
            for (key, version) in &scope.summary.versions {
                for state in ServicingState::ALL {
                    let labels: [&dyn Display; 4] = [scope.tenant(), &key.os_platform, &key.os_version, &state];
                    writer.sample(&labels, Value::Count(version.machines(state)));
                }
            }
        }
    ),
    // Every tenant with a version writes the same samples of it, of which the first ones stay.
    family!(
        Gauge "mde_servicing_end_timestamp_seconds",
        "End of servicing of the Windows versions of machines in scope, as the 00:00 UTC after the last day, for the \
         editions that they may have.",
        ["os_platform", "os_version", "edition"],
        |scope, writer| {
            for (key, version) in &scope.summary.versions {
                for (edition, end) in ServicingEdition::ALL.into_iter().zip(version.ends) {
                    if let Some(end) = end {
                        writer.sample(&[&key.os_platform, &key.os_version, &edition], Value::Time(end));
                    }
                }
            }
        }
    ),
    family!(
        Gauge "mde_exception_updates",
        "Pairs of machine and missing update that the exception covers now, in the tenants that it names; 0 after its end.",
        ["tenant", "exception"],
        |scope, writer| {
            for (exception, updates) in scope.exceptions.iter().zip(&scope.policies.exception_updates) {
                if let Some(updates) = updates {
                    writer.sample(&[scope.tenant(), &exception.name], Value::Count(*updates));
                }
            }
        }
    ),
    family!(
        Gauge "mde_exception_servicing_machines",
        "Machines past end of servicing that the exception accepts now, in the tenants that it names; 0 after its end.",
        ["tenant", "exception"],
        |scope, writer| {
            for (exception, machines) in scope.exceptions.iter().zip(&scope.policies.exception_servicing) {
                if let Some(machines) = machines {
                    writer.sample(&[scope.tenant(), &exception.name], Value::Count(*machines));
                }
            }
        }
    ),
    // As for the deadlines, every tenant writes the same samples.
    family!(
        Gauge "mde_exception_end_timestamp_seconds",
        "When the exception ends, from the configuration: the 00:00 UTC after its last day.",
        ["exception"],
        |scope, writer| {
            for exception in scope.exceptions {
                writer.sample(&[&exception.name], Value::Count(exception.end_second()));
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

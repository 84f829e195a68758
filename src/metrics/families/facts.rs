//! The samples of the families that show facts about KBs. Each is absent until its source was loaded.

use super::{FleetSamples, FleetScope};
use crate::exposition::{FamilyWriter, Value};
use crate::facts::KbFacts;
use crate::model::{FactsSource, KbId, VendorSeverity};

pub(super) const MISSING_BY_VENDOR_SEVERITY: FleetSamples = |scope, writer| {
    if scope.facts.has(FactsSource::Msrc) {
        for severity in VendorSeverity::WORST_FIRST.map(Some).into_iter().chain([None]) {
            let word = severity.map_or("unknown", VendorSeverity::as_str);
            let count = scope.summary.missing_updates_by_vendor(severity);
            writer.sample(&[scope.tenant(), &word], Value::Count(count));
        }
    }
};

pub(super) const MISSING_EXPLOITED: FleetSamples = |scope, writer| {
    if let Some(count) = scope.facts.known_count(scope.policies.exploited_updates.iter().sum()) {
        writer.sample(&[scope.tenant()], Value::Count(count));
    }
};

pub(super) const MACHINES_MISSING_EXPLOITED: FleetSamples = |scope, writer| {
    for (key, group) in &scope.summary.groups {
        if let Some(count) = scope.facts.known_count(group.missing_exploited) {
            scope.of_group(writer, key, None, count);
        }
    }
};

pub(super) const EXPLOITED: FleetSamples =
    |scope, writer| per_kb(scope, writer, |facts| facts.exploited.map(Value::from));

pub(super) const KNOWN_EXPLOITED_CVES: FleetSamples = |scope, writer| {
    if scope.facts.has(FactsSource::Kev) {
        per_kb(scope, writer, |facts| Some(Value::Count(facts.known_exploited_cves().into())));
    }
};

pub(super) const KNOWN_EXPLOITED_DUE: FleetSamples = |scope, writer| {
    per_kb(scope, writer, |facts| facts.known_exploited.and_then(|known| known.due).map(Value::Time));
};

pub(super) const VENDOR_SEVERITY: FleetSamples = |scope, writer| {
    for (kb, facts) in kbs(scope) {
        if let Some(severity) = facts.vendor_severity {
            writer.sample(&[&kb, &severity], Value::Count(1));
        }
    }
};

pub(super) const CVSS: FleetSamples = |scope, writer| {
    per_kb(scope, writer, |facts| facts.cvss.map(|score| Value::Number(f64::from(score.tenths()) / 10.0)));
};

pub(super) const EPSS: FleetSamples =
    |scope, writer| per_kb(scope, writer, |facts| facts.epss.map(Value::Number));

pub(super) const SUPERSEDED: FleetSamples = |scope, writer| {
    for (kb, by) in &scope.summary.superseded {
        if scope.summary.updates.contains_key(by) {
            writer.sample(&[scope.tenant(), kb, by], Value::Count(1));
        }
    }
};

/// Writes a sample for each missing update of which `value` is known. Every tenant that misses the update writes the
/// same one, of which the first stays.
fn per_kb(scope: &FleetScope<'_>, writer: &mut FamilyWriter<'_>, value: impl Fn(&KbFacts) -> Option<Value>) {
    for (kb, facts) in kbs(scope) {
        if let Some(value) = value(facts) {
            writer.sample(&[&kb], value);
        }
    }
}

/// The missing updates with facts.
fn kbs<'a>(scope: &'a FleetScope<'_>) -> impl Iterator<Item = (KbId, &'a KbFacts)> {
    scope.summary.updates.keys().filter_map(|kb| scope.facts.kb(*kb).map(|facts| (*kb, facts)))
}

/// The number of series that the families of this module have for one update.
pub(super) fn series_of(facts: &KbFacts, has_kev: bool) -> u64 {
    let known = [
        facts.exploited.is_some(),
        has_kev,
        facts.known_exploited.is_some_and(|known| known.due.is_some()),
        facts.vendor_severity.is_some(),
        facts.cvss.is_some(),
        facts.epss.is_some(),
    ];
    known.into_iter().map(u64::from).sum()
}

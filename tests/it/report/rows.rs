//! The rows of a report, compared with the exposition of the same fleets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use mde_exporter::facts::Facts;
use mde_exporter::fleet::{Machine, TenantFleet};
use mde_exporter::metrics::{RenderOptions, Renderer};
use mde_exporter::model::{
    DetailLevel, Exception, ExpositionFormat, MachineCondition, OwnLabel, Policy, PolicyPreset, ReportFormat,
    TextPattern,
};
use proptest::prelude::*;

use crate::support::exposition::{Exposition, Sample, parse};
use crate::support::fleets::{
    FIRST_SEEN, answer, any_fleets, exception, is_past_servicing, now, special_case_facts,
    special_case_fleets, special_case_policies,
};
use crate::support::report::{ReportSettings, csv_rows, report_text};

type Row = BTreeMap<String, String>;

/// The exposition with the same settings.
fn exposition(fleets: &[Arc<TenantFleet>], settings: &ReportSettings) -> Exposition {
    let options = RenderOptions {
        policies: settings.policies.as_slice().into(),
        exceptions: settings.exceptions.as_slice().into(),
        labels: settings.labels.as_slice().into(),
        ..RenderOptions::default()
    };
    let body = Renderer::default().render(fleets, now(), &options, &settings.facts);
    parse(&answer(&body, DetailLevel::Update, ExpositionFormat::Text)).unwrap()
}

/// Two exceptions in effect that overlap, and one that has ended.
fn exceptions() -> Vec<Exception> {
    let windows = MachineCondition::Platforms(vec![TextPattern::new("windows*")]);
    vec![
        exception("ended", "2024-06-19", &[], &[1, 2, 3]),
        exception("some", "2024-06-20", &[], &[2, 4, 6]),
        Exception { conditions: vec![windows.into()], ..exception("windows", "2024-06-30", &[], &[]) },
    ]
}

/// Policies that judge by age, by facts that are there, and by facts that may lack.
fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let preset = PolicyPreset::CyberEssentials.policy("preset".into());
    let [release, first_seen] = special_case_policies();
    prop_oneof![Just(vec![release]), Just(vec![first_seen]), Just(vec![preset]), Just(Vec::new())]
}

/// The text of a cell with this value.
fn guarded(value: &str) -> String {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if is_formula { format!("'{value}") } else { value.to_owned() }
}

fn seconds(time: &str) -> f64 {
    let time: Timestamp = time.parse().unwrap();
    time.as_duration().as_secs_f64()
}

/// Tenant and id of the machines whose servicing has ended.
fn ended_machines(fleets: &[Arc<TenantFleet>]) -> BTreeSet<(String, String)> {
    let ended = |fleet: &Arc<TenantFleet>| {
        let machines = fleet.machines.values().filter(|machine| is_past_servicing(machine));
        let key = |machine: &Arc<Machine>| (fleet.tenant.to_string(), machine.facts.id.as_str().to_owned());
        machines.map(key).collect::<Vec<_>>()
    };
    fleets.iter().flat_map(ended).collect()
}

proptest! {
    #[test]
    fn rows_are_the_update_series_and_the_other_machines(
        fleets in any_fleets(),
        policies in policies(),
        has_facts: bool,
        has_exceptions: bool,
    ) {
        let settings = ReportSettings {
            policies,
            exceptions: if has_exceptions { exceptions() } else { Vec::new() },
            facts: if has_facts { special_case_facts() } else { Facts::default() },
            labels: vec![OwnLabel::new("team".into(), "team:")],
            ..ReportSettings::default()
        };
        let exposed = exposition(&fleets, &settings);
        let rows = csv_rows(&report_text(&fleets, &settings, ReportFormat::Csv));
        let (machines, updates): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row["kb"].is_empty());

        let listed: BTreeSet<_> =
            updates.iter().map(|row| (row["machine_id"].as_str(), row["kb"].as_str())).collect();
        let series = exposed.samples(FIRST_SEEN);
        let series: BTreeSet<_> =
            series.map(|sample| (sample.label("machine_id"), sample.label("kb"))).collect();
        prop_assert_eq!(listed, series);
        prop_assert_eq!(updates.len() as f64, exposed.count(FIRST_SEEN));
        let sum = |values: Vec<f64>| values.iter().sum::<f64>();
        prop_assert_eq!(
            sum(updates.iter().map(|row| seconds(&row["first_seen"])).collect()),
            sum(exposed.samples(FIRST_SEEN).map(|sample| sample.value).collect())
        );

        let in_state = |name: &str, state: &str| {
            let samples = exposed.samples(name).filter(|sample| sample.label("state") == state);
            sum(samples.map(|sample| sample.value).collect())
        };
        let ended = ended_machines(&fleets);
        let has_ended = |row: &&&Row| row["title"].starts_with("servicing of ");
        let with_end: Vec<_> = machines.iter().filter(has_ended).collect();
        prop_assert_eq!(with_end.len(), ended.len());
        prop_assert!(with_end.iter().all(|row| row["late_since"] == row["deadline"]));
        let others = if settings.policies.is_empty() {
            let in_scope = exposed.sum("mde_assessed_machines");
            let machine = |sample| {
                (Sample::label(sample, "tenant").to_owned(), Sample::label(sample, "machine_id").to_owned())
            };
            let with_updates: BTreeSet<_> = exposed.samples(FIRST_SEEN).map(machine).collect();
            in_scope - with_updates.union(&ended).count() as f64
        } else {
            let not_judged = ["unknown", "unsupported"].map(|state| in_state("mde_policy_machines", state));
            not_judged[0] + not_judged[1] + exposed.sum("mde_compliant_machines")
        };
        prop_assert_eq!((machines.len() - ended.len()) as f64, others);
        for state in ["overdue", "accepted", "due", "none", "unknown"] {
            let count = updates.iter().filter(|row| row["state"] == state).count();
            prop_assert!(count == 0 || !settings.policies.is_empty(), "{}", state);
        }
        let exploited = |rows: &[&Row]| rows.iter().filter(|row| row["exploited"] == "true").count() as f64;
        if exposed.samples("mde_missing_exploited_updates").next().is_some() {
            prop_assert_eq!(exploited(&updates), exposed.sum("mde_missing_exploited_updates"));
        }
        if exposed.samples("mde_policy_overdue_exploited_updates").next().is_some() {
            let overdue: Vec<_> = updates.iter().copied().filter(|row| row["state"] == "overdue").collect();
            prop_assert_eq!(exploited(&overdue), exposed.sum("mde_policy_overdue_exploited_updates"));
        }
        let accepted = with_end.iter().filter(|row| row["exception"] == "windows").count();
        prop_assert_eq!(accepted as f64, exposed.sum("mde_exception_servicing_machines"));
        let named = |name: &str| updates.iter().filter(|row| row["exception"] == name).count() as f64;
        let covered = |name: &str| {
            let samples = exposed.samples("mde_exception_updates");
            let samples = samples.filter(|sample| sample.label("exception") == name);
            sum(samples.map(|sample| sample.value).collect())
        };
        prop_assert_eq!((named("ended"), covered("ended")), (0.0, 0.0));
        prop_assert_eq!(named("some"), covered("some"));
        // The exception before it in the file is named where both cover an update.
        prop_assert!(named("windows") <= covered("windows"));
        let key = |row: &Row| ["tenant", "machine_id", "team"].map(|column| row[column].clone());
        let teams: BTreeSet<_> = rows.iter().map(key).collect();
        for sample in exposed.samples("mde_machine_info") {
            let expected = ["tenant", "machine_id", "team"].map(|label| guarded(sample.label(label)));
            prop_assert!(expected[2].ends_with('…') || teams.contains(&expected), "{:?}", expected);
        }
    }
}

#[test]
fn rows_are_in_the_order_of_tenant_name_id_and_kb() {
    let settings = ReportSettings { policies: special_case_policies().into(), ..ReportSettings::default() };
    let rows = csv_rows(&report_text(&special_case_fleets(), &settings, ReportFormat::Csv));
    let key = |row: &Row| {
        let kb = row["kb"].parse::<u32>().ok();
        (row["tenant"].clone(), row["machine"].to_lowercase(), row["machine_id"].clone(), kb)
    };
    let keys: Vec<_> = rows.iter().map(key).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:#?}");
}
